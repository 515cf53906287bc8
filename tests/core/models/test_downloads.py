"""The one download in the background: its end, its time left, its cancelling."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace

import pytest

from core.errors import WorkbenchError, refusal
from core.models import downloads as module
from core.models.arrival import Cancelled, Progress, Report
from core.models.downloads import Downloads, DownloadStatus
from tests.core.models.conftest import assert_shown_in_both_languages

WAIT_S = 60.0


def test_a_bug_is_shown_by_its_reference_in_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    def work(report: Report, cancelled: Cancelled) -> str:
        raise KeyError("/secret/path")

    downloads = Downloads()
    with caplog.at_level(logging.ERROR):
        downloads.start("a", work)
        status = downloads.wait(WAIT_S)
    assert status and status.state == "failed" and status.problem
    reference = status.problem.values["reference"]
    assert len(reference) == 8 and reference in caplog.text
    assert all("secret" not in str(status.problem.describe(lang)) for lang in ("en", "zh"))
    assert_shown_in_both_languages([status.problem])


def test_the_time_left_does_not_count_what_an_earlier_try_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 20.0, 30.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))  # others have the real one
    seen: list[DownloadStatus] = []

    def work(report: Report, cancelled: Cancelled) -> str:
        for progress in (Progress("asking"), *(Progress("downloading", done, 1000) for done in (800, 850, 900))):
            report(progress)
        return "model"

    ended = module._fetched(work, DownloadStatus("a", "running"), seen.append)
    assert [status.eta_s for status in seen] == [None, None, 30.0, 20.0]
    assert ended == DownloadStatus("a", "finished", "downloading", 900, 1000, None, "model")


@pytest.mark.parametrize("heeds", [True, False])
def test_a_cancelled_download_ends_where_it_asks_or_at_its_next_report(heeds: bool) -> None:
    begun, told = threading.Event(), threading.Event()

    def work(report: Report, cancelled: Cancelled) -> str:
        report(Progress("downloading", 1, 2))
        assert not cancelled()
        begun.set()
        assert told.wait(WAIT_S)
        if heeds and cancelled():
            raise refusal("A24_cancelled")
        report(Progress("downloading", 2, 2))
        raise AssertionError("it went on")

    downloads = Downloads()
    downloads.start("a", work, keeps=True)
    assert begun.wait(WAIT_S)
    assert downloads.status == DownloadStatus("a", "running", "downloading", 1, 2, keeps=True)
    with pytest.raises(WorkbenchError, match="A01"):
        downloads.start("b", work)
    downloads.cancel()
    told.set()
    status = downloads.wait(WAIT_S)
    assert status and (status.state, status.keeps, status.problem) == ("cancelled", True, None)


def test_a_thread_that_cannot_begin_leaves_room_for_the_next_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    downloads = Downloads()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        with pytest.raises(RuntimeError):
            downloads.start("a", lambda report, cancelled: "a")
    assert downloads.status is None
    downloads.start("b", lambda report, cancelled: "b")
    status = downloads.wait(WAIT_S)
    assert status and (status.state, status.model) == ("finished", "b")
