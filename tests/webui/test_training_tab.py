"""The Training tab as a whole: drawn anew in one answer, and the form's memory."""

from __future__ import annotations

from typing import Any

import pytest

from core.workspace import Workspace
from tests.webui.data_scene import NAME
from tests.webui.run_scene import StandInForm
from webui import training_tab
from webui.run_form import SETTINGS


@pytest.fixture
def workbench(workspace: Workspace) -> Any:
    return StandInForm(workspace=workspace)


def test_the_whole_tab_is_drawn_anew_in_one_answer(workbench: Any) -> None:
    datasets, report, *_, unseen = training_tab.show_tab(workbench, "en", NAME, "", "ia3", "")
    assert datasets["choices"] == [NAME, "other.jsonl"]
    assert "OpenAI messages" in report
    assert "#run-rank" in unseen
    gone, report, *_ = training_tab.show_tab(workbench, "en", "gone", "", "lora", "")
    assert gone["value"] is None
    assert "Choose a data set" in report


@pytest.mark.parametrize("saved", [None, 7, [], {"run-name": {"a": 1}}])
def test_a_form_that_was_never_saved_begins_empty(workbench: Any, saved: object) -> None:
    name, epochs = training_tab.restored_form(workbench, ["run-name", "run-epochs"], saved, ["run-epochs"])
    assert "value" not in name
    assert epochs["value"] is None


def test_a_saved_form_comes_back_but_not_a_data_set_that_is_gone(workbench: Any) -> None:
    names = ["dataset-name", "run-name", "run-target_modules"]
    saved = {"dataset-name": "gone.json", "run-name": "first", "run-target_modules": ["q_proj"], "other": 1}
    dataset, name, targets = training_tab.restored_form(workbench, names, saved, [])
    assert "value" not in dataset
    assert (name["value"], targets["value"]) == ("first", ["q_proj"])
    kept, *_ = training_tab.restored_form(workbench, names, {**saved, "dataset-name": "rows.jsonl"}, [])
    assert kept["value"] == "rows.jsonl"


def test_a_form_that_was_saved_before_it_had_a_field_leaves_that_one_as_it_is(workbench: Any) -> None:
    names = [f"run-{name}" for name in SETTINGS]
    saved = {"run-rank": 8, "run-epochs": None, "run-dropout": 0, "run-packing": False}
    updates = dict(zip(names, training_tab.restored_form(workbench, names, saved, ["run-epochs"]), strict=True))
    assert {name: update["value"] for name, update in updates.items() if "value" in update} == saved
