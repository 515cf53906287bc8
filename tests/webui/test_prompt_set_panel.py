"""A prompt set on the page: what each column is asked, which rows there are to choose, who was trained on them."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.adapters.card import AdapterCard
from core.chat.prompt_sets import PromptSet, SetStatus
from core.data.library import DataLibrary
from core.errors import WorkbenchError
from core.evaluation.desk import EvaluationDesk
from core.i18n import text
from core.markup import escape
from core.training.desk import RunDesk
from core.training.events import EventLog, Planned
from core.training.history import EVENTS_FILE
from core.training.preparation import read_data, set_apart
from core.training.snapshots import SNAPSHOTS
from core.training.spec import RunSpec, read_spec, write_spec
from core.workspace import Workspace
from tests.webui.chat_scene import Form, SceneRun, SceneWorkbench
from tests.webui.test_run_history import write_run
from tests.webui.test_views import PLAN
from webui import prompt_set_panel, prompt_set_views
from webui.chat_desk import Desk
from webui.prompt_set_panel import OWN, ROWS

DATA = "rows.jsonl"
RUN = "r1"


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk that keeps what it should ask."""
    made = Desk()
    monkeypatch.setattr(made.prompt_set, "start", lambda asked, chat: setattr(made, "asked", asked))
    return made


@pytest.fixture
def workbench(workspace: Workspace, tmp_path: Path) -> Any:
    """Sixty rows with a system prompt, and a run that held twelve of them out by its own seed and kept one step."""
    system = {"role": "system", "content": "Grade."}
    talks = [
        [system, {"role": "user", "content": f"Q{n}"}, {"role": "assistant", "content": f"A{n}"}] for n in range(60)
    ]
    lines = [json.dumps({"messages": talk}) for talk in talks]
    (workspace.datasets / DATA).write_text("\n".join(lines), encoding="utf-8")
    write_run(workspace, RUN)
    folder = workspace.runs / RUN
    EventLog(folder / EVENTS_FILE).append(Planned(replace(PLAN, rows_validation=12), 0.2))
    training = {"seed": 7, "validation_rows": 12}
    spec = RunSpec.checked({"name": f"name-{RUN}", "base": "tiny", "dataset": DATA, "training": training})
    write_spec(folder / "spec.yaml", spec)
    (folder / SNAPSHOTS / "step-000004").mkdir(parents=True)
    made: Any = SceneWorkbench(tmp_path / "scene")
    made.run, made.steps = SceneRun(f"name-{RUN}", status=SceneRun("").status.FINISHED), (4,)
    made.data = DataLibrary(workspace)
    runs = RunDesk(workspace, threading.RLock(), lambda: None, lambda *_: None)
    made.evaluations = EvaluationDesk(workspace, threading.RLock(), made.data, runs, lambda name: None)  # type: ignore[arg-type,return-value]
    return made


def started(workbench: Any, desk: Any, form: Form, *asked: Any) -> PromptSet:
    """What is asked of whom for a source, a typed list, a data set, the choice of its rows and their number."""
    prompt_set_panel.start(workbench, "en", desk, *asked, *form.values)
    return desk.asked  # type: ignore[no-any-return]


def held_out(workspace: Workspace) -> list[str]:
    """The questions that the run set apart."""
    spec = read_spec(workspace.runs / RUN / "spec.yaml")
    return [example.messages[1]["content"] for example in set_apart(spec, read_data(spec, workspace))[1]]


def questions(asked: PromptSet) -> list[str]:
    return [prompt.question for prompt in asked.prompts]


def test_ones_own_list_is_asked_of_each_column_with_its_own_system_prompt(workbench: Any, desk: Desk) -> None:
    workbench.cards["judge"] = AdapterCard(name="judge", base_name="tiny", system_prompt="Grade it.")
    form = Form(columns=("", "judge"))
    asked = started(workbench, desk, form, OWN, "Q1\nQ2", None, None, 5)
    assert [asked.sent(asked.prompts[0].messages, at)[0]["content"] for at in range(2)] == ["Q1", "Grade it."]
    typed = started(workbench, desk, form.but(prompt="Be brief."), OWN, "Q1", None, None, 5)
    assert typed.system_prompts == ("Be brief.", "Be brief."), "what is typed holds for all"


