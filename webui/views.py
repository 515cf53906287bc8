"""The blocks that every tab's HTML is made of, and numbers as people write them. Pure: values in, text out.

Owns escaping: whatever comes from a file, a name or a model passes `escape` before it stands in HTML. What a tab shows
is composed in `model_views`, `dataset_views` and `run_views`.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from core.errors import SHOWN_PROBLEMS, Problem
from core.i18n import Language, text

Kind = Literal["good", "info", "warning", "bad", "quiet"]

# Characters that change how their neighbours are shown, so a name could pretend to be another one.
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
MAX_COMBINING_MARKS = 8
LONG_FACT = 36  # characters; a longer value takes the width of two


def escape(value: object) -> str:
    """Any text as inert HTML: no markup, no template marks; control and bidirectional characters made visible."""
    escaped = html.escape(visible(str(value)))
    return escaped.replace("{", "&#123;").replace("}", "&#125;").replace("$", "&#36;")


def visible(content: str) -> str:
    """Text whose control characters can be seen, and whose letters carry at most a few combining marks."""
    shown: list[str] = []
    marks = 0
    for character in content:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks > MAX_COMBINING_MARKS:
            continue
        hidden = (category in ("Cc", "Cs") and character not in "\n\t") or character in _BIDI_CONTROLS
        shown.append(f"\\u{ord(character):04x}" if hidden else character)
    return "".join(shown)


def badge(words: str, kind: Kind = "quiet") -> str:
    """A small label; `kind` sets its colour, the words alone carry the meaning."""
    return f'<span class="wb-badge wb-{kind}">{escape(words)}</span>'


def note(words: str, kind: Kind = "quiet") -> str:
    """A paragraph of plain words; nothing where there are no words."""
    return f'<p class="wb-note wb-{kind}">{escape(words)}</p>' if words else ""


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Named values side by side."""
    cells = "".join(_fact(name, value) for name, value in pairs)
    return f'<dl class="wb-facts">{cells}</dl>'


def _fact(name: str, value: str) -> str:
    wide = ' class="wb-wide"' if len(value) > LONG_FACT else ""
    return f"<div{wide}><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def card(body: str, kind: Kind = "quiet") -> str:
    """A framed block around HTML that is already safe."""
    return f'<div class="wb-card wb-{kind}">{body}</div>'


def heading(words: str, *badges: str) -> str:
    """A card's first line: words, then badges made by `badge`."""
    return f'<div class="wb-heading"><strong>{escape(words)}</strong>{"".join(badges)}</div>'


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A table of plain values; every cell is escaped."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headers)
    body = "".join("<tr>" + "".join(f"<td><div>{escape(cell)}</div></td>" for cell in row) + "</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="wb-table"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def details(summary: str, body: str, open_at_first: bool = False) -> str:
    """HTML that is already safe behind a line that opens it."""
    state = " open" if open_at_first else ""
    return f'<details class="wb-details"{state}><summary>{escape(summary)}</summary>{body}</details>'


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
    return f"{amount_gb:.2f} GB" if amount_gb < 10 else f"{amount_gb:.1f} GB"


def duration(seconds: float | None, lang: Language) -> str:
    """A time span in its two largest units; “–” where it is not known."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    units = [(whole // 3600, "hours"), (whole % 3600 // 60, "minutes"), (whole % 60, "seconds")]
    shown = [(amount, unit) for amount, unit in units if amount][:2] or [(0, "seconds")]
    return " ".join(text(f"model_tab.unit.{unit}", lang, count=amount) for amount, unit in shown)


def number(value: float | None, digits: int = 4) -> str:
    """A measured value in significant digits; “–” where there is none."""
    return "–" if value is None else f"{value:.{digits}g}"
