"""Problems counted by kind: the first in words, the line of every one."""

from __future__ import annotations

from core.data.findings import FindingLog
from core.errors import SHOWN_PROBLEMS, Place, Problem


def bad_line(line: int) -> Problem:
    return Problem("D08_bad_line", Place(line=line), {"column": 1})


def test_every_line_is_counted_and_only_the_first_problems_are_kept() -> None:
    log = FindingLog()
    log.add(bad_line(line) for line in range(100, 1100))
    (finding,) = log.findings("rows.jsonl")
    assert (finding.key, finding.code, finding.severity, finding.count) == ("D08_bad_line", "D08", "error", 1000)
    assert list(finding.lines) == list(range(100, 1100))
    assert len(finding.problems) == SHOWN_PROBLEMS
    assert {problem.place.file for problem in finding.problems} == {"rows.jsonl"}


def test_a_problem_of_several_rows_counts_them_all_also_where_not_every_line_is_named() -> None:
    log = FindingLog()
    log.add([Problem("D31_duplicates", Place(line=3), {"count": 50, "rows": (3, 5)}, "warning")])
    log.add([Problem("D33_few_rows", values={"count": 4}, severity="warning")])
    findings = {finding.key: (finding.count, list(finding.lines)) for finding in log.findings("f")}
    assert findings == {"D31_duplicates": (50, [3, 5]), "D33_few_rows": (1, [])}


def test_errors_come_first_then_what_comes_first_in_the_file() -> None:
    log = FindingLog()
    log.add([Problem("D02_mark_inside", Place(line=1), severity="warning"), bad_line(9)])
    log.add([Problem("D22_empty_text", Place(line=4, file="inner.json", field="a"), {"field": "a"})])
    assert [finding.key for finding in log.findings("f")] == ["D22_empty_text", "D08_bad_line", "D02_mark_inside"]
    assert log.findings("f")[0].problems[0].place.file == "inner.json"


def test_errors_of_rows_that_are_left_out_on_purpose_are_told_as_warnings() -> None:
    log = FindingLog()
    log.add([bad_line(9)])
    (finding,) = log.findings("f", errors_warn=True)
    assert (finding.severity, finding.problems[0].severity) == ("warning", "warning")
