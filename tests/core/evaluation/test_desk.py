"""An evaluation from its start to its report: whole, cancelled, interrupted, refused; and nobody else notices it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from core.errors import WorkbenchError
from core.evaluation import procedure
from core.evaluation.results import result_from_json, result_to_json
from core.evaluation.spec import EvaluationSpec, read_spec
from core.evaluation.store import RESULT_FILE
from core.settings import LoadSettings, SamplingSettings
from core.training.progress import Status
from core.workbench import Workbench
from core.workspace import Workspace
from tests.core.adapters.building import save_random_adapter, save_random_adapter_of
from tests.core.evaluation.conftest import write_grades

WAIT_S = 60.0
FIELDS = (r"speed: (\d)", r"pauses: (\d)")


@pytest.fixture(autouse=True)
def _short_general_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model never ends an answer by itself."""
    monkeypatch.setattr(procedure, "SHORT_ANSWER", SamplingSettings(do_sample=False, max_new_tokens=2))


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Any) -> Iterator[Workbench]:
    """The tiny model loaded, a random adapter `one` for it, ten graded rows and a hundred."""
    import shutil

    workspace = Workspace(tmp_path_factory.mktemp("evaluations"))
    workspace.create()
    shutil.copytree(tiny_model_dir, workspace.models / "tiny")
    write_grades(workspace.datasets / "grades.jsonl", 10)
    write_grades(workspace.datasets / "many.jsonl", 100)
    with Workbench(workspace) as made:
        made.load_model("tiny", LoadSettings(precision="fp32"))
        loaded = made.serving.model()
        save_random_adapter(loaded.model, workspace.adapters / "one", 1, loaded.fingerprint)
        save_random_adapter_of(loaded.model, "PROMPT_TUNING", workspace.adapters / "tokens", loaded.fingerprint)
        yield made


def spec_of(**values: Any) -> EvaluationSpec:
    given = {
        "name": "graded",
        "base": "tiny",
        "columns": ("", "one"),
        "dataset": "grades.jsonl",
        "part": "all",
        "fields": FIELDS,
        "forgetting": False,
        "sampling": {"do_sample": False, "max_new_tokens": 8},
    }
    return EvaluationSpec.checked({**given, **values})


def finished(workbench: Workbench, spec: EvaluationSpec) -> Any:
    evaluation_id = workbench.evaluations.start(spec)
    assert workbench.evaluations.wait(WAIT_S)
    status = workbench.evaluations.status(evaluation_id)
    assert status.problem is None, status.problem
    assert status.status == Status.FINISHED and status.is_over
    return workbench.evaluations.result(evaluation_id)


def test_base_and_adapter_are_measured_on_every_row(workbench: Workbench) -> None:
    seen: list[str] = []
    tell = procedure.evaluate

    folder = workbench.workspace.adapters / "one"
    aside = folder.with_name(".aside")

    def heard(phase: str, *amounts: int) -> None:
        if phase == "loss" and not aside.exists():
            folder.rename(aside)  # from here on the adapter is not on disk any more
        seen.append(phase)

    def watched(evaluation_id: str, spec: Any, materials: Any, report: Any, cancelled: Any) -> Any:
        return tell(evaluation_id, spec, materials, lambda *told: (heard(*told), report(*told)), cancelled)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(procedure, "evaluate", watched)
        try:
            result = finished(workbench, spec_of(forgetting=True))
        finally:
            aside.rename(folder)
    assert list(dict.fromkeys(seen)) == ["reading", "loss", "forgetting", "answers", "questions", "result"]
    base, one = result.columns
    assert (base.column, one.column) == ("", "one")
    assert base.loss.tokens == one.loss.tokens > 100 and base.loss.loss != one.loss.loss
    assert [field.label for field in one.fields] == ["speed", "pauses"]
    assert [field.most_frequent for field in one.fields] == [0.4, 0.9]
    assert sum(map(sum, one.fields[0].confusion)) == 10
    assert len(base.forgetting.questions) == 24 and base.forgetting.loss_by_text != one.forgetting.loss_by_text
    total = sum(row.losses[0] * tokens for row, tokens in zip(result.rows, row_tokens(workbench), strict=True))
    assert total / base.loss.tokens == pytest.approx(base.loss.loss, rel=1e-6), "weighted by tokens"
    first = result.rows[0]
    assert (first.row, first.question, first.reference) == (1, "Grade 0.", "speed: 1; pauses: 3")
    assert None not in first.answers and "cut" in first.problems[0] and "fields" in first.scores[0]
    assert set(result.best) | set(result.worst) == set(range(10))
    assert {"cut", "parse_low", "few_rows"} <= {advice.key for advice in result.advice}
    lines = workbench.evaluations._store.answers_file(result.id).read_text("utf-8").splitlines()
    assert len(lines) == 20 and {json.loads(line)["column"] for line in lines} == {"", "one"}
    assert result_from_json(json.loads(json.dumps(result_to_json(result)))) == result
    assert workbench.applied() == [], "chat's adapters are its own"


