"""Whether one model answers as another does: greedy answers of the one, judged by the logits of the other.

Owns the few questions and the comparison. The other model is given each answer up to a token and must find the same
next token most probable: where that holds for every token, its own greedy answer is the same. One forward an answer
shows it, instead of one a token; and where two tokens are equally probable but for rounding, either counts as right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.conversation import Message
from core.data.rendering import render_prompt
from core.errors import WorkbenchError

QUESTIONS = ("Who are you?", "请用一句话介绍你自己。", "Write two sentences about the sea.")
ANSWER_TOKENS = 24
TIE = 1e-3  # of logits in fp32: nearer than rounding lets two ways of adding the same numbers come


@dataclass(frozen=True)
class Reference:
    """A prompt, the greedy answer to it, and the logits (answer, vocabulary) in fp32 that each token was chosen by."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    logits: Any


@dataclass(frozen=True)
class Agreement:
    """How far two models agree: `same` of `tokens` are the most probable in both; the logits differ by `difference`
    at most, where the largest of them is `largest`.
    """

    tokens: int
    same: int
    difference: float
    largest: float


@dataclass(frozen=True)
class Merged:
    """How a merged model compares with the adapter: its weights in fp32, and as they were written."""

    exact: Agreement
    written: Agreement


def references(
    model: Any, tokenizer: Any, system_prompt: str | None, answered: Callable[[], None] = lambda: None
) -> list[Reference]:
    """Greedy answers of a model in eval mode; `answered` is told each."""
    found = []
    for question in QUESTIONS:
        found.append(_reference(model, _prompt(tokenizer, question, system_prompt), tokenizer))
        answered()
    return found


def agreement(model: Any, wanted: Sequence[Reference]) -> Agreement:
    """How far a model agrees with the answers of another."""
    tokens = same = 0
    difference = largest = 0.0
    for reference in wanted:
        logits = _logits(model, reference.prompt + reference.answer, len(reference.answer))
        chosen = reference.logits.argmax(-1, keepdim=True)
        short_of = logits.max(-1).values - logits.gather(-1, chosen).squeeze(-1)
        tokens += len(reference.answer)
        same += int((short_of <= TIE).sum())
        difference = max(difference, float((logits - reference.logits).abs().max()))
        largest = max(largest, float(reference.logits.abs().max()))
    return Agreement(tokens, same, difference, largest)


def _prompt(tokenizer: Any, question: str, system_prompt: str | None) -> tuple[int, ...]:
    """The question as chat puts it to the model; without the system prompt where the template knows none."""
    asked: Message = {"role": "user", "content": question}
    if system_prompt:
        try:
            return tuple(render_prompt(tokenizer, [{"role": "system", "content": system_prompt}, asked]))
        except WorkbenchError:
            pass
    return tuple(render_prompt(tokenizer, [asked]))


def _reference(model: Any, prompt: tuple[int, ...], tokenizer: Any) -> Reference:
    import torch
    from transformers import GenerationConfig

    ids = torch.tensor([prompt])
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=ANSWER_TOKENS,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.no_grad():
        whole = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
    answer = tuple(whole[0, len(prompt) :].tolist())
    return Reference(prompt, answer, _logits(model, prompt + answer, len(answer)))


def _logits(model: Any, ids: tuple[int, ...], count: int) -> Any:
    """The logits (count, vocabulary) in fp32 by which the last `count` tokens would be chosen."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
    return logits[0, -count - 1 : -1].float()
