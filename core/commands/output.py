"""How results of commands are written: text for people, or JSON with `--json`, to standard output."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

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
