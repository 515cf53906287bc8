"""What an example is: messages with roles, or a document, and the row it came from.

Owns only these types and the questions asked of their words everywhere. Readers and formats produce examples; checks,
rendering and chat consume them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

Role = Literal[
    "system",  # what holds for the whole conversation; at most one, at the start
    "user",  # the person
    "assistant",  # the model: the only role that is trained
    "tool",  # what a tool answered
]
Kind = Literal[
    "chat",  # messages
    "text",  # a document for continued pre-training
    "preference",  # messages that end with the preferred answer, and one that was rejected
    "kto",  # messages that end with an answer, and whether it was liked
]


class Message(TypedDict):
    """One turn. What is not required is there only where the file says it; templates read the same names."""

    role: Role
    content: str
    name: NotRequired[str]
    reasoning_content: NotRequired[str]  # what an assistant thought before it answered
    tool_calls: NotRequired[list[dict[str, Any]]]  # OpenAI's shape, with `arguments` as an object
    tool_call_id: NotRequired[str]
    trained: NotRequired[bool]  # False on an assistant turn that is only context (OpenAI's weight 0)


@dataclass(frozen=True)
class Example:
    """One row of a file as a conversation or a document.

    `line` is where its row begins in the file, from 1; `row` its number among the file's rows, from 1, by which edits
    find it; `file` the member of a folder or archive, or the data set it was mixed in from, "" for the file itself.
    """

    messages: tuple[Message, ...]
    line: int
    row: int = 0
    file: str = ""
    tools: tuple[dict[str, Any], ...] = ()  # JSON schemas of the tools the assistant may call
    text: str | None = None  # a document; then there are no messages
    rejected: Message | None = None
    label: bool | None = None

    @property
    def kind(self) -> Kind:
        if self.text is not None:
            return "text"
        if self.rejected is not None:
            return "preference"
        return "chat" if self.label is None else "kto"

    @property
    def system_prompt(self) -> str | None:
        first = self.messages[0] if self.messages else None
        return first["content"] if first and first["role"] == "system" else None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two examples exactly when what they say is equal, wherever they stand in the file."""
        turns = tuple(tuple(repr(message.get(name)) for name in Message.__annotations__) for message in self.messages)
        return (turns, self.text, repr(self.tools), repr(self.rejected), self.label)

    @property
    def characters(self) -> int:
        """Characters of everything that is said."""
        return sum(map(len, self.words()))

    def words(self) -> Iterator[str]:
        """Every text that a person or a model wrote: contents, thoughts, the rejected answer, the document."""
        for message in (*self.messages, *((self.rejected,) if self.rejected else ())):
            yield message["content"]
            if "reasoning_content" in message:
                yield message["reasoning_content"]
        if self.text is not None:
            yield self.text


def whole_text(words: str) -> str:
    """Words with half characters (lone surrogates) as question marks: no tokenizer, file or stream takes those."""
    return words.encode("utf-8", "replace").decode("utf-8")
