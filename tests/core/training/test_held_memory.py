"""Memory that a run holds though no step needs it is given back, and only that."""

from __future__ import annotations

import pytest

from core.training.held_memory import HeldMemory


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the process holds after each step, in GB; what is given back is noted as 0."""
    told: list[float] = []
    monkeypatch.setattr("core.training.held_memory.process_memory_gb", lambda: told[-1])
    monkeypatch.setattr("core.training.held_memory.release", lambda: told.append(0.0))
    return told


def given_back(held: list[float], device: str, *steps: tuple[int, float]) -> list[int]:
    """The steps (tokens, GB held after it) after which memory was given back."""
    watch, found = HeldMemory(device), []
    for number, (tokens, gb) in enumerate(steps):
        held.append(gb)
        watch.after_step(tokens)
        if held[-1] == 0.0:
            found.append(number)
    return found


def test_a_process_that_grows_though_no_batch_is_heavier_gives_back(held: list[float]) -> None:
    assert given_back(held, "cpu", (751, 2.06), (520, 2.61), (616, 2.0), (752, 2.2), (365, 2.2)) == [1]


def test_a_heavier_batch_may_need_more(held: list[float]) -> None:
    assert given_back(held, "cpu", (100, 1.0), (200, 1.5), (400, 3.0), (100, 3.1)) == []


def test_what_others_in_the_process_took_is_not_asked_for_again_and_again(held: list[float]) -> None:
    assert given_back(held, "cpu", (100, 1.0), (100, 2.0), (100, 2.0), (100, 2.0), (100, 2.1)) == [1]


def test_an_accelerators_memory_is_not_this_ones_business(held: list[float]) -> None:
    assert given_back(held, "cuda:0", (100, 1.0), (100, 9.0)) == []
