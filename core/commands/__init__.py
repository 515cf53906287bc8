"""The command line under the page: the same core as the page, with text for output.

Every module declares the arguments of its commands and carries them out. Results go to standard output (JSON with
`--json`), progress to standard error; refusals are raised and `app.py` writes them.
"""

from __future__ import annotations

import argparse
from typing import Any

from core.commands import adapters, chat, check, evaluate, harness, lists, runs, train
from core.commands.lists import fetch_starter
from core.workspace import Workspace

__all__ = ["add_parsers", "fetch_starter", "run"]


def add_parsers(subparsers: Any) -> list[argparse.ArgumentParser]:
    """Declare every command's arguments; each parser carries the function that runs it. Returns the parsers."""
    modules = (train, evaluate, harness, check, chat, lists, adapters, runs)
    return [parser for module in modules for parser in module.add_parsers(subparsers)]


def run(workspace: Workspace, options: argparse.Namespace) -> int:
    """Run the chosen command; returns the exit status."""
    status: int = options.run(workspace, options)
    return status
