"""A long call on a thread of its own, whose reports are yielded while it runs.

So a handler can show progress, and a page that is closed meanwhile does not break off what it started.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

Report = Callable[[str, float], None]


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
