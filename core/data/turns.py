"""Where a rendered conversation is cut into pieces of text, and how each piece becomes ids.

Rendering's own half of laws 1 and 2 (`rendering.py` is the door; nothing else calls this):

- A conversation is rendered to text with the tokenizer's chat template and cut at its assistant turns: what is fed
  before an answer (the *prompt*), and the *answer* up to and including the token that ends the turn. Each piece is
  tokenised alone, so an answer never merges with the template's text before it. Where a template marks its answers
  with `{% generation %}` tags, what it writes between the prompt and the tag is a piece of its own that is not trained.
- Special tokens typed by a person are text: each is broken in two with `BREAK` before the template sees it, and text
  is tokenised separately on both sides of a break. Neither half can be a special token again. The same holds for other
  added tokens that the template itself writes (`<think>`), but only outside the assistant's own turns. (transformers
  has `sanitize_control_tokens` for this; it switches a flag on the shared tokenizer, which two threads must not do.)
- No token is added that the template does not write: a BOS is there once, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

from core.data.conversation import Message, whole_text
from core.data.template_forms import PROBE_CALL, PROBE_TOOL, CallForm, call_form, formed, takes_thoughts, uses_tools
from core.data.templates import render_marked, render_text
from core.errors import WorkbenchError, refusal

NOT_TRAINED = -100
BREAK = "\U000f0000"  # a private-use character; one that stands in a file already is dropped
STAND_IN = "A stand-in answer."
_QUESTION: Message = {"role": "user", "content": "A stand-in question."}
_STAND_IN_ANSWER: Message = {"role": "assistant", "content": STAND_IN}


@dataclass(frozen=True)
class Rendered:
    """One training row: `input_ids` and `labels` of equal length; labels are NOT_TRAINED outside answers."""

    input_ids: list[int]
    labels: list[int]
    line: int

    @property
    def trained_tokens(self) -> int:
        return sum(label != NOT_TRAINED for label in self.labels)


@dataclass(frozen=True)
class Turn:
    """An assistant turn as text: all that is fed before it, and the answer through its end-of-turn token.

    `opening` is what the template writes before the part that it marks as the answer, usually nothing.
    """

    prompt: str
    opening: str
    answer: str

    @property
    def end(self) -> str:
        return self.prompt + self.opening + self.answer


@dataclass(frozen=True)
class ChatView:
    """A tokenizer and its template as rendering needs them, for conversations with certain tools."""

    tokenizer: Any
    special: re.Pattern[str]  # special tokens: text wherever a person typed them
    control: re.Pattern[str]  # these and the other added tokens that the template writes
    added: frozenset[int]  # ids of all added tokens
    newline: list[int] | None  # ids of "\n" where the tokenizer puts a space before every text it is given
    spaced_again: bool  # and puts one after every added token too
    tools: tuple[dict[str, Any], ...] = ()

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

    @cached_property
    def calls(self) -> CallForm | None:
        """How the template takes tool calls, if it does."""
        return call_form(self.tokenizer)

    @cached_property
    def thoughts(self) -> bool:
        """Whether the template writes thoughts."""
        return takes_thoughts(self.tokenizer)

    def prepared(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()
    ) -> tuple[ChatView, list[dict[str, Any]]]:
        """The view for these tools, and the messages as its template takes them.

        Every control token that was typed into either is broken.
        """
        marked_tools = [_everywhere(tool, lambda text: broken(text, self.control)) for tool in tools]
        marked = [self._marked(message) for message in messages]
        calls = self.calls if uses_tools(messages, tools) else None
        thoughts = not any("reasoning_content" in message for message in messages) or self.thoughts
        view = replace(self, tools=tuple(marked_tools)) if calls else self
        return view, formed(marked, marked_tools, calls, thoughts)

    def _marked(self, message: Message) -> Message:
        tokens = self.special if message["role"] == "assistant" else self.control
        said = {key: value for key, value in message.items() if key == "content" or (key != "trained" and value)}
        return cast(Message, _everywhere(said, lambda text: broken(text, tokens)))

    def text(self, messages: Sequence[Mapping[str, Any]], prompt: bool) -> str:
        return render_text(self.tokenizer, messages, prompt, self.tools)

    def turns(self, messages: list[dict[str, Any]]) -> list[Turn]:
        """The assistant turns of prepared messages, each as chat would meet it."""
        return [
            self._turn(messages[:index], message)
            for index, message in enumerate(messages)
            if message["role"] == "assistant"
        ]

    def _turn(self, before: list[dict[str, Any]], said: dict[str, Any]) -> Turn:
        prompt = self.text(before, prompt=True)
        whole, marked = render_marked(self.tokenizer, [*before, said], False, self.tools)
        opening, closing = self._frame(before)
        if whole.startswith(prompt):
            begins = min((start for start, _ in marked if start >= len(prompt)), default=len(prompt))
            untrained, spoken = whole[len(prompt) : begins], whole[begins:]
        elif whole.startswith(opening):
            untrained, spoken = "", _behind_opened_thought(prompt, said["content"] or "", whole[len(opening) :])
        else:
            raise refusal("D28_answer_not_found")
        if spoken.endswith(closing):
            return Turn(prompt, untrained, spoken.removesuffix(closing) + self._ending(before, said, closing))
        ends = [found.end() for found in self.control.finditer(spoken)]  # a call that is ended by another token
        return Turn(prompt, untrained, spoken[: ends[-1]] if ends else spoken)

    def endings(self) -> list[str]:
        """The tokens that end an answer, and where they differ a call, as the template writes them."""
        said: list[tuple[list[Message], list[dict[str, Any]]]] = [([_QUESTION, _STAND_IN_ANSWER], [])]
        if self.calls:
            said.append(([_QUESTION, PROBE_CALL], [PROBE_TOOL]))
        found = []
        for messages, tools in said:
            view, shaped = self.prepared(messages, tools)
            answer = view.turns(shaped)[0].answer
            found += [token.group() for token in self.control.finditer(answer) if token.end() == len(answer)]
        return list(dict.fromkeys(found))

    def _frame(self, before: Sequence[dict[str, Any]]) -> tuple[str, str]:
        """What the template writes before the words of an answer, and what behind them."""
        whole = self.text([*before, _STAND_IN_ANSWER], prompt=False)
        opening, _, closing = whole.rpartition(STAND_IN) if STAND_IN in whole else ("", "", "")
        return opening, closing

    def _ending(self, before: Sequence[dict[str, Any]], said: dict[str, Any], closing: str) -> str:
        """A closing through the token that ends the turn.

        Templates of the GLM family write none: there the token of the next turn (`<|user|>`, `<|observation|>` after
        a call) says that the answer is over, so it is what the model learns to end with.
        """
        if ending := self.control.search(closing):
            return closing[: ending.end()]
        told = [*before, said if said.get("tool_calls") else _STAND_IN_ANSWER]
        follower = {"role": "tool" if said.get("tool_calls") else "user", "content": STAND_IN}
        whole = self.text(told, prompt=False)
        try:
            behind = self.text([*told, follower], prompt=False).removeprefix(whole)
        except WorkbenchError:
            return closing
        ending = self.control.search(behind)
        return closing + behind[: ending.end()] if ending and not behind[: ending.start()].strip() else closing

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


def cut(
    text: str, turns: Sequence[Turn], learned: Collection[int] = (), with_prompt: bool = False
) -> list[tuple[str, bool]]:
    """A rendered text as (text, trained) segments, cut around each turn that stands in it unchanged.

    `learned` are the numbers of the turns whose answers are trained; `with_prompt` trains all that no assistant said.
    """
    segments: list[tuple[str, bool]] = []
    position = 0
    for number, turn in enumerate(turns):
        if len(turn.prompt) >= position and text.startswith(turn.end):
            before = text[position : len(turn.prompt)]
            segments += [(before, with_prompt), (turn.opening, False), (turn.answer, number in learned)]
            position = len(turn.end)
    return [*segments, (text[position:], False)]


def broken(text: str, tokens: re.Pattern[str]) -> str:
    """The text with a BREAK in every token, also in one that is left over inside a broken one."""
    text = whole_text(text.replace(BREAK, ""))
    while tokens.search(text):
        text = tokens.sub(lambda found: found.group()[0] + BREAK + found.group()[1:], text)
    return text


def _any_of(tokens: list[str]) -> re.Pattern[str]:
    """Matches any of the tokens, the longest first; those of one character cannot be broken and are left."""
    longest_first = sorted({token for token in tokens if len(token) > 1}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _behind_opened_thought(prompt: str, content: str, spoken: str) -> str:
    """An answer as the template writes it into a finished turn, put behind chat's prompt.

    Some templates open a thought in the prompt (`<think>`) and drop it from finished turns: the answer goes on in the
    thought it has, or closes the empty one.
    """
    if not prompt.rstrip().endswith("<think>"):
        return spoken
    if "</think>" not in content:
        return f"\n</think>\n\n{spoken}"
    thought, _, words = content.lstrip().removeprefix("<think>").removeprefix("\n").rpartition("</think>")
    space = words[: len(words) - len(words.lstrip())] or "\n\n"
    return f"{thought}</think>{space}{spoken.lstrip()}"


def _everywhere(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of a JSON value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _everywhere(each, change) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_everywhere(each, change) for each in value]
    return value


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False, verbose=False)) if text else []
