"""The one download in the background: its end, its time left."""

from __future__ import annotations

import logging

import pytest

from core.models import downloads as module
from core.models.arrival import Cancelled, Progress, Report
from core.models.downloads import Downloads
from tests.core.models.conftest import assert_shown_in_both_languages

WAIT_S = 10.0


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
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    downloads, seen = Downloads(), []

    def work(report: Report, cancelled: Cancelled) -> str:
        for progress in (Progress("asking"), *(Progress("downloading", done, 1000) for done in (800, 850, 900))):
            report(progress)
            assert downloads.status
            seen.append(downloads.status.eta_s)
        return "model"

    downloads._status = module.DownloadStatus("a", "running")
    downloads._run(work)
    assert seen == [None, None, 30.0, 20.0]
