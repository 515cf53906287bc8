"""One example as a model will see it: its tokens with the trained ones marked, or its words without a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.data.conversation import Example
from core.data.options import DataOptions
from core.data.rendering import Piece, preview
from core.errors import Problem, WorkbenchError


@dataclass(frozen=True)
class PreviewRow:
    """An example and its pieces. `problem` is why the model's template refuses it; then the pieces are its words."""

    example: Example
    pieces: tuple[Piece, ...]
    problem: Problem | None = None

    @property
    def line(self) -> int:
        return self.example.line

    @property
    def row(self) -> int:
        return self.example.row

    @property
    def file(self) -> str:
        return self.example.file

    @property
    def tokens(self) -> int:
        return len(self.pieces)

    @property
    def trained(self) -> int:
        return sum(piece.trained for piece in self.pieces)


def preview_row(example: Example, tokenizer: Any | None, options: DataOptions) -> PreviewRow:
    """An example under a tokenizer with its template; as words without one, or where the template refuses it."""
    problem = None
    if tokenizer is not None:
        try:
            return PreviewRow(example, tuple(preview(tokenizer, example, options)))
        except WorkbenchError as error:
            problem = error.problems[0]
    if example.text is not None:
        return PreviewRow(example, (Piece(example.text, True, -1),), problem)
    learned = _learned(example, options)
    pieces = (
        Piece(f"{message['role']}: {message['content']}\n", number in learned, -1)
        for number, message in enumerate(example.messages)
    )
    return PreviewRow(example, tuple(pieces), problem)


def _learned(example: Example, options: DataOptions) -> set[int]:
    """Numbers of the messages that are trained, as rendering decides it."""
    said = [number for number, message in enumerate(example.messages) if message["role"] == "assistant"]
    learned = [number for number in said if example.messages[number].get("trained", True)]
    asked = set(range(len(example.messages))).difference(said) if options.train_prompt else set()
    return asked.union(learned[-1:] if options.answers == "last" else learned)
