"""The queue: runs that wait begin one after the other, in the order a person gave them, also after a restart."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.data.datasets import DatasetInfo
from core.errors import WorkbenchError, refusal
from core.models import precision
from core.models.precision import Hardware
from core.settings import LoadSettings
from core.training.desk import RunDesk
from core.training.events import Event, EventLog, Finished, RunStarted, Stopped, StopReason
from core.training.progress import Snapshot, Status
from core.training.queue import MAX_QUEUED, Entry, QueueState, RunQueue
from core.training.runner import Runner
from core.training.spec import RunSpec
from core.workspace import Workspace, write_json
from tests.core.training.conftest import spec_of, write_rows

WAIT_S = 60.0


class Desk(RunDesk):
    """A desk whose base model the test chooses; `idle` is set when a run has ended and nothing follows it."""

    def __init__(self, workspace: Workspace, loaded: Any) -> None:
        self.model = loaded
        self.asked: list[tuple[str, str]] = []
        self.idle = threading.Event()
        super().__init__(workspace, threading.RLock(), lambda: self.model, self.put)

    def put(self, name: str, settings: LoadSettings, report: Any = None) -> None:
        self.asked.append((name, settings.precision))
        self.model = replace(self.model, info=replace(self.model.info, name=name))
        self.advance()

    def _after_a_run(self, ended: Snapshot) -> None:
        super()._after_a_run(ended)
        with self._exclusive:  # the next run may have ended already, and the one after it not yet begun
            if not self._runner.busy() and self.queue().next_run is None:
                self.idle.set()

    def order(self) -> list[str]:
        return [run.name for run in self.queue().runs]

    def statuses(self) -> dict[str, str]:
        return {run.name: run.status.value for run in self.list()}

    def id_of(self, name: str) -> str:
        return next(run.run_id for run in self.list() if run.name == name)


class Gate:
    """Stands in for training: a run that has begun is there until it is let go or asked to stop."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._may_end: dict[str, StopReason | None] = {}
        self._all = False
        self.began: list[str] = []

    def carry_out(self, runner: Runner, active: Any, spec: RunSpec) -> None:
        runner._emit(active, RunStarted(active.run_id, spec.name, spec.base, spec.dataset, "", "", 1, 1.0))
        with self._changed:
            self.began.append(spec.name)
            self._changed.notify_all()
            through = lambda: self._all or active.stop.asked or spec.name in self._may_end  # noqa: E731
            while not through():
                self._changed.wait(0.05)  # a stop is not told here
        reason = "asked" if active.stop.asked else self._may_end.get(spec.name)
        end: Event = Stopped(reason, None, 0, 1.0) if reason else Finished(spec.name, 1, 1.0)
        runner._emit(active, end)

    def let_go(self, name: str, reason: StopReason | None = None) -> None:
        with self._changed:
            self._may_end[name] = reason
            self._changed.notify_all()

    def wait_for(self, *names: str) -> None:
        """Until these runs have begun, in this order, and no other."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.began) >= len(names), WAIT_S)
        assert self.began == list(names)

    def open(self) -> None:
        with self._changed:
            self._all = True
            self._changed.notify_all()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()

    def train(runner: Runner, active: Any, spec: RunSpec, *_: Any) -> None:
        made.carry_out(runner, active, spec)

    monkeypatch.setattr(Runner, "_train", train)
    yield made
    made.open()


@pytest.fixture
def desk(place: Workspace, loaded: Any) -> Iterator[Desk]:
    made = Desk(place, loaded)
    yield made
    made.close()
    assert made.wait(WAIT_S)


def named(*names: str, **changes: Any) -> list[RunSpec]:
    return [spec_of(name=name, **changes) for name in names]


def test_runs_wait_and_begin_one_after_the_other(desk: Desk, gate: Gate) -> None:
    desk.enqueue(named("a", "b", "c"), started_by="Ada", repeats="run-0")
    gate.wait_for("a")
    assert desk.statuses() == {"a": "preparing", "b": "queued", "c": "queued"}
    state = desk.queue()
    assert (state.waiting, state.active, state.next_run) == ("run", desk.id_of("a"), desk.id_of("b"))
    waiting = desk.snapshot(desk.id_of("b"))
    assert (waiting.status, waiting.started_by, waiting.repeats) == (Status.QUEUED, "Ada", "run-0")
    assert (waiting.base, waiting.dataset, waiting.method) == ("tiny", "colors.jsonl", "lora")
    for name, begun in (("a", "ab"), ("b", "abc")):
        gate.let_go(name)
        gate.wait_for(*begun)
    gate.let_go("c")
    assert desk.idle.wait(WAIT_S)
    assert desk.queue() == QueueState()
    assert set(desk.statuses().values()) == {"finished"}


def test_the_order_is_the_persons(desk: Desk, gate: Gate) -> None:
    desk.enqueue(named("a", "b", "c", "d"))
    gate.wait_for("a")
    desk.move(desk.id_of("d"), 0)
    desk.move(desk.id_of("b"), 99)
    desk.move(desk.id_of("c"), -5)
    desk.move("gone", 0)
    assert desk.order() == ["c", "d", "b"]
    folder = desk._workspace.runs / desk.id_of("d")
    desk.cancel(desk.id_of("d"))
    desk.cancel(folder.name)
    assert desk.order() == ["c", "b"] and not folder.exists()
    gate.let_go("a")
    gate.wait_for("a", "c")


def test_a_run_that_is_stopped_makes_way_and_is_resumed_in_its_turn(desk: Desk, gate: Gate) -> None:
    desk.enqueue(named("a", "b"))
    gate.wait_for("a")
    first = desk.id_of("a")
    with pytest.raises(WorkbenchError, match="A01"):
        desk.resume(first)
    desk.stop(first, keep=True)
    gate.wait_for("a", "b")
    assert desk.resume(first) is False
    assert [(run.name, run.resumes_from) for run in desk.queue().runs] == [("a", 0)]
    assert desk.snapshot(first).status is Status.QUEUED
    for call, code in ((desk.resume, "A01"), (desk.delete, "A04")):
        with pytest.raises(WorkbenchError, match=code):
            call(first)
    desk.cancel(first)
    assert desk.snapshot(first).status is Status.STOPPED
    desk.resume(first)
    gate.let_go("b")
    gate.wait_for("a", "b", "a")


def test_after_a_restart_the_queue_waits_for_somebody(place: Workspace, loaded: Any, gate: Gate) -> None:
    with_one = Desk(place, loaded)
    with_one.enqueue(named("a", "b", "c"))
    gate.wait_for("a")
    with_one.move(with_one.id_of("c"), 0)
    with_one.close()
    assert gate.began == ["a"], "closing begins nothing"
    again = Desk(place, loaded)
    assert (again.order(), again.queue().waiting, again.queue().next_run) == (["c", "b"], "on_hold", None)
    again.put("tiny", LoadSettings())
    again.enqueue(named("d"))
    assert gate.began == ["a"]
    again.start_queue()
    gate.wait_for("a", "c")
    gate.open()
    assert again.idle.wait(WAIT_S)
    assert gate.began == ["a", "c", "b", "d"]


def test_a_run_for_another_base_waits_while_others_begin(desk: Desk, place: Workspace, gate: Gate) -> None:
    shutil.copytree(place.models / "tiny", place.models / "other")
    desk.enqueue([*named("a"), *named("far", "quantised", base="other"), *named("b")])
    desk.enqueue(named("eight", load={"precision": "int8"}))
    gate.wait_for("a")
    assert [run.fits for run in desk.queue().runs] == [False, False, True, False]
    gate.let_go("a")
    gate.wait_for("a", "b")
    gate.let_go("b")
    assert desk.idle.wait(WAIT_S)
    state = desk.queue()
    assert (desk.order(), state.waiting, state.next_run) == (["far", "quantised", "eight"], "model", None)
    desk.begin(desk.id_of("quantised"))
    gate.wait_for("a", "b", "quantised")
    assert desk.asked == [("other", "auto")]
    with pytest.raises(WorkbenchError, match="A01"):
        desk.begin(desk.id_of("eight"))
    gate.let_go("quantised")
    gate.wait_for("a", "b", "quantised", "far")
    with pytest.raises(WorkbenchError, match="A01"):
        desk.begin("gone")


def test_a_run_whose_precision_there_is_not_here_begins_on_the_one_that_there_is(
    desk: Desk, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "this_hardware", lambda: Hardware("cpu", "CPU", bf16=False, fp16=False))
    model, desk.model = desk.model, None
    desk.enqueue(named("half", load={"precision": "fp16"}))
    desk.model = model
    assert desk.queue().runs[0].fits
    desk.advance()
    gate.wait_for("half")


def test_while_the_base_of_a_wanted_run_is_loaded_no_other_run_begins_on_it(
    desk: Desk, place: Workspace, gate: Gate
) -> None:
    shutil.copytree(place.models / "tiny", place.models / "other")
    desk.enqueue(named("wanted", "first", base="other"))

    def load(*asked: Any) -> None:
        desk.move(desk.id_of("first"), 0)  # by somebody else
        desk.put(*asked)

    desk._load = load
    desk.begin(desk.id_of("wanted"))
    gate.wait_for("wanted")
    gate.let_go("wanted")
    gate.wait_for("wanted", "first")
    assert desk.statuses()["wanted"] == "finished"


def test_after_a_wanted_run_that_cannot_begin_the_next_one_does(
    desk: Desk, place: Workspace, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(place.models / "tiny", place.models / "other")
    wanted, _ = desk.enqueue(named("wanted", "next", base="other"))
    begin = Runner.begin

    def refused(runner: Runner, run_id: str, model: Any) -> None:
        if run_id == wanted:
            raise refusal("A03_no_model")
        begin(runner, run_id, model)

    monkeypatch.setattr(Runner, "begin", refused)
    desk.begin(wanted)
    gate.wait_for("next")
    assert desk.statuses()["wanted"] == "failed"


def test_a_run_that_was_loaded_for_begins_by_itself(desk: Desk, gate: Gate) -> None:
    model, desk.model = desk.model, None
    desk.enqueue(named("a"))
    assert (desk.queue().waiting, gate.began) == ("model", [])
    desk.model = model
    desk.advance()
    gate.wait_for("a")


def test_a_full_disk_puts_the_queue_on_hold(desk: Desk, gate: Gate) -> None:
    desk.enqueue(named("a", "b"))
    gate.wait_for("a")
    gate.let_go("a", "disk_full")
    assert desk.idle.wait(WAIT_S)
    assert (desk.order(), desk.queue().waiting) == (["b"], "on_hold")
    desk.begin(desk.id_of("b"))
    gate.wait_for("a", "b")


def test_a_run_whose_data_has_changed_fails_in_words_and_the_next_one_trains(desk: Desk, place: Workspace) -> None:
    write_rows(place, 20, "other.jsonl")
    small = {"training": {"epochs": 1, "evaluations": 0}}
    model, desk.model = desk.model, None
    desk.enqueue([*named("changed", dataset="other.jsonl", **small), *named("whole", **small)])
    assert desk.spec(desk.id_of("whole")).dataset_sha256 is not None
    write_rows(place, 21, "other.jsonl")
    desk.model = model
    desk.advance()
    assert desk.idle.wait(WAIT_S)
    failed, whole = desk.snapshot(desk.id_of("changed")), desk.snapshot(desk.id_of("whole"))
    assert (failed.status, [problem.code for problem in failed.problems]) == (Status.FAILED, ["D45"])
    assert (whole.status, whole.adapter, whole.step) == (Status.FINISHED, "whole", 2)


def test_a_run_that_cannot_even_begin_says_why_and_the_next_one_does(desk: Desk, place: Workspace, gate: Gate) -> None:
    desk.enqueue(named("a", "damaged", "c"))
    gate.wait_for("a")
    damaged = desk.id_of("damaged")
    (place.runs / damaged / "spec.yaml").write_text("name: [")
    gate.let_go("a")
    gate.wait_for("a", "c")
    assert desk.snapshot(damaged).status is Status.FAILED
    assert desk.snapshot(damaged).problems[0].code == "H01"


def test_what_waits_is_checked_all_at_once_and_its_names_are_taken(desk: Desk, place: Workspace, gate: Gate) -> None:
    for specs, code in (
        (named("x", "x"), "M25"),
        ([*named("x"), *named("y", dataset="none.jsonl")], "A03"),
        (named("x", base="absent"), "M01"),
        (named("x", dataset_sha256="0" * 64), "D45"),
        (named("x", start_from={"adapter": "none"}), "M25"),
        (named("x", training={"optimizer": "adamw_schedule_free"}), "H12"),  # with the usual schedule
    ):
        model, desk.model = desk.model, None if code == "M01" else desk.model
        for refusing in (desk.enqueue, desk.admitted):
            with pytest.raises(WorkbenchError, match=code):
                refusing(specs)
        desk.model = model
        assert desk.list() == []
    assert [spec.name for spec in desk.admitted(named("a", "b"))] == ["a", "b"] and desk.list() == []
    desk.enqueue(named("a", "b"))
    gate.wait_for("a")
    for name in ("a", "B"):
        with pytest.raises(WorkbenchError, match="M25"):
            desk.enqueue(named(name))
    assert set(desk.promised_names()) == {"a", "b"}
    assert desk.user_of_dataset("colors.jsonl") == "a"
    desk.stop(desk.id_of("a"), keep=False)


def test_the_queue_has_64_places(tmp_path: Path) -> None:
    write_json(tmp_path / "queue.json", [vars(Entry(f"run-{number}")) for number in range(MAX_QUEUED - 1)])
    queue = RunQueue(tmp_path / "queue.json", lambda entry: True)
    with pytest.raises(WorkbenchError, match="A27"):
        queue.check_room(2)
    queue.add(Entry("last"))
    with pytest.raises(WorkbenchError, match="A27"):
        queue.add(Entry("one-too-many"))
    assert (len(queue.entries), MAX_QUEUED) == (64, 64)


def test_runs_that_do_not_all_find_a_place_are_not_queued(
    desk: Desk, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.training.queue.MAX_QUEUED", 2)
    with pytest.raises(WorkbenchError, match="A27"):
        desk.enqueue(named("a", "b", "c"))
    assert desk.list() == [] and gate.began == []


def test_the_data_of_many_runs_is_read_once(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, whole_hash, read = Desk(place, None), vars(DatasetInfo)["sha256"].func, []

    def counted(info: DatasetInfo) -> str:
        read.append(info.name)
        return str(whole_hash(info))

    monkeypatch.setattr(DatasetInfo, "sha256", property(counted))
    desk.enqueue(named("a", "b", "c"))
    assert read == ["colors.jsonl"]
    write_rows(place, 21)
    desk.enqueue(named("d"))
    assert read == ["colors.jsonl"] * 2
    assert desk.spec(desk.id_of("d")).dataset_sha256 != desk.spec(desk.id_of("a")).dataset_sha256


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'[{"run_id": 1}]', b'{"a": 1}', b"\xff"])
def test_a_damaged_order_loses_no_run(place: Workspace, loaded: Any, content: bytes) -> None:
    desk = Desk(place, None)
    desk.enqueue(named("a"))
    (place.state / "queue.json").write_bytes(content)
    again = Desk(place, loaded)
    assert again.order() == []
    assert again.statuses() == {"a": "interrupted"}
    assert again.resumption(again.id_of("a")).step == 0


def test_a_run_that_is_gone_or_has_finished_meanwhile_waits_no_more(place: Workspace, loaded: Any) -> None:
    runner = Runner(place)
    run_id = runner.prepare(spec_of(name="a"))
    EventLog(place.runs / run_id / "events.jsonl").append(Finished("a", 5, 1.0))
    write_json(place.state / "queue.json", [vars(Entry(each, resumes=True)) for each in ("gone", run_id)])
    desk = Desk(place, loaded)
    desk.start_queue()
    assert (desk.order(), list(desk.promised_names()), desk.statuses()) == ([], [], {"a": "finished"})


def test_what_waits_no_more_is_left_out_when_the_order_is_read(tmp_path: Path) -> None:
    queue = RunQueue(tmp_path / "queue.json", lambda entry: True)
    for entry in (Entry("a"), Entry("b", resumes=True, accepts_changes=True), Entry("c")):
        queue.add(entry)
    again = RunQueue(tmp_path / "queue.json", lambda entry: entry.run_id != "a")
    assert again.entries == (Entry("b", resumes=True, accepts_changes=True), Entry("c"))


def test_a_full_disk_neither_queues_nor_keeps_in_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = RunQueue(tmp_path / "queue.json", lambda entry: True)
    queue.add(Entry("a"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.training.queue.write_json", full)
    with pytest.raises(OSError, match="space"):
        queue.add(Entry("b"))
    assert queue.entries == (Entry("a"),)
    assert queue.remove("a") == Entry("a")
    assert queue.entries == ()
