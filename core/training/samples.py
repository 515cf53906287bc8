"""Sample answers: the same few questions put to the model at every evaluation, so that a person sees what it learns.

Owns which questions those are and answering them greedily with the one decode loop. It draws no random number and
leaves the tree as it found it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.conversation import Example, Message
from core.data.rendering import end_of_turn_ids, render_prompt
from core.models.generation import GenerationRequest, decode
from core.models.loader import LoadedModel
from core.models.prefix import Prefix
from core.settings import SamplingSettings
from core.training.spec import MAX_SAMPLE_PROMPTS

SAMPLE_TOKENS = 64
LONGEST_PROMPT_TOKENS = 512
LOOKED_AT = 50


@dataclass(frozen=True)
class SamplePrompt:
    """A question as shown, and as fed to the model."""

    text: str
    input_ids: list[int]


@dataclass(frozen=True)
class SampleAnswer:
    """An answer; `finished` is why it ended, as in `generation.Token`."""

    prompt: str
    answer: str
    finished: str


def typed_prompts(tokenizer: Any, texts: Sequence[str], system_prompt: str | None) -> tuple[SamplePrompt, ...]:
    """The questions a person typed, under the system prompt that all rows share."""
    system: list[Message] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return tuple(
        SamplePrompt(text, render_prompt(tokenizer, [*system, {"role": "user", "content": text}]))
        for text in texts
        if text.strip()
    )


def usual_prompts(tokenizer: Any, examples: Sequence[Example]) -> tuple[SamplePrompt, ...]:
    """The first different questions of these examples that are not too long to answer quickly."""
    found: dict[str, SamplePrompt] = {}
    for example in examples[:LOOKED_AT]:
        before = _before_first_answer(example)
        if before and before[-1]["content"] not in found:
            prompt = SamplePrompt(before[-1]["content"], render_prompt(tokenizer, before))
            if len(prompt.input_ids) <= LONGEST_PROMPT_TOKENS:
                found[prompt.text] = prompt
        if len(found) == MAX_SAMPLE_PROMPTS:
            break
    return tuple(found.values())


def answer_all(
    tree: Any,
    loaded: LoadedModel,
    prompts: Sequence[SamplePrompt],
    stop_asked: Callable[[], bool],
    prefix: Prefix | None = None,
    most_tokens: int | None = None,
) -> list[SampleAnswer]:
    """Answer every prompt in one batch, perhaps after virtual tokens. The tree's train mode comes back.

    An answer has at most `SAMPLE_TOKENS`, or `most_tokens` where that is given.

    `tree` is a bare model, perhaps with adapter layers in it, all rows of which use the same weights: cheaper than the
    rows of chat, each of which may choose its adapter.
    """
    sampling = SamplingSettings(do_sample=False, max_new_tokens=most_tokens or SAMPLE_TOKENS)
    requests = [GenerationRequest(prompt.input_ids, sampling) for prompt in prompts]
    ends = loaded.eos_ids | set(end_of_turn_ids(loaded.tokenizer))
    ids: list[list[int]] = [[] for _ in prompts]
    finished = [""] * len(prompts)
    training = tree.training
    tree.eval()
    try:
        for tokens in decode(tree, ends, loaded.pad_id, requests, lambda row: stop_asked(), prefix):
            for token in tokens:
                ids[token.row] += [token.token_id] if token.token_id is not None else []
                finished[token.row] = token.finished or finished[token.row]
    finally:
        tree.train(training)
    texts = [loaded.tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    return [SampleAnswer(*each) for each in zip([prompt.text for prompt in prompts], texts, finished, strict=True)]


def _before_first_answer(example: Example) -> list[Message]:
    roles = [message["role"] for message in example.messages]
    return list(example.messages[: roles.index("assistant")]) if "assistant" in roles else []
