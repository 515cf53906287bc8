"""The one decode loop: a batch of prompts in, one token a row and step out.

Owns running a model token by token: left padding, positions, the key-value cache, which adapter serves which row, rows
that end. Chat and the sample answers of training both use it. It does not render prompts, turn tokens into text, look
for stop strings, or know what an adapter is called by people.

    requests → one forward over all prompts → one forward a step over the rows still open → `Token`s

One decode at a time on a module tree: adapters are chosen through hooks on that tree. The process-wide random generator
is never touched, and a row's answer does not depend on the rows beside it (fp32: token by token).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from core.models.prefix import Prefix, cache_name
from core.models.token_choice import TokenChooser
from core.settings import SamplingSettings

End = Literal["stop", "length", "context", "cancelled"]
BASE = "__base__"  # peft's name for "no adapter" in a mixed batch


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to make. `adapter` is the id of an adapter in the tree, None for the base model."""

    input_ids: list[int]
    sampling: SamplingSettings
    adapter: str | None = None
    seed: int = 0


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


@dataclass
class _Row:
    number: int
    request: GenerationRequest
    chooser: TokenChooser
    made: int = 0


@dataclass
class _Batch:
    """The rows still open and what the model keeps of them; row i of every tensor belongs to `rows[i]`.

    `next_ids` (B, T): what the next forward reads. `mask` (B, total): 0 where left padding is, None if there is none.
    `adapted`: the tree's layers that carry adapters; `accepts`: what its forward takes, `cache_name`: its cache as.
    """

    rows: list[_Row]
    next_ids: torch.Tensor
    mask: torch.Tensor | None
    cache: Any
    adapted: list[Any]
    accepts: frozenset[str]
    cache_name: str


def decode(
    model: Any,
    eos_ids: Collection[int],
    pad_id: int,
    requests: Sequence[GenerationRequest],
    cancelled: Callable[[int], bool] = lambda row: False,
    prefix: Prefix | None = None,
) -> Iterator[list[Token]]:
    """Answer all requests together; each step yields one `Token` for every row that was still open.

    `model` is in eval mode: a bare tree, or a `PeftModel` of LoRA type, whose rows may use different adapters.
    `cancelled(row)` is asked before each step. A row ends when its prompt and answer fill the model's context; a prompt
    that fills it alone ends at once. `prefix` stands before every row and takes its share of the context.
    """
    assert not model.training, "decoding in train mode would draw dropout from the process-wide generator"
    limit = _room(model, prefix)
    rows = [_Row(i, request, _chooser(request)) for i, request in enumerate(requests)]
    full = [row for row in rows if limit is not None and len(row.request.input_ids) >= limit]
    if full:
        yield [Token(row.number, None, "context") for row in full]
    groups = _groups([row for row in rows if row not in full], prefix)
    batches = [_first_batch(model, group, pad_id, prefix) for group in groups]
    while batches := [batch for batch in batches if batch.rows]:
        tokens: list[Token] = []
        for batch in batches:
            tokens += _cancelled_tokens(batch, cancelled)
            if batch.rows:
                tokens += _step(model, batch, frozenset(eos_ids), limit)
        yield tokens


