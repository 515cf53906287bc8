"""The command that makes a run again: whatever folders the server has, typed in the program's own folder it finds all.

Also under a name that is free where the result would go.
"""

from __future__ import annotations

import shlex
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import app
from core.models.catalog import find_model
from core.training import desk
from core.training.checkpoints import SPEC_FILE
from core.training.spec import read_spec, write_spec
from core.workspace import Workspace
from tests.core.training.conftest import spec_of


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
