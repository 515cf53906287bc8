"""A run as one zip: what is in it, the same each time, nothing of this machine."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import WorkbenchError
from core.training import run_archive
from core.training.progress import Snapshot
from core.training.run_archive import write_archive
from core.training.runner import Runner
from core.workspace import Workspace
from core.zip_output import EARLIEST
from tests.core.training.conftest import spec_of

WAIT_S = 60.0


@pytest.fixture
def ended(place: Workspace, loaded: Any) -> Snapshot:
    runner = Runner(place)
    run_id = runner.start(spec_of(training={"epochs": 1, "evaluations": 1}), loaded)
    assert runner.wait(WAIT_S)
    return runner.snapshot(run_id)


def test_a_run_is_whole_in_its_archive_which_is_the_same_each_time(
    place: Workspace, ended: Snapshot, tmp_path: Path
) -> None:
    run = place.runs / ended.run_id
    with (run / "log.txt").open("a") as log:
        log.write(f'  File "{run_archive.CODE}/core/x.py", line 1, in {place.root}/models/tiny\n')
    file = write_archive(place, ended, tmp_path)
    assert file.name == f"colors-{ended.run_id}.zip"
    assert write_archive(place, ended, tmp_path).read_bytes() == file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {EARLIEST}
        content = {name: archive.read(name) for name in archive.namelist()}
    assert list(content) == [
        *("spec.yaml", "events.jsonl", "log.txt", "training.csv", "validation.csv", "samples.jsonl"),
        *("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/workbench.json"),
    ]
    assert content["spec.yaml"] == (run / "spec.yaml").read_bytes()
    assert (
        content["adapter/adapter_model.safetensors"]
        == (place.adapters / "colors" / "adapter_model.safetensors").read_bytes()
    )
    rows = list(csv.DictReader(io.StringIO(content["training.csv"].decode())))
    assert [(int(row["step"]), float(row["loss"])) for row in rows] == list(ended.losses)
    assert float(rows[0]["learning_rate"]) == ended.learning_rates[0][1]
    rows = list(csv.DictReader(io.StringIO(content["validation.csv"].decode())))
    evaluated = [(int(row["step"]), float(row["loss"]), float(row["accuracy"])) for row in rows]
    accuracies = [accuracy for _, accuracy in ended.accuracies]
    assert evaluated == [(*point, accuracy) for point, accuracy in zip(ended.evals, accuracies, strict=True)]
    assert [json.loads(line)["answer"] for line in content["samples.jsonl"].decode().splitlines()] == [
        sample.answer for sample in ended.samples
    ]
    folders = [str(place.root), str(run_archive.CODE), str(Path.home())]
    for name, each in content.items():
        assert [folder for folder in folders if len(folder) > 1 and folder.encode() in each] == [], name


def test_weights_are_those_that_the_run_made_or_none(place: Workspace, ended: Snapshot, tmp_path: Path) -> None:
    def weights(snapshot: Snapshot, with_weights: bool = True) -> list[str]:
        with zipfile.ZipFile(write_archive(place, snapshot, tmp_path, with_weights)) as archive:
            return [name for name in archive.namelist() if "/" in name]

    assert weights(ended, with_weights=False) == []
    card = place.adapters / "colors" / "workbench.json"
    card.write_text(card.read_text().replace(ended.run_id, "run-of-another"))
    (place.adapters / "colors" / "mine.txt").write_text("not the run's")
    assert "adapter/adapter_model.safetensors" in weights(ended), "that of the newest checkpoint"
    assert "adapter/mine.txt" not in weights(ended)
    for checkpoint in (place.runs / ended.run_id / "checkpoints").iterdir():
        (checkpoint / "manifest.json").unlink()
    assert weights(replace(ended, adapter=None)) == []


def test_a_run_that_has_not_begun_can_be_exported(place: Workspace, tmp_path: Path) -> None:
    runner = Runner(place)
    run_id = runner.prepare(spec_of())
    with zipfile.ZipFile(write_archive(place, runner.snapshot(run_id), tmp_path)) as archive:
        assert archive.namelist()[:2] == ["spec.yaml", "events.jsonl"]


def test_where_nothing_can_be_written_nothing_is_left(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(place)
    run_id = runner.prepare(spec_of())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(run_archive, "entry", full)
    with pytest.raises(WorkbenchError, match="A14"):
        write_archive(place, runner.snapshot(run_id), tmp_path)
    assert not list(tmp_path.glob("tmp*"))
    with pytest.raises(WorkbenchError, match="A14"):
        write_archive(place, runner.snapshot(run_id), tmp_path / "nowhere")


def test_a_name_in_a_history_from_elsewhere_leads_nowhere_else(place: Workspace, tmp_path: Path) -> None:
    runner = Runner(place)
    snapshot = replace(runner.snapshot(runner.prepare(spec_of())), name="../../evil")
    file = write_archive(place, snapshot, tmp_path)
    assert (file.resolve().parent.parent, file.name) == (tmp_path.resolve(), f"evil-{snapshot.run_id}.zip")
