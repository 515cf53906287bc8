"""What a conversation is: messages with roles, and one example with the line it came from.

Owns only these types and the questions asked of their words everywhere. Readers and formats produce examples; checks,
rendering and chat consume them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

Role = Literal[
    "system",  # what holds for the whole conversation; at most one, at the start
    "user",  # the person
    "assistant",  # the model: the only role that is trained
    "tool",  # what a tool answered
]


class Message(TypedDict):
    role: Role
    content: str


@dataclass(frozen=True)
class Example:
    """One row of a file as a conversation. `line` is where its row begins in the file, from 1."""

    messages: tuple[Message, ...]
    line: int

    @property
    def system_prompt(self) -> str | None:
        first = self.messages[0] if self.messages else None
        return first["content"] if first and first["role"] == "system" else None

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """Equal for two examples exactly when their conversations are equal, wherever they stand in the file."""
        return tuple((message["role"], message["content"]) for message in self.messages)


def whole_text(words: str) -> str:
    """Words with half characters (lone surrogates) as question marks: no tokenizer, file or stream takes those."""
    return words.encode("utf-8", "replace").decode("utf-8")
