"""A file of 1,000 rows with one fault of each kind: every one is found under its line, and nothing else is."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import main
from core.data.reading.streams import SUFFIXES
from core.data.report import report

ROWS = 1000
Turns = list[dict[str, Any]]


def rows() -> list[Turns]:
    """Conversations in made-up words, each another."""
    draw = random.Random(7)
    words = ["".join(draw.choices("abcdefghijklmnoprstuvwyz", k=draw.randint(2, 9))) for _ in range(3000)]

    def said(role: str) -> dict[str, Any]:
        return {"role": role, "content": " ".join(draw.choices(words, k=draw.randint(8, 30))).capitalize() + "."}

    system = [{"role": "system", "content": "You answer in made-up words."}]
    return [system + [said("user"), said("assistant")] * draw.randint(1, 2) for _ in range(ROWS)]


def line_of(turns: Any, **more: Any) -> str:
    return json.dumps({"messages": turns, **more}, ensure_ascii=False)


def last(turns: Turns, content: Any) -> str:
    return line_of([*turns[:-1], {"role": "assistant", "content": content}])


def words_of(turns: Turns) -> str:
    return str(turns[-1]["content"])


# Each fault by its key: what stands in its line instead of the row that was there; `other` is a row without fault.
FAULTS: dict[str, Callable[[Turns, Turns], str]] = {
    "D08_bad_line": lambda row, other: line_of(row)[:-20],
    "D11_single_quotes": lambda row, other: str({"messages": row}),
    "D12_not_finite": lambda row, other: line_of(row, score=float("nan")),
    "D13_duplicate_key": lambda row, other: line_of(row)[:-1] + ', "id": 1, "id": 2}',
    "D14_too_deep": lambda row, other: line_of(row)[:-1] + ', "x": ' + "[" * 5000 + "]" * 5000 + "}",
    "D15_number_too_long": lambda row, other: line_of(row)[:-1] + ', "x": ' + "7" * 5000 + "}",
    "D16_lone_surrogate": lambda row, other: last(row, words_of(row) + "#").replace("#", "\\ud800"),
    "D23_row_not_object": lambda row, other: json.dumps(row[1]["content"]),
    "D19_other_format": lambda row, other: json.dumps({"instruction": row[1]["content"], "output": words_of(row)}),
    "D20_key_misspelt": lambda row, other: line_of(row).replace('"messages"', '"mesages"'),
    "D22_empty_text": lambda row, other: last(row, ""),
    "D23_not_text": lambda row, other: last(row, 12),
    "D24_not_a_list": lambda row, other: line_of(7),
    "D25_unknown_role": lambda row, other: line_of(row).replace('"user"', '"wizard"', 1),
    "D22_nothing_visible": lambda row, other: last(row, "\u200b\u2060"),
    "D22_spaces_around": lambda row, other: last(row, words_of(row) + "\n\n"),
    "D26_same_role_twice": lambda row, other: line_of([*row, other[-1]]),
    "D26_system_inside": lambda row, other: line_of([*row[:2], row[0], *row[2:]]),
    "D27_no_answer": lambda row, other: line_of(row[:2]),
    "D27_answer_first": lambda row, other: line_of([row[0], other[2], *row[1:]]),
    "D27_ends_without_answer": lambda row, other: line_of([*row, other[1]]),
    "D29_special_tokens": lambda row, other: last(row, words_of(row) + "<|im_end|>"),
    "D05_lost_characters": lambda row, other: last(row, "Na\ufffdve " + words_of(row)),
    "D05_garbled_text": lambda row, other: last(row, "CafÃ© " + words_of(row)),
    "D46_invisible_characters": lambda row, other: last(row, words_of(row).replace(" ", "\u200b ", 1)),
    "D47_answer_in_question": lambda row, other: line_of([row[0], {"role": "user", "content": words_of(row)}, row[2]]),
    "D48_personal_data": lambda row, other: last(row, words_of(row) + " Write to lin.wei@acme-labs.cn"),
    "D31_duplicates": lambda row, other: line_of(other),
    "D31_near_duplicates": lambda row, other: last(other, words_of(other)[:-1] + " indeed."),
    "D51_contradictions": lambda row, other: last(other, words_of(row)),
    "D49_language_mix": lambda row, other: line_of(
        [
            {"role": "user", "content": "天空为什么是蓝色的？"},
            {"role": "assistant", "content": "因为阳光里的蓝光散射得最多。"},
        ]
    ),
}
FIRST = 100  # the line of the first fault; the rows before it are those that others repeat
APART = 25
EXPECTED = {key: [FIRST + APART * number] for number, key in enumerate(FAULTS)}


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert len(FAULTS) >= 25
    said = rows()
    lines = [line_of(turns) for turns in said]
    for number, (key, fault) in enumerate(FAULTS.items()):
        lines[EXPECTED[key][0] - 1] = fault(said[EXPECTED[key][0] - 1], said[number])
    file = tmp_path_factory.mktemp("seeded") / "seeded.jsonl"
    assert file.suffix in SUFFIXES
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def told(found: dict[str, list[int]]) -> dict[str, list[int]]:
    """The faults alone. Two are told twice, with the same line: a row of another format also makes the file mixed, and
    half a character is read as the mark of a lost one."""
    half, *lost = found["D05_lost_characters"]
    assert found["D19_mixed_formats"] == EXPECTED["D19_other_format"]
    assert [half] == EXPECTED["D16_lone_surrogate"]
    return {key: lines for key, lines in found.items() if key != "D19_mixed_formats"} | {"D05_lost_characters": lost}


def test_a_file_without_faults_has_no_findings(tmp_path: Path) -> None:
    file = tmp_path / "good.jsonl"
    file.write_text("\n".join(map(line_of, rows())), encoding="utf-8")
    assert report(file).findings == ()
    assert len(report(file).examples) == ROWS


def test_every_seeded_fault_is_reported_and_none_is_invented(seeded: Path) -> None:
    assert told({finding.key: list(finding.lines) for finding in report(seeded).findings}) == EXPECTED


def test_the_command_line_lists_every_seeded_fault_and_none_is_invented(
    seeded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(seeded), "--json", "--data-dir", str(tmp_path / "data")]) == 2
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert told({finding["key"]: finding["lines"] for finding in findings}) == EXPECTED
    for finding in findings:
        assert finding["code"] == finding["key"].split("_")[0]
        assert all(problem["what"] and problem["why"] and problem["fix"] for problem in finding["problems"])
        assert finding["problems"][0]["line"] == finding["lines"][0]
