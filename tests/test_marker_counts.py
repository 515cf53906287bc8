"""The counts that a test run closes with."""

from __future__ import annotations

from tests.marker_counts import kinds_of, table


def test_a_test_counts_under_each_of_its_markers() -> None:
    assert kinds_of(["test_x", "starter", "browser", "parametrize"]) == ("starter", "browser")
    assert kinds_of(["test_x", "parametrize"]) == ("unit",)


def test_the_table_has_a_line_a_marker() -> None:
    outcomes = {"a": "passed", "b": "passed", "c": "failed", "d": "skipped", "e": "left out"}
    kinds = {"a": ("unit",), "b": ("starter", "browser"), "c": ("browser",), "d": ("slow",), "e": ("gpu",)}
    assert [line.split() for line in table(outcomes, kinds)] == [
        ["passed", "failed", "skipped", "left", "out"],
        ["unit", "1", "0", "0", "0"],
        ["proof", "0", "0", "0", "0"],
        ["starter", "1", "0", "0", "0"],
        ["browser", "1", "1", "0", "0"],
        ["slow", "0", "0", "1", "0"],
        ["gpu", "0", "0", "0", "1"],
    ]
