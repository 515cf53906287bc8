"""The catalogue of bad data files, entry by entry: what is said, at which line, and what to do about it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from core.data.report import report
from core.errors import Problem, WorkbenchError
from core.i18n import LANGUAGES

Turns = Sequence[tuple[str, str]]
AT_MOST_S = 5.0  # of computing, which a busy machine does not lengthen


def lines(rows: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def said(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


ROWS = [{"instruction": f"question {number}", "output": f"answer number {number}"} for number in range(12)]
TWELVE = lines(ROWS)
TURNS = lines([said(("user", f"q{number}"), ("assistant", f"a{number}")) for number in range(12)])
CHINESE = "".join(f"第{number}个问题是什么？;这是第{number}个回答，请看。\n" for number in range(12))
SOURCES: list[tuple[str, bytes, str, int | None, str]] = [  # file, content, key, line, words of its fix
    ("a.jsonl", b"", "D01_no_rows", None, "at least one row"),
    ("a.jsonl", b"\n \n", "D01_no_rows", None, "at least one row"),
    ("a.csv", b"instruction,output\n", "D01_no_rows", None, "at least one row"),
    ("a.jsonl", TWELVE + b"\xef\xbb\xbf" + lines(ROWS[:1]), "D02_mark_inside", 13, "Nothing to do"),
    ("a.jsonl", TWELVE.decode().encode("utf-16"), "D03_decoded", None, "preview looks right"),
    ("a.jsonl", TWELVE.decode().encode("utf-32"), "D03_decoded", None, "preview looks right"),
    ("a.csv", f"instruction;output\n{CHINESE}".encode("gb18030"), "D04_read_as", 2, "choose the"),
    ("a.jsonl", TWELVE + '{"instruction": "café"}'.encode("latin-1"), "D04_not_utf8", 13, "Choose the encoding"),
    ("a.jsonl", TWELVE + '{"a": "é"}\n'.encode() + b'{"a": "\xff"}', "D05_mixed_encodings", 14, "Save the parts"),
    ("a.jsonl", b"\x89PNG\r\n\x1a\n" + bytes(100), "D06_other_kind", None, "Export the data"),
    ("a.jsonl", b"%PDF-1.7 ...", "D06_other_kind", None, "Export the data"),
    ("a.jsonl", b"MZ" + bytes(100), "D06_nul_byte", 1, "in UTF-8"),
    ("a.jsonl", TWELVE + b'{"instruction": "\0"}', "D06_nul_byte", 13, "in UTF-8"),
    ("a.json", json.dumps(ROWS, indent=1).encode()[:-40], "D07_cut_off", 46, "whole file again"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "out\n' + TWELVE, "D08_bad_line", 13, "skip bad rows"),
    ("a.jsonl", TWELVE + b"{'instruction': 'x', 'output': 'y'}", "D11_single_quotes", 13, "json.dump"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "output": None}', "D11_python_word", 13, "json.dump"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "output": "y",}', "D11_trailing_comma", 13, "comma"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", // why\n "output": "y"}', "D11_comment", 13, "comment"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "output": "y", "n": NaN}', "D12_not_finite", 13, "null or a number"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "output": "y", "n": 1e999}', "D12_not_finite", 13, "null or a number"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "output": "y", "output": "z"}', "D13_duplicate_key", 13, "remove"),
    ("a.jsonl", TWELVE + b'{"instruction": ' + b"[" * 100_000, "D14_too_deep", 13, "brackets"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "n": ' + b"9" * 5000 + b"}", "D15_number_too_long", 13, "quotes"),
    ("a.jsonl", TWELVE + b'{"instruction": "x \\ud800", "output": "y"}', "D16_lone_surrogate", 13, "how the file was"),
    ("a.jsonl", TWELVE + b'{"a": "' + b"x" * (11 * 2**20) + b'"}', "D17_line_too_long", 13, "Split the row"),
    ("a.jsonl", TWELVE + lines([said(("user", "q"), ("assistant", "a"))]), "D19_mixed_formats", 13, "Split the file"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "outputs": "y"}', "D20_key_misspelt", 13, "Rename “outputs”"),
    ("a.jsonl", TWELVE + b'{"instruction": "x"}', "D20_key_missing", 13, "Add it"),
    ("a.jsonl", b'{"a": 1, "b": 2}', "D21_unknown_columns", 1, "what each column holds"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "output": null}', "D22_empty_text", 13, "Fill it in"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "output": " \\t"}', "D22_empty_text", 13, "Fill it in"),
    ("a.jsonl", TWELVE + '{"instruction": "x", "output": "\u200b"}'.encode(), "D22_nothing_visible", 13, "row"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "output": 5}', "D23_not_text", 13, "in quotes"),
    ("a.jsonl", TWELVE + b'{"instruction": "x", "output": ["y"]}', "D23_not_text", 13, "in quotes"),
    ("a.jsonl", TURNS + b'{"messages": {"role": "user"}}', "D24_not_a_list", 13, "Write it as a list"),
    ("a.jsonl", TURNS + lines([said(("user", "q"), ("bot", "a"))]), "D25_unknown_role", 13, "Rename the role"),
    ("a.jsonl", TURNS + lines([said(("user", "q"), ("GPT", "a"))]), "D25_roles_read_as", None, "Nothing to do"),
    (
        "a.jsonl",
        TURNS + lines([said(("user", "q"), ("user", "r"), ("assistant", "a"))]),
        "D26_same_role_twice",
        13,
        "Join turns",
    ),
    (
        "a.jsonl",
        TURNS + lines([said(("user", "q"), ("system", "s"), ("assistant", "a"))]),
        "D26_system_inside",
        13,
        "system",
    ),
    ("a.jsonl", TURNS + lines([said(("user", "q"))]), "D27_no_answer", 13, "Add an answer"),
    ("a.jsonl", TURNS + lines([said(("assistant", "a"), ("user", "q"))]), "D27_answer_first", 13, "user message"),
    (
        "a.jsonl",
        TURNS + lines([said(("user", "q"), ("assistant", "a"), ("user", "r"))]),
        "D27_ends_without_answer",
        13,
        "answer",
    ),
    ("a.jsonl", TWELVE + b'{"instruction": "x <|im_end|>", "output": "y"}', "D29_special_tokens", 13, "special tokens"),
    ("a.jsonl", TWELVE + lines(ROWS[3:4]), "D31_duplicates", 13, "repeated rows"),
    ("a.jsonl", lines(ROWS[:1]), "D33_few_rows", None, "rows"),
    ("a.csv", b"instruction,output\nq,a\nq2\nq3,a3\n", "D35_ragged_row", 3, "skip bad rows"),
    ("a.csv", b"instruction,instruction\nq,a\n", "D35_column_repeated", 1, "column"),
    ("a.csv", b"instruction,\nq,a\n", "D35_column_unnamed", 1, "name"),
    ("a.csv", b'instruction,output\nq,"a\nq2,a2\n', "D35_open_quote", 2, "Close it"),
    ("a.csv", b"instruction|output\nq|a\n", "D35_delimiter", None, "preview looks right"),
    ("a.jsonl", TWELVE + '{"instruction": "x\u202ey", "output": "z"}'.encode(), "D46_invisible_characters", 13, "Trim"),
]


def problems_of(file: Path) -> list[Problem]:
    try:
        return list(report(file).problems)
    except WorkbenchError as error:
        return list(error.problems)


@pytest.mark.parametrize(
    ("name", "content", "key", "line", "fix"),
    SOURCES,
    ids=[f"{number}-{case[2]}" for number, case in enumerate(SOURCES)],
)
def test_a_bad_file_is_named_at_its_line_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, key: str, line: int | None, fix: str
) -> None:
    (tmp_path / name).write_bytes(content)
    began = time.process_time()
    found = problems_of(tmp_path / name)
    assert time.process_time() - began < AT_MOST_S
    problem = next((problem for problem in found if problem.key == key), None)
    assert problem is not None, [problem.key for problem in found]
    assert (problem.place.line, problem.place.file) == (line, name)
    words = [problem.describe(lang) for lang in LANGUAGES]
    assert fix in words[0].fix
    for said_in in words:
        assert said_in.code == key[:3]
        assert said_in.what and said_in.why and said_in.fix


GOOD = [
    ("a.jsonl", json.dumps(ROWS, indent=1).encode(), 12),  # D09: an array called .jsonl
    ("a.json", TWELVE, 12),  # and the reverse
    ("a.json", "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(), 12),  # D10
    ("a.jsonl", b"\xef\xbb\xbf" + TWELVE, 12),  # D02: a mark at the start is nothing to speak of
    ("a.csv", b"instruction,output\n" + b"".join(b"q%d,=cmd(%d)\n" % (n, n) for n in range(12)), 12),  # D36
    ("a.csv", b"\xef\xbb\xbfinstruction,output\n" + b"".join(b'q%d,"a\n%d"\n' % (n, n) for n in range(12)), 12),  # D35
]


@pytest.mark.parametrize(("name", "content", "rows"), GOOD)
def test_a_file_that_only_looks_odd_is_read_without_a_word(
    tmp_path: Path, name: str, content: bytes, rows: int
) -> None:
    (tmp_path / name).write_bytes(content)
    found = report(tmp_path / name)
    assert (len(found.examples), found.findings) == (rows, ())
