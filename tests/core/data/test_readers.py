from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from core.data import readers
from core.data.readers import read_rows
from core.errors import Problem, WorkbenchError

ROW = '{"instruction": "a", "output": "b"}'


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(content: str | bytes, name: str = "data.json") -> Path:
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return file

    return write


def keys(problems: list[Problem]) -> list[str]:
    return [problem.key for problem in problems]


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("array.json", '[\n  {"a": "1"},\n\n  {"a":\n    "2"},\n  {"a": "3"}\n]\n', [2, 4, 6]),
        ("array.jsonl", '[\n{"a": "1"},\n{"a": "2"}\n]', [2, 3]),
        ("lines.jsonl", '{"a": "1"}\n\n{"a": "2"}\r\n{"a": "3"}', [1, 3, 4]),
        ("lines.json", '{"a": "1"}\n{"a": "2"}\n', [1, 2]),
        ("lines.txt", '\n{"a": "1"}\n{"a": "2"}\n', [2, 3]),
        ("object.json", '{"version": [1, {"data": 2}],\n "data": [\n{"a": "1"},\n{"a": "2"}], "end": null}', [3, 4]),
        ("one.json", '{\n"a": "1"\n}', [1]),
        ("joined.json", '{\n"a": "1"\n}\n{\n"a": "2"\n}\n', [1, 4]),
        ("separators.jsonl", '{"a": "1\u2028\x85"}\n{"a": "2"}', [1, 2]),
        ("table.csv", 'a,b\n1,2\n\n"x\ny",3\n4,5\n', [2, 4, 6]),
        ("table.csv", "a;b\r\n1;2\r\n3;4\r\n", [2, 3]),
        ("table.tsv", "a\tb\n1,5\t2\n", [2]),
    ],
)
def test_each_row_has_the_line_it_begins_on(write, name: str, content: str, lines: list[int]) -> None:  # type: ignore[no-untyped-def]
    rows, problems = read_rows(write(content, name))
    assert [row.line for row in rows] == lines
    assert all(problem.key == "D35_delimiter" for problem in problems)


def test_rows_on_one_line_are_numbered_and_it_is_said(write) -> None:  # type: ignore[no-untyped-def]
    rows, problems = read_rows(write(f'[{ROW}, {{"instruction": "a", "output": NaN}}, {ROW}]'))
    assert [row.line for row in rows] == [1, 3]
    assert [(problem.key, problem.place.line) for problem in problems] == [
        ("D12_not_finite", 2),
        ("D10_rows_share_lines", None),
    ]


def test_cells_are_text_by_column_whatever_the_delimiter(write) -> None:  # type: ignore[no-untyped-def]
    for mark in ",;\t|":
        content = mark.join(["prompt", "completion"]) + "\n" + mark.join(['"say ""hi"""', "1"]) + "\n"
        rows, problems = read_rows(write(content, "table.csv"))
        assert rows[0].values == {"prompt": 'say "hi"', "completion": "1"}
        assert keys(problems) == ([] if mark == "," else ["D35_delimiter"])


def test_a_table_is_known_by_its_columns_whatever_its_name(write) -> None:  # type: ignore[no-untyped-def]
    rows, _ = read_rows(write("question,answer\nWho, me?,no\nWho?,yes\n", "table.txt"))
    assert [row.values["answer"] for row in rows] == ["yes"]


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"\xef\xbb\xbf" + ROW.encode(), []),
        (ROW.encode("utf-16"), ["D03_decoded"]),
        (ROW.encode("utf-32"), ["D03_decoded"]),
        (f"{ROW}\n\ufeff{ROW}", ["D02_mark_inside"]),
    ],
)
def test_byte_order_marks_are_taken_off_and_encodings_noted(write, content: bytes | str, key: list[str]) -> None:  # type: ignore[no-untyped-def]
    rows, problems = read_rows(write(content))
    assert {tuple(row.values.items()) for row in rows} == {(("instruction", "a"), ("output", "b"))}
    assert keys(problems) == key


