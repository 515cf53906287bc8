"""The command that makes a run again: whatever folders the server has, typed in the program's own folder it finds all.

Also under a name that is free where the result would go.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import app
from core.models.catalog import find_model
from core.training import desk
from core.training.checkpoints import SPEC_FILE
from core.training.events import EventLog, RunStarted
from core.training.history import EVENTS_FILE
from core.training.snapshots import SNAPSHOTS
from core.training.spec import read_spec, write_spec
from core.workspace import Workspace
from tests.core.training.conftest import is_free, spec_of


def command_of(place: Workspace, **changes: Any) -> list[str]:
    """What is printed of a run in this data directory, as a shell takes it apart."""
    place.create()
    (place.runs / "run-1").mkdir()
    write_spec(place.runs / "run-1" / SPEC_FILE, spec_of(**changes))
    runs = desk.RunDesk(place, threading.RLock(), lambda: None, lambda *_: None)
    return shlex.split(runs.command("run-1"))


def test_with_folders_of_its_own_the_command_finds_the_spec_the_base_and_the_data_directory(
    workspace_with_tiny: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = (workspace_with_tiny.models, tmp_path / "no models")
    place = Workspace(tmp_path / "it's $HOME", models)
    python, program, *arguments = command_of(place)
    monkeypatch.chdir(desk.CODE)
    assert Path(python).samefile(sys.executable) and Path(program).samefile(app.__file__)
    typed = app.parse(arguments)
    assert Workspace(typed.data_dir, tuple(typed.models_dir)) == place
    assert find_model(Workspace(typed.data_dir, tuple(typed.models_dir)), read_spec(typed.spec).base)


def test_with_the_usual_folders_the_command_is_the_readme_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "CODE", tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    place = Workspace(tmp_path)
    assert command_of(place, name="new") == [
        *(".venv/bin/python", "app.py", "train", "training/runs/run-1/spec.yaml"),
        *("--name", "new"),
    ]


@pytest.mark.parametrize(("method", "name"), [("lora", "colors-3"), ("full", "colors-2")])
def test_the_name_is_free_where_the_result_goes(tmp_path: Path, method: str, name: str) -> None:
    place = Workspace(tmp_path)
    for taken in (place.adapters / "colors", place.adapters / "colors-2", place.models / "colors"):
        taken.mkdir(parents=True)
    assert name in command_of(place, method={"method": method})


def with_steps(place: Workspace, run_id: str, name: str, *steps: int) -> None:
    (place.runs / run_id).mkdir()
    EventLog(place.runs / run_id / EVENTS_FILE).append(RunStarted(run_id, name, "tiny", "x.jsonl", "", "", 1, 0.0))
    for step in steps:
        (place.runs / run_id / SNAPSHOTS / f"step-{step:06d}").mkdir(parents=True)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("poet @ 5", ("run-2", 5)),
        ("poet @ 9", ("run-1", 9)),
        ("run-1 @ 5", ("run-1", 5)),
        ("poet @ 7", ("run-2", 7)),  # whoever asks for its adapter is told which steps there are
        ("poet @ 00000000599", None),
        ("poet @ " + "9" * 5000, None),
        ("poet @ ٥", None),
        ("poet @ ", None),
        ("poet", None),
        ("cook @ 5", None),
    ],
)
def test_a_step_is_that_of_the_newest_run_of_the_name_or_id_that_has_it(
    workspace: Workspace, name: str, found: tuple[str, int] | None
) -> None:
    with_steps(workspace, "run-1", "poet", 5, 9)
    with_steps(workspace, "run-2", "poet", 5)
    runs = desk.RunDesk(workspace, threading.RLock(), lambda: None, lambda *_: None)
    assert runs.find_step(name) == found


def test_nothing_waits_while_the_files_of_a_run_are_removed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_steps(workspace, "run-1", "poet", 5)
    exclusive, remove, seen = threading.RLock(), shutil.rmtree, []
    runs = desk.RunDesk(workspace, exclusive, lambda: None, lambda *_: None)

    def watched(folder: Path, **options: bool) -> None:
        seen.append((is_free(exclusive), is_free(runs._runner._lock), runs.list()))
        remove(folder, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", watched)
        runs.delete("run-1")
    assert seen == [(True, True, [])]
    assert list(workspace.runs.iterdir()) == []
