"""Measures against values worked out by hand and against sacrebleu itself, in Chinese, English and both."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation.measures import MEASURES, longest_common_subsequence, measure_answers, rouge
from core.evaluation.text_units import normalised, units
from core.i18n import LANGUAGES, catalogue

CAT = ("the cat sat on the mat", "the cat is on the mat")
APPLES = ("我喜欢苹果", "我不喜欢苹果")
MIXED = ("他用 Python 3 写代码", "他用 python 3 写好了代码")
TEXTS = st.text(st.sampled_from("ab 好,，.。５5A\n"), max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat, don't!", ["the", "cat", "don", "t"]),
        ("语速：５；很好。", ["语", "速", "5", "很", "好"]),
        ("用GPT-4打３.5分 👍", ["用", "gpt", "4", "打", "3", "5", "分", "👍"]),
        ("ひらがなとカタカナ", list("ひらがなとカタカナ")),
        ("한국어 단어", ["한국어", "단어"]),
        (" \n。，!?", []),
    ],
)
def test_a_unit_is_a_word_or_an_unspaced_character(text: str, expected: list[str]) -> None:
    assert units(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("语速：5；停顿：3。", "语速: 5; 停顿: 3"),
        ("Hello ,  World", "hello, world."),
        ("“好”、坏", '"好",坏'),
        ("ＡＢＣ　１２", "abc 12"),
        ("straße", "STRASSE"),
        ("他用 Python 写", "他用python写"),
    ],
)
def test_texts_that_differ_in_form_alone_match(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"), [("-3.5", "3.5"), ("3.5", "35"), ("a b", "ab"), ("好", "不好"), ("1 2", "12"), ("«5»", "5")]
)
def test_texts_that_say_something_else_do_not_match(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@given(TEXTS)
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        # the, cat, on, the, mat of 6 and 6; "the cat", "on the", "the mat" of 5 and 5
        (CAT, (2 * 5 / 12, 2 * 3 / 10, 2 * 5 / 12)),
        # all 5 of 5 and 6; 喜欢, 欢苹, 苹果 of 4 and 5
        (APPLES, (2 * 5 / 11, 2 * 3 / 9, 2 * 5 / 11)),
        # 他 用 python 3 写 代 码 of 7 and 9; "他用", "用 python", "python 3", "3 写", "代码" of 6 and 8
        (MIXED, (2 * 7 / 16, 2 * 5 / 14, 2 * 7 / 16)),
        (("好", "坏"), (0, 1, 0)),
    ],
)
def test_rouge_by_hand(pair: tuple[str, str], expected: Sequence[float]) -> None:
    answer, reference = pair
    assert list(rouge(units(answer), units(reference)).values()) == pytest.approx(expected)


def test_bleu_by_hand() -> None:
    _, (english, chinese) = measure_answers(*zip(CAT, APPLES, strict=True))
    # n-grams that are right: 5/6, 3/5, 1/4, and none of 3, which smoothing makes 1/(2·3)
    assert english["bleu"] == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25)
    # 5/5, 3/4, 2/3, 1/2, and 5 characters where 6 were wanted
    assert chinese["bleu"] == pytest.approx(100 * 2.718281828 ** (1 - 6 / 5) * (3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_a_row_that_is_too_short_for_four_words_can_still_be_right() -> None:
    assert [row["bleu"] for row in measure_answers(["好", "Yes."], ["好", "Yes."])[1]] == [100, 100]


def test_chrf_by_hand() -> None:
    # Orders 1 and 2 exist on both sides: precision 1, recall (2/3 + 1/2) / 2; F with recall counting twice
    recall = (2 / 3 + 1 / 2) / 2
    assert measure_answers(["ab"], ["abc"])[1][0]["chrf"] == pytest.approx(100 * 5 * recall / (4 + recall))


@pytest.mark.parametrize(
    ("tokenizer", "pairs"), [("13a", [CAT, ("a b c", "a b d")]), ("zh", [APPLES, ("你好，世界！", "世界，你好！")])]
)
def test_the_bleu_and_chrf_of_all_rows_are_those_of_sacrebleu_and_no_mean(
    tokenizer: str, pairs: list[tuple[str, str]]
) -> None:
    answers, references = (list(each) for each in zip(*pairs, strict=True))
    of_all, rows = measure_answers(answers, references)
    assert of_all["bleu"] == sacrebleu.corpus_bleu(answers, [references], tokenize=tokenizer).score
    assert of_all["chrf"] == sacrebleu.corpus_chrf(answers, [references]).score
    assert of_all["bleu"] != pytest.approx(sum(row["bleu"] for row in rows) / len(rows))
    assert of_all["rouge_l"] == pytest.approx(sum(row["rouge_l"] for row in rows) / len(rows))


def test_rows_in_two_languages_are_each_cut_as_their_own() -> None:
    of_all, rows = measure_answers(*zip(CAT, APPLES, MIXED, strict=True))
    alone = [measure_answers([answer], [reference])[1][0] for answer, reference in (CAT, APPLES, MIXED)]
    assert rows == alone
    assert 0 < of_all["bleu"] < 100


def test_lengths_and_ends() -> None:
    of_all, rows = measure_answers(["一二三四", "one two"], ["一二", "one"], ["length", "stop"])
    assert [row["answer_length"] for row in rows] == [4, 2]
    assert of_all["answer_length"] == 3
    assert of_all["length_ratio"] == 2
    assert (of_all["cut"], [row["cut"] for row in rows]) == (0.5, [1, 0])
    assert "cut" not in measure_answers(["a"], ["a"])[0]


def test_no_rows_measure_nothing() -> None:
    assert measure_answers([], []) == ({}, [])


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_every_measure_stays_in_its_range_and_the_reference_itself_is_best(pairs: list[tuple[str, str]]) -> None:
    answers, references = (list(each) for each in zip(*pairs, strict=True))
    ends = ["stop"] * len(pairs)
    of_all, rows = measure_answers(answers, references, ends)
    perfect = measure_answers(references, references, ends)[1]
    assert set(of_all) == set(MEASURES)
    for values in (of_all, *rows):
        for key, value in values.items():
            largest = MEASURES[key].largest
            assert value >= 0 and (largest is None or value <= largest), key
    for got, best in zip(rows, perfect, strict=True):
        assert all(got[key] <= best[key] for key in ("exact", "normalised", "rouge_1", "rouge_2", "rouge_l", "chrf"))


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_the_longest_common_subsequence_is_that_of_the_textbook(one: list[int], other: list[int]) -> None:
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, left in enumerate(one):
        for j, right in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
    assert longest_common_subsequence(one, other) == table[-1][-1]


def test_every_measure_has_a_label_and_a_help_in_both_languages() -> None:
    for lang in LANGUAGES:
        named = {key.split(".")[1] for key in catalogue(lang) if key.startswith("measures.")}
        assert named == set(MEASURES)