def test_a_mark_inside_a_text_is_the_persons_own(write) -> None:  # type: ignore[no-untyped-def]
    rows, problems = read_rows(write('{"a": "x\ufeffy"}'))
    assert (rows[0].values["a"], problems) == ("x\ufeffy", [])


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("name", "content", "key", "line"),
    [
        ("empty.jsonl", b"", "D01_no_rows", None),
        ("blank.jsonl", b"\n  \r\n\t\n", "D01_no_rows", None),
        ("array.json", b"[]", "D01_no_rows", None),
        ("header.csv", b"instruction,output\n", "D01_no_rows", None),
        ("gbk.jsonl", f'{ROW}\n{{"a": "中医"}}\n'.encode("gb18030"), "D04_not_utf8", 2),
        ("latin.csv", "prompt,completion\na,caf\xe9\n".encode("latin-1"), "D04_not_utf8", 2),
        ("mixed.jsonl", '{"a": "中"}\n'.encode() + '{"a": "中"}\n'.encode("gb18030"), "D04_not_utf8", 2),
        ("image.jsonl", b"\x89PNG\r\n\x1a\n\0\0", "D06_other_kind", None),
        ("paper.json", b"%PDF-1.7\n", "D06_other_kind", None),
        ("sheet.csv", b"PK\x03\x04", "D06_other_kind", None),
        ("nul.jsonl", b'{"a": "1"}\n{"a": "\0"}\n', "D06_nul_byte", 2),
        ("cut.json", b'[\n{"a": "1"},\n{"a": "2', "D07_cut_off", 3),
        ("cut.json", b'[\n{"a": "1"},\n{"a": "2"}', "D07_cut_off", 3),
        ("cut.json", b'[\n{"a": "1"},\n', "D07_cut_off", 3),
        ("cut.json", b'{"data": [\n{"a": "1"},\n{"a":', "D07_cut_off", 3),
        ("quotes.json", b"[\n{'a': '1'}]", "D11_single_quotes", 2),
        ("comment.json", b'[\n{"a": "1"}, // one\n{"a": "2"}]', "D11_comment", 2),
        ("comma.json", b'[\n{"a": "1"},\n]', "D11_trailing_comma", 3),
        ("comma.json", b'[\n{"a": "1",\n}]', "D11_trailing_comma", 3),
        ("python.json", b'[\n{"a": None}]', "D11_python_word", 2),
        ("missing.json", b'[\n{"a": "1"}\n{"a": "2"}]', "D11_not_json", 3),
        ("after.json", b'[{"a": "1"}]\nmore', "D11_not_json", 2),
        ("nan.json", b'[{"a": NaN}]', "D12_not_finite", 1),
        ("deep.json", DEEP.encode(), "D14_too_deep", None),
        ("deep.jsonl", ('{"a": ' + "[" * 70 + "]" * 70 + "}").encode(), "D14_too_deep", 1),
        ("digits.json", b'[\n{"a": ' + b"9" * 5000 + b"}]", "D15_number_too_long", None),
        ("html.json", b"<html>\n<body>\n", "D08_bad_line", 1),
        ("prose.txt", b"Once upon a time, there was a file.\nIt had lines.\n", "D21_plain_text", 1),
        ("twice.csv", b"prompt,completion,prompt\n1,2,3\n", "D35_column_name", 1),
        ("nameless.csv", b"prompt,\n1,2\n", "D35_column_name", 1),
        ("quote.csv", b'prompt,completion\n1,2\n"open,2\n' + b"x" * 140_000, "D35_open_quote", 3),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_place(  # type: ignore[no-untyped-def]
    write, name: str, content: bytes, key: str, line: int | None
) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read_rows(write(content, name))
    problem = caught.value.problems[0]
    assert (problem.key, problem.place.line, problem.place.file) == (key, line, name)
    for lang in ("en", "zh"):
        assert name in caught.value.describe(lang)  # type: ignore[arg-type]


def test_a_wrong_encoding_is_named_with_its_byte_and_what_the_line_would_be(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WorkbenchError) as caught:
        read_rows(write(b'{"a": "1"}\n' + '{"a": "中医"}'.encode("gb18030")))
    problem = caught.value.problems[0]
    assert (problem.values["byte"], problem.values["guess"]) == (11 + 7, "GB18030")
    assert "中医" in problem.place.excerpt


def test_a_cut_off_file_names_the_bracket_that_is_open(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WorkbenchError) as caught:
        read_rows(write('\n  [\n{"a": "1"},\n'))
    assert caught.value.problems[0].values == {"opened": 2, "column": 3}


def test_every_bad_line_is_named_and_the_good_ones_are_read(write) -> None:  # type: ignore[no-untyped-def]
    lines = [ROW if number % 3 else '{"instruction": "a" "output"}' for number in range(1, 10_001)]
    rows, problems = read_rows(write("\n".join(lines), "data.jsonl"))
    assert (len(rows), len(problems)) == (6667, 3333)
    assert {problem.key for problem in problems} == {"D08_bad_line"}
    assert [problem.place.line for problem in problems[:3]] == [3, 6, 9]
    assert problems[0].place.excerpt.startswith('{"instruction"')
    assert problems[0].values["column"] == 21


def test_where_every_line_is_bad_twenty_are_shown_and_all_counted(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WorkbenchError) as caught:
        read_rows(write("{'a': 1}\n" * 50, "data.jsonl"))
    assert (len(caught.value.problems), caught.value.total) == (20, 50)
    assert "30" in caught.value.describe("zh")


def test_lines_with_a_broken_first_one_are_still_lines(write) -> None:  # type: ignore[no-untyped-def]
    rows, problems = read_rows(write(f"{{'a': 1}}\n{ROW}\n", "data.jsonl"))
    assert ([row.line for row in rows], keys(problems)) == ([2], ["D11_single_quotes"])


@pytest.mark.parametrize(
    ("row", "key", "field"),
    [
        ('{"a": {"b": [1, Infinity]}}', "D12_not_finite", "a.b[1]"),
        ('{"a": 1e999}', "D12_not_finite", "a"),
        ('["a"]', "D23_row_not_object", ""),
        ('"a"', "D23_row_not_object", ""),
        ("3", "D23_row_not_object", ""),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_field(write, row: str, key: str, field: str) -> None:  # type: ignore[no-untyped-def]
    rows, problems = read_rows(write(f"{ROW}\n{row}\n", "data.jsonl"))
    assert [(problem.key, problem.place.line, problem.place.field) for problem in problems] == [(key, 2, field)]
    assert len(rows) == 1


def test_a_lone_surrogate_is_replaced_and_noted(write) -> None:  # type: ignore[no-untyped-def]
    rows, problems = read_rows(write('[\n{"a": ["x", "\\ud800"], "b": "\\ud83d\\ude00"}]'))
    assert rows[0].values == {"a": ["x", "\ufffd"], "b": "😀"}
    assert [(problem.key, problem.place.field, problem.severity) for problem in problems] == [
        ("D16_lone_surrogate", "a[1]", "warning")
    ]
    json.dumps(rows[0].values, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("content", ['[\n{"a": "1",\n"a": "2"}]', '{"a": "0"}\n{"a": "1", "a": "2"}\n'])
def test_a_key_that_is_there_twice_is_a_warning_with_its_line(write, content: str) -> None:  # type: ignore[no-untyped-def]
    rows, problems = read_rows(write(content))
    assert rows[-1].values == {"a": "2"}
    assert [(problem.key, problem.place.line, problem.place.field) for problem in problems] == [
        ("D13_duplicate_key", 2, "a")
    ]


def test_a_ragged_row_is_named_with_its_line(write) -> None:  # type: ignore[no-untyped-def]
    rows, problems = read_rows(write('prompt,completion\n"a\nb",1\nx\n1,2,3\n', "data.csv"))
    assert [row.line for row in rows] == [2]
    assert [(problem.place.line, problem.values["cells"]) for problem in problems] == [(4, 1), (5, 3)]


def test_a_file_over_the_limit_is_refused_before_it_is_read(write, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    file = write(ROW)
    monkeypatch.setattr(readers, "MAX_FILE_BYTES", len(ROW))
    assert read_rows(file)
    monkeypatch.setattr(readers, "MAX_FILE_BYTES", len(ROW) - 1)
    with pytest.raises(WorkbenchError, match="D18"):
        read_rows(file)


@pytest.mark.skipif(sys.platform == "win32", reason="opening a folder fails otherwise there")
def test_a_file_that_is_gone_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.json", tmp_path):
        with pytest.raises(WorkbenchError, match="D45"):
            read_rows(path)
