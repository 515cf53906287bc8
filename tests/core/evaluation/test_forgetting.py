"""The forgetting meter's questions: both languages, settled by right answers alone; its texts."""

from __future__ import annotations

import pytest

from core.evaluation.forgetting import (
    GeneralQuestion,
    forgetting_result,
    general_losses,
    general_questions,
    general_texts,
)
from core.evaluation.loss import Column
from core.evaluation.text_units import is_chinese, units
from core.models.loader import LoadedModel


def test_there_are_texts_and_questions_in_both_languages() -> None:
    chinese = [asked for asked in general_questions() if is_chinese(asked.question)]
    assert (len(general_questions()), len(chinese)) == (24, 12)
    assert list(general_texts()) == ["en", "zh"]
    assert is_chinese(general_texts()["zh"]) and not is_chinese(general_texts()["en"])
    assert all(200 <= len(units(words)) <= 450 for words in general_texts().values())


@pytest.mark.parametrize("asked", general_questions(), ids=lambda asked: asked.question)
def test_a_question_is_settled_by_each_of_its_answers_and_not_by_its_own_words(asked: GeneralQuestion) -> None:
    for word in asked.accepted:
        assert asked.is_settled_by(word) and asked.is_settled_by(f"It is {word.upper()}.")
    assert not asked.is_settled_by(asked.question)
    assert not asked.is_settled_by("") and not asked.is_settled_by("I do not know. 我不知道。")


@pytest.mark.parametrize(
    ("accepted", "answer", "settled"),
    [
        ("12", "There are 112 of them", False),
        ("12", "一年有12个月", True),
        ("cat", "A category", False),
        ("H2O", "H₂O", True),
        ("Paris", "paris!", True),
        ("北京", "是北京市", True),
    ],
)
def test_a_word_counts_as_a_whole(accepted: str, answer: str, settled: bool) -> None:
    assert GeneralQuestion("?", (accepted,)).is_settled_by(answer) is settled


def test_the_right_ones_are_counted() -> None:
    answers = ["Paris"] + ["nothing"] * 23
    found = forgetting_result({"en": 2.0}, answers)
    assert (found.right, found.correct[:2], found.questions[0][1]) == (1, (True, False), "Paris")


def test_every_text_has_a_loss(loaded: LoadedModel) -> None:
    found = general_losses(Column.of(loaded, "", None), loaded.tokenizer, loaded.pad_id, 512)
    assert list(found) == ["en", "zh"] and all(5 < each < 8 for each in found.values()), "ln 512 is 6.2"
