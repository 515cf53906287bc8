"""Says at the end of a run how many tests of each kind passed, failed, were skipped or were left out.

A plugin of pytest, named in conftest.py. A test with two markers counts under both; one with none is a unit test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pytest

MARKERS = ("proof", "starter", "browser", "slow", "gpu")
OUTCOMES = ("failed", "skipped", "passed")  # the first that any phase of a test had is the test's
LEFT_OUT = "left out"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(MarkerCounts(), "marker-counts")


class MarkerCounts:
    """What became of every test of one run."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.kinds: dict[str, tuple[str, ...]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        known = self.outcomes.get(report.nodeid, OUTCOMES[-1])
        self.outcomes[report.nodeid] = min(known, report.outcome, key=OUTCOMES.index)
        self.kinds[report.nodeid] = kinds_of(report.keywords)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            self.outcomes[item.nodeid] = LEFT_OUT
            self.kinds[item.nodeid] = kinds_of(mark.name for mark in item.iter_markers())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("tests per marker")
        for line in table(self.outcomes, self.kinds):
            terminalreporter.write_line(line)


def kinds_of(names: Iterable[str]) -> tuple[str, ...]:
    found = set(names)
    return tuple(marker for marker in MARKERS if marker in found) or ("unit",)


def table(outcomes: dict[str, str], kinds: dict[str, tuple[str, ...]]) -> list[str]:
    """A line a marker, `unit` for tests without one."""
    counts = Counter((kind, outcomes[test]) for test in outcomes for kind in kinds[test])
    columns = ("passed", "failed", "skipped", LEFT_OUT)
    lines = [f"{'':8}" + "".join(f"{column:>10}" for column in columns)]
    for kind in ("unit", *MARKERS):
        lines.append(f"{kind:8}" + "".join(f"{counts[kind, column]:>10}" for column in columns))
    return lines
