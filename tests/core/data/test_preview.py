"""Without a model a row is shown as its words, with those marked that would be trained."""

from __future__ import annotations

import pytest

from core.data.conversation import Example, Message
from core.data.options import DataOptions
from core.data.preview import preview_row

CONTEXT: Message = {"role": "assistant", "content": "b", "trained": False}
ROW = Example(
    (
        {"role": "user", "content": "a"},
        CONTEXT,
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
        {"role": "user", "content": "e"},
        {"role": "assistant", "content": "f"},
    ),
    1,
)


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        (DataOptions(), "df"),
        (DataOptions(answers="last"), "f"),
        (DataOptions(train_prompt=True), "acdef"),
    ],
)
def test_words_are_marked_as_the_recipe_trains_them(options: DataOptions, trained: str) -> None:
    pieces = preview_row(ROW, None, options).pieces
    assert [piece.text[-2] for piece in pieces if piece.trained] == list(trained)
    assert "".join(piece.text for piece in pieces).count("\n") == 6


def test_a_document_is_shown_whole_and_trained() -> None:
    (piece,) = preview_row(Example((), 1, text="words"), None, DataOptions()).pieces
    assert (piece.text, piece.trained) == ("words", True)
