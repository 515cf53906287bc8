"""Being told to leave: Ctrl-C and SIGTERM save what goes on and end in time; a second one ends at once."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from core.training.checkpoints import latest_checkpoint
from core.training.progress import Status
from core.training.spec import write_spec
from core.workspace import Workspace
from tests.core.training.conftest import spec_of

LEAVES_S = 10.0
LONG: dict[str, Any] = {"training": {"epochs": 1000, "evaluations": 0, "validation_share": 0.0}, "dataset": "8.jsonl"}


def a_file(place: Workspace, name: str) -> Path:
    file = place.root / f"{name}.yaml"
    write_spec(file, spec_of(**LONG, name=name))
    return file


def left(victims: Any, name: str, *signals: tuple[str, int], **order: Any) -> tuple[int, str]:
    """A command that is sent signals by its run; its exit status and the id of the run."""
    words = order.pop("command", None) or ["train", str(a_file(victims.place, name)), "--json"]
    answer = victims.ask(command=words, signals=signals, **order)
    assert answer["left_s"] < LEAVES_S
    return answer["code"], answer["run_id"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["int", "term", "hup"]
)
def test_a_run_on_the_command_line_is_stopped_and_kept(victims: Any, number: int, code: int) -> None:
    name = f"left-{number.name}"  # type: ignore[attr-defined]
    status, run_id = left(victims, name, ("step", number))
    assert status == code
    snapshot = victims.snapshot(run_id)
    assert (snapshot.status, snapshot.stop_reason, snapshot.adapter) == (Status.STOPPED, "asked", name)
    assert snapshot.kept_step == snapshot.checkpoint_step == snapshot.step > 0


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_leaves_at_once_and_the_run_can_be_resumed(victims: Any, first: int) -> None:
    signals = (("step", first), ("saving", signal.SIGINT))
    status, run_id = left(victims, f"twice-{first.name}", *signals, stays=True)  # type: ignore[attr-defined]
    assert status == 130
    assert victims.snapshot(run_id).status == Status.INTERRUPTED
    victims.nothing_half_visible(run_id)


def test_a_server_that_is_told_to_leave_stops_its_run_and_keeps_it(victims: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["serve", "--port", str(port), "--no-starter"]
    status, run_id = left(victims, "", ("step", signal.SIGTERM), command=words, serve={**LONG, "name": "served"})
    assert status == 143
    snapshot = victims.snapshot(run_id)
    assert (snapshot.status, snapshot.adapter) == (Status.STOPPED, "served")
    assert latest_checkpoint(victims.place.runs / run_id / "checkpoints")
