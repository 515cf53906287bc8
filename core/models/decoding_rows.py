"""One answer in the making, as decoding sees it: what is asked for, what each step brings, what has been read of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.models.token_choice import TokenChooser
from core.settings import SamplingSettings

End = Literal["stop", "length", "context", "cancelled"]


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to make. `adapter` is the id of an adapter in the tree, None for the base model.

    `logprobs`: report the probability of each token, and of so many of the most probable. `remembered_as`: under this
    key what the model remembers of the row is kept, and looked for; None for neither.
    """

    input_ids: list[int]
    sampling: SamplingSettings
    adapter: str | None = None
    seed: int = 0
    logprobs: int | None = None
    remembered_as: str | None = None


@dataclass(frozen=True)
class Scores:
    """Natural logarithms of the model's own distribution: of the chosen token, and of the most probable ones."""

    chosen: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Token:
    """What happened to one row in one step.

    `token_id` is the next token of the answer; None where there is none: the end token itself ("stop") and a cancelled
    row bring no text. `finished` says that the row has ended and why: its end token, its `max_new_tokens`, the model's
    context, or `cancelled`; the last token of "length" and "context" counts.
    """

    row: int
    token_id: int | None
    finished: End | None = None
    scores: Scores | None = None


@dataclass(eq=False)
class Row:
    """`ids`: prompt and answer; the model remembers the first `read` of them."""

    number: int
    request: GenerationRequest
    chooser: TokenChooser
    ids: list[int]
    read: int = 0

    @property
    def made(self) -> int:
        return len(self.ids) - len(self.request.input_ids)

    @classmethod
    def of(cls, number: int, request: GenerationRequest) -> Row:
        """A row that has read nothing yet."""
        chooser = TokenChooser(request.sampling, request.seed, request.input_ids)
        return cls(number, request, chooser, [*request.input_ids])
