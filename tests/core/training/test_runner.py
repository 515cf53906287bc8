"""The runner: one run at a time, stopped once, found again after a restart."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from core.errors import WorkbenchError
from core.i18n import LANGUAGES
from core.training import runner as runner_module
from core.training.events import EventLog, Failed, PhaseStarted, RunStarted, StepDone
from core.training.history import EVENTS_FILE, RunHistory, RunSummary
from core.training.progress import Snapshot, Status
from core.training.runner import Runner
from core.training.spec import RunSpec
from core.workspace import Workspace, discard
from tests.core.training.conftest import spec_of

WAIT_S = 60.0


@pytest.fixture
def runner(place: Workspace) -> Iterator[Runner]:
    made = Runner(place)
    yield made
    made.close()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A run that waits at its first phase until the event is set; `begun` on it says that it is there."""
    from core.training import run

    release, begun = threading.Event(), threading.Event()
    read_data = run.read_data

    def waits(*args: Any) -> Any:
        begun.set()
        assert release.wait(WAIT_S)
        return read_data(*args)

    monkeypatch.setattr(run, "read_data", waits)
    release.begun = begun  # type: ignore[attr-defined]
    yield release
    release.set()


def small(**changes: Any) -> RunSpec:
    return spec_of(**{**changes, "training": {"epochs": 1, "evaluations": 1, **changes.get("training", {})}})


def test_a_run_goes_on_in_the_background_and_is_in_the_history_after_a_restart(
    runner: Runner, place: Workspace, loaded: Any
) -> None:
    run_id = runner.start(small(), loaded, "Ada")
    assert runner.active() in (run_id, None)
    assert runner.wait(WAIT_S)
    assert runner.active() is None
    again = Runner(place)
    snapshot = again.snapshot(run_id)
    assert (snapshot.status, snapshot.adapter, snapshot.steps) == (Status.FINISHED, "colors", 2)
    assert len(snapshot.losses) == 2
    (summary,) = again.runs()
    assert (summary.run_id, summary.name, summary.started_by, summary.step) == (run_id, "colors", "Ada", 2)
    assert summary.train_loss == pytest.approx(sum(loss for _, loss in snapshot.losses) / 2)
    assert (summary.method, summary.sparkline) == ("lora", snapshot.losses)
    assert summary.bytes == sum(file.stat().st_size for file in (place.runs / run_id).rglob("*") if file.is_file())
    assert again.spec(run_id).training.max_length is not None
    checkpoint = again.latest_checkpoint(run_id)
    assert checkpoint is not None and checkpoint.step == 2


def test_of_two_starts_at_once_exactly_one_runs_and_the_other_hears_of_it(
    runner: Runner, loaded: Any, held: threading.Event
) -> None:
    together, outcomes = threading.Barrier(4), []

    def start(number: int) -> None:
        together.wait(WAIT_S)
        try:
            outcomes.append(runner.start(small(name=f"run-{number}"), loaded, "Ada"))
        except WorkbenchError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    refused = [outcome for outcome in outcomes if isinstance(outcome, WorkbenchError)]
    assert len(refused) == 3
    for error in refused:
        assert error.code == "A01"
        assert all("“run-" in error.describe(lang) for lang in LANGUAGES)
    assert [summary.run_id for summary in runner.runs()] == [runner.active()]
    held.set()
    assert runner.wait(WAIT_S)
    assert runner.runs()[0].status == Status.FINISHED


def test_a_stop_is_shown_at_once_and_asking_again_changes_nothing(
    runner: Runner, place: Workspace, loaded: Any, held: threading.Event
) -> None:
    run_id = runner.start(small(), loaded)
    assert held.begun.wait(WAIT_S)  # type: ignore[attr-defined]  # stopped before, it would end at once
    runner.stop(run_id, keep=True)
    runner.stop(run_id, keep=False)
    version = runner.snapshot(run_id).version
    assert runner.snapshot(run_id).status == Status.STOPPING
    runner.stop(run_id)
    assert runner.snapshot(run_id).version == version
    held.set()
    assert runner.wait(WAIT_S)
    ended = runner.snapshot(run_id)
    assert (ended.status, ended.stop_reason, ended.keep_asked) == (Status.STOPPED, "asked", True)
    runner.stop(run_id)
    assert runner.snapshot(run_id) == ended


def test_a_run_that_was_killed_shows_as_interrupted_with_its_history(runner: Runner, place: Workspace) -> None:
    folder = RunHistory(place).new_folder()
    log = EventLog(folder / EVENTS_FILE)
    created = psutil.Process().create_time()
    log.append(RunStarted(folder.name, "a", "tiny", "d", "", "2026-01-01T00:00:00+00:00", os.getpid(), created))
    log.append(PhaseStarted("training", 1.0))
    log.append(StepDone(1, 0.5, 2.0, 1.0, 1e-4, 10, 1.0, 1.0, 2.0))
    with log.path.open("a") as file:
        file.write('{"event": "StepDo')
    snapshot = runner.snapshot(folder.name)
    assert (snapshot.status, snapshot.losses, snapshot.eta_s) == (Status.INTERRUPTED, ((1, 2.0),), None)
    assert runner.runs()[0].status == Status.INTERRUPTED
    discard(runner.put_away(folder.name))
    assert not folder.exists()


