"""The blocks that HTML is made of: escaped text, cards, tables, numbers as people write them. Pure.

Owns escaping: whatever comes from a file, a name or a model passes `escape` before it stands in HTML. It stands in
`core` because the page and the report of an evaluation, which is a file, are made of the same blocks; their look is
`markup.css`, on the names that gradio gives its colours.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from core.i18n import Language, text

Kind = Literal["good", "info", "warning", "bad", "quiet"]

# Characters that change how their neighbours are shown, so a name could pretend to be another one.
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
MAX_COMBINING_MARKS = 8
STYLE_SHEET = Path(__file__).with_suffix(".css")
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
