"""`runs list | show | compare | export | delete`: the history of a data directory, read and tidied."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.commands.output import language, moved_out, plain, target_folder, write
from core.i18n import Language, text
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.training.comparison import Comparison

_COLUMNS = ("run_id", "status", "name", "base", "dataset", "method", "train_loss", "eval_loss")
_SHOWN = (*_COLUMNS[1:], "step", "elapsed_s", "adapter", "started_by", "started_at", "repeats", "bytes")


def add_parsers(subparsers: Any) -> list[argparse.ArgumentParser]:
    verbs = subparsers.add_parser("runs", help="list, show, compare, export and delete runs").add_subparsers(
        dest="verb", required=True
    )
    listing = verbs.add_parser("list", help="list runs, the newest first")
    listing.set_defaults(run=_list)
    show = verbs.add_parser("show", help="show what a run came to, its settings, and the command that repeats it")
    show.add_argument("run_id", metavar="RUN_ID")
    show.set_defaults(run=_show)
    compare = verbs.add_parser("compare", help="show in which settings runs differ and how they ended")
    compare.add_argument("run_ids", metavar="RUN_ID", nargs="+")
    compare.set_defaults(run=_compare)
    export = verbs.add_parser("export", help="write a run as one zip")
    export.add_argument("run_id", metavar="RUN_ID")
    export.add_argument(
        "--to", type=Path, default=Path(), metavar="FOLDER", help="where to, made if missing (default: here)"
    )
    export.add_argument("--no-weights", action="store_true", help="leave the adapter out")
    export.set_defaults(run=_export)
    delete = verbs.add_parser("delete", help="delete a run with its checkpoints; the adapter or model it made stays")
    delete.add_argument("run_id", metavar="RUN_ID")
    delete.set_defaults(run=_delete)
    return [listing, show, compare, export, delete]


def _list(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    rows = [plain(run) for run in Workbench(workspace).runs.list()]
    write(options, rows, ["\t".join(_words(row[name]) for name in _COLUMNS) for row in rows])
    return 0


def _show(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    runs = Workbench(workspace).runs
    snapshot, lang = runs.snapshot(options.run_id), language(options)
    spec, command, row = runs.spec(options.run_id), runs.command(options.run_id), plain(runs.summary(options.run_id))
    lines = [f"{text(f'cli.run.{name}', lang)}: {_words(row[name])}" for name in _SHOWN]
    lines += [str(problem.describe(lang)) for problem in snapshot.problems]
    problems = [vars(problem.describe(lang)) for problem in snapshot.problems]
    value = {**row, "problems": problems, "spec": spec.model_dump(mode="json"), "command": command}
    write(options, value, [*lines, "", command, "", runs.spec_text(options.run_id).rstrip()])
    return 0


def _compare(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    found = Workbench(workspace).runs.compare(options.run_ids)
    write(options, plain(found), list(_compared(found, language(options))))
    return 0


def _compared(found: Comparison, lang: Language) -> Iterator[str]:
    """A table with a column for each run: how it ended, then the settings that differ."""

    def row(name: str, values: Iterator[Any]) -> str:
        return "\t".join([name, *map(_words, values)])

    for name in ("run_id", "name", "status", "train_loss", "eval_loss", "step", "elapsed_s"):
        yield row(text(f"cli.run.{name}", lang), (getattr(run, name) for run in found.runs))
    for setting in found.settings:
        yield row(setting.field, iter(setting.values))


def _export(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    target = target_folder(options.to)
    file = moved_out(Workbench(workspace).runs.export(options.run_id, target, not options.no_weights))
    write(options, {"file": str(file)}, [str(file)])
    return 0


def _delete(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    with workspace.writer(), Workbench(workspace) as workbench:
        freed = workbench.runs.size(options.run_id)
        workbench.runs.delete(options.run_id)
    words = text("cli.run_deleted", language(options), run_id=options.run_id, megabytes=f"{freed / 1e6:.1f}")
    write(options, {"run_id": options.run_id, "bytes": freed}, [words])
    return 0


def _words(value: object) -> str:
    """A value as a cell of a table; a dash for nothing."""
    if value is None or value == "":
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
