"""Rows of a data set as the model sees them, token by token, as HTML. Pure.

What is learned is coloured and underlined; every token says on hover which it is. Each row has buttons, which
`preview_panel` answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from core.i18n import Language, text
from core.markup import escape, note
from webui.views import problem_list

if TYPE_CHECKING:
    from core.data.conversation import Example
    from core.data.rendering import Piece
    from core.workbench import PreviewRow

PREVIEW_CHARACTERS = 6000
MAX_TOKENS = 3000  # of a row that are shown: each is an element of the page
SPACES = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})


def preview(rows: Sequence[PreviewRow], lang: Language, model_loaded: bool, mixed: frozenset[str] = frozenset()) -> str:
    """Rows with their tokens. `mixed` are names of other data sets, whose rows cannot be changed here."""
    learned, given = text("data_tab.preview.trained", lang), text("data_tab.preview.not_trained", lang)
    legend = f'<p class="wb-legend"><mark class="wb-trained">{escape(learned)}</mark>'
    legend += f'<span class="wb-untrained">{escape(given)}</span></p>'
    hint = text("data_tab.preview.hover" if model_loaded else "data_tab.preview.no_model", lang)
    return legend + note(hint) + "".join(_row(row, lang, row.file not in mixed) for row in rows)


def _row(row: PreviewRow, lang: Language, own: bool) -> str:
    place = " · ".join(filter(None, [row.file, text("data_tab.preview.line", lang, line=f"{row.line:,}")]))
    tokens = sum(piece.token_id >= 0 for piece in row.pieces)
    counted = text(
        "data_tab.preview.counts", lang, tokens=f"{tokens:,}", trained=f"{sum(piece.trained for piece in row.pieces):,}"
    )
    title = f"{place} · {counted}" if tokens else place
    refused = problem_list([row.problem], lang) if row.problem else ""
    shown = "".join(_tokens(row.pieces, lang))
    buttons = _buttons(row, lang) if own else ""
    return (
        f'<figure class="wb-row" data-line="{row.line}"><figcaption><span>{escape(title)}</span>{buttons}</figcaption>'
        f'{refused}<div dir="auto">{shown}{_cut(row.pieces, lang)}</div></figure>'
    )


def _buttons(row: PreviewRow, lang: Language) -> str:
    ways = ["leave_out"] if row.example.kind != "chat" else ["edit", "leave_out"]
    return "".join(
        f'<button type="button" class="wb-link" data-do="{way}" data-row="{row.row}" data-line="{row.line}">'
        f"{escape(words)}</button>"
        for way, words in [(way, text(f"data_tab.preview.{way}", lang)) for way in ways]
    )


def _shown(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """The pieces that are shown: tokens whole; of a turn in plain text as much as there is room for."""
    shown: list[Piece] = []
    left = PREVIEW_CHARACTERS
    for piece in pieces[:MAX_TOKENS]:
        if len(piece.text) > left:
            cut = piece.token_id < 0 and left > 0
            return (*shown, replace(piece, text=piece.text[:left])) if cut else tuple(shown)
        shown.append(piece)
        left -= len(piece.text)
    return tuple(shown)


def _tokens(pieces: Sequence[Piece], lang: Language) -> Iterator[str]:
    learned, given = text("data_tab.preview.trained", lang), text("data_tab.preview.not_trained", lang)
    ids: list[str] = []
    for piece in _shown(pieces):
        ids.append(str(piece.token_id))
        if not piece.text:  # its character is complete only with the next one
            continue
        tag, kind, state = ("mark", "wb-trained", learned) if piece.trained else ("span", "wb-untrained", given)
        title = f' title="{_title(piece.text, " + ".join(ids), state)}"' if piece.token_id >= 0 else ""
        yield f'<{tag} class="{kind}"{title}>{escape(piece.text)}</{tag}>'
        ids = []


def _title(words: str, ids: str, state: str) -> str:
    return escape(f"{ids} · “{words.translate(SPACES)}” · {state}")


def _cut(pieces: Sequence[Piece], lang: Language) -> str:
    return (
        ""
        if _shown(pieces) == tuple(pieces)
        else note(text("data_tab.preview.cut", lang, count=f"{PREVIEW_CHARACTERS:,}"))
    )


def example_text(example: Example, lang: Language) -> str:
    """An example in short, turn by turn, as it stands before and after a fix."""
    if example.text is not None:
        return example.text
    parts = []
    for message in (*example.messages, *((example.rejected,) if example.rejected else ())):
        role = text(f"data_tab.roles.{message['role']}", lang)
        parts.append(f"{role}: {message['content']}")
    return "\n".join(parts)
