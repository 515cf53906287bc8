"""A long call on a thread of its own, whose reports or result are yielded.

So a handler can show progress, and a page that is closed meanwhile does not break off what it started.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

Report = Callable[[str, float], None]
ResultT = TypeVar("ResultT")
PATIENCE_S = 0.6  # so long nobody needs to be told that something is going on


def reported(work: Callable[[Report], object], name: str) -> Iterator[tuple[str, float]]:
    """Run `work(report)` and yield each (phase, share) it reports; ends when it ends, raising what it raised."""
    reports: queue.SimpleQueue[tuple[str, float] | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            work(lambda phase, share: reports.put((phase, share)))
        except BaseException as error:  # noqa: BLE001 - handed to the caller, which raises it
            reports.put(error)
        else:
            reports.put(None)

    threading.Thread(target=run, name=name, daemon=True).start()
    while (report := reports.get()) is not None:
        if isinstance(report, BaseException):
            raise report
        yield report


def awaited(work: Callable[[], ResultT], name: str, patience_s: float = PATIENCE_S) -> Iterator[ResultT | None]:
    """Run `work()` and yield what it returned, or raise what it raised; before that None, once, where it takes long."""
    future: Future[ResultT] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, which raises it
            future.set_exception(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(patience_s)
    if not future.done():
        yield None
    yield future.result()
