"""`harness`: EleutherAI's lm-evaluation-harness over a model of ours, where it is installed.

Progress goes to standard error, the numbers to standard output; Ctrl-C ends it and nothing is kept.
"""

from __future__ import annotations

import argparse
from typing import Any

from core.commands.output import language, plain, write
from core.i18n import text
from core.workspace import Workspace


def add_parsers(subparsers: Any) -> list[argparse.ArgumentParser]:
    harness: argparse.ArgumentParser = subparsers.add_parser(
        "harness", help="run tasks of lm-eval on a model, or say how to install it"
    )
    harness.add_argument("tasks", nargs="*", metavar="TASK", help="names from its list; none: say whether it is there")
    harness.add_argument("--list", metavar="WORD", nargs="?", const="", help="list its tasks, those with WORD in them")
    harness.add_argument("--model", help="name of a base model in models/")
    harness.add_argument("--adapter", help="name of an adapter in loras/")
    harness.add_argument("--rows", type=int, help="at most so many rows of each task")
    harness.add_argument("--download", action="store_true", help="allow fetching the tasks' data from Hugging Face")
    harness.set_defaults(run=_harness)
    return [harness]


def _harness(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.evaluation.harness import harness_status, harness_tasks

    lang = language(options)
    if options.list is not None:
        names = [name for name in harness_tasks() if options.list.lower() in name.lower()]
        write(options, names, names)
    elif options.tasks:
        return _run(workspace, options)
    else:
        status = harness_status()
        said = text("harness.missing", lang, command=status.install_command)
        if status.version:
            said = text("harness.installed", lang, version=status.version)
        write(options, plain(status), [said])
    return 0


def _run(workspace: Workspace, options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from core.adapters.store import find_adapter
    from core.evaluation.harness import check_tasks, run_harness
    from core.models.catalog import find_model
    from core.models.loader import load
    from core.settings import LoadSettings

    check_tasks(options.tasks)
    model = find_model(workspace, options.model or "")
    folder = find_adapter(workspace, options.adapter).folder if options.adapter else None
    loaded = load(model, LoadSettings(), state=workspace.state)
    with tqdm(total=None, disable=options.json, dynamic_ncols=True) as bar:

        def report(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        watch = (report, lambda: False)
        scores = run_harness(loaded, folder, options.tasks, options.rows, options.download, watch)
    lines = [f"{score.task}\t{score.measure}\t{score.value:.4f}\t{score.rows}" for score in scores]
    write(options, [plain(score) for score in scores], lines)
    return 0
