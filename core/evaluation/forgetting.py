"""The forgetting meter: what a model still knows of the world, measured the same way before and after training.

Owns the fixed texts and questions (`general.yaml`), asking them, and when an answer counts as right. How a change is
called is `verdicts`'s.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from core.data.conversation import Example, Message
from core.data.options import DataOptions
from core.evaluation.loss import Column, measured_rows, row_losses
from core.evaluation.results import ForgettingResult
from core.settings import SamplingSettings
from core.small_yaml import read_mapping

FILE = "general.yaml"
SHORT_ANSWER = SamplingSettings(do_sample=False, max_new_tokens=32)


@dataclass(frozen=True)
class GeneralQuestion:
    """A question that a short answer settles; one of the `accepted` words has to be in it."""

    question: str
    accepted: tuple[str, ...]

    @property
    def prompt(self) -> tuple[Message, ...]:
        return (Message(role="user", content=self.question),)

    def is_settled_by(self, answer: str) -> bool:
        """Whether an answer has one of the words, whatever its case; a number only as a whole."""
        said = _plain(answer)
        return any(re.search(_whole(_plain(word)), said) for word in self.accepted)


@cache
def general_questions() -> tuple[GeneralQuestion, ...]:
    return tuple(GeneralQuestion(each["question"], tuple(each["accepted"])) for each in _content()["questions"])


@cache
def general_texts() -> Mapping[str, str]:
    """Text by language."""
    return dict(_content()["texts"])


def general_losses(
    column: Column,
    tokenizer: Any,
    pad_id: int,
    limit: int,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """The token-mean loss of each general text by its language; without one for which the model gives no number.

    Raises:
        Cancelled: where `cancelled` says so.
    """
    examples = [Example((), line=0, text=words) for words in general_texts().values()]
    rows = measured_rows(tokenizer, examples, DataOptions(), limit)
    means = [summed.mean for summed in row_losses(column, rows, pad_id, cancelled=cancelled)]
    return {lang: mean for lang, mean in zip(general_texts(), means, strict=True) if mean is not None}


def forgetting_result(losses: dict[str, float], answers: Sequence[str]) -> ForgettingResult:
    """What came of it for one column; `answers` in the order of the questions."""
    pairs = list(zip(general_questions(), answers, strict=True))
    correct = tuple(asked.is_settled_by(answer) for asked, answer in pairs)
    return ForgettingResult(losses, tuple((asked.question, answer) for asked, answer in pairs), sum(correct), correct)


def _content() -> dict[str, Any]:
    return read_mapping(resources.files(__package__).joinpath(FILE).read_bytes(), FILE)


def _plain(words: str) -> str:
    return unicodedata.normalize("NFKC", words).casefold()


def _whole(word: str) -> str:
    """A pattern of the word that no letter or digit of the Latin script touches; Chinese has no gaps between words."""
    return rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])" if word.isascii() else re.escape(word)
