"""Long work in the background: followed, waited for, cancelled, and never silent about how it ended."""

from __future__ import annotations

import threading
import traceback
import weakref

import pytest

from core.errors import WorkbenchError, refusal
from core.jobs import Cancelled, Job, Watch, asks

WAIT_S = 60.0


def test_work_is_followed_to_its_result() -> None:
    go_on, told = threading.Event(), threading.Event()

    def work(watch: Watch[int]) -> str:
        watch(1)
        told.set()
        assert go_on.wait(WAIT_S)
        watch(2)
        return "done"

    job = Job("work", work)
    assert told.wait(WAIT_S)
    assert (job.running, job.progress, job.wait(0.01)) == (True, 1, False)
    go_on.set()
    assert (job.result(), job.progress, job.running, job.wait()) == ("done", 2, False, True)
    assert job.elapsed_s > 0


def test_cancelled_work_ends_at_its_next_report() -> None:
    cancelled = threading.Event()

    def work(watch: Watch[int]) -> None:
        assert cancelled.wait(WAIT_S)
        watch(1)
        raise AssertionError("it went on")

    job = Job("work", work)
    job.cancel()
    cancelled.set()
    with pytest.raises(Cancelled):
        job.result()
    assert job.cancelled
    assert job.progress is None


def test_work_may_ask_whether_it_is_cancelled() -> None:
    begun, cancelled = threading.Event(), threading.Event()

    def work(watch: Watch[int]) -> tuple[bool, bool]:
        asked = asks(watch, lambda: 7)
        before = asked()
        begun.set()
        assert cancelled.wait(WAIT_S)
        return before, asked()

    job = Job("work", work)
    assert begun.wait(WAIT_S) and job.progress == 7
    job.cancel()
    cancelled.set()
    assert job.result() == (False, True)


@pytest.mark.parametrize(("error", "kind"), [(refusal("D01_no_rows"), WorkbenchError), (KeyError("a bug"), KeyError)])
def test_whoever_asks_gets_the_error_that_ended_it(error: Exception, kind: type[Exception]) -> None:
    def work(watch: Watch[int]) -> None:
        raise error

    job = Job("work", work)
    for _ in range(2):
        with pytest.raises(kind):
            job.result()


def test_an_error_that_is_asked_for_often_does_not_grow() -> None:
    def work(watch: Watch[int]) -> None:
        raise refusal("D01_no_rows")

    job = Job("work", work)
    lengths = set()
    for _ in range(4):
        with pytest.raises(WorkbenchError) as caught:
            job.result()
        lengths.add(len(traceback.extract_tb(caught.tb)))
    assert len(lengths) == 1


class Held:
    """Something big that work holds."""


@pytest.mark.parametrize("cause", [Cancelled(), refusal("D01_no_rows")])
def test_what_ended_work_held_is_let_go(cause: Exception) -> None:
    held: list[weakref.ref[Held]] = []

    def work(watch: Watch[int]) -> None:
        big = Held()
        held.append(weakref.ref(big))
        try:
            raise cause
        except WorkbenchError as error:
            raise refusal("D01_no_rows") from error

    job = Job("work", work)
    assert job.wait(WAIT_S)
    assert held[0]() is None
    with pytest.raises(type(cause)):
        job.result()


def test_ended_work_is_let_go_with_all_that_it_was_given() -> None:
    held = Held()
    alive = weakref.ref(held)

    def work_on(held: Held) -> Job[int, bool]:
        return Job("work", lambda watch: held is not None)

    job = work_on(held)
    assert job.wait(WAIT_S) and job.result()
    del held
    assert alive() is None
