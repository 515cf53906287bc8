"""How a process is told to leave: the first signal ends in order what goes on, the second leaves at once.

All files are whole at any moment, so that leaving at once loses no more than what came after the last checkpoint.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def leaving_in_order() -> Iterator[None]:
    """Within it a signal raises in the main thread: `KeyboardInterrupt` for Ctrl-C, else `SystemExit` with its status.

    One that whoever started the process has told it to ignore (`nohup`) is ignored.
    """
    before = {each: signal.getsignal(each) for each in SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def next_signal_leaves_at_once() -> None:
    """Do not wait any more for what goes on."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: os._exit(128 + number))


def _leave(number: int, _frame: FrameType | None) -> None:
    next_signal_leaves_at_once()
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
