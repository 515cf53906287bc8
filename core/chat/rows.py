"""What the engine keeps of every answer in the making, and of the answers that were asked for together.

Owns turning decoded tokens into replies: text, counts, speeds, why an answer ended. The engine decides what runs when.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from core.chat.answer_text import AnswerText
from core.chat.context import FittedPrompt
from core.chat.serving import Applied
from core.chat.streams import ChatRequest, Finished, Reply, Stream, TokenLogprob
from core.models.generation import GenerationRequest, Scores, Token


@dataclass(eq=False)
class Row:
    """One answer in the making. `spell` gives the bytes of a token."""

    request: ChatRequest
    prompt: FittedPrompt
    adapter: Applied | None
    text: AnswerText
    seed: int
    context_tokens: int
    submitted_at: float
    spell: Callable[[int], bytes]
    group: Group | None = None
    tokens: int = 0
    remembered_tokens: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    first_token_at: float = 0.0
    last_token_at: float = 0.0
    finished: Finished | None = None

    @property
    def is_over(self) -> bool:
        return self.finished is not None or (self.group is not None and self.group.stream.is_cancelled)

    def take(self, token: Token) -> None:
        """What one step brought for this row; nothing more after a stop string."""
        if self.finished:
            return
        if token.token_id is not None:
            self.last_token_at = time.monotonic()
            self.first_token_at = self.first_token_at or self.last_token_at
            self.tokens += 1
            if token.scores:
                self.logprobs.append(self._logprob(token.token_id, token.scores))
            if self.text.add(token.token_id):
                self.finished = "stop"
                return
        if token.finished:
            self.text.finish()
            self.finished = token.finished

    def reply(self) -> Reply:
        return Reply(
            text=self.text.text,
            finished=self.finished,
            tokens=self.tokens,
            prompt_tokens=len(self.prompt.input_ids),
            context_tokens=self.context_tokens,
            seed=self.seed,
            tokens_per_s=self._tokens_per_s(),
            first_token_s=self.first_token_at - self.submitted_at if self.tokens else None,
            dropped_turns=self.prompt.dropped_turns,
            remembered_tokens=self.remembered_tokens,
            logprobs=tuple(self.logprobs),
        )

    def _logprob(self, token_id: int, scores: Scores) -> TokenLogprob:
        top = [(self.spell(each), logprob) for each, logprob in scores.top]
        spelled = self.spell(token_id)
        return TokenLogprob(
            _shown(spelled), spelled, scores.chosen, tuple((_shown(each), each, logprob) for each, logprob in top)
        )

    def _tokens_per_s(self) -> float:
        """From the first token on; beams come all at once, so theirs count from the beginning."""
        at_once = self.request.sampling.num_beams > 1
        tokens = self.tokens if at_once else self.tokens - 1
        elapsed_s = self.last_token_at - (self.submitted_at if at_once else self.first_token_at)
        return tokens / elapsed_s if tokens > 0 and elapsed_s > 0 else 0.0

    def generation_request(self, adapter_id: str | None) -> GenerationRequest:
        """What decoding is asked for; `adapter_id` is the adapter's in the tree, which may be one's own."""
        remembered_as = self.adapter.id if self.adapter else "base"
        wanted = self.request
        return GenerationRequest(
            self.prompt.input_ids, wanted.sampling, adapter_id, self.seed, wanted.logprobs, remembered_as
        )


@dataclass(eq=False)
class Group:
    """The rows that were submitted together."""

    rows: list[Row]
    stream: Stream

    def publish(self, place: int = 0) -> None:
        self.stream.publish([row.reply() for row in self.rows], place)


def _shown(spelled: bytes) -> str:
    return spelled.decode(errors="replace")
