"""`train SPEC.yaml`: a run in this terminal, new or gone on with, followed to its end.

Progress goes to standard error, what came of it to standard output. The first Ctrl-C stops the run and keeps what it
has learned, the second leaves at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.commands.output import language, tell_of_saving, write
from core.errors import WorkbenchError
from core.i18n import text
from core.leaving import next_signal_leaves_at_once
from core.workspace import Workspace

BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {postfix}"

if TYPE_CHECKING:
    from core.training.progress import Snapshot
    from core.workbench import Workbench


def add_parsers(subparsers: Any) -> list[argparse.ArgumentParser]:
    train: argparse.ArgumentParser = subparsers.add_parser(
        "train", help="train an adapter from a run's YAML file, or go on with a run"
    )
    what = train.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "spec", type=Path, nargs="?", metavar="SPEC.yaml", help="the run, copied from the page or written by hand"
    )
    what.add_argument("--resume", metavar="RUN_ID", help="go on with a run that ended early (see: runs list)")
    train.add_argument("--name", help="name of what a new run makes, where it is not to be the spec's")
    train.add_argument(
        "--accept-changes", action="store_true", help="resume although data, settings or versions have changed"
    )
    train.set_defaults(run=_train)
    return [train]


def _train(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.training.spec import read_spec
    from core.workbench import Workbench

    spec = None if options.resume else read_spec(options.spec)
    if spec and options.name:
        spec = spec.model_copy(update={"name": options.name})
    with workspace.writer(), Workbench(workspace, lambda: tell_of_saving(options)) as workbench:
        if spec:
            workbench.load_model(spec.base, spec.load, remember=False)
            run_id = workbench.runs.start(spec, started_by="command_line")
        else:
            run_id = options.resume
            _resume(workbench, options)
        snapshot = _follow(workbench, run_id, options)
    if snapshot.problems:
        raise WorkbenchError(snapshot.problems)
    lang = language(options)
    if snapshot.reference:
        sys.stderr.write(text("cli.bug", lang, log=workspace.runs / snapshot.reference) + "\n")
        return 1
    status = text(f"training.status.{snapshot.status.value}", lang)
    folder = workspace.results(snapshot.makes)
    kept = text(f"cli.kept_{snapshot.makes}", lang, folder=folder / snapshot.adapter) if snapshot.adapter else ""
    write(options, dataclasses.asdict(snapshot), [f"{status}. {kept}".strip()])
    return 0


def _resume(workbench: Workbench, options: argparse.Namespace) -> None:
    """Go on with a run; what has changed is said before its model is loaded, as far as that is known then."""
    found = workbench.runs.resumption(options.resume)
    if found.differences and not options.accept_changes:
        if not options.json:
            sys.stderr.write(text("cli.accept_changes", language(options)) + "\n")
        raise WorkbenchError(found.differences)
    workbench.load_model(found.spec.base, found.spec.load, remember=False)
    workbench.runs.resume(options.resume, options.accept_changes)


def _follow(workbench: Workbench, run_id: str, options: argparse.Namespace) -> Snapshot:
    """Show a run's progress until it ends; the first Ctrl-C stops it and keeps the adapter, the second leaves."""
    from tqdm import tqdm

    lang = language(options)

    def stop(_number: int, _frame: object) -> None:
        next_signal_leaves_at_once()
        workbench.runs.stop(run_id, keep=True)
        sys.stderr.write("\n" + text("cli.stopping", lang) + "\n")

    before = signal.signal(signal.SIGINT, stop)
    try:
        with tqdm(total=None, disable=options.json, dynamic_ncols=True, bar_format=BAR) as bar:
            while True:
                running = not workbench.runs.wait(timeout_s=0.5)
                snapshot = workbench.runs.snapshot(run_id)
                bar.total = snapshot.steps or None
                bar.n = snapshot.step
                bar.set_description(text(f"training.phase.{snapshot.phase}", lang) if snapshot.phase else "")
                bar.set_postfix_str(_figures(snapshot), refresh=False)
                bar.refresh()
                if not running:
                    return snapshot
    finally:
        if signal.getsignal(signal.SIGINT) is stop:  # after a signal it is the one that leaves at once
            signal.signal(signal.SIGINT, before)


def _figures(snapshot: Snapshot) -> str:
    """The last loss, the speed and the time left, as far as they are known."""
    from tqdm import tqdm

    loss = f"loss {snapshot.losses[-1][1]:.3f}" if snapshot.losses else ""
    speed = f"{snapshot.tokens_per_s:.0f} tokens/s" if snapshot.tokens_per_s else ""
    left = f"ETA {tqdm.format_interval(snapshot.eta_s)}" if snapshot.eta_s is not None else ""
    return " · ".join(part for part in (loss, speed, left) if part)
