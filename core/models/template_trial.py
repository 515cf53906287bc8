"""A chat template tried out in a process of its own, so that an endless or greedy one harms nobody (M06).

Owns that trial: two conversations are rendered with bounds on time, memory and output. A template that merely fails on
them passes: whether it suits the user's data is `core.data.rendering`'s affair. Run as a script this file is the other
process, which is why it needs nothing but the standard library and jinja2.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

MAX_CPU_SECONDS = 2
MAX_SECONDS = 8  # on the clock; a busy machine needs more than the CPU time
MAX_OUTPUT_CHARACTERS = 1_000_000
MAX_MEMORY_BYTES = 512 * 1024 * 1024

_TURNS = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}, {"role": "user", "content": "C"}]
_CONVERSATIONS = [_TURNS, [{"role": "system", "content": "S"}, *_TURNS]]


@lru_cache(maxsize=16)
def survives_trial(template: str) -> bool:
    """Whether the template renders (or fails) within the bounds; on an idle machine that takes 2 s at worst."""
    try:
        done = subprocess.run(  # noqa: S603 - our own file, no shell
            [sys.executable, "-I", str(Path(__file__).resolve())],
            input=json.dumps(template).encode(),
            capture_output=True,
            timeout=MAX_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _set_bounds() -> None:
    try:
        import resource
    except ImportError:  # Windows bounds clock time and output only
        return
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))


def _raise(message: object = "") -> None:
    raise ValueError(str(message))


def _render(template: str) -> int:
    """Characters rendered for all conversations."""
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """transformers' tag around the assistant's words, here without a meaning."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 declares it like this

        def parse(self, parser: Parser) -> Any:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
    environment.globals.update(raise_exception=_raise, strftime_now=lambda layout: layout)
    compiled = environment.from_string(template)
    written = 0
    for messages in _CONVERSATIONS:
        for piece in compiled.generate(messages=messages, add_generation_prompt=True, bos_token="", eos_token=""):
            written += len(piece)
            if written > MAX_OUTPUT_CHARACTERS:
                return written
    return written


def _main() -> int:
    _set_bounds()
    template = json.loads(sys.stdin.buffer.read())
    try:
        return int(_render(template) > MAX_OUTPUT_CHARACTERS)
    except MemoryError:
        return 1
    except Exception:  # noqa: BLE001 - failing on a stand-in conversation is no offence
        return 0


if __name__ == "__main__":
    sys.exit(_main())
