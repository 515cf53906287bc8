"""How fast chat is: several at once against plain `generate`, and a long conversation with and without its memory.

    python -m tests.bench.chat [--rounds 3] [--tokens 64] [--turns 20] [--precision auto]

Everything is measured on the starter in one process, the ways alternating, so that other work on the machine meets all
of them; a Markdown table is printed. Each figure is the median of the rounds, the range beside it. On a busy machine
the seconds of processor say more than those of the clock.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from core.chat.engine import ChatRequest, Engine
from core.data.rendering import render_prompt
from core.models.catalog import inspect
from core.models.loader import LoadedModel, load
from core.settings import LoadSettings, SamplingSettings
from tests.conftest import ROOT, STARTER

QUESTIONS = (
    "How do plants turn light into sugar?",
    "Write a short letter to a friend about a rainy day.",
    "Why is the sky blue, and why is it red in the evening?",
    "Give me a plan for learning to cook in four weeks.",
)
ANSWER_TOKENS = 12  # of each turn of the conversation


def main() -> None:
    options = _options()
    loaded = load(inspect(ROOT / "models" / STARTER), LoadSettings(precision=options.precision))
    print(f"{STARTER}, {loaded.precision.precision}, {torch.get_num_threads()} threads, median of {options.rounds}\n")
    print("| | tokens/s | against generate | tokens a second of processor | against generate |\n|---|---|---|---|---|")
    _compare_throughput(loaded, options.rounds, options.tokens)
    columns = ("turn", "prompt tokens", "first token, read anew (s)", "remembered (s)", "times shorter")
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    _compare_conversation(loaded, options.turns, options.rounds)


def _compare_throughput(loaded: LoadedModel, rounds: int, tokens: int) -> None:
    """Four questions: one after the other by plain `generate`, by the engine, and all at once by the engine."""
    ways: dict[str, Callable[[int], int]] = {
        "generate, one by one": lambda tokens: _generate(loaded, tokens),
        "engine, one by one": lambda tokens: _answer(loaded, tokens, at_once=1),
        "engine, 4 at once": lambda tokens: _answer(loaded, tokens, at_once=4),
    }
    speeds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for made in ways.values():
        made(2)  # warms up
    for _ in range(rounds):
        for way, made in ways.items():
            speeds[way].append(_speed(lambda made=made: made(tokens)))  # type: ignore[misc]
    plain = speeds["generate, one by one"]
    for way, found in speeds.items():
        cells = []
        for clock in (0, 1):
            cells.append(_shown([each[clock] for each in found]))
            cells.append(_shown([each[clock] / base[clock] for each, base in zip(found, plain, strict=True)]))
        print(f"| {way} | {' | '.join(cells)} |", flush=True)


def _speed(work: Callable[[], int]) -> tuple[float, float]:
    """Tokens a second, of the clock and of the processor."""
    clock, processor = time.monotonic(), time.process_time()
    made = work()
    return made / (time.monotonic() - clock), made / (time.process_time() - processor)


def _generate(loaded: LoadedModel, tokens: int) -> int:
    """Answer by `transformers` alone, one question after the other; how many tokens that made."""
    model: Any = loaded.model
    made = 0
    for question in QUESTIONS:
        ids = torch.tensor([render_prompt(loaded.tokenizer, [{"role": "user", "content": question}])])
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=tokens,
            eos_token_id=sorted(loaded.eos_ids),
            pad_token_id=loaded.pad_id,
        )
        made += output.shape[1] - ids.shape[1]
    return made


def _answer(loaded: LoadedModel, tokens: int, at_once: int) -> int:
    """Answer by a fresh engine with so many questions under way at once, each asked by itself."""
    sampling = SamplingSettings(do_sample=False, repetition_penalty=1.0, max_new_tokens=tokens)
    engine = Engine(loaded)
    try:
        made = 0
        for first in range(0, len(QUESTIONS), at_once):
            streams = [engine.submit([_request(question, sampling)]) for question in QUESTIONS[first : first + at_once]]
            made += sum(stream.wait()[0].tokens for stream in streams)
        return made
    finally:
        engine.close()


def _compare_conversation(loaded: LoadedModel, turns: int, rounds: int) -> None:
    """The wait for the first token of each turn, with the memory of the turns before and without."""
    waits: dict[tuple[int, bool], list[float]] = {}
    lengths: dict[int, int] = {}
    for _ in range(rounds):
        answers = _conversation(loaded, turns, True, waits, lengths)
        assert answers == _conversation(loaded, turns, False, waits, lengths) or loaded.model.dtype != torch.float32
    shown = sorted({1, 2, turns // 2, turns})
    for turn in (*shown, None):
        of = [turn] if turn else range(1, turns + 1)
        anew, kept = (_sums(waits, of, remembered) for remembered in (False, True))
        ratios = [a / b for a, b in zip(anew, kept, strict=True)]
        name, length = (turn, lengths[turn]) if turn else ("all", sum(lengths.values()))
        print(f"| {name} | {length} | {_shown(anew)} | {_shown(kept)} | {_shown(ratios)} |")


def _conversation(
    loaded: LoadedModel,
    turns: int,
    remembers: bool,
    waits: dict[tuple[int, bool], list[float]],
    lengths: dict[int, int],
) -> list[str]:
    engine = Engine(loaded)
    if not remembers:
        engine._kept.max_bytes = 0
    sampling = SamplingSettings(do_sample=False, repetition_penalty=1.1, max_new_tokens=ANSWER_TOKENS)
    messages: list[Any] = []
    try:
        for turn in range(1, turns + 1):
            question = f"{QUESTIONS[turn % len(QUESTIONS)]} Say it in another way than before, number {turn}, please."
            messages.append({"role": "user", "content": question})
            reply = engine.submit([ChatRequest(tuple(messages), sampling)]).wait()[0]
            assert reply.first_token_s is not None and reply.dropped_turns == 0
            waits.setdefault((turn, remembers), []).append(reply.first_token_s)
            lengths[turn] = reply.prompt_tokens
            messages.append({"role": "assistant", "content": reply.text})
        return [message["content"] for message in messages]
    finally:
        engine.close()


def _sums(waits: dict[tuple[int, bool], list[float]], turns: Sequence[int], remembers: bool) -> list[float]:
    """The wait for these turns together, round by round."""
    return [sum(each) for each in zip(*(waits[turn, remembers] for turn in turns), strict=True)]


def _request(question: str, sampling: SamplingSettings) -> ChatRequest:
    return ChatRequest(({"role": "user", "content": question},), sampling)


def _shown(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--tokens", type=int, default=64)
    options.add_argument("--turns", type=int, default=20)
    options.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    return options.parse_args()


if __name__ == "__main__":
    main()
