"""A process that starts and resumes runs in forks of itself, each of which may be killed or refused the disk.

Importing torch takes seconds, a fork none. An order is one line of JSON:

    spec | run_id     what `spec_of` takes, to start a run; the id of the one to resume
    moment            before which of its moments the fork is struck: each operation that changes the disk (open, write,
                      fsync, rename, mkdir, unlink) and each step that is told; null or absent: never
    since, until      the events between which moments count: "begin", "step", "saving", "end"
    error             struck how: an errno that the disk answers with; absent: SIGKILL
    lasting           whether every later moment is struck as well
    after_s           SIGKILL from outside after so many seconds
    before            how many other runs this process made before
    file_limit        how many bytes a file may have, by order of the system itself
    command           arguments of `app.py`, which the fork becomes; `serve`: the spec of a run that its server starts
    signals           for a command: what it is sent at which events, in order: [["step", 15], ["saving", 2]]
    stays_s           for a command: for how many seconds its run goes no further after the last signal
    says              for a command: the file that gets what it says on standard error; before those seconds its run
                      goes no further until it has said that it waits for it

It answers with a line once the fork is gone: run_id, killed, code (its exit status), moments (how many there
were), status, reason and problems of the run as the fork showed it last; left_s, from the last signal to its end;
returned, where a command came to an end of its own.

    python -m tests.core.training.victims DATA_DIR
"""

from __future__ import annotations

import builtins
import gc
import io
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import app
from core import workspace
from core.models.catalog import find_model
from core.models.loader import load
from core.settings import LoadSettings
from core.training import runner as training_runner
from core.training import samples
from core.training.events import END_EVENTS, Event, PhaseStarted, StepDone
from core.training.runner import Runner
from core.workbench import Workbench
from core.workspace import Workspace, discard
from tests.core.training.conftest import spec_of

WAIT_S = 120.0
BUFFER_BYTES = 2**17
Order = dict[str, Any]


def main(root: str) -> None:
    torch.set_num_threads(1)
    samples.SAMPLE_TOKENS = 2
    training_runner.MOMENT_S = 0.2
    place = Workspace(Path(root))
    loaded = load(find_model(place, "tiny"), LoadSettings(precision="fp32"))
    warm_up(place, loaded)
    for line in sys.stdin:
        answer = carry_out(json.loads(line), place, loaded)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def warm_up(place: Workspace, loaded: Any) -> None:
    """Import and prepare all that the first run of a process does, and keep the collector of garbage away from it."""
    one_more(place, loaded, "warm-up")
    gc.collect()
    gc.freeze()
    gc.disable()


def one_more(place: Workspace, loaded: Any, name: str, **changes: Any) -> None:
    runner = Runner(place)
    run_id = runner.start(spec_of(name=name, **{"training": {"epochs": 1, "evaluations": 1}, **changes}), loaded)
    assert runner.wait(WAIT_S)
    discard(runner.put_away(run_id))


def carry_out(order: Order, place: Workspace, loaded: Any) -> dict[str, Any]:
    """Let a fork do it; what it said of itself and how it went."""
    before = {entry.name for entry in place.runs.iterdir()}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # a fork's pool is made anew by the first who asks, which threads must not do together
        os._exit(command(order, place, writing) if "command" in order else live(order, place, loaded, writing))
    os.close(writing)
    timer = threading.Timer(order["after_s"], os.kill, (child, signal.SIGKILL)) if order.get("after_s") else None
    if timer:
        timer.start()
    with os.fdopen(reading) as told:
        lines = [json.loads(line) for line in told.read().splitlines()]
    _, status = os.waitpid(child, 0)  # before it, the number of the child is nobody else's
    if timer:
        timer.cancel()
        timer.join()
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL) or "command" in order, f"the fork ended with status {code}"
    made = {entry.name for entry in place.runs.iterdir()} - before
    said = {name: value for line in lines for name, value in line.items()}
    if "signalled" in said:
        said["left_s"] = time.monotonic() - said.pop("signalled")
    run_id = order.get("run_id") or max(made, default=None)
    return {"run_id": run_id, "killed": code == -signal.SIGKILL, "code": code, **said}


def live(order: Order, place: Workspace, loaded: Any, told: int) -> int:
    """The fork's whole life."""
    for number in range(order.get("before") or 0):
        one_more(place, loaded, f"before-{number}", method={"dropout": 0.3}, training={"seed": number, "epochs": 1})
    if order.get("file_limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_limit"], resource.RLIM_INFINITY))
    runner = Runner(place)
    moments = Moments(order)
    watch_events(runner, moments)
    watch_disk(moments.next)
    if "run_id" in order:
        runner.resume(order["run_id"], loaded)
        run_id = order["run_id"]
    else:
        run_id = runner.start(spec_of(**order["spec"]), loaded)
    assert runner.wait(WAIT_S)
    moments.over = True
    shown = runner.snapshot(run_id)
    problems = [problem.key for problem in shown.problems]
    said = {"run_id": run_id, "moments": moments.count, "status": shown.status, "reason": shown.stop_reason}
    os.write(told, json.dumps({**said, "problems": problems, "reference": shown.reference}).encode() + b"\n")
    return 0