def row_tokens(workbench: Workbench) -> list[int]:
    from core.data.rendering import render_example

    examples = workbench.data.report("grades.jsonl").examples
    return [render_example(workbench.serving.model().tokenizer, each)[0].trained_tokens for each in examples]


def test_answers_are_those_of_chat(workbench: Workbench) -> None:
    from core.chat.streams import ChatRequest

    result = finished(workbench, spec_of(loss=False))
    workbench.apply_adapter("one")
    try:
        for row in result.rows[:2]:
            asked = {"role": "user", "content": row.question}
            for at, adapter in enumerate([None, "one"]):
                (reply,) = workbench.chat([ChatRequest((asked,), result.spec.sampling, adapter)]).wait()  # type: ignore[arg-type]
                assert row.answers[at] == reply.text
    finally:
        workbench.remove_adapter("one")


def test_an_evaluation_is_cancelled_at_once_and_can_be_started_again(workbench: Workbench) -> None:
    desk = workbench.evaluations
    evaluation_id = desk.start(spec_of(dataset="many.jsonl", sampling={"do_sample": False, "max_new_tokens": 60}))
    assert _until(lambda: desk.status(evaluation_id).phase == "answers" and desk.status(evaluation_id).done > 0)
    with pytest.raises(WorkbenchError, match="A01"):
        desk.start(spec_of())
    with pytest.raises(WorkbenchError, match="A04"):
        desk.delete(evaluation_id)
    with pytest.raises(WorkbenchError, match="A07"):
        workbench.unload_model()
    status = desk.status(evaluation_id)
    assert status.status == Status.RUNNING and status.total == 200 and status.eta_s is not None
    desk.cancel(evaluation_id)
    assert desk.wait(WAIT_S) and desk.status(evaluation_id).status == Status.STOPPED
    assert len(desk._store.answers_file(evaluation_id).read_text("utf-8").splitlines()) < 200
    with pytest.raises(WorkbenchError, match="A30"):
        desk.result(evaluation_id)
    new = desk.again(evaluation_id)
    desk.cancel(new)
    assert desk.wait(WAIT_S) and evaluation_id not in {each.id for each in desk.list()}
    assert desk.spec(new).dataset == "many.jsonl"
    judged = desk._store.new(spec_of(judge={"url": "http://127.0.0.1:9/v1", "model": "m"}))
    with pytest.raises(WorkbenchError, match="leaves this machine"):
        desk.again(judged)
    desk.delete(judged)
    desk.delete(new)
    assert new not in {each.id for each in desk.list()}


def test_one_whose_process_was_killed_is_shown_as_interrupted(workbench: Workbench) -> None:
    result = finished(workbench, spec_of(answers=False, fields=()))
    folder = workbench.workspace.evaluations / result.id
    (folder / RESULT_FILE).rename(folder / ".result.json.1-1.tmp")
    other = type(workbench.evaluations)(
        workbench.workspace, threading.RLock(), workbench.data, workbench.runs, workbench.serving.model
    )
    (found,) = [each for each in other.list() if each.id == result.id]
    assert (found.status.status, found.spec) == (Status.INTERRUPTED, read_spec(folder / "spec.yaml"))
    assert other.again(result.id) and other.wait(WAIT_S)
    assert result.id not in {each.id for each in other.list()}, "the finished one takes its place"


