"""What a person is told to do, and which rows are shown: for the figures that call for it and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.errors import refusal
from core.evaluation.advice import advice, advice_text, judge_failed
from core.evaluation.assembly import best_and_worst, visible
from core.evaluation.results import Advice, ColumnResult, FieldResult, ForgettingResult, LossResult, RowResult
from core.evaluation.spec import EvaluationSpec
from core.i18n import LANGUAGES

SPEC = EvaluationSpec(name="e", base="tiny", columns=("", "one"), dataset="d.jsonl", answers=True)
GOOD_FIELD = FieldResult("f: (.)", "f", 1.0, 0.9, 0.5, ("1", "2"), ((5, 0, 0), (1, 4, 0)))
BAD_FIELD = FieldResult("g: (.)", "g", 0.5, 0.4, 0.5, ("1", "2"), ((2, 0, 3), (1, 2, 2)))


def column(name: str, loss: float | None = 1.0, *fields: FieldResult) -> ColumnResult:
    measured = None if loss is None else LossResult(loss, 2.7, 100, 10)
    return ColumnResult(name, measured, fields=fields)


def row(number: int = 1, problems: tuple[str, ...] = (), scores: Any = ({}, {}), losses: Any = (1.0, 1.0)) -> RowResult:
    return RowResult(number, "q", "r", ("a", "b"), losses, scores, ((), problems))


ROWS = [row()] * 60
SAID: list[tuple[str, list[ColumnResult], list[RowResult], dict[str, int]]] = [
    ("looping", [column(""), column("one")], [*ROWS, *[row(problems=("looping",))] * 10], {}),
    ("cut", [column(""), column("one")], [*ROWS, *[row(problems=("cut",))] * 10], {}),
    ("empty", [column(""), column("one")], [*ROWS, *[row(problems=("empty",))] * 10], {}),
    ("parse_low", [column(""), column("one", 1.0, GOOD_FIELD, BAD_FIELD)], ROWS, {}),
    ("no_better_than_frequent", [column(""), column("one", 1.0, BAD_FIELD)], ROWS, {}),
    ("worse_loss", [column("", 1.0), column("one", 1.2)], ROWS, {}),
    ("no_number", [column(""), column("one", None)], ROWS, {}),
    ("no_number", [column(""), replace(column("one"), forgetting=ForgettingResult({}, (), 0))], ROWS, {}),
    ("few_rows", [column(""), column("one")], ROWS[:10], {}),
    ("seen_in_training", [column(""), column("one")], ROWS, {"one": 7}),
    (
        "not_asked",
        [column(""), column("one")],
        [RowResult(1, "q", "r", (None, None), (1, 1), ({}, {}), (("not_asked",), ("not_asked",)))] * 60,
        {},
    ),
]


@pytest.mark.parametrize(("key", "columns", "rows", "seen"), SAID, ids=[each[0] for each in SAID])
def test_what_calls_for_advice_gets_it_in_words(
    key: str, columns: list[ColumnResult], rows: list[RowResult], seen: dict[str, int]
) -> None:
    found = {each.key: each for each in advice(SPEC, columns, rows, seen)}
    assert key in found
    for lang in LANGUAGES:
        words = advice_text(found[key], lang)
        assert "{" not in words and not words[0].islower()


def test_good_figures_bring_up_nothing() -> None:
    assert (
        advice(SPEC, [column("", 2.0, BAD_FIELD), column("one", 1.0, GOOD_FIELD)], [*ROWS, row(problems=("cut",))], {})
        == ()
    )


def test_a_base_model_measured_alone_is_advised_and_called_so() -> None:
    (said,) = advice(SPEC, [column("", 2.0, BAD_FIELD)], ROWS, {})[:1]
    assert advice_text(said, "en").startswith("In the base model") and advice_text(said, "zh").startswith("基础模型")


def test_a_judge_that_failed_is_told_with_its_reason() -> None:
    said = judge_failed(refusal("A24_judge_unreachable", host="judge.example", reason="ConnectError"))
    assert all("judge.example" in advice_text(said, lang) for lang in LANGUAGES)
    assert isinstance(said, Advice)


def test_rows_are_ordered_by_what_the_adapter_gained() -> None:
    gains = [0.2, -0.3, 0.9, 0.0]
    rows = [row(scores=({"fields": 0.5}, {"fields": 0.5 + gain})) for gain in gains]
    assert best_and_worst(rows) == ((2, 0), (1, 3))
    assert best_and_worst([row(losses=(2.0, loss)) for loss in (1.0, 3.0)]) == ((0,), (1,)), "a lower loss is better"
    assert best_and_worst(rows[:1]) == ((0,), ())
    assert best_and_worst([row(losses=(None, None))]) == ((), ())
    many = [row(scores=({"fields": 0}, {"fields": at})) for at in range(30)]
    best, worst = best_and_worst(many)
    assert (best, worst) == ((29, 28, 27, 26, 25), (0, 1, 2, 3, 4))


def test_thoughts_are_no_part_of_what_is_measured() -> None:
    assert visible("<think>Hm</think>\n\nSpeed: 5") == "Speed: 5" == visible("Speed: 5")
