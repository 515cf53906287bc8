"""A program run beside the server: its words line by line, and its end when nobody wants it any more.

Owns starting it without a shell, reading what it writes, and ending it with all that it started. What the command is,
and what its words mean, is known by those who run it (`merge_process`, `llama_cpp`).
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from core.errors import Place, excerpt, refusal

log = logging.getLogger("workbench.exports")

LOOK_EVERY_S = 0.2
LEAVES_S = 5.0
Heard = Callable[[str | None], None]
"""Told each line, and None where nothing came for a moment. What it raises ends the program."""


def run_command(
    command: Sequence[str], heard: Heard, environment: Mapping[str, str] | None = None, told: str = ""
) -> int:
    """Run a command to its end and return its exit status. `told` is its first line of input; all it says is logged.

    Raises:
        WorkbenchError: A14 where it cannot be started.
        BaseException: whatever `heard` raises, once the program has ended.
    """
    own_group: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
    try:
        process = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **(environment or {})},
            **own_group,
        )
    except OSError as error:
        raise refusal("A14_cannot_start", Place(file=excerpt(command[0])), reason=error.strerror or "") from error
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, lines), name="export-output", daemon=True)
    reader.start()
    try:
        _tell(process, told)
        _listen(lines, heard)
        process.wait()
    finally:
        _end(process)
        reader.join(LEAVES_S)
        for stream in (process.stdin, process.stdout):
            _close(stream)
    return process.returncode


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout
    for line in process.stdout:
        lines.put(line.rstrip("\n"))
    lines.put(None)


def _tell(process: subprocess.Popen[str], told: str) -> None:
    assert process.stdin
    try:
        process.stdin.write(told + "\n")
        process.stdin.flush()
    except BrokenPipeError:  # it has ended already; its words say why
        log.warning("a program ended before it was told what to do")


def _listen(lines: queue.SimpleQueue[str | None], heard: Heard) -> None:
    while True:
        try:
            line = lines.get(timeout=LOOK_EVERY_S)
        except queue.Empty:
            heard(None)
            continue
        if line is None:
            return
        log.info("%s", line)
        heard(line)


def _end(process: subprocess.Popen[str]) -> None:
    """End a program that is still there, with all that it started."""
    if process.poll() is not None:
        return
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _close(stream: IO[str] | None) -> None:
    try:
        if stream:
            stream.close()
    except OSError:  # what was still to be said to it, it will not hear
        log.debug("a pipe was closed from the other side")
