"""What the tabs' HTML is made of beside the blocks of `core.markup`: bars, problems, sizes. Pure.

What a tab shows is composed in `model_views`, `dataset_views` and `run_views`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.errors import SHOWN_PROBLEMS, Problem
from core.i18n import Language, text
from core.markup import escape, note


def progress_bar(share: float | None, words: str) -> str:
    """A bar filled to `share` (0 to 1) with words under it; None = busy, no share known."""
    percent = round(100 * min(1.0, max(0.0, share))) if share is not None else None
    values = f' aria-valuenow="{percent}"' if percent is not None else ""
    width = f'style="width:{percent}%"' if percent is not None else ""
    fill = f'<div class="wb-bar-fill{"" if percent is not None else " wb-busy"}" {width}></div>'
    bar = f'<div class="wb-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"{values}>{fill}</div>'
    return f'{bar}<p class="wb-bar-words">{escape(words)}</p>'


def problem_list(
    problems: Sequence[Problem],
    lang: Language,
    total: int | None = None,
    action: Callable[[Problem], str] = lambda problem: "",
) -> str:
    """Problems with code, what, where, why and fix: at most `SHOWN_PROBLEMS`, then how many more there are.

    `action` gives the HTML of what can be done about one.
    """
    items = "".join(_problem_item(problem, lang, action(problem)) for problem in problems[:SHOWN_PROBLEMS])
    more = (len(problems) if total is None else total) - min(len(problems), SHOWN_PROBLEMS)
    rest = note(text("errors.more", lang, count=more)) if more > 0 else ""
    return f'<ul class="wb-problems">{items}</ul>{rest}' if items else ""


def _problem_item(problem: Problem, lang: Language, action: str) -> str:
    words = problem.describe(lang)
    lines = "".join(f"<span>{escape(line)}</span>" for line in (words.where, words.why, words.fix) if line)
    kind = "bad" if problem.severity == "error" else "warning"
    return f'<li class="wb-{kind}"><strong>{escape(words.code)} · {escape(words.what)}</strong>{lines}{action}</li>'


def size(count_bytes: float) -> str:
    """Bytes as people say them: 1000-based, three digits at most."""
    for unit in ("B", "kB", "MB"):
        if count_bytes < 1000:
            return f"{count_bytes:.0f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} GB" if count_bytes < 100 else f"{count_bytes:.0f} GB"


def count(number: float) -> str:
    """A large number in few digits: 134.5 M."""
    for limit, divisor, unit in ((1e9, 1e9, " B"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if number >= limit:
            return f"{number / divisor:.1f}{unit}"
    return f"{number:,.0f}"


def gigabytes(amount_gb: float) -> str:
    """Memory as people say it; small parts in MB, so that none of them seems to be nothing."""
    if amount_gb < 0.1:
        return f"{amount_gb * 1000:.0f} MB" if amount_gb >= 0.0005 or not amount_gb else "< 1 MB"
    return f"{amount_gb:.2f} GB" if amount_gb < 10 else f"{amount_gb:.1f} GB"
