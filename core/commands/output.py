"""How results of commands are written: to standard output as text, or JSON with `--json`; files to a folder."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import Place, refusal
from core.i18n import Language, text


def write(options: argparse.Namespace, value: object, lines: Sequence[str]) -> None:
    """Write a result: its lines, or with `--json` its value."""
    if options.json:
        lines = [json.dumps(value, ensure_ascii=False, default=str)]
    for line in lines:
        sys.stdout.write(line + "\n")


def tell_of_saving(options: argparse.Namespace) -> None:
    """Say on standard error why the process has not left yet, and how it leaves at once."""
    with suppress(OSError):  # the terminal may be what has gone
        sys.stderr.write(text("cli.saving", language(options)) + "\n")
        sys.stderr.flush()


def plain(item: Any) -> dict[str, Any]:
    """A dataclass as JSON values, paths as text."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(item), default=str))
    return values


def language(options: argparse.Namespace) -> Language:
    """The language of `--lang`, English where nobody chose."""
    lang: Language = options.lang or "en"
    return lang


def target_folder(path: Path) -> Path:
    """A folder for what is made, which is made where it is missing.

    Raises:
        WorkbenchError: A14 where there can be none.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal("A14_cannot_write_file", Place(file=str(path)), reason=error.strerror or "") from error
    return path.resolve()


def moved_out(file: Path) -> Path:
    """The file beside the folder that was made for it alone, under a name that is free there."""
    folder = file.parent.parent
    target, number = folder / file.name, 1
    while target.exists():
        number += 1
        target = folder / f"{file.stem}-{number}{file.suffix}"
    file.rename(target)
    file.parent.rmdir()
    return target
