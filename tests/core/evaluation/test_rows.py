"""Which rows are measured: the very part that a run held out, and what of each row is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.data.library import DataLibrary
from core.errors import WorkbenchError
from core.evaluation.rows import choose_rows, rows_seen
from core.evaluation.spec import EvaluationSpec
from core.models.loader import LoadedModel
from core.training.preparation import read_data, render_rows
from core.training.spec import RunSpec
from core.training.token_cache import TokenCache
from core.workspace import Workspace
from tests.core.evaluation.conftest import write_grades


def write(workspace: Workspace, name: str, *rows: dict[str, Any]) -> None:
    (workspace.datasets / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def spec_of(dataset: str = "grades.jsonl", **values: Any) -> EvaluationSpec:
    return EvaluationSpec.checked({"name": "e", "base": "tiny", "columns": ("",), "dataset": dataset, **values})


def chosen(workspace: Workspace, spec: EvaluationSpec, run: RunSpec | None = None) -> Any:
    return choose_rows(spec, workspace, DataLibrary(workspace), run)


@pytest.mark.parametrize("training", [{}, {"validation_rows": 7}, {"validation_share": 0.25, "seed": 3}])
def test_the_held_out_part_is_the_very_split_of_a_run(
    workspace: Workspace, loaded: LoadedModel, training: dict[str, Any]
) -> None:
    write_grades(workspace.datasets / "grades.jsonl", 60)
    run = RunSpec.checked({"name": "r", "base": "tiny", "dataset": "grades.jsonl", "training": training})
    rendered = render_rows(run, read_data(run, workspace), loaded, TokenCache(workspace.token_cache))
    expected = [example.row for example in rendered.validation_examples]
    found = chosen(workspace, spec_of(), run if training else None)
    assert [row.row for row in found.rows] == expected and len(expected) in (6, 7, 15)
    library = DataLibrary(workspace)
    assert rows_seen(found.rows, library, run) == 0
    everything = chosen(workspace, spec_of(part="all"))
    assert (len(everything.rows), rows_seen(everything.rows, library, run)) == (60, 60 - len(expected))


def test_some_rows_are_drawn_by_the_seed_and_stay_in_order(workspace: Workspace) -> None:
    write_grades(workspace.datasets / "grades.jsonl", 30)
    drawn = [[row.row for row in chosen(workspace, spec_of(part="all", rows=5, seed=s)).rows] for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and all(len(rows) == 5 and rows == sorted(rows) for rows in drawn)
    assert chosen(workspace, spec_of(part="all", rows=99)).of == 30


def test_the_last_answer_is_asked_for_after_all_that_was_said_before(workspace: Workspace) -> None:
    turns = [("system", "Be short."), ("user", "A?"), ("assistant", "A."), ("user", "B?"), ("assistant", "B.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    thought = [*messages[:1], {"role": "user", "content": "C?"}]
    thought.append({"role": "assistant", "content": "<think>\nHm.\n</think>\n\nC."})
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    write(
        workspace, "talks.jsonl", {"messages": messages}, {"messages": thought}, {"messages": messages, "tools": [tool]}
    )
    first, second, third = chosen(workspace, spec_of("talks.jsonl", part="all")).rows
    assert (first.question, first.reference, [said["content"] for said in first.prompt]) == (
        "B?",
        "B.",
        ["Be short.", "A?", "A.", "B?"],
    )
    assert (second.question, second.reference) == ("C?", "C."), "thoughts are no part of the answer"
    assert (third.reference, third.prompt) == ("B.", ()), "chat shows a model no tools"


def test_a_document_is_measured_and_not_asked(workspace: Workspace) -> None:
    write(workspace, "texts.jsonl", {"text": "Once upon a time."}, {"text": "The end."})
    rows = chosen(workspace, spec_of("texts.jsonl", part="all")).rows
    assert [(row.question, row.reference, row.prompt) for row in rows] == [
        ("Once upon a time.", "", ()),
        ("The end.", "", ()),
    ]


@pytest.mark.parametrize(
    ("rows", "values", "key"),
    [
        (10, {}, "A03_nothing_held_out"),
        (10, {"dataset": "none.jsonl"}, "A03_no_dataset"),
        (0, {"part": "all"}, "D"),
    ],
)
def test_what_cannot_be_measured_is_refused(workspace: Workspace, rows: int, values: dict[str, Any], key: str) -> None:
    write_grades(workspace.datasets / "grades.jsonl", rows)
    with pytest.raises(WorkbenchError) as caught:
        chosen(workspace, spec_of(**values))
    assert caught.value.key.startswith(key)


def test_data_without_answers_are_refused(workspace: Workspace) -> None:
    write(workspace, "questions.jsonl", *[{"messages": [{"role": "user", "content": "A?"}]}] * 3)
    with pytest.raises(WorkbenchError) as caught:
        chosen(workspace, spec_of("questions.jsonl", part="all"))
    assert caught.value.code == "D27"


def test_a_run_whose_data_have_changed_is_no_measure(workspace: Workspace) -> None:
    write_grades(workspace.datasets / "grades.jsonl", 60)
    run = RunSpec.checked({"name": "r", "base": "tiny", "dataset": "grades.jsonl", "dataset_sha256": "0" * 64})
    with pytest.raises(WorkbenchError, match="D45"):
        chosen(workspace, spec_of(), run)
