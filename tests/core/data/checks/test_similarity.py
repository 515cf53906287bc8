from __future__ import annotations

import random
from itertools import combinations

import pytest

from core.data.checks import similarity
from core.data.checks.similarity import Similarity

ENGLISH = "Explain to a beginner how photosynthesis turns light, water and carbon dioxide into sugar and oxygen."
CHINESE = "请用简单的语言向初学者解释植物如何利用阳光把水和二氧化碳变成糖和氧气，并举一个生活中的例子。"


def pairs_of(*texts: tuple[str, str], seed: int = 42) -> list[tuple[int, int]]:
    checked = Similarity(seed)
    for index, (question, answer) in enumerate(texts):
        checked.add(index, hash((question, answer)) % 2**64, question, answer)
    return checked.pairs()


def unrelated(count: int, letters: str = "abcdefghijklmnopqrstuvwxyz") -> list[tuple[str, str]]:
    draw = random.Random(1)
    words = ["".join(draw.choices(letters, k=draw.randint(2, 8))) for _ in range(400)]
    return [(" ".join(draw.choices(words, k=12)), " ".join(draw.choices(words, k=20))) for _ in range(count)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ENGLISH, ENGLISH.replace("beginner", "child")),
        (ENGLISH, ENGLISH.upper() + "!!"),
        (CHINESE, CHINESE.replace("初学者", "孩子们")),
        (CHINESE, CHINESE.replace("，", " ")),
    ],
)
def test_texts_that_differ_in_a_word_are_nearly_equal_among_others(one: str, other: str) -> None:
    rest = unrelated(200)
    assert pairs_of((one, "a"), *rest, (other, "a")) == [(0, 201)]
    assert pairs_of(("", one), *rest, ("", other)) == [(0, 201)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((ENGLISH, "Yes, gladly."), (ENGLISH, "Never in my life.")),  # another answer
        ((f"{ENGLISH} 1998", "a"), (f"{ENGLISH} 1999", "a")),  # another number
        (("你好", "您好"), ("你好", "您好！")),  # short
        ((ENGLISH, "a"), (CHINESE, "a")),
    ],
)
def test_texts_that_mean_something_else_are_not(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert pairs_of(one, *unrelated(50), other) == []


def test_a_template_that_many_rows_share_does_not_make_them_equal() -> None:
    template = f"{ENGLISH} {CHINESE} " * 2 + " ".join(answer for _, answer in unrelated(40)[30:])
    rows = [(f"{template}: {topic}.", f"{template}: {topic}!") for topic, _ in unrelated(30)]
    assert pairs_of(*rows[:5]) == [*combinations(range(5), 2)]  # a few are just alike
    assert pairs_of(*rows) == []
    again = (rows[3][0].replace("Explain", "Tell"), rows[3][1])
    assert pairs_of(*rows, again) == [(3, 30)]


def test_long_texts_are_compared_by_their_ends() -> None:
    long = " ".join(question for question, _ in unrelated(100))
    assert pairs_of(("", long), ("", long.replace(" ", " x ", 1))) == [(0, 1)]
    assert pairs_of(("", long), ("", long[:1500] + unrelated(200, "klmnopqr")[-1][1] * 20)) == []


def test_a_sample_is_compared_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "COMPARED", 50)
    checked = Similarity(42)
    for index, (question, answer) in enumerate(unrelated(400)):
        checked.add(index, index * 0x9E3779B97F4A7C15 % 2**64, question, answer)
        checked.add(index, index * 0x9E3779B97F4A7C15 % 2**64, question, answer)  # repetitions take no place
    assert len(checked) == 50
    assert checked.pairs() == []


def test_nothing_and_half_characters_are_no_trouble() -> None:
    assert pairs_of() == []
    assert pairs_of((ENGLISH + "\ud800", "a"), (ENGLISH + "\udfff", "a")) == [(0, 1)]
