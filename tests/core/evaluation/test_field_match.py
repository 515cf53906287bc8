"""Fields of answers: compared, proposed from the data, and patterns that would never end refused or harmless."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from core.errors import WorkbenchError
from core.evaluation.field_match import OTHERS, check_patterns, label_of, match_field, propose_fields
from tests.core.models.conftest import assert_shown_in_both_languages

SAMPLES = Path(__file__).resolve().parents[3] / "training" / "datasets"
SPEED = r"语速：(\d)"


def test_a_field_by_hand() -> None:
    references = ["语速：5；好", "语速：5；好", "语速：3", "语速：1", "没有"]
    answers = ["语速：5", "语速：3", "语速：３", "快", "慢"]
    found = match_field(SPEED, answers, references)
    assert (found.label, found.classes) == ("语速", ("1", "3", "5"))
    # Of the 4 rows that have the field: "快" and the full-width digit do not parse, one of the other two is right.
    assert (found.parse_rate, found.accuracy, found.most_frequent) == (2 / 4, 1 / 4, 2 / 4)
    assert found.confusion == ((0, 0, 0, 1), (0, 0, 0, 1), (0, 1, 1, 0))


def test_the_confusion_counts_every_row_and_its_diagonal_is_the_accuracy() -> None:
    references = [f"score: {n % 3}" for n in range(30)]
    answers = [f"Score… score: {n % 4}" if n % 5 else "none" for n in range(30)]
    found = match_field(r"score: (\d)", answers, references)
    assert found.classes == ("0", "1", "2", "3")
    assert sum(map(sum, found.confusion)) == 30
    assert sum(found.confusion[i][i] for i in range(4)) / 30 == pytest.approx(found.accuracy)
    assert sum(row[-1] for row in found.confusion) / 30 == pytest.approx(1 - found.parse_rate)


def test_words_are_classes_whatever_their_case_and_rare_ones_share_one() -> None:
    assert match_field(r"is (\w+)", ["It is Good."], ["it is good"]).accuracy == 1
    many = [f"x={n}y" for n in range(50)]
    found = match_field(r"x=(\w+)", many, many)
    assert len(found.classes) == 20
    assert found.classes[-1] == OTHERS
    assert found.accuracy == 1
    assert found.confusion[-1][-2] == 31


def test_a_field_that_no_reference_has_measures_nothing() -> None:
    found = match_field(SPEED, ["语速：5"], ["快"])
    assert (found.parse_rate, found.accuracy, found.most_frequent, found.classes, found.confusion) == (0, 0, 0, (), ())


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"^(?:a|a|a?)*(b)", r"(?:(?:a*)*)*(c)", r"(x+x+)+y"])
def test_a_pattern_that_would_backtrack_for_ever_ends_at_once(pattern: str) -> None:
    began = time.process_time()
    match_field(pattern, ["a" * 50_000 + "!"] * 3, ["x" * 50_000 + "!"] * 3)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("语速：(", "H01_pattern_unreadable"),
        (r"(?=语速)(\d)", "H01_pattern_unreadable"),
        (r"(a)\1", "H01_pattern_unreadable"),
        ("(a{1000}){1000}", "H01_pattern_unreadable"),
        ("语速", "H01_pattern_groups"),
        (r"(\d)(\d)", "H01_pattern_groups"),
        ("(" + "a" * 200 + ")", "H01_pattern_too_long"),
        (r"音量：(\d)", "H01_pattern_never_found"),
    ],
)
def test_a_pattern_that_cannot_be_measured_is_refused_with_words(pattern: str, key: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        check_patterns([SPEED, pattern, pattern], ["语速：5"])
    assert [problem.key for problem in caught.value.problems] == [key, key]
    assert_shown_in_both_languages(caught.value.problems)


def test_the_fields_of_the_oral_grading_are_proposed_and_its_free_text_is_not() -> None:
    lines = (SAMPLES / "oral_grading_short.jsonl").read_text(encoding="utf-8").splitlines()
    references = [json.loads(line)["messages"][-1]["content"] for line in lines]
    proposed = propose_fields(references)
    assert proposed == tuple(rf"{key}：([\d.]+)" for key in ("语速", "停顿", "声母", "韵母", "声调", "完整度"))
    check_patterns(proposed, references)
    for pattern in proposed:
        found = match_field(pattern, references, references)
        assert (found.parse_rate, found.accuracy) == (1, 1)
        assert set(found.classes) == {"1", "3", "5"}


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (
            [f"Score: {n % 3}, Verdict: {'good' if n % 2 else 'bad'}, Reason: because {n}" for n in range(12)],
            (r"Score:[\s*]*([\d.]+)", r"Verdict:[\s*]*([^，,；;。|\n]+)"),
        ),
        (
            [json.dumps({"score": n % 4, "ok": n % 2 == 0, "why": f"reason {n}", "v": "1.0"}) for n in range(12)],
            (r'"score"\s*:\s*([\d.]+)', r'"ok"\s*:\s*"?([^",}\]\n]+)'),
        ),
        ([f"**Score:** {n % 3 - 1}" for n in range(9)], (r"Score:[\s*]*(-?[\d.]+)",)),
        (
            [f"声韵母：{n % 3}；韵母：{n % 2}" for n in range(9)],
            (r"声韵母：([\d.]+)", r"(?:^|[^\pL\pN_])韵母：([\d.]+)"),
        ),
        ([f"总分{'：' if n % 2 else ':'}{n % 3}" for n in range(9)], (r"总分[:：]([\d.]+)",)),
        (["positive", "negative", "Negative.", "positive"] * 3, (r"^\s*(.+?)\s*$",)),
        ([f"A text of its own, number {n}." for n in range(9)], ()),
        (["always: 5"] * 9, ()),
        (["a: 1"], ()),
        ([], ()),
    ],
)
def test_what_is_proposed(references: list[str], expected: tuple[str, ...]) -> None:
    proposed = propose_fields(references)
    assert proposed == expected
    check_patterns(proposed, references)
    for pattern in proposed:
        found = match_field(pattern, references, references)
        assert (found.parse_rate, found.accuracy) == (1, 1)
        assert found.most_frequent < 1


def test_a_key_that_few_references_lack_is_still_proposed() -> None:
    references = [f"分数：{n % 2}" for n in range(19)] + ["无"]
    assert propose_fields(references) == (r"分数：([\d.]+)",)
    assert propose_fields([*references, *[f"没有分数，这是第 {n} 篇" for n in range(5)]]) == ()


@pytest.mark.parametrize(
    ("pattern", "label"),
    [
        (SPEED, "语速"),
        (r"^\s*final score:\s*(\d+)", "final score"),
        (r'"verdict"\s*:\s*"?([^",}]+)', "verdict"),
        (r"(?:^|[^\pL])韵母：(\d)", "韵母"),
        (r"^\s*(.+?)\s*$", r"^\s*(.+?)\s*$"),
    ],
)
def test_a_field_is_called_by_the_words_before_its_group(pattern: str, label: str) -> None:
    assert label_of(pattern) == label
