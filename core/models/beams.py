"""Beam search: one answer, searched by the library all at once and so not streamed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch

from core.models.decoding_rows import End, GenerationRequest, Token
from core.models.prefix import Prefix
from core.models.tree import Tree
from core.settings import SamplingSettings


def generate_beams(
    model: Any,
    eos_ids: Collection[int],
    pad_id: int,
    request: GenerationRequest,
    cancelled: Callable[[int], bool] = lambda row: False,
    prefix: Prefix | None = None,
) -> list[Token]:
    """Answer one request by beam search, all at once; `model` and `prefix` as for `generation.decode`.

    Beams are searched, not drawn: `do_sample` and the seed don't count. Like `decode`, the last token says why the
    answer ended. A cancelled search returns a single cancelled `Token`.
    """
    tree = Tree.of(model)
    limit = tree.room(prefix)
    prompt = torch.tensor([request.input_ids], device=tree.device)
    room = request.sampling.max_new_tokens
    if limit is not None:
        room = min(room, limit - prompt.shape[1])
    if room <= 0:
        return [Token(0, None, "context")]
    beams = request.sampling.num_beams
    memory = {tree.cache_name: prefix.memory(beams)} if prefix else {}
    with torch.no_grad(), tree.with_adapters([request.adapter] * beams):
        output = tree.bare.generate(
            input_ids=prompt,
            attention_mask=prompt.new_ones(1, prompt.shape[1] + (prefix.tokens if prefix else 0)),
            **memory,
            generation_config=_config(request.sampling, eos_ids, pad_id, room),
            stopping_criteria=[lambda ids, scores: torch.full((len(ids),), cancelled(0), device=ids.device)],
        )
    if cancelled(0):
        return [Token(0, None, "cancelled")]
    answer = output[0, prompt.shape[1] :].tolist()
    end = next((i for i, token_id in enumerate(answer) if token_id in eos_ids), None)
    if end is not None:
        return [*(Token(0, token_id) for token_id in answer[:end]), Token(0, None, "stop")]
    reason: End = "length" if room == request.sampling.max_new_tokens else "context"
    return [*(Token(0, token_id) for token_id in answer[:-1]), Token(0, answer[-1], reason)]


def _config(sampling: SamplingSettings, eos_ids: Collection[int], pad_id: int, room: int) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        num_beams=sampling.num_beams,
        max_new_tokens=room,
        repetition_penalty=sampling.repetition_penalty,
        no_repeat_ngram_size=sampling.no_repeat_ngram_size,
        eos_token_id=sorted(eos_ids),
        pad_token_id=pad_id,
        use_cache=True,
    )
