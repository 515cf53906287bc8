"""A run as one zip to give away: its spec, events and log, its curves as tables, its answers, its adapter.

Owns what goes into the archive and under which names. Entries are in a fixed order with a fixed date, so that the same
run makes the same archive, and each is written piece by piece. Where this machine keeps its folders is not in it.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from core.adapters.card import read_card
from core.errors import Place, WorkbenchError, refusal
from core.training.checkpoints import SPEC_FILE, latest_checkpoint
from core.training.history import EVENTS_FILE
from core.training.log import LOG_FILE
from core.training.progress import Snapshot
from core.workspace import Workspace, suggested_name

EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip can say
CODE = Path(__file__).resolve().parents[2]
PIECE_BYTES = 1 << 20


def write_archive(workspace: Workspace, snapshot: Snapshot, target_folder: Path, with_weights: bool = True) -> Path:
    """Write the archive of a run into a new folder within one that there is, and return it.

    With weights, the adapter or model that the run kept is in it, else that of its newest whole checkpoint.

    Raises:
        WorkbenchError: A14 where it cannot be written; nothing is left behind.
    """
    run = workspace.runs / snapshot.run_id
    name = f"{suggested_name(snapshot.name)}-{snapshot.run_id}.zip"
    try:
        own = Path(tempfile.mkdtemp(dir=target_folder))
    except OSError as error:
        raise refusal("A14_cannot_write", Place(file=str(target_folder)), reason=error.strerror or "") from error
    target = own / name
    try:
        with zipfile.ZipFile(target, "w") as archive:
            for name in (SPEC_FILE, EVENTS_FILE, LOG_FILE):
                if (run / name).is_file():
                    with (run / name).open(encoding="utf-8", errors="replace") as told, _entry(archive, name) as entry:
                        entry.writelines(_without_folders(line, workspace).encode() for line in told)
            for name, lines in _tables(snapshot):
                with _entry(archive, name) as entry:
                    entry.writelines(line.encode() for line in lines)
            for file in _weights(workspace, snapshot) if with_weights else ():
                with file.open("rb") as source, _entry(archive, f"{snapshot.makes}/{file.name}") as entry:
                    shutil.copyfileobj(source, entry, PIECE_BYTES)
    except OSError as error:
        shutil.rmtree(own, ignore_errors=True)
        raise refusal("A14_cannot_write", Place(file=target.name), reason=error.strerror or "") from error
    return target


def _entry(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A new file in the archive. Weights are stored as they are: random numbers do not get smaller."""
    info = zipfile.ZipInfo(name, EARLIEST)
    info.compress_type = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return archive.open(info, "w", force_zip64=True)


def _tables(snapshot: Snapshot) -> Iterator[tuple[str, Iterable[str]]]:
    """What charts show, as tables by step; sample answers as JSON lines."""
    rates, norms = dict(snapshot.learning_rates), dict(snapshot.grad_norms)
    steps = ((step, loss, rates.get(step), norms.get(step)) for step, loss in snapshot.losses)
    yield "training.csv", _rows(("step", "loss", "learning_rate", "grad_norm"), steps)
    yield "validation.csv", _rows(("step", "loss"), snapshot.evals)
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
        checkpoint = latest_checkpoint(workspace.runs / snapshot.run_id / "checkpoints")
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
