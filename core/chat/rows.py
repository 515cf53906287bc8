"""What the engine keeps of every answer in the making, and of the answers that were asked for together.

Owns turning decoded tokens into replies: text, counts, speeds, why an answer ended. The engine decides what runs when.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.chat.answer_text import AnswerText
from core.chat.context import FittedPrompt
from core.chat.serving import Applied
from core.chat.streams import ChatRequest, Finished, Reply, Stream
from core.models.generation import GenerationRequest, Token


@dataclass(eq=False)
class Row:
    """One answer in the making."""

    request: ChatRequest
    prompt: FittedPrompt
    adapter: Applied | None
    text: AnswerText
    seed: int
    context_tokens: int
    submitted_at: float
    stream: Stream | None = None
    tokens: int = 0
    first_token_at: float = 0.0
    last_token_at: float = 0.0
    finished: Finished | None = None

    @property
    def is_over(self) -> bool:
        return self.finished is not None or (self.stream is not None and self.stream.is_cancelled)

    def take(self, token: Token) -> None:
        """What one step brought for this row; nothing more after a stop string."""
        if self.finished:
            return
        if token.token_id is not None:
            self.last_token_at = time.monotonic()
            self.first_token_at = self.first_token_at or self.last_token_at
            self.tokens += 1
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
        )

    def _tokens_per_s(self) -> float:
        """From the first token on; beams come all at once, so theirs count from the beginning."""
        at_once = self.request.sampling.num_beams > 1
        tokens = self.tokens if at_once else self.tokens - 1
        elapsed_s = self.last_token_at - (self.submitted_at if at_once else self.first_token_at)
        return tokens / elapsed_s if tokens > 0 and elapsed_s > 0 else 0.0

    def generation_request(self, adapter_id: str | None) -> GenerationRequest:
        return GenerationRequest(self.prompt.input_ids, self.request.sampling, adapter_id, self.seed)


@dataclass(eq=False)
class Group:
    """The rows that were submitted together."""

    rows: list[Row]
    stream: Stream

    def publish(self, place: int = 0) -> None:
        self.stream.publish([row.reply() for row in self.rows], place)
