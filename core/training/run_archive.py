"""A run as one zip to give away: its spec, events and log, its curves as tables, its answers, its adapter.

Owns what goes into the archive and under which names, in a fixed order, so that the same run makes the same archive.
Where this machine keeps its folders is not in it.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.adapters.card import read_card
from core.errors import WorkbenchError
from core.training.checkpoints import CHECKPOINTS, SPEC_FILE, latest_checkpoint
from core.training.history import EVENTS_FILE
from core.training.log import LOG_FILE
from core.training.progress import Snapshot
from core.workspace import Workspace, suggested_name
from core.zip_output import add_file, entry, new_zip

CODE = Path(__file__).resolve().parents[2]


def write_archive(workspace: Workspace, snapshot: Snapshot, target_folder: Path, with_weights: bool = True) -> Path:
    """Write the archive of a run into a new folder within one that there is, and return it.

    With weights, the adapter or model that the run kept is in it, else that of its newest whole checkpoint.

    Raises:
        WorkbenchError: A14 where it cannot be written; nothing is left behind.
    """
    run = workspace.runs / snapshot.run_id
    with new_zip(target_folder, f"{suggested_name(snapshot.name)}-{snapshot.run_id}.zip") as archive:
        for name in (SPEC_FILE, EVENTS_FILE, LOG_FILE):
            if (run / name).is_file():
                with (run / name).open(encoding="utf-8", errors="replace") as told, entry(archive, name) as written:
                    written.writelines(_without_folders(line, workspace).encode() for line in told)
        for name, lines in _tables(snapshot):
            with entry(archive, name) as written:
                written.writelines(line.encode() for line in lines)
        for file in _weights(workspace, snapshot) if with_weights else ():
            add_file(archive, file, f"{snapshot.makes}/{file.name}")
    return Path(str(archive.filename))


def _tables(snapshot: Snapshot) -> Iterator[tuple[str, Iterable[str]]]:
    """What charts show, as tables by step; sample answers as JSON lines."""
    rates, norms, shares = dict(snapshot.learning_rates), dict(snapshot.grad_norms), dict(snapshot.accuracies)
    steps = ((step, loss, rates.get(step), norms.get(step)) for step, loss in snapshot.losses)
    yield "training.csv", _rows(("step", "loss", "learning_rate", "grad_norm"), steps)
    yield (
        "validation.csv",
        _rows(("step", "loss", "accuracy"), ((step, loss, shares.get(step)) for step, loss in snapshot.evals)),
    )
    yield "samples.jsonl", (json.dumps(asdict(sample), ensure_ascii=False) + "\n" for sample in snapshot.samples)


def _rows(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    for row in (head, *rows):
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        yield line.getvalue()


def _weights(workspace: Workspace, snapshot: Snapshot) -> list[Path]:
    """The files of the adapter or model that the run made."""
    kept = workspace.results(snapshot.makes) / snapshot.adapter if snapshot.adapter else None
    if kept is None or not _is_of(kept, snapshot.run_id):
        checkpoint = latest_checkpoint(workspace.runs / snapshot.run_id / CHECKPOINTS)
        kept = checkpoint.adapter if checkpoint else None
    return sorted(file for file in kept.iterdir() if file.is_file()) if kept and kept.is_dir() else []


def _is_of(kept: Path, run_id: str) -> bool:
    """Whether a folder is still the one that the run made."""
    try:
        card = read_card(kept)
    except WorkbenchError:
        return False
    return card is not None and card.run_id == run_id


def _without_folders(line: str, workspace: Workspace) -> str:
    """A line of text with the folders of this machine left out, which the traceback of a failure names."""
    for folder in (workspace.root, CODE, Path(sys.prefix), Path(sys.base_prefix), Path.home()):
        if len(folder.parts) > 1:
            line = line.replace(f"{folder}/", "")
    return line