def command(order: Order, place: Workspace, told: int) -> int:
    """The fork's whole life as `app.py`, in which its run sends it signals."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if order.get("says"):
        os.dup2(os.open(order["says"], os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests in the background inherit as ignored,
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and this one under `nohup`
    signals, emit, close, told_why = list(order["signals"]), Runner._emit, Runner.close, threading.Event()

    def watched(self: Runner, active: Any, event: Any) -> None:
        emit(self, active, event)
        if signals and mark_of(event) == signals[0][0]:
            os.write(told, json.dumps({"signalled": time.monotonic()}).encode() + b"\n")
            os.kill(os.getpid(), signals.pop(0)[1])
            if not signals:
                if order.get("says"):
                    told_why.wait(WAIT_S)
                time.sleep(order.get("stays_s", 0.0))  # something that takes its time

    def telling(self: Runner, on_wait: Callable[[], None] = lambda: None) -> None:
        def tell() -> None:
            on_wait()
            told_why.set()

        close(self, tell)

    Runner._emit = watched  # type: ignore[method-assign]
    Runner.close = telling  # type: ignore[method-assign]
    if "serve" in order:
        Workbench.load_at_start = lambda bench, name: serving(bench, order["serve"])  # type: ignore[method-assign,misc,assignment]
    try:
        code = app.main([*order["command"], "--data-dir", str(place.root)])
    except SystemExit as left:
        code = int(left.code or 0)
    os.write(told, json.dumps({"returned": True}).encode() + b"\n")
    return code


def serving(bench: Workbench, spec: dict[str, Any]) -> None:
    """What somebody does on the page: load the model and start a run."""
    bench.load_model("tiny", LoadSettings(precision="fp32"))
    bench.runs.start(spec_of(**spec))


def mark_of(event: Event) -> str:
    """What orders call an event."""
    if isinstance(event, PhaseStarted):
        return event.phase
    return "step" if isinstance(event, StepDone) else "end" if isinstance(event, END_EVENTS) else ""


@dataclass
class Moments:
    """Counts moments, and strikes at the one that was ordered."""

    order: Order
    count: int = 0
    counting: bool = False
    over: bool = False

    def __post_init__(self) -> None:
        self.counting = self.order.get("since", "begin") == "begin"

    def saw(self, event: Event) -> None:
        """Begin or end counting at an event."""
        mark = mark_of(event)
        if self.counting and mark == self.order.get("until"):
            self.counting, self.over = False, True
        elif not self.over and mark == self.order.get("since"):
            self.counting = True

    def next(self) -> None:
        if not self.counting or self.over:
            return
        self.count += 1
        moment = self.order.get("moment")
        if moment is None or self.count < moment or (self.count > moment and not self.order.get("lasting")):
            return
        if "error" not in self.order:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(WAIT_S)  # the signal is on its way
        raise OSError(self.order["error"], os.strerror(self.order["error"]))


def watch_events(runner: Runner, moments: Moments) -> None:
    emit = runner._emit

    def watched(active: Any, event: Any) -> None:
        if isinstance(event, StepDone):
            moments.next()
        moments.saw(event)
        emit(active, event)

    runner._emit = watched  # type: ignore[method-assign]


def watch_disk(moment: Callable[[], None]) -> None:
    """Tell of every operation that changes the disk, just before it is done."""

    def counted(call: Any) -> Any:
        def instead(*args: Any, **kwargs: Any) -> Any:
            moment()
            return call(*args, **kwargs)

        return instead

    for name in ("rename", "replace", "mkdir", "unlink", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    os.fsync = counted(lambda _handle: None)  # of no use against a kill, and the slowest of all
    workspace._exchange = counted(workspace._exchange)
    safetensors.torch.save_file = counted(safetensors.torch.save_file)
    open_file = io.open

    class Disk(io.FileIO):
        def write(self, content: Any) -> int:
            moment()
            return super().write(content)

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not set(mode) & set("wax") or "opener" in kwargs:  # for reading; a nameless temporary file
            return open_file(file, mode, *args, **kwargs)
        moment()
        buffered = io.BufferedWriter(Disk(file, mode.replace("b", "")), BUFFER_BYTES)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding=kwargs.get("encoding"))

    io.open = builtins.open = opened


if __name__ == "__main__":
    main(sys.argv[1])