def test_what_goes_wrong_is_how_it_ended(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = workbench.evaluations
    for error, key in (
        (MemoryError(), "A20_out_of_memory_evaluating"),
        (OSError(28, "No space left on device"), "A14_cannot_write_evaluation"),
        (ZeroDivisionError(), "A24_evaluation_broke"),
    ):
        monkeypatch.setattr(procedure, "evaluate", _raising(error))
        evaluation_id = desk.start(spec_of())
        assert desk.wait(WAIT_S)
        status = desk.status(evaluation_id)
        assert (status.status, status.problem and status.problem.key) == (Status.FAILED, key)
        assert status.problem and status.problem.describe("zh").what
    monkeypatch.undo()
    evaluation_id = desk.start(spec_of(part="held_out"))
    assert desk.wait(WAIT_S)
    problem = desk.status(evaluation_id).problem
    assert problem and problem.key == "A03_nothing_held_out", "what only the rows show"


def _raising(error: Exception) -> Any:
    def fail(*_: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"base": "other"}, "A03_other_model"),
        ({"columns": ("", "gone")}, "M25_no_such_adapter"),
        ({"columns": ("", "run @ 7")}, "M25_no_such_adapter"),
        ({"dataset": "gone.jsonl"}, "A03_no_dataset"),
        ({"part": "held_out", "run_id": "gone"}, "A30_no_such_run"),
        ({"loss": False, "answers": False}, "H01_nothing_measured"),
        ({"columns": ("one", "one")}, "H01_column_twice"),
        ({"fields": ("speed",)}, "H01_pattern_groups"),
        ({"window": 513}, "H01_window_over_context"),
        ({"window": 508, "columns": ("tokens",)}, "H01_window_over_context"),  # 5 of the 512 are the adapter's
        ({"window": 64, "stride": 65}, "H01_stride_over_window"),
        ({"stride": 513}, "H01_stride_over_window"),
        ({"judge": {"url": "http://127.0.0.1:9", "model": "m"}, "answers": False}, "H01_judge_without_answers"),
        ({"judge": {"url": "ftp://x", "model": "m"}}, "H01_judge_url"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(
    workbench: Workbench, values: dict[str, Any], key: str
) -> None:
    before = workbench.evaluations.list()
    with pytest.raises(WorkbenchError) as caught:
        workbench.evaluations.start(spec_of(**values))
    assert caught.value.key == key
    assert workbench.evaluations.list() == before and workbench.evaluations.active() is None


def test_where_nothing_can_be_written_it_says_so_and_another_can_begin(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.evaluation.store.write_spec", _raising(OSError(28, "No space left on device")))
    with pytest.raises(WorkbenchError, match="A14"):
        workbench.evaluations.start(spec_of())
    assert workbench.evaluations.active() is None


def test_where_its_thread_cannot_begin_another_can(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def full(thread: threading.Thread) -> None:
        if thread.name.startswith("evaluation"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        with pytest.raises(RuntimeError):
            workbench.evaluations.start(spec_of())
    assert workbench.evaluations.active() is None
    finished(workbench, spec_of(answers=False, fields=()))


def test_without_a_model_it_says_so(workspace: Workspace) -> None:
    write_grades(workspace.datasets / "grades.jsonl", 10)
    with Workbench(workspace) as bare, pytest.raises(WorkbenchError, match="A03"):
        bare.evaluations.start(spec_of())


def test_the_parts_of_a_data_set_are_listed_with_their_rows(workbench: Workbench) -> None:
    parts = workbench.evaluations.parts("many.jsonl")
    assert [(part.part, part.run_id, part.rows) for part in parts] == [("held_out", None, 10), ("all", None, 100)]
    assert [part.part for part in workbench.evaluations.parts("grades.jsonl")] == ["all"]


def test_documents_have_a_loss_and_no_answers(workbench: Workbench) -> None:
    file = workbench.workspace.datasets / "text.jsonl"
    file.write_text("\n".join(json.dumps({"text": f"Story {n}. " * 30}) for n in range(3)), encoding="utf-8")
    result = finished(workbench, spec_of(dataset="text.jsonl", fields=()))
    assert result.columns[0].loss.rows == 3 and result.rows[0].answers == (None, None)
    assert result.rows[0].problems == ((), ())
    assert result.columns[0].loss.window_tokens == 512, "the context, which is shorter than 1,024"
    assert result_from_json(result_to_json(result)) == result


def test_the_windows_that_were_asked_for_are_those_that_are_measured(workbench: Workbench) -> None:
    file = workbench.workspace.datasets / "long.jsonl"
    file.write_text(json.dumps({"text": "Once upon a time there was a fox. " * 12}), encoding="utf-8")
    asked = spec_of(dataset="long.jsonl", fields=(), columns=("",), answers=False)
    losses = {}
    for window, stride in ((None, None), (32, None), (32, 8)):
        values = {"window": window, "stride": stride}
        losses[window, stride] = finished(workbench, asked.model_copy(update=values)).columns[0].loss
    assert [loss.window_tokens for loss in losses.values()] == [512, 32, 32]
    assert len({loss.tokens for loss in losses.values()}) == 1, "each token once"
    assert len({round(loss.loss, 6) for loss in losses.values()}) == 3
    lines = workbench.evaluations.overview()[:3]  # the newest first
    assert [(line.window_tokens, line.stride_tokens) for line in lines] == [(32, 8), (32, 32), (512, 512)]
    assert [line.loss for line in reversed(lines)] == [loss.loss for loss in losses.values()]


def test_what_cannot_be_read_is_left_out_of_the_overview(workbench: Workbench) -> None:
    desk, store = workbench.evaluations, workbench.workspace.evaluations
    before = desk.overview()
    kept = desk.start(spec_of(loss=False, columns=("one",), sampling={"do_sample": False, "max_new_tokens": 1}))
    assert desk.wait(WAIT_S)
    (line,) = desk.overview()[: len(desk.overview()) - len(before)]
    assert (line.model, line.adapter, line.dataset, line.part, line.rows) == ("tiny", "one", "grades.jsonl", "all", 10)
    assert (line.loss, line.perplexity, line.window_tokens, line.stride_tokens) == (None,) * 4
    damaged = store / f"{kept}-damaged"
    damaged.mkdir()
    (damaged / "spec.yaml").write_bytes((store / kept / "spec.yaml").read_bytes())
    (damaged / RESULT_FILE).write_text("{}")
    assert desk.overview() == [line, *before]
    desk.delete(kept)
    assert desk.overview() == before


def _until(holds: Any) -> bool:
    """Whether it comes to hold before the time is over."""
    ends = time.monotonic() + WAIT_S
    while not holds() and time.monotonic() < ends:
        threading.Event().wait(0.01)
    return bool(holds())
