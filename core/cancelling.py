"""Network work on an ordinary thread that ends at once when its caller gives up.

Owns the event loop of one such piece of work. What is said to a person about giving up is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

POLL_S = 0.2
ResultT = TypeVar("ResultT")


class GivenUpError(Exception):
    """The caller gave up before the work was done."""


def run_until(work: Coroutine[Any, Any, ResultT], given_up: Callable[[], bool]) -> ResultT:
    """Run to the end, or until `given_up` says so: also a connection that is waiting ends at once.

    Raises:
        GivenUpError: when given up.
    """

    async def watched() -> ResultT:
        task = asyncio.ensure_future(work)
        while not (await asyncio.wait([task], timeout=POLL_S))[0]:
            if given_up():
                task.cancel()
                await asyncio.wait([task])
                raise GivenUpError
        return task.result()

    # Not asyncio.run: at its end it waits for name look-ups, which hang for long on a machine without a network.
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(watched())
    finally:
        loop.close()
