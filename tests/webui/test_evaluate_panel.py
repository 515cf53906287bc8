"""The evaluations on the page: the form, what it says before it starts, the one in progress, the list, the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from core.errors import Problem, WorkbenchError
from core.evaluation.desk import EvaluationSummary
from core.evaluation.results import result_to_json
from core.evaluation.spec import JudgeSettings, write_spec
from core.evaluation.store import EvaluationStatus
from core.i18n import LANGUAGES, Language, text
from core.settings import SamplingSettings
from core.training.progress import Status
from core.workbench import Workbench
from core.workspace import Workspace, write_json
from tests.core.evaluation.report_scene import RESULT
from tests.webui.test_run_history import click, write_run
from tests.webui.test_views import HOSTILE, Tags
from webui import (
    benchmark_panel,
    evaluate_panel,
    evaluation_form_panel,
    evaluation_overview_panel,
    evaluation_report_panel,
    evaluation_views,
)
from webui.evaluation_form import FORM, spec_from
from webui.evaluation_report_panel import FILES
from webui.sampling_form import form_of

DATA = "rows.jsonl"
GOOD = {
    "dataset": DATA,
    "part": "held_out",
    "columns": [],
    "measured": ["loss", "answers", "forgetting"],
    "fields": "语速：(\\d)",
    "way": "greedy",
    "max_new_tokens": 64,
    "judging": False,
    "judge_url": "https://judge.example/v1",
    "judge_model": "big",
    "judge_key": "",
    "consent": False,
}
SAMPLING = form_of(SamplingSettings(temperature=0.5))


def form(**changes: Any) -> list[Any]:
    """What a page sends, some of it changed."""
    return [*({**GOOD, **changes}.get(name) for name in FORM), *SAMPLING]


@pytest.fixture
def workbench(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    """A data set of 60 graded rows, a run, a finished evaluation and one that broke off; a model by name only."""
    rows = [{"prompt": f"第{n}题", "completion": f"语速：{n % 3 + 1}\n流利度：{n % 2 + 1}"} for n in range(60)]
    (workspace.datasets / DATA).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    write_run(workspace, "run-1")
    for evaluation_id in (RESULT.id, "20260101-000000-gone"):
        folder = workspace.evaluations / evaluation_id
        folder.mkdir(parents=True)
        write_spec(folder / "spec.yaml", RESULT.spec)
    write_json(workspace.evaluations / RESULT.id / "result.json", result_to_json(RESULT))
    with Workbench(workspace) as made:
        monkeypatch.setattr(made, "model_status", lambda: SimpleNamespace(name="tiny", max_length=512))
        yield made


# ---- the form ----


def test_the_form_is_a_specification() -> None:
    spec = spec_from("tiny", form(columns=["judge"], part="run:run-1", rows=5.0, fields=" a(b)\n\na(b)\nc(d) "))
    assert (spec.base, spec.columns, spec.name) == ("tiny", ("", "judge"), f"judge · {DATA}")
    assert (spec.part, spec.run_id, spec.rows) == ("held_out", "run-1", 5)
    assert (spec.fields, spec.judge, spec.window, spec.stride) == (("a(b)", "c(d)"), None, None, None)
    windows = spec_from("tiny", form(window=2048.0, stride=512.0))
    assert (windows.window, windows.stride) == (2048, 512)
    assert (spec.sampling.do_sample, spec.sampling.max_new_tokens) == (False, 64)


def test_answers_may_be_made_as_in_chat_and_judged() -> None:
    spec = spec_from("tiny", form(way="chat", judging=True, judge_key="MY_API_KEY"))
    assert spec.sampling.temperature == 0.5
    assert spec.judge == JudgeSettings(url="https://judge.example/v1", model="big", key_variable="MY_API_KEY")


@pytest.mark.parametrize(
    "wrong", [{"rows": 0}, {"part": "some"}, {"columns": "judge"}, {"stride": "far"}, {"window": 1}, {"dataset": None}]
)
def test_what_cannot_be_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(WorkbenchError, match=next(iter(wrong))):
        spec_from("tiny", form(**wrong))


def test_rows_and_fields_are_offered_for_a_data_set(workbench: Workbench) -> None:
    *_, (part, fields, _) = evaluation_form_panel.choose_data(workbench, "en", DATA)
    assert [value for _, value in part["choices"]] == ["held_out", "all"]
    assert part["choices"][1][0] == "All rows (60)"
    assert part["value"] == "held_out"
    assert fields.splitlines()[0].startswith("语速")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": None}, "data"),
        ({"measured": []}, "measure"),
        ({"judging": True, "judge_model": ""}, "judge"),
        ({"judging": True}, "consent"),
        ({"judging": True, "consent": True}, "ready"),
        ({"rows": -3}, "settings"),
        ({"fields": "(?"}, "settings"),
        ({"window": 513}, "settings"),
        ({"window": 64, "stride": 65}, "settings"),
        ({"fields": "音量：(.)"}, "settings"),
        ({}, "ready"),
    ],
)
def test_start_says_what_is_missing(workbench: Workbench, changes: dict[str, Any], said: str) -> None:
    workbench.data.report(DATA)
    explained, _, start, problems = evaluation_form_panel.describe(workbench, "en", *form(**changes))
    assert start["value"] == text(f"evaluate.start.{said}", "en")
    assert ("H01" in problems) == (said == "settings")
    assert ("in 6 of 6 answers" in explained) == (
        said in ("ready", "consent", "measure", "judge") and bool(changes.get("measured", True))
    )


def test_start_says_so_without_a_model(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench, "model_status", lambda: None)
    assert evaluation_form_panel.describe(workbench, "en", *form())[2]["value"] == text("evaluate.start.model", "en")


def test_what_a_judge_gets_is_said_in_numbers(workbench: Workbench) -> None:
    workbench.data.report(DATA)
    shown = evaluation_form_panel.describe(workbench, "en", *form(judging=True, columns=["judge"]))[1]
    assert all(
        words in shown for words in ("12 requests to judge.example", "6 rows", "12 answers that are still", "No key")
    )
    here = evaluation_form_panel.describe(workbench, "en", *form(judging=True, judge_url="http://127.0.0.1:1/v1"))[1]
    assert "nothing leaves it" in here


def test_nothing_is_judged_unless_somebody_agreed(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench.evaluations, "start", lambda spec: pytest.fail("it was started"))
    for consent in (False, None, "yes", 1):
        with pytest.raises(WorkbenchError, match="leaves this machine"):
            evaluate_panel.start(workbench, "en", *form(judging=True, consent=consent))


def test_a_run_fills_the_form_with_its_adapter_and_its_rows(workbench: Workbench) -> None:
    part, dataset, rows, columns, fields = evaluate_panel.from_run(workbench, "en", "run-1")
    assert part["open"]
    assert dataset["value"] == DATA
    assert rows["value"] == "all"  # this run held none out
    assert columns["value"] == []  # its adapter is not in loras/ any more
    assert "语速" in fields


# ---- the one in progress, and those of before ----


@pytest.mark.parametrize(
    ("status", "opened", "said"),
    [
        (EvaluationStatus(Status.FINISHED), RESULT.id, ""),
        (EvaluationStatus(Status.FAILED, problem=Problem("A20_out_of_memory_evaluating")), "", "A20"),
        (EvaluationStatus(Status.STOPPED), "", "Cancelled"),
    ],
)
def test_an_evaluation_that_ended_shows_its_report_or_why_there_is_none(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch, status: EvaluationStatus, opened: str, said: str
) -> None:
    monkeypatch.setattr(workbench.evaluations, "status", lambda evaluation_id: status)
    card, cancel, timer, going_on, now_open = evaluate_panel.watch(workbench, "en", RESULT.id, "")
    assert said in card
    assert (cancel["visible"], timer.active, going_on, now_open) == (False, False, "", opened)


def test_one_in_progress_is_followed_whoever_started_it(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on = EvaluationStatus(Status.RUNNING, "answers", 3, 12, 90.0)
    monkeypatch.setattr(workbench.evaluations, "active", lambda: RESULT.id)
    monkeypatch.setattr(workbench.evaluations, "status", lambda evaluation_id: going_on)
    card, cancel, timer, watched, _ = evaluate_panel.watch(workbench, "en", "", "")
    assert all(words in card for words in ("width:25%", "Answering the rows", "3 of 12", "1 min 30 s"))
    assert (cancel["visible"], timer.active, watched) == (True, True, RESULT.id)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_list_offers_what_can_be_done_and_no_name_becomes_part_of_it(lang: Language) -> None:
    spec = RESULT.spec.model_copy(update={"name": HOSTILE, "dataset": HOSTILE})
    ways = {Status.FINISHED: ["open", "delete"], Status.RUNNING: [], Status.INTERRUPTED: ["again", "delete"]}
    for status, offered in ways.items():
        shown = evaluation_views.evaluation_list(
            [EvaluationSummary("20260102-0304-x", spec, EvaluationStatus(status))], "", lang
        )
        assert [way for way in ("open", "again", "delete") if f'data-do="{way}"' in shown] == offered
        assert "img" not in Tags(shown).names
        assert "2026-01-02 03:04" in shown


def test_a_report_is_opened_and_deleted_by_its_buttons(workbench: Workbench) -> None:
    opened, *_ = evaluate_panel.choose(workbench, "en", click(do="open", evaluation=RESULT.id))
    assert opened == RESULT.id
    _, deleted, box, question, *_ = evaluate_panel.choose(workbench, "en", click(do="delete", evaluation=RESULT.id))
    assert (deleted, box["visible"]) == (RESULT.id, True)
    assert RESULT.spec.name in question
    assert evaluate_panel.delete(workbench, "en", deleted, opened) == ""
    assert RESULT.id not in evaluate_panel.listed(workbench, "en", "")
    assert evaluate_panel.choose(workbench, "en", click(do="open", evaluation=RESULT.id)) == [gr.skip()] * 6


@pytest.mark.parametrize("lang", LANGUAGES)
def test_what_a_judge_got_is_sent_again_only_after_it_was_asked_about(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch, lang: Language
) -> None:
    broke_off = "20260101-000000-gone"
    write_spec(workbench.workspace.evaluations / broke_off / "spec.yaml", spec_from("tiny", form(judging=True)))
    begun: list[Any] = []
    monkeypatch.setattr(workbench.evaluations, "start", lambda spec: begun.append(spec) or RESULT.id)
    again = click(do="again", evaluation=broke_off)
    assert evaluate_panel.again(workbench, lang, again, "") == [gr.skip()] * 5 and not begun
    _, asked, *_, box, question = evaluate_panel.choose(workbench, lang, again)
    assert (asked, box["visible"]) == (broke_off, True) and "judge.example" in question
    evaluate_panel.judge_again(workbench, lang, asked, "")
    assert begun[0].judge.model == "big"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_all_that_was_measured_stands_side_by_side_and_is_taken_away(workbench: Workbench, lang: Language) -> None:
    part, table = evaluation_overview_panel.draw(workbench, lang)
    assert part["visible"]
    assert len(table["headers"]) == len(evaluation_views.OVERVIEW_TYPES) == len(table["data"][0])
    base, judge, _ = table["data"]
    assert base[:2] == ["tiny", text("evaluation_report.base", lang)] and judge[:2] == ["tiny", "judge"]
    assert judge[4:] == [12, None, None, 1.0, 2.72, "2026-01-02 03:04"]
    kept = json.loads(evaluation_overview_panel.make_csv(workbench, lang))
    assert kept["name"].endswith(".csv") and kept["content"].count("\r\n") == 4
    workbench.evaluations.delete(RESULT.id)
    part, table = evaluation_overview_panel.draw(workbench, lang)
    assert (part["visible"], table["data"]) == (False, []), "nothing to compare, nothing in the way"


# ---- the report ----


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_report_is_drawn_and_its_fields_can_be_turned(workbench: Workbench, lang: Language) -> None:
    drawn = evaluate_panel.show_report(workbench, lang, RESULT.id)
    assert (
        len(drawn)
        == len(evaluate_panel.show_report(workbench, lang, ""))
        == len(evaluation_report_panel.draw_nothing())
    )
    whole, headline, *_, field, confusion = drawn
    assert whole["visible"] and "10" in headline
    assert [value for _, value in field["choices"]] == [0, 1, 2]
    other = evaluation_report_panel.show_field(workbench, lang, RESULT.id, 2)
    assert confusion["visible"] and other["visible"]
    assert not evaluation_report_panel.show_field(workbench, lang, RESULT.id, 9)["visible"]


@pytest.mark.parametrize(
    ("kind", "begins"), [("html", "<!doctype html>"), ("csv", "\ufeffrow,"), ("jsonl", '{"row": 1')]
)
def test_a_report_is_taken_away_as_a_file(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, begins: str
) -> None:
    monkeypatch.setattr("webui.outgoing.get_upload_folder", lambda: str(tmp_path / "given"))
    monkeypatch.setitem(FILES, "html", lambda result, lang: f"<!doctype html>{replace(result).id}")
    file = Path(evaluation_report_panel.make_file(workbench, "en", RESULT.id, kind=kind)["value"])
    assert file.name == f"evaluation-{RESULT.id}.{kind}"
    assert file.read_text(encoding="utf-8").startswith(begins)


def test_the_commands_of_benchmarks_name_what_is_chosen(workbench: Workbench) -> None:
    _, commands = benchmark_panel.show(workbench, "en", ["my adapter", "run @ 3"])
    *_, base, adapter = commands.splitlines()
    assert base.endswith("--model tiny")
    assert adapter.endswith("--model tiny --adapter 'my adapter'")