def test_rows_bring_their_system_prompts(workbench: Any, desk: Desk) -> None:
    workbench.cards["judge"] = AdapterCard(name="judge", base_name="tiny", system_prompt="Grade it.")
    asked = started(workbench, desk, Form(columns=("", "judge"), prompt="Be brief."), ROWS, "", DATA, "all", 3)
    sent = [asked.sent(asked.prompts[0].messages, at) for at in range(2)]
    assert sent[0] == sent[1] and sent[0][0]["content"] == "Grade."
    assert len(asked.prompts) == 3


def test_the_held_out_rows_are_those_of_the_run(workbench: Any, desk: Desk, workspace: Workspace) -> None:
    (offered,) = prompt_set_panel.offer_rows(workbench, "en", ROWS, DATA, f"run:{RUN}")
    assert offered["value"] == f"run:{RUN}"
    words = text("evaluate.held_out_by", "en", run=f"name-{RUN}", rows="12")
    assert (words, f"run:{RUN}") in offered["choices"]
    assert [value for _, value in offered["choices"]] == ["held_out", f"run:{RUN}", "all"]
    form = Form(columns=("", f"step:{RUN}:4"))
    of_run = started(workbench, desk, form, ROWS, "", DATA, f"run:{RUN}", 50)
    assert questions(of_run) == held_out(workspace) and len(of_run.prompts) == 12
    assert not any(of_run.seen.values())
    assert questions(started(workbench, desk, form, ROWS, "", DATA, "held_out", 50)) != held_out(workspace)


def test_who_was_trained_on_the_rows_is_named_in_the_words_of_an_evaluation(workbench: Any, desk: Desk) -> None:
    asked = started(workbench, desk, Form(columns=("", f"step:{RUN}:4")), ROWS, "", DATA, "all", 60)
    assert asked.seen == {f"name-{RUN} @ 4": 48}
    values = {"name": f"“name-{RUN} @ 4”", "rows": 48, "of": 60}
    words = text("evaluation.advice.seen_in_training", "en", **values)
    told = [SetStatus(asked, done, 120, running, False, 1.0) for done, running in ((1, True), (120, False))]
    assert all(escape(words) in prompt_set_views.progress(status, "en") for status in told)
    none_seen = replace(told[0], asked=replace(asked, seen={f"name-{RUN} @ 4": 0}))
    assert "trained" not in prompt_set_views.progress(none_seen, "en")


def test_no_data_set_is_read_for_ones_own_list(workbench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench.evaluations, "parts", lambda dataset: pytest.fail("read"))
    (update,) = prompt_set_panel.offer_rows(workbench, "en", OWN, DATA, None)
    assert "choices" not in update


@pytest.mark.parametrize("dataset", [None, "", "../x", "gone.jsonl", 5, ["x"], "x" * 10_000])
def test_a_data_set_that_there_is_none_of_is_refused_or_offers_nothing(
    workbench: Any, desk: Desk, dataset: Any
) -> None:
    with pytest.raises(WorkbenchError):
        started(workbench, desk, Form(), ROWS, "", dataset, None, 5)
    if dataset is None or isinstance(dataset, str):
        (offered,) = prompt_set_panel.offer_rows(workbench, "en", ROWS, dataset, None)
        assert offered["choices"] == []


@pytest.mark.parametrize("part", ["run:gone", "some", 5])
def test_rows_that_there_are_none_of_are_refused(workbench: Any, desk: Desk, part: Any) -> None:
    with pytest.raises(WorkbenchError) as refused:
        started(workbench, desk, Form(), ROWS, "", DATA, part, 5)
    assert refused.value.key.startswith(("A30", "H01"))
