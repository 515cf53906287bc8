"""Which token comes next in one answer: penalties, filters, and the draw.

Owns the choice from logits for a single row. The filters are transformers' own; the draw adds Gumbel noise from a
generator that belongs to the row and takes the largest, which is an exact sample (https://arxiv.org/abs/1611.01144).
So a seed reproduces an answer in any batch and on any device, and the process-wide generator, on which training's
dropout depends, is never touched.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers.generation import logits_process as filters

from core.settings import SamplingSettings

Filter = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class TokenChooser:
    """Chooses one row's tokens. It remembers prompt and answer only where a penalty looks back at them."""

    def __init__(self, sampling: SamplingSettings, seed: int, prompt: list[int]) -> None:
        self._penalties = _penalties(sampling)
        self._filters = _filters(sampling) if sampling.do_sample else []
        self._generator = torch.Generator().manual_seed(seed) if sampling.do_sample else None
        self._seen = list(prompt)

    @property
    def is_plain_argmax(self) -> bool:
        """Whether the next token is simply the one with the largest logit."""
        return self._generator is None and not self._penalties

    def choose(self, logits: torch.Tensor) -> int:
        """The next token for logits (vocab,) in fp32; the choice is remembered for the penalties."""
        scores = logits.unsqueeze(0)
        seen = torch.tensor([self._seen], device=logits.device) if self._penalties else torch.empty(1, 0)
        for apply in (*self._penalties, *self._filters):
            scores = apply(seen, scores)
        if self._generator is not None:
            scores = scores - _log_exponential(scores.shape, self._generator).to(scores.device)
        token_id = int(scores.argmax(dim=-1))
        if self._penalties:
            self._seen.append(token_id)
        return token_id


def _log_exponential(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """log(E) of exponential draws; subtracting it adds Gumbel noise. Drawn on the CPU: one seed, one answer."""
    draws = torch.empty(shape, dtype=torch.float32).exponential_(generator=generator)
    return draws.clamp_min_(torch.finfo(torch.float32).tiny).log_()


def _penalties(sampling: SamplingSettings) -> list[Filter]:
    chosen: list[Filter] = []
    if sampling.repetition_penalty != 1:
        chosen.append(filters.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.no_repeat_ngram_size > 0:
        chosen.append(filters.NoRepeatNGramLogitsProcessor(sampling.no_repeat_ngram_size))
    return chosen


def _filters(sampling: SamplingSettings) -> list[Filter]:
    """In the order in which `generate` applies them; settings that change nothing are left out."""
    chosen: list[Filter] = []
    if sampling.temperature != 1:
        chosen.append(filters.TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k > 0:
        chosen.append(filters.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        chosen.append(filters.TopPLogitsWarper(float(sampling.top_p)))
    if sampling.min_p > 0:
        chosen.append(filters.MinPLogitsWarper(float(sampling.min_p)))
    return chosen
