"""Being told to leave: Ctrl-C and SIGTERM save what goes on and end in time; a second one ends at once."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from core.i18n import LANGUAGES, Language, text
from core.training.checkpoints import latest_checkpoint
from core.training.progress import Status
from core.training.spec import write_spec
from core.workspace import Workspace
from tests.core.training.conftest import spec_of

pytestmark = pytest.mark.proof

LEAVES_S = 60.0  # it takes one, on a quiet machine
WAIT_S = 120.0
MOMENT_S = 1.0  # in which what was said once could be said again
LONG: dict[str, Any] = {"training": {"epochs": 1000, "evaluations": 0, "validation_share": 0.0}, "dataset": "8.jsonl"}


def a_file(place: Workspace, name: str) -> Path:
    file = place.root / f"{name}.yaml"
    write_spec(file, spec_of(**LONG, name=name))
    return file


def left(victims: Any, name: str, *signals: tuple[str, int], at_once: bool = False, **order: Any) -> tuple[int, str]:
    """A command that is sent signals by its run; its exit status and the id of the run.

    `at_once` says whether the process is to be gone in the middle of what it does.
    """
    words = order.pop("command", None) or ["train", str(a_file(victims.place, name)), "--json"]
    answer = victims.ask(command=words, signals=signals, **order)
    assert answer["left_s"] < LEAVES_S
    assert answer.get("returned", False) is not at_once
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
    status, run_id = left(victims, f"twice-{first.name}", *signals, at_once=True, stays_s=WAIT_S)  # type: ignore[attr-defined]
    assert status == 130
    assert victims.snapshot(run_id).status == Status.INTERRUPTED
    victims.nothing_half_visible(run_id)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_run_that_takes_its_time_is_waited_for_and_the_terminal_says_so(
    victims: Any, tmp_path: Path, lang: Language
) -> None:
    name, said = f"slow-{lang}", tmp_path / "said"
    words = ["train", str(a_file(victims.place, name)), "--json", "--lang", lang]
    status, run_id = left(victims, name, ("step", signal.SIGTERM), command=words, stays_s=MOMENT_S, says=str(said))
    snapshot = victims.snapshot(run_id)
    assert (status, snapshot.status, snapshot.adapter) == (143, Status.STOPPED, name)
    assert said.read_text().count(text("cli.saving", lang)) == 1


def test_a_server_that_is_told_to_leave_stops_its_run_and_keeps_it(victims: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["serve", "--port", str(port), "--no-starter"]
    served, said = {**LONG, "name": "served"}, tmp_path / "said"
    signals = ("step", signal.SIGTERM)
    status, run_id = left(victims, "", signals, command=words, serve=served, stays_s=MOMENT_S, says=str(said))
    assert status == 143
    snapshot = victims.snapshot(run_id)
    assert (snapshot.status, snapshot.adapter) == (Status.STOPPED, "served")
    assert latest_checkpoint(victims.place.runs / run_id / "checkpoints")
    assert said.read_text().count(text("cli.saving", "en")) == 1
