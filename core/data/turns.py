"""Where a rendered conversation is cut into pieces of text, and how each piece becomes ids.

Rendering's own half of laws 1 and 2 (`rendering.py` is the door; nothing else calls this):

- A conversation is rendered to text with the tokenizer's chat template and cut at its assistant turns: what is fed
  before an answer (the *prompt*), and the *answer* up to and including the token that ends the turn. Each piece is
  tokenised alone, so an answer never merges with the template's text before it.
- Special tokens typed by a person are text: each is broken in two with `BREAK` before the template sees it, and text
  is tokenised separately on both sides of a break. Neither half can be a special token again. The same holds for other
  added tokens that the template itself writes (`<think>`), but only outside the assistant's own turns. (transformers
  has `sanitize_control_tokens` for this; it switches a flag on the shared tokenizer, which two threads must not do.)
- No token is added that the template does not write: a BOS is there once, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.data.conversation import Message
from core.data.templates import render_text

NOT_TRAINED = -100
BREAK = "\U000f0000"  # a private-use character; one that stands in a file already is dropped
STAND_IN = "A stand-in answer."


@dataclass(frozen=True)
class Turn:
    """An assistant turn as text: all that is fed before it, and the answer through its end-of-turn token."""

    prompt: str
    answer: str

    @property
    def end(self) -> str:
        return self.prompt + self.answer


@dataclass(frozen=True)
class ChatView:
    """A tokenizer and its template as rendering needs them."""

    tokenizer: Any
    special: re.Pattern[str]  # special tokens: text wherever a person typed them
    control: re.Pattern[str]  # these and the other added tokens that the template writes
    added: frozenset[int]  # ids of all added tokens
    newline: list[int] | None  # ids of "\n" where the tokenizer puts a space before every text it is given
    spaced_again: bool  # and puts one after every added token too

    @classmethod
    def of(cls, tokenizer: Any) -> ChatView:
        added = list(tokenizer.added_tokens_decoder.values())
        special = [token.content for token in added if token.special]
        template = str(tokenizer.chat_template or "")
        written = [token.content for token in added if token.content.strip() and token.content in template]
        newline, alone = _ids(tokenizer, "\n"), _ids(tokenizer, "a")
        puts_space = _ids(tokenizer, "\na")[len(newline) :] != alone
        spaced_again = puts_space and any(_ids(tokenizer, f"{token}a")[1:] == alone for token in special[:1])
        return cls(
            tokenizer,
            _any_of(special),
            _any_of(special + written),
            frozenset(tokenizer.added_tokens_decoder),
            newline if puts_space else None,
            spaced_again,
        )

    def mark(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with every control token that was typed into them broken."""
        pattern = {"assistant": self.special}
        return [
            {"role": said["role"], "content": broken(said["content"], pattern.get(said["role"], self.control))}
            for said in messages
        ]

    def text(self, messages: list[Message], prompt: bool) -> str:
        return render_text(self.tokenizer, messages, prompt)

    def turns(self, messages: list[Message]) -> list[Turn]:
        """The assistant turns of marked messages, each as chat would meet it."""
        return [
            self._turn(messages[:index], message["content"])
            for index, message in enumerate(messages)
            if message["role"] == "assistant"
        ]

    def _turn(self, before: list[Message], content: str) -> Turn:
        prompt = self.text(before, prompt=True)
        whole = self.text([*before, {"role": "assistant", "content": content}], prompt=False)
        closing = self.closing(before)
        if whole.startswith(prompt) and whole.endswith(closing):
            said = whole[len(prompt) : len(whole) - len(closing)]
        else:
            said = _after_opened_thought(prompt, content)
        ending = self.control.search(closing)
        return Turn(prompt, said + (closing[: ending.end()] if ending else closing))

    def closing(self, before: list[Message]) -> str:
        """What the template writes after an answer: its end-of-turn token, and perhaps more."""
        whole = self.text([*before, {"role": "assistant", "content": STAND_IN}], prompt=False)
        return whole.rpartition(STAND_IN)[2] if STAND_IN in whole else ""

    def encode(self, segments: Sequence[tuple[str, bool]]) -> tuple[list[int], list[int]]:
        """Ids and labels of (text, trained) segments, each tokenised alone, and so is each side of a BREAK."""
        ids: list[int] = []
        labels: list[int] = []
        for text, trained in segments:
            for piece in text.split(BREAK):
                begins = not ids or (self.spaced_again and ids[-1] in self.added)
                added = _ids(self.tokenizer, piece) if begins else self._ids_behind(piece)
                ids += added
                labels += added if trained else [NOT_TRAINED] * len(added)
        return ids, labels

    def _ids_behind(self, text: str) -> list[int]:
        """Ids of a text that stands behind another: the space some tokenizers put before a text is not put there."""
        if self.newline and text:
            ids = _ids(self.tokenizer, "\n" + text)
            if ids[: len(self.newline)] == self.newline:
                return ids[len(self.newline) :]
        return _ids(self.tokenizer, text)


def cut(text: str, turns: Sequence[Turn], trained_from: int = 0) -> list[tuple[str, bool]]:
    """A rendered text as (text, trained) segments, cut around each turn that stands in it unchanged."""
    segments: list[tuple[str, bool]] = []
    position = 0
    for number, turn in enumerate(turns):
        if len(turn.prompt) >= position and text.startswith(turn.end):
            segments += [(text[position : len(turn.prompt)], False), (turn.answer, number >= trained_from)]
            position = len(turn.end)
    return [*segments, (text[position:], False)]


def broken(text: str, tokens: re.Pattern[str]) -> str:
    """The text with a BREAK in every token, also in one that is left over inside a broken one."""
    text = text.replace(BREAK, "")
    while tokens.search(text):
        text = tokens.sub(lambda found: found.group()[0] + BREAK + found.group()[1:], text)
    return text


def _any_of(tokens: list[str]) -> re.Pattern[str]:
    """Matches any of the tokens, the longest first; those of one character cannot be broken and are left."""
    longest_first = sorted({token for token in tokens if len(token) > 1}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _after_opened_thought(prompt: str, content: str) -> str:
    """An answer whose template text does not begin as chat's prompt does, put behind that prompt.

    Such templates open a thought in the prompt (`<think>`) and drop it from finished turns: the answer goes on in the
    thought it has, or closes the empty one.
    """
    if not prompt.rstrip().endswith("<think>"):
        return content
    if "</think>" in content:
        return content.lstrip().removeprefix("<think>").removeprefix("\n")
    return f"\n</think>\n\n{content}"


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False, verbose=False)) if text else []