@pytest.mark.parametrize(("started", "status"), [(0.0, Status.RUNNING), (-100.0, Status.INTERRUPTED)])
def test_a_run_of_another_process_goes_on_as_long_as_that_process_lives(
    runner: Runner, place: Workspace, started: float, status: Status
) -> None:
    parent = psutil.Process(os.getppid())
    folder = RunHistory(place).new_folder()
    log = EventLog(folder / EVENTS_FILE)
    log.append(RunStarted(folder.name, "a", "tiny", "d", "", "", parent.pid, parent.create_time() + started))
    log.append(PhaseStarted("training", 1.0))
    assert runner.snapshot(folder.name).status == status


def test_a_run_is_in_the_history_before_its_first_event(
    runner: Runner, loaded: Any, hold_first: threading.Event
) -> None:
    run_id = runner.start(small(), loaded)
    assert [(summary.run_id, summary.status) for summary in runner.runs()] == [(run_id, Status.QUEUED)]
    runner.stop(run_id)
    assert runner.snapshot(run_id).status == Status.STOPPING
    hold_first.set()
    assert runner.wait(WAIT_S)
    assert runner.snapshot(run_id).status == Status.STOPPED


@pytest.fixture
def hold_first(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A run that waits before it says anything, until the event is set."""
    from core.training import run

    release, started = threading.Event(), run._started

    def waits(*args: Any) -> Any:
        assert release.wait(WAIT_S)
        return started(*args)

    monkeypatch.setattr(run, "_started", waits)
    yield release
    release.set()


def test_a_run_is_not_deleted_while_it_goes_on(runner: Runner, loaded: Any, held: threading.Event) -> None:
    run_id = runner.start(small(), loaded)
    with pytest.raises(WorkbenchError) as caught:
        runner.put_away(run_id)
    assert caught.value.code == "A04"
    held.set()
    assert runner.wait(WAIT_S)
    discard(runner.put_away(run_id))
    assert runner.runs() == []


@pytest.mark.parametrize("call", ["snapshot", "stop", "put_away", "spec", "latest_checkpoint"])
@pytest.mark.parametrize("run_id", ["none", "../loras", "", "/etc"])
def test_an_unknown_run_is_refused_and_no_path_is_made_of_its_name(runner: Runner, call: str, run_id: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        getattr(runner, call)(run_id)
    assert caught.value.key == "A30_no_such_run"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"dataset": "none.jsonl"}, "A03_no_dataset"),
        ({"base": "other"}, "A07_other_base_loaded"),
        ({"name": "a/b"}, "D42_name_not_allowed"),
    ],
)
def test_what_the_spec_alone_shows_is_refused_at_the_start_and_leaves_no_run(
    runner: Runner, loaded: Any, changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(WorkbenchError) as caught:
        runner.start(small(**changes), loaded)
    assert caught.value.key == key
    assert runner.active() is None and runner.runs() == []


def test_a_name_that_an_adapter_has_is_refused(runner: Runner, loaded: Any) -> None:
    runner.start(small(), loaded)
    assert runner.wait(WAIT_S)
    with pytest.raises(WorkbenchError) as caught:
        runner.start(small(), loaded)
    assert caught.value.code == "M25"


@pytest.mark.parametrize("breaks", ["read_data", "_started"])
def test_after_a_run_that_broke_the_next_one_starts(
    runner: Runner, loaded: Any, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(f"core.training.run.{breaks}", broken)
        failed = runner.start(small(), loaded)
        assert runner.wait(WAIT_S)
    assert runner.snapshot(failed).status == (Status.FAILED if breaks == "read_data" else Status.INTERRUPTED)
    runner.start(small(), loaded)
    assert runner.wait(WAIT_S)
    assert runner.runs()[0].status == Status.FINISHED


def test_a_run_whose_thread_breaks_at_once_or_never_starts_is_not_in_the_way(
    runner: Runner, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as patch:
        patch.setattr("core.training.run.RunContext", broken)
        runner.start(small(), loaded)
        assert runner.wait(WAIT_S)
    assert runner.active() is None
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", broken)
        with pytest.raises(RuntimeError):
            runner.start(small(), loaded)
    assert runner.active() is None and runner.runs() == []
    runner.start(small(), loaded)
    assert runner.wait(WAIT_S)
    assert runner.runs()[0].status == Status.FINISHED


def test_as_soon_as_a_run_shows_its_end_the_next_one_can_start(
    runner: Runner, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.training import run

    leave, shown = threading.Event(), threading.Event()
    run_training = run.run_training

    def lingers(*args: Any) -> Any:
        end = run_training(*args)
        shown.set()
        assert leave.wait(WAIT_S)
        return end

    monkeypatch.setattr(run, "run_training", lingers)
    first = runner.start(small(), loaded)
    assert shown.wait(WAIT_S)
    assert runner.snapshot(first).status == Status.FINISHED
    assert runner.active() is None
    threading.Timer(0.1, leave.set).start()
    second = runner.start(small(name="second"), loaded)
    assert runner.wait(WAIT_S)
    assert runner.snapshot(second).status == Status.FINISHED


def test_a_stop_that_cannot_be_written_down_stops_all_the_same(
    runner: Runner, loaded: Any, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = runner.start(small(), loaded)
    assert held.begun.wait(WAIT_S)  # type: ignore[attr-defined]

    def full(self: EventLog, event: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "append", full)
        runner.stop(run_id)
    assert runner.snapshot(run_id).status == Status.STOPPING
    held.set()
    assert runner.wait(WAIT_S)
    assert runner.snapshot(run_id).status == Status.STOPPED


def test_closing_stops_the_run_and_keeps_what_it_learned(runner: Runner, place: Workspace, loaded: Any) -> None:
    training: dict[str, Any] = {"epochs": 1000, "evaluations": 0}
    run_id = runner.start(spec_of(training=training), loaded)
    seen = _wait_for_step(runner, run_id)
    assert seen.status == Status.RUNNING
    runner.close()
    ended = runner.snapshot(run_id)
    assert (ended.status, ended.adapter) == (Status.STOPPED, "colors")
    assert ended.kept_step == ended.step == ended.checkpoint_step


def test_closing_waits_for_a_save_that_takes_its_time_and_says_so_once(
    runner: Runner, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.training import run

    monkeypatch.setattr(runner_module, "MOMENT_S", 0.0)
    monkeypatch.setattr(runner_module, "WAKES_S", 0.01)
    keep_result, told, waited = run.keep_result, threading.Event(), []

    def slowly(*args: Any) -> str:
        assert told.wait(WAIT_S)
        time.sleep(20 * runner_module.WAKES_S)
        return keep_result(*args)

    def on_wait() -> None:
        waited.append(runner.active())
        told.set()

    monkeypatch.setattr(run, "keep_result", slowly)
    run_id = runner.start(spec_of(training={"epochs": 1000, "evaluations": 0}), loaded)
    _wait_for_step(runner, run_id)
    runner.close(on_wait)
    ended = runner.snapshot(run_id)
    assert (ended.status, ended.adapter, waited) == (Status.STOPPED, "colors", [run_id])


def test_closing_says_nothing_where_nothing_goes_on(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "MOMENT_S", 0.0)
    runner.close(lambda: pytest.fail("there is nothing to wait for"))


def _wait_for_step(runner: Runner, run_id: str) -> Any:
    """The first snapshot with a step; the run's own events are what is waited for."""
    reached = threading.Event()
    emit = runner._emit

    def watching(active: Any, event: Any) -> None:
        emit(active, event)
        if isinstance(event, StepDone | Failed):
            reached.set()

    runner._emit = watching  # type: ignore[method-assign]
    assert runner.snapshot(run_id).step or reached.wait(WAIT_S)
    return runner.snapshot(run_id)


def test_run_ids_sort_by_time_and_are_never_the_same(place: Workspace) -> None:
    history = RunHistory(place)
    made = [history.new_folder().name for _ in range(20)]
    assert made == sorted(set(made))
    assert history.ids() == made[::-1]


def test_a_long_curve_is_thinned_for_the_list() -> None:
    losses = tuple((step, float(step)) for step in range(1, 101))
    points = RunSummary.of(Snapshot(losses=losses)).sparkline
    assert len(points) == 40 and points[-1] == (100, 99.0)
    assert sum(loss for _, loss in points) / 40 == pytest.approx(50.5, abs=1)
    assert RunSummary.of(Snapshot(losses=losses[:40])).sparkline == losses[:40]
    assert RunSummary.of(Snapshot()).sparkline == ()


def test_a_broken_run_folder_does_not_hide_the_others(
    runner: Runner, place: Workspace, make_runs: Callable[[], None]
) -> None:
    make_runs()
    (place.runs / "zzz" / EVENTS_FILE).mkdir(parents=True)
    assert [summary.name for summary in runner.runs()] == ["a"]


@pytest.fixture
def make_runs(place: Workspace) -> Callable[[], None]:
    def make() -> None:
        folder = RunHistory(place).new_folder()
        EventLog(folder / EVENTS_FILE).append(RunStarted(folder.name, "a", "tiny", "d", "", "", os.getpid(), 0.0))

    return make
