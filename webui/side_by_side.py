"""The comparison of the last answers as it stands under the panes, drawn from a conversation and the votes."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.conversations import Conversation
from core.chat.votes import comparison_of
from core.i18n import Language
from core.workbench import Workbench
from webui import side_by_side_views
from webui.chat_views import column_label, hidden_name
from webui.side_by_side_views import Seat


def draw(
    workbench: Workbench, lang: Language, conversation: Conversation, columns: Sequence[str], marked: bool, hidden: bool
) -> str:
    """The HTML under the panes whose columns these are; `marked` shows where answers differ, `hidden` no names."""
    seats = seats_of(conversation, columns, lang, hidden)
    if len(seats) < 2:
        return ""
    vote = workbench.votes.find(comparison_of(conversation, [seat.column for seat in seats]))
    return side_by_side_views.comparison(seats, lang, marked, hidden, vote)


def seats_of(conversation: Conversation, columns: Sequence[str], lang: Language, hidden: bool) -> list[Seat]:
    """Those panes that have an answer to the last message."""
    answered = conversation.turns[-1].columns if conversation.turns else {}
    return [
        Seat(hidden_name(number + 1, lang) if hidden else column_label(column, lang), column, given.answer.text, number)
        for number, column in enumerate(columns)
        if (given := answered.get(column)) is not None
    ]
