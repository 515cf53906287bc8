"""Answers that repeat themselves, loop, are cut off or empty; and real answers, of which none may be called so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation.repetition import answer_problems, is_looping, repetition

SAMPLES = Path(__file__).resolve().parents[3] / "training" / "datasets"


@pytest.mark.parametrize(
    "answer",
    [
        "I am a model. " * 6,
        "好的。" + "我不知道，" * 12,
        "Sure:\n" + "The dog runs. The cat sleeps.\n" * 3 + "The dog ru",  # the last copy is cut
        "\n".join(f"{n}. Drink water and rest well." for n in range(1, 7)),  # only the numbers change
        "\n".join(f"{n}、多喝水，多休息，按时吃药。" for n in range(1, 8)),
        "啊" * 60,
        "!" * 60,
    ],
)
def test_an_answer_whose_end_repeats_is_looping(answer: str) -> None:
    assert is_looping(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "哈哈哈哈哈哈！",
        "no no no no no no",
        "Row, row, row your boat, gently down the stream.",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "语速：5；停顿：5；声母：5；韵母：5；声调：5；完整度：5",
        "I am a model. " * 6 + "Now I have ended this loop and say something else.",
        "\n".join(f"{n}. {n * 7919 % 100003} is a number." for n in range(1, 9)),
        "abcdefghij" * 2,
    ],
)
def test_an_answer_that_only_repeats_a_little_is_not(answer: str) -> None:
    assert not is_looping(answer)


@given(st.text("ab好。x", max_size=20), st.text("ab好", min_size=1, max_size=9), st.integers(0, 8))
def test_what_stands_before_a_loop_does_not_hide_it(before: str, piece: str, more: int) -> None:
    copies = max(3, 40 // len(piece) + 2)
    assert is_looping(before + piece * copies + piece[: more % len(piece)])


@pytest.mark.parametrize("name", ["oral_grading_short.jsonl", "identity.json"])
def test_no_answer_that_people_wrote_is_called_looping(name: str) -> None:
    text = (SAMPLES / name).read_text(encoding="utf-8")
    if name.endswith("l"):
        answers = [json.loads(line)["messages"][-1]["content"] for line in text.splitlines()]
    else:
        answers = [row["output"] for row in json.loads(text)]
    assert len(answers) > 50
    assert [answer for answer in answers if is_looping(answer)] == []
    assert sum(map(repetition, answers)) / len(answers) < 0.02


def test_repetition_by_hand() -> None:
    # abcd bcde cdea deab eabc abcd bcde: 7 runs, 5 of them different
    assert repetition("a b c d e a b c d e") == pytest.approx(2 / 7)
    assert repetition("一二三四五一二三四五") == pytest.approx(2 / 7)
    assert repetition("one two three") == 0
    assert repetition("so " * 100) == pytest.approx(1 - 1 / 97)


def test_what_a_person_should_know_of_an_answer() -> None:
    assert answer_problems("A good answer.", "stop") == ()
    assert answer_problems("A good ans", "length") == ("cut",)
    assert answer_problems("A good ans", "context") == ("cut",)
    assert answer_problems("再来一次，" * 12, "length") == ("looping", "cut")
    assert answer_problems(" \n", "stop") == ("empty",)
