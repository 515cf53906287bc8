"""What is remembered of conversations: the same answers, less to read, bounded, and gone when it says too much."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from core.chat.engine import ChatRequest, Engine
from core.chat.prompt_cache import FEWEST_TOKENS, MOST_BYTES, PromptCache
from core.models import row_memory
from core.settings import SamplingSettings
from tests.core.adapters.building import save_random_adapter_of

GREEDY = SamplingSettings(do_sample=False, max_new_tokens=9, repetition_penalty=1.5)
QUESTIONS = (
    "Hello, who are you, and what?",
    "Say hello to the tiny model, please.",
    "你好，世界",
    "And once more: who?",
)


def said(*texts: str) -> tuple[Any, ...]:
    roles = ("user", "assistant")
    return tuple({"role": roles[number % 2], "content": text} for number, text in enumerate(texts))


def conversation(engine: Engine, adapter: str | None = None, sampling: SamplingSettings = GREEDY) -> list[Any]:
    """The replies of a conversation of four turns."""
    texts: list[str] = []
    replies = []
    for question in QUESTIONS:
        replies.append(engine.submit([ChatRequest(said(*texts, question), sampling, adapter)]).wait()[0])
        texts += [question, replies[-1].text]
    return replies


@pytest.mark.parametrize("adapter", [None, "a", "d", "soft"])
def test_the_next_turn_reads_only_what_is_new_and_the_answers_are_the_same(
    engine: Engine, adapters: dict[str, Path], loaded: Any, tmp_path: Path, adapter: str | None
) -> None:
    """fp32: base, LoRA, DoRA in a tree of its own, virtual tokens before every prompt."""
    if adapter == "soft":
        folder = save_random_adapter_of(loaded.model, "PREFIX_TUNING", tmp_path / "soft", loaded.fingerprint)
        engine.apply("soft", folder)
    elif adapter:
        engine.apply(adapter, adapters[adapter])
    remembering = conversation(engine, adapter)
    drawn = [conversation(engine, adapter, GREEDY.model_copy(update={"do_sample": True, "seed": 5})) for _ in range(2)]
    engine._on_thread(engine._kept.clear)
    engine._kept.max_bytes = 0
    forgetting = conversation(engine, adapter)
    assert [reply.text for reply in remembering] == [reply.text for reply in forgetting]
    assert [reply.text for reply in drawn[0]] == [reply.text for reply in drawn[1]], "a seed gives one answer"
    assert [reply.remembered_tokens for reply in forgetting] == [0] * 4
    for before, after in itertools.pairwise(remembering):
        assert before.prompt_tokens <= after.remembered_tokens < after.prompt_tokens


def test_all_but_the_last_token_of_a_prompt_that_is_asked_again_is_remembered(engine: Engine) -> None:
    request = ChatRequest(said(QUESTIONS[1]), GREEDY)
    first, again = (engine.submit([request]).wait()[0] for _ in range(2))
    assert (again.text, again.remembered_tokens) == (first.text, first.prompt_tokens - 1)


def test_another_adapter_and_changed_earlier_text_are_read_anew(engine: Engine, adapters: dict[str, Path]) -> None:
    engine.apply("a", adapters["a"])
    long = "We speak of the tiny model, at length and in words that are many."
    engine.submit([ChatRequest(said(long), GREEDY)]).wait()
    other = engine.submit([ChatRequest(said(long), GREEDY, "a")]).wait()[0]
    assert other.remembered_tokens == 0
    changed = engine.submit([ChatRequest(said(f"No. {long}"), GREEDY)]).wait()[0]
    assert changed.remembered_tokens == 0
    engine.apply("a", adapters["a"], 0.5)
    assert engine.submit([ChatRequest(said(long), GREEDY, "a")]).wait()[0].remembered_tokens == 0


def test_what_is_remembered_goes_with_its_adapter_and_with_the_model(engine: Engine, adapters: dict[str, Path]) -> None:
    for name in ("a", "d"):
        engine.apply(name, adapters[name])
        engine.submit([ChatRequest(said(*QUESTIONS[:1]), GREEDY, name)]).wait()
        assert engine._on_thread(lambda: engine._kept.size_bytes) > 0
        engine.remove(name)
        engine.submit([ChatRequest(said("Bye"), GREEDY.model_copy(update={"num_beams": 2}))]).wait()
        assert engine._on_thread(lambda: engine._kept.size_bytes) == 0
    conversation(engine)
    assert engine._kept.size_bytes > 0
    engine.close()
    assert engine._kept.size_bytes == 0


def memory(tokens: int) -> Any:
    cache = DynamicCache()
    cache.update(torch.zeros(1, 2, tokens, 4), torch.zeros(1, 2, tokens, 4), 0)
    return cache


def test_the_bytes_are_bounded_and_the_oldest_goes_first() -> None:
    size = row_memory.size_bytes(memory(20))
    assert size == 2 * 2 * 20 * 4 * 4
    kept = PromptCache(max_bytes=2 * size + 1)
    rows = {start: list(range(start, start + 20)) for start in (0, 100, 200)}
    kept.keep("base", rows[0], memory(20))
    kept.keep("base", rows[100], memory(20))
    assert kept.recall("base", [*rows[0], 7]) is not None  # now the one at 100 is the oldest
    kept.keep("base", rows[200], memory(20))
    assert kept.size_bytes == 2 * size
    assert [kept.recall("base", [*ids, 7]) is not None for ids in rows.values()] == [True, False, True]
    kept.keep("base", list(range(300, 400)), memory(100))
    assert kept.size_bytes == 2 * size, "one that is too large alone drives nobody out"
    assert PromptCache.on("cpu").max_bytes <= MOST_BYTES


def test_the_longest_common_beginning_counts_and_a_longer_row_takes_the_place_of_its_beginning() -> None:
    kept = PromptCache(max_bytes=10**6)
    ids = list(range(50))
    kept.keep("base", ids[:30], memory(33))  # three virtual tokens before them
    kept.keep("base", ids, memory(53))
    kept.keep("base", ids[:40], memory(43))
    assert kept.size_bytes == row_memory.size_bytes(memory(53))
    found = kept.recall("base", [*ids[:35], 999, 1000])
    assert found is not None and found[0] == 35 and row_memory.slots(found[1]) == 38
    asked_again = kept.recall("base", ids)
    assert asked_again is not None and asked_again[0] == 49, "the last token is read to know what follows it"
    assert kept.recall("base", ids[: FEWEST_TOKENS // 2]) is None
    assert kept.recall("other", ids) is None
    kept.forget({"base"})
    assert kept.size_bytes == 0
