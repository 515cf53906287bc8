"""One row's choice of a token: exact sampling, reproducible, filtered."""

from __future__ import annotations

import pytest
import torch

from core.models.token_choice import TokenChooser
from core.settings import SamplingSettings

LOGITS = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))


def frequencies(settings: SamplingSettings, draws: int = 3000) -> torch.Tensor:
    chooser = TokenChooser(settings, seed=1, prompt=[])
    counts = torch.bincount(torch.tensor([chooser.choose(LOGITS) for _ in range(draws)]), minlength=4)
    return counts / draws


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"temperature": 1.0, "top_p": 1.0}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 0.5, "top_p": 1.0}, [0.6849, 0.2466, 0.0616, 0.0068]),
        ({"temperature": 1.0, "top_p": 1.0, "top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.7}, [0.625, 0.375, 0, 0]),
        ({"temperature": 1.0, "top_p": 1.0, "min_p": 0.25}, [0.5263, 0.3158, 0.1579, 0]),
    ],
)
def test_tokens_are_drawn_with_the_probabilities_that_the_settings_say(
    changes: dict[str, float], expected: list[float]
) -> None:
    assert torch.allclose(frequencies(SamplingSettings(**changes)), torch.tensor(expected), atol=0.03)


def test_a_seed_repeats_its_draws_and_another_does_not() -> None:
    logits = torch.zeros(1000)

    def draws(seed: int) -> list[int]:
        chooser = TokenChooser(SamplingSettings(), seed, [])
        return [chooser.choose(logits) for _ in range(5)]

    assert draws(4) == draws(4) != draws(5)


def test_greedy_without_penalties_is_a_plain_argmax() -> None:
    assert TokenChooser(SamplingSettings(do_sample=False), 0, []).is_plain_argmax
    assert not TokenChooser(SamplingSettings(), 0, []).is_plain_argmax
    assert not TokenChooser(SamplingSettings(do_sample=False, repetition_penalty=1.1), 0, []).is_plain_argmax


def test_a_penalty_looks_back_at_prompt_and_answer() -> None:
    chooser = TokenChooser(SamplingSettings(do_sample=False, no_repeat_ngram_size=1), 0, prompt=[0])
    assert [chooser.choose(LOGITS) for _ in range(3)] == [1, 2, 3]