def generate_beams(
    model: Any,
    eos_ids: Collection[int],
    pad_id: int,
    request: GenerationRequest,
    cancelled: Callable[[int], bool] = lambda row: False,
    prefix: Prefix | None = None,
) -> list[Token]:
    """Answer one request by beam search, all at once; `model` and `prefix` as for `decode`.

    Beams are searched, not drawn: `do_sample` and the seed don't count. Like `decode`, the last token says why the
    answer ended. A cancelled search returns a single cancelled `Token`.
    """
    limit = _room(model, prefix)
    prompt = torch.tensor([request.input_ids], device=_device(model))
    room = request.sampling.max_new_tokens
    if limit is not None:
        room = min(room, limit - prompt.shape[1])
    if room <= 0:
        return [Token(0, None, "context")]
    beams = request.sampling.num_beams
    name = cache_name(_tree(model))
    memory = {name: prefix.memory(beams)} if prefix and name else {}
    with torch.no_grad(), _adapter_of_each_row(_adapted_layers(model), [request.adapter or BASE] * beams):
        output = _tree(model).generate(
            input_ids=prompt,
            attention_mask=prompt.new_ones(1, prompt.shape[1] + (prefix.tokens if prefix else 0)),
            **memory,
            generation_config=_beam_config(request.sampling, eos_ids, pad_id, room),
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


def context_limit(model: Any) -> int | None:
    """How many tokens prompt and answer may have together; None where the model names no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit else None


def _room(model: Any, prefix: Prefix | None) -> int | None:
    """What the context leaves for prompt and answer."""
    limit = context_limit(model)
    return limit - prefix.tokens if limit is not None and prefix else limit


def _chooser(request: GenerationRequest) -> TokenChooser:
    return TokenChooser(request.sampling, request.seed, request.input_ids)


def _groups(rows: list[_Row], prefix: Prefix | None) -> list[list[_Row]]:
    """The rows that one forward reads together: all, or those of equal length where padding would come between."""
    if prefix is None or prefix.bears_padding:
        return [rows] if rows else []
    lengths = dict.fromkeys(len(row.request.input_ids) for row in rows)
    return [[row for row in rows if len(row.request.input_ids) == length] for length in lengths]


def _first_batch(model: Any, rows: list[_Row], pad_id: int, prefix: Prefix | None) -> _Batch:
    longest = max(len(row.request.input_ids) for row in rows)
    padding = [longest - len(row.request.input_ids) for row in rows]
    ids = [[pad_id] * pad + row.request.input_ids for pad, row in zip(padding, rows, strict=True)]
    mask = None
    if any(padding):
        before = [1] * (prefix.tokens if prefix else 0)
        mask = torch.tensor([[*before, *[0] * pad, *[1] * (longest - pad)] for pad in padding], device=_device(model))
    name = cache_name(_tree(model))
    assert name, "the loader refuses models without a cache"
    return _Batch(
        rows,
        next_ids=torch.tensor(ids, device=_device(model)),
        mask=mask,
        cache=prefix.memory(len(rows)) if prefix else None,
        adapted=_adapted_layers(model),
        accepts=frozenset(inspect.signature(_tree(model).forward).parameters),
        cache_name=name,
    )


def _cancelled_tokens(batch: _Batch, cancelled: Callable[[int], bool]) -> list[Token]:
    """Take the cancelled rows out of the batch and say so."""
    gone = [i for i, row in enumerate(batch.rows) if cancelled(row.number)]
    tokens = [Token(batch.rows[i].number, None, "cancelled") for i in gone]
    _keep(batch, [i for i in range(len(batch.rows)) if i not in gone])
    return tokens


def _step(model: Any, batch: _Batch, eos_ids: frozenset[int], limit: int | None) -> list[Token]:
    """One forward, one token for each row; rows that end leave the batch."""
    logits = _forward(model, batch)
    largest = logits.argmax(dim=-1).tolist()
    chosen = [
        token_id if row.chooser.is_plain_argmax else row.chooser.choose(logits[i])
        for i, (row, token_id) in enumerate(zip(batch.rows, largest, strict=True))
    ]
    tokens = [_token(row, token_id, eos_ids, limit) for row, token_id in zip(batch.rows, chosen, strict=True)]
    batch.next_ids = torch.tensor(chosen, device=logits.device).unsqueeze(1)
    if batch.mask is not None:
        batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(chosen), 1)], dim=1)
    _keep(batch, [i for i, token in enumerate(tokens) if token.finished is None])
    return tokens


def _token(row: _Row, token_id: int, eos_ids: frozenset[int], limit: int | None) -> Token:
    if token_id in eos_ids:
        return Token(row.number, None, "stop")
    row.made += 1
    if row.made >= row.request.sampling.max_new_tokens:
        return Token(row.number, token_id, "length")
    if limit is not None and len(row.request.input_ids) + row.made >= limit:
        return Token(row.number, token_id, "context")
    return Token(row.number, token_id)


def _forward(model: Any, batch: _Batch) -> torch.Tensor:
    """Logits (B, vocab) in fp32 of the last position; the cache grows by what was read."""
    length = batch.next_ids.shape[1]
    inputs: dict[str, Any] = {"input_ids": batch.next_ids, batch.cache_name: batch.cache, "use_cache": True}
    if batch.mask is not None:
        inputs["attention_mask"] = batch.mask
        if "position_ids" in batch.accepts:
            positions = (batch.mask.cumsum(dim=1) - 1).clamp_min(0)
            inputs["position_ids"] = positions[:, -length:]
    if "logits_to_keep" in batch.accepts:
        # An index, not 1: a slice of the hidden states would make torch copy the whole output layer once a row.
        inputs["logits_to_keep"] = torch.tensor([length - 1], device=batch.next_ids.device)
    # Not inference_mode: quantised layers keep tensors of a first forward, which training uses afterwards.
    names = [row.request.adapter or BASE for row in batch.rows]
    with torch.no_grad(), _adapter_of_each_row(batch.adapted, names):
        output = _tree(model)(**inputs)
    batch.cache = output[batch.cache_name]
    logits: torch.Tensor = output.logits[:, -1].float()
    return logits


def _keep(batch: _Batch, kept: list[int]) -> None:
    """Drop all rows but these, from the cache too."""
    if len(kept) == len(batch.rows):
        return
    batch.rows = [batch.rows[i] for i in kept]
    if not kept:
        batch.cache = None
        return
    index = torch.tensor(kept, device=batch.next_ids.device)
    batch.next_ids = batch.next_ids[index]
    if batch.mask is not None:
        batch.mask = batch.mask[index]
    if batch.cache is not None:
        batch.cache.reorder_cache(index)  # selects rows in every kind of cache layer; a subset is fine


@contextmanager
def _adapter_of_each_row(layers: list[Any], names: list[str]) -> Iterator[None]:
    """Within it, these layers add adapter `names[i]` to row i.

    What peft's own `adapter_names=` does, without its two searches of the whole tree at each call.
    """

    def give_names(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "adapter_names": names}

    handles = [layer.register_forward_pre_hook(give_names, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _adapted_layers(model: Any) -> list[Any]:
    if not _is_peft(model):
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return [module for module in model.modules() if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper))]


def _beam_config(sampling: SamplingSettings, eos_ids: Collection[int], pad_id: int, room: int) -> Any:
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


def _tree(model: Any) -> Any:
    return model.get_base_model() if _is_peft(model) else model


def _is_peft(model: Any) -> bool:
    return hasattr(model, "get_base_model")


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device
