"""What a fix changes, as HTML: some rows before and after, with the difference marked. Pure."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from core.i18n import Language, text
from core.markup import details, escape
from webui.preview_views import example_text

if TYPE_CHECKING:
    from core.data.conversation import Example
    from core.data.intake import FixOffer

SHOWN = 400  # characters of a side
CONTEXT = 60  # characters kept before the first difference


def fix_label(offer: FixOffer | None, name: str, lang: Language) -> str:
    """The fix with the number of rows that it touches."""
    words = text(f"data.fixes.{name}.label", lang)
    if offer is None:
        return words
    rows = text(
        "data_tab.fixes.changed" if offer.applied else "data_tab.fixes.would_change", lang, rows=f"{offer.rows:,}"
    )
    return f"{words} · {rows}"


def before_and_after(offer: FixOffer, lang: Language) -> str:
    """Some of the rows that a fix touches."""
    samples = "".join(_sample(before, after, lang) for before, after in offer.samples)
    return details(text("data_tab.fixes.samples", lang), samples) if samples else ""


def _sample(before: Example, after: Example | None, lang: Language) -> str:
    line = escape(text("data_tab.preview.line", lang, line=before.line))
    old = example_text(before, lang)
    if after is None:
        gone = escape(text("data_tab.fixes.left_out", lang))
        return _pair(line, f"<del>{escape(old[:SHOWN])}</del>", f"<em>{gone}</em>", lang)
    return _pair(line, *_marked(old, example_text(after, lang)), lang)


def _pair(line: str, before: str, after: str, lang: Language) -> str:
    sides = [(text("data_tab.fixes.before", lang), before), (text("data_tab.fixes.after", lang), after)]
    cells = "".join(f'<div dir="auto"><small>{escape(name)}</small>{words}</div>' for name, words in sides)
    return f'<div class="wb-change"><small>{line}</small>{cells}</div>'


def _marked(old: str, new: str) -> tuple[str, str]:
    """Both texts from a little before where they begin to differ, what differs in `<del>` and `<ins>`."""
    same = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(0, same - CONTEXT)
    old, new = old[start : start + SHOWN], new[start : start + SHOWN]
    before = after = "…" if start else ""
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            before, after = before + escape(old[a:b]), after + escape(new[c:d])
        else:
            before += f"<del>{escape(_seen(old[a:b]))}</del>" if b > a else ""
            after += f"<ins>{escape(_seen(new[c:d]))}</ins>" if d > c else ""
    return before, after


def _seen(words: str) -> str:
    """Characters that nobody sees, made visible: they are often all that a fix changes."""
    marks = {" ": "␣", "\n": "⏎\n", "\t": "⇥", "\u3000": "␣", "\u00a0": "␣"}
    return "".join(marks.get(each, each if each.isprintable() else f"\\u{ord(each):04x}") for each in words)
