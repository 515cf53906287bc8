"""Answers that stand side by side, as HTML: where they differ, the vote on them, and what all votes come to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.chat.differences import Compared, compared
from core.chat.votes import Tally, Vote
from core.i18n import Language, text
from core.markup import escape, note, table
from webui.chat_views import column_label

EQUAL = "equal"  # what the button of a tie says


@dataclass(frozen=True)
class Seat:
    """An answer in its pane: the name that is shown for it, its column, its text; `number` of the pane, from 0."""

    name: str
    column: str
    text: str
    number: int


def comparison(seats: Sequence[Seat], lang: Language, marked: bool, hidden: bool, vote: Vote | None) -> str:
    """What stands under the panes once two or more have answered."""
    if len(seats) < 2:
        return ""
    differences = _differences(seats, lang) if marked else ""
    return f'<div class="compare">{differences}{_ballot(seats, lang, hidden, vote)}</div>'


def _differences(seats: Sequence[Seat], lang: Language) -> str:
    answers = compared([seat.text for seat in seats])
    parts = [_marked(seat, answer, lang, seats[0].name) for seat, answer in zip(seats, answers, strict=True)]
    hint = note(text("compare.marked_hint", lang, name=seats[0].name))
    return f'{hint}<div class="compare-texts">{"".join(parts)}</div>'


def _marked(seat: Seat, answer: Compared, lang: Language, first: str) -> str:
    if seat.name == first:
        shared = ""
    else:
        words = text("compare.shared", lang, percent=round(100 * answer.shared), name=first)
        shared = f'<span class="compare-shared">{escape(words)}</span>'
    head = f'<div class="compare-name"><strong>{escape(seat.name)}</strong>{shared}</div>'
    return f'<section>{head}<div class="compare-text" tabindex="0">{marked_text(answer)}</div></section>'


def marked_text(answer: Compared) -> str:
    """An answer as plain text in which what differs is marked."""
    return "".join(
        f"<mark>{escape(piece.text)}</mark>" if piece.differs else escape(piece.text) for piece in answer.pieces
    )


def _ballot(seats: Sequence[Seat], lang: Language, hidden: bool, vote: Vote | None) -> str:
    question = text("compare.which_of_two" if len(seats) == 2 else "compare.which_of_many", lang)
    chosen = "" if vote is None else vote.best if vote.best is not None else EQUAL
    choices = [(seat.name, str(seat.number), seat.column) for seat in seats]
    choices.append((text("compare.equal", lang), EQUAL, EQUAL if vote and vote.best is None else "\0"))
    buttons = "".join(_choice(words, value, key == chosen and vote is not None) for words, value, key in choices)
    reveal = escape(text("compare.reveal", lang))
    shown = f'<button type="button" class="wb-chip compare-reveal" data-do="reveal">{reveal}</button>' if hidden else ""
    said = escape(_said(vote, lang)) if vote else ""
    return (
        f'<div class="compare-vote" role="group" aria-label="{escape(question)}"><span>{escape(question)}</span>'
        f'{buttons}{shown}<span class="compare-said" role="status">{said}</span></div>'
    )


def _choice(words: str, value: str, pressed: bool) -> str:
    state = "true" if pressed else "false"
    data = f'data-do="vote" data-choice="{escape(value)}" aria-pressed="{state}"'
    return f'<button type="button" class="wb-chip" {data}>{escape(words)}</button>'


def _said(vote: Vote, lang: Language) -> str:
    """The vote in words, with who stood where when it was blind."""
    if vote.best is None:
        return text("compare.voted_equal", lang)
    return text("compare.voted", lang, name=column_label(vote.best, lang))


def tally_tables(tally: Tally, lang: Language) -> str:
    """What all votes come to: each column against all others, and each pair."""
    if not tally.votes:
        return note(text("compare.tally.none", lang))
    counts = [text(f"compare.tally.{name}", lang) for name in ("wins", "equal", "losses")]
    scores = [
        (column_label(each.column, lang), each.wins, each.equal, each.losses, f"{each.wins / each.votes:.0%}")
        for each in tally.scores
    ]
    pairs = [
        (column_label(each.first, lang), each.wins, each.equal, each.losses, column_label(each.second, lang))
        for each in tally.pairs
    ]
    columns = [text("compare.tally.column", lang), *counts, text("compare.tally.share", lang)]
    against = [text("compare.tally.first", lang), *_pair_heads(lang), text("compare.tally.second", lang)]
    total = note(text("compare.tally.total", lang, count=tally.votes))
    by_pair = table(against, pairs, text("compare.tally.by_pair", lang)) if len(tally.scores) > 2 else ""
    return f"{total}{table(columns, scores, text('compare.tally.by_column', lang))}{by_pair}"


def _pair_heads(lang: Language) -> list[str]:
    return [text(f"compare.tally.{name}", lang) for name in ("first_better", "equal", "second_better")]
