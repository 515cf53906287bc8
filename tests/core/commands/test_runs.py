"""Runs on the command line: where an archive is written."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from core.commands import runs
from core.errors import WorkbenchError
from core.training.checkpoints import SPEC_FILE
from core.training.spec import write_spec
from core.workspace import Workspace
from tests.core.training.conftest import spec_of


@pytest.fixture
def place(workspace: Workspace) -> Workspace:
    (workspace.runs / "run-1").mkdir()
    write_spec(workspace.runs / "run-1" / SPEC_FILE, spec_of(name="lumi"))
    return workspace


def export(place: Workspace, folder: Path) -> None:
    parser = argparse.ArgumentParser()
    runs.add_parsers(parser.add_subparsers())
    options = parser.parse_args(["runs", "export", "run-1", "--to", str(folder)])
    options.lang, options.json = None, True
    options.run(place, options)


def test_an_archive_lands_in_the_folder_that_was_named_which_is_made_where_it_is_missing(
    place: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        export(place, folder)
    told = [Path(json.loads(line)["file"]) for line in capsys.readouterr().out.splitlines()]
    assert [file.parent for file in told] == [folder, folder]
    assert sorted(folder.iterdir()) == sorted(told) and len(set(told)) == 2


def test_a_folder_that_cannot_be_is_not_called_the_data_directory(place: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkbenchError) as refused:
        export(place, tmp_path / "file")
    assert refused.value.key == "A14_cannot_write_file"
    assert "--data-dir" not in refused.value.describe()
