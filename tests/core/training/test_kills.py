"""Law 5: `kill -9` at any moment, again and again, and the run still makes the very adapter of one that nobody killed.

Every victim is a fork of one process (`victims`), and resumes the run that the one before it left.
"""

from __future__ import annotations

import random

import pytest

from tests.core.training.forks import SAVES_EACH_STEP, Settings, Victims, moments, same, short

pytestmark = pytest.mark.proof

WITH_ALL: Settings = {
    "training": {"epochs": 4, "evaluations": 3, "seed": 5, "max_grad_norm": 0.5},
    "sample_prompts": ["Which color has number 3?"],
}


def test_killed_at_every_write_of_a_checkpoint_a_run_makes_the_same_adapter(victims: Victims) -> None:
    whole = victims.alone(SAVES_EACH_STEP, "every-write-alone")
    resumed, kills = victims.killed(SAVES_EACH_STEP, "every-write", moments("step", "step"))
    assert kills > 40, "until a whole save went by without being struck"
    assert same(victims.place, resumed, whole)


@pytest.mark.parametrize(("since", "least"), [("begin", 5), ("saving", 20)])
def test_killed_while_preparing_or_keeping_the_adapter_a_run_makes_the_same(
    victims: Victims, since: str, least: int
) -> None:
    spec = short(SAVES_EACH_STEP, epochs=2)
    whole = victims.alone(spec, f"{since}-alone")
    every, until = (9, "step") if since == "begin" else (1, None)
    resumed, kills = victims.killed(spec, since, moments(since, until, every))
    assert kills >= least
    assert same(victims.place, resumed, whole)
    assert not list(victims.place.adapters.glob(".*.tmp")), "what a killed process left half-written is removed"


def killed_at_random(victims: Victims, spec: Settings, seed: int, kills: int) -> int:
    """Kill runs of this spec from outside after random times, until there were so many kills; how many runs it took."""
    whole = victims.alone(spec, f"random-{seed}-alone")
    draw, runs = random.Random(seed), 0
    while kills > 0:
        times = ({"after_s": draw.uniform(0.02, 0.7)} for _ in range(kills))
        resumed, happened = victims.killed(spec, f"random-{seed}-{runs}", times)
        assert same(victims.place, resumed, whole)
        kills, runs = kills - happened, runs + 1
    return runs


def test_killed_at_random_moments_a_run_makes_the_same_adapter(victims: Victims) -> None:
    killed_at_random(victims, WITH_ALL, seed=4, kills=10)


@pytest.mark.slow
def test_killed_at_two_hundred_random_moments_runs_make_the_same_adapters(victims: Victims) -> None:
    killed_at_random(victims, WITH_ALL, seed=200, kills=200)


EVERY_WAY: dict[str, Settings] = {
    "neftune": {"training": {"neftune_alpha": 5.0}},
    "packing": {"training": {"packing": True, "max_length": 128}},
    "early_stopping": {"training": {"early_stopping": 2, "evaluations": 8, "learning_rate": 0.5}},
    "optimizer": {"training": {"optimizer": "adafactor", "scheduler": "cosine_restarts"}},
    "schedule_free": {"training": {"optimizer": "adamw_schedule_free", "scheduler": "constant"}},
    "adalora": {"method": {"method": "adalora"}},
    "pissa": {"method": {"method": "pissa", "dropout": 0.0}},
    "layernorm": {"method": {"method": "layernorm"}},
    "prefix": {"method": {"method": "prefix", "virtual_tokens": 4}},
    "full": {"method": {"method": "full"}, "training": {"learning_rate": 1e-3}},
}


@pytest.mark.parametrize("way", EVERY_WAY)
def test_whatever_is_trained_and_however_a_killed_run_makes_the_same(victims: Victims, way: str) -> None:
    changes = EVERY_WAY[way]
    spec = {**changes, "training": {**WITH_ALL["training"], **changes.get("training", {})}}
    whole = victims.alone(spec, f"{way}-alone")
    strikes = iter(
        [{"moment": 2, "since": "step"}, {"moment": 150, "since": "step"}, {"moment": 15, "since": "saving"}]
    )
    resumed, kills = victims.killed(spec, way, strikes)
    assert kills == 3
    assert same(victims.place, resumed, whole)
