"""`check FILE`: what a data file holds and what is wrong with it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.commands.output import language, write
from core.errors import SHOWN_PROBLEMS
from core.i18n import Language, text
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.data.findings import Finding


def add_parsers(subparsers: Any) -> list[argparse.ArgumentParser]:
    check: argparse.ArgumentParser = subparsers.add_parser(
        "check", help="say what a data file holds and what is wrong with it"
    )
    check.add_argument("file", type=Path, help="a data file, or a folder or zip of them")
    check.set_defaults(run=_check)
    return [check]


def _check(workspace: Workspace, options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from core.data.intake import CheckProgress
    from core.data.report import report

    lang = language(options)
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
    write(options, result, lines if findings else [*lines, text("cli.no_problems", lang)])
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
