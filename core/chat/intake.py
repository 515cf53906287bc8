"""From a request to an answer that can be made: its prompt fitted, its seed settled, what cannot be refused.

Runs on the caller's thread, before the queue, so that a long conversation holds nobody up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from core.chat.answer_text import AnswerText
from core.chat.context import UNLIMITED_CONTEXT_TOKENS, FittedPrompt, fit_prompt, fit_text
from core.chat.rows import Row
from core.chat.serving import Applied
from core.chat.streams import ChatRequest
from core.chat.token_bytes import TokenBytes
from core.errors import Place, excerpt, refusal
from core.models.loader import LoadedModel

MAX_LOGPROBS = 20
CONTEXT_IDS = 6  # of the prompt's end, enough to decode what follows a started reply or a text


@dataclass(frozen=True)
class Intake:
    """What requests to one model are measured by."""

    tokenizer: Any
    spell: TokenBytes
    context_tokens: int

    @classmethod
    def of(cls, model: LoadedModel) -> Intake:
        return cls(model.tokenizer, TokenBytes(model.tokenizer), model.max_length or UNLIMITED_CONTEXT_TOKENS)

    def row(self, request: ChatRequest, adapter: Applied | None, drawn_seed: int) -> Row:
        """The answer to be made; `drawn_seed` is for a request that brings none.

        Raises:
            WorkbenchError: H11 for a prompt that is empty or too long, or probabilities that cannot be had.
        """
        _check_logprobs(request)
        sampling = request.sampling
        context_tokens = self.context_tokens - (adapter.virtual_tokens if adapter else 0)
        prompt = self._prompt(request, context_tokens)
        goes_on = request.reply_start or request.raw_prompt is not None
        before = prompt.input_ids[-CONTEXT_IDS:] if goes_on else []
        return Row(
            request=request,
            prompt=prompt,
            adapter=adapter,
            text=AnswerText(self.tokenizer, sampling.stop, request.reply_start, before),
            seed=drawn_seed if sampling.seed is None else sampling.seed,
            context_tokens=context_tokens,
            submitted_at=time.monotonic(),
            spell=self.spell,
        )

    def _prompt(self, request: ChatRequest, limit: int) -> FittedPrompt:
        if request.raw_prompt is not None:
            return fit_text(self.tokenizer, request.raw_prompt, limit)
        longest = request.sampling.max_new_tokens
        return fit_prompt(self.tokenizer, request.messages, request.reply_start, limit, longest)


def _check_logprobs(request: ChatRequest) -> None:
    """Refuse probabilities that cannot be had: too many, or of a beam search, which has none.

    Raises:
        WorkbenchError: H11.
    """
    wanted = request.logprobs
    if wanted is not None and not (0 <= wanted <= MAX_LOGPROBS and request.sampling.num_beams == 1):
        raise refusal("H11_no_logprobs", Place(field="logprobs"), seen=excerpt(wanted), limit=MAX_LOGPROBS)
