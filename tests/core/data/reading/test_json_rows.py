from __future__ import annotations

import json

import pytest

from core.data.reading import json_documents, json_rows, texts
from core.data.reading.streams import Row, open_rows
from core.errors import WorkbenchError
from tests.core.data.reading.reading import ROW, keys, read

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("array.json", '[\n  {"a": "1"},\n\n  {"a":\n    "2"},\n  {"a": "3"}\n]\n', [2, 4, 6]),
        ("array.jsonl", '[\n{"a": "1"},\n{"a": "2"}\n]', [2, 3]),
        ("lines.jsonl", '{"a": "1"}\n\n{"a": "2"}\r\n{"a": "3"}', [1, 3, 4]),
        ("lines.json", '{"a": "1"}\n{"a": "2"}\n', [1, 2]),
        ("lines.txt", '\n{"a": "1"}\n{"a": "2"}\n', [2, 3]),
        ("mac.jsonl", '{"a": "1"}\r{"a": "2"}\r', [1, 2]),
        ("object.json", '{"version": [1, {"data": 2}],\n "data": [\n{"a": "1"},\n{"a": "2"}], "end": null}', [3, 4]),
        ("one.json", '{\n"a": "1"\n}', [1]),
        ("joined.json", '{\n"a": "1"\n}\n{\n"a": "2"\n}\n', [1, 4]),
        ("separators.jsonl", '{"a": "1\u2028\x85"}\n{"a": "2"}', [1, 2]),
    ],
)
def test_each_row_has_the_line_it_begins_on(write, name: str, content: str, lines: list[int]) -> None:
    rows, problems = read(write(content, name))
    assert ([row.line for row in rows], problems if name != "object.json" else []) == (lines, [])


def test_rows_on_one_line_are_numbered_and_it_is_said(write) -> None:
    rows, problems = read(write(f'[{ROW}, {{"instruction": "a", "output": NaN}}, {ROW}]'))
    assert [row.line for row in rows] == [1, 3]
    assert [(problem.key, problem.place.line) for problem in problems] == [
        ("D10_rows_share_lines", None),
        ("D12_not_finite", 2),
    ]


def test_objects_one_after_another_on_one_line_are_rows(write) -> None:
    rows, problems = read(write('{"a": 1}{"a": 2} {"a": 3}\n'))
    assert ([row.values["a"] for row in rows], [row.line for row in rows]) == ([1, 2, 3], [1, 2, 3])
    assert keys(problems) == ["D10_rows_share_lines"]


def test_a_second_list_in_the_object_is_left_out_and_it_is_said(write) -> None:
    rows, problems = read(write('{"train": [\n{"a": 1}],\n"test": [\n{"a": 2},\n{"a": 3}],\n"tags": ["x"]}'))
    assert [row.values["a"] for row in rows] == [1]
    assert [(problem.key, problem.place.line, problem.place.field) for problem in problems] == [
        ("D09_other_list", 3, "test")
    ]
    assert problems[0].values["count"] == 2


@pytest.mark.parametrize(
    ("name", "content", "key", "line"),
    [
        ("cut.json", '[\n{"a": "1"},\n{"a": "2', "D07_cut_off", 3),
        ("cut.json", '[\n{"a": "1"},\n{"a": "2"}', "D07_cut_off", 3),
        ("cut.json", '[\n{"a": "1"},\n', "D07_cut_off", 3),
        ("cut.json", '{"data": [\n{"a": "1"},\n{"a":', "D07_cut_off", 3),
        ("cut.json", '{"data": [\n{"a": "1"}]', "D07_cut_off", 2),
        ("cut.json", '{"a": "1"', "D07_cut_off", 1),
        ("quotes.json", "[\n{'a': '1'}]", "D11_single_quotes", 2),
        ("comment.json", '[\n{"a": "1"}, // one\n{"a": "2"}]', "D11_comment", 2),
        ("comma.json", '[\n{"a": "1"},\n]', "D11_trailing_comma", 3),
        ("comma.json", '[\n{"a": "1",\n}]', "D11_trailing_comma", 3),
        ("python.json", '[\n{"a": None}]', "D11_python_word", 2),
        ("missing.json", '[\n{"a": "1"}\n{"a": "2"}]', "D11_not_json", 3),
        ("after.json", '[{"a": "1"}]\nmore', "D11_not_json", 2),
        ("deep.json", DEEP, "D14_too_deep", 1),
        ("digits.json", '[\n{"a": ' + "9" * 5000 + "}]", "D15_number_too_long", 2),
    ],
)
def test_a_document_that_cannot_be_read_is_refused_with_its_place(write, name, content, key: str, line: int) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read(write(content, name))
    problem = caught.value.problems[0]
    assert (problem.key, problem.place.line, problem.place.file) == (key, line, name)
    assert problem.describe("zh").fix


@pytest.mark.parametrize(
    ("row", "key", "field"),
    [
        ('{"a": {"b": [1, Infinity]}}', "D12_not_finite", "a.b[1]"),
        ('{"a": -1e999}', "D12_not_finite", "a"),
        ('{"a": NaN}', "D12_not_finite", "a"),
        ('["a"]', "D23_row_not_object", ""),
        ('"a"', "D23_row_not_object", ""),
        ("3", "D23_row_not_object", ""),
        ('{"a": ' + "[" * 70 + "]" * 70 + "}", "D14_too_deep", "a" + "[0]" * 63),
        (DEEP, "D14_too_deep", ""),
        ('{"a": ' + "9" * 5000 + "}", "D15_number_too_long", ""),
        ("{'a': 1}", "D11_single_quotes", ""),
        ('{"a": None}', "D11_python_word", ""),
        ('{"a": 1,}', "D11_trailing_comma", ""),
        ('{"a": 1} // one', "D11_comment", ""),
        ('{"a" "b"}', "D08_bad_line", ""),
        ('{"a": "b"', "D08_bad_line", ""),
        ('{"a": 1} {"a": 2}', "D08_bad_line", ""),
        ("<html>", "D08_bad_line", ""),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_read(write, row: str, key: str, field: str) -> None:
    rows, problems = read(write(f"{ROW}\n{row}\n{ROW}\n", "data.jsonl"))
    shown = field if len(field) <= 80 else field[:79] + "…"
    assert [(problem.key, problem.place.line, problem.place.field) for problem in problems] == [(key, 2, shown)]
    assert [each.line for each in rows] == [1, 3]
    assert problems[0].describe("en").fix != problems[0].describe("zh").fix


@pytest.mark.parametrize("first", ['["a"]', '[{"role": "user"}]', "[]"])
def test_lines_of_which_the_first_is_a_list_are_lines(write, first: str) -> None:
    rows, problems = read(write(f"{first}\n{ROW}\n[1]\n", "data.jsonl"))
    assert [row.line for row in rows] == [2]
    assert [(problem.key, problem.place.line) for problem in problems] == [
        ("D23_row_not_object", 1),
        ("D23_row_not_object", 3),
    ]


def test_a_key_that_is_there_very_often_is_one_warning(write) -> None:
    _, problems = read(write("{" + '"a": 1, ' * 1000 + '"b": 2}', "data.jsonl"))
    assert keys(problems) == ["D13_duplicate_key"]


def test_every_bad_line_of_many_is_named_with_its_column(write) -> None:
    lines = [ROW if number % 3 else '{"instruction": "a" "output"}' for number in range(1, 10_001)]
    rows, problems = read(write("\n".join(lines), "data.jsonl"))
    assert (len(rows), len(problems)) == (6667, 3333)
    assert {problem.key for problem in problems} == {"D08_bad_line"}
    assert [problem.place.line for problem in problems[:3]] == [3, 6, 9]
    assert problems[0].place.excerpt.startswith('{"instruction"')
    assert problems[0].values["column"] == 21


@pytest.mark.parametrize("first", ["{'a': 1}", '{"a": 1', '{"a": 1} more', "more"])
def test_lines_with_a_broken_first_one_are_still_lines(write, first: str) -> None:
    rows, problems = read(write(f"{first}\n{ROW}\n{ROW}\n", "data.jsonl"))
    assert ([row.line for row in rows], [problem.place.line for problem in problems]) == ([2, 3], [1])


def test_a_cut_off_file_names_the_bracket_that_is_open(write) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read(write('\n  [\n{"a": "1"},\n'))
    assert caught.value.problems[0].values == {"opened": 2, "column": 3}


def test_the_column_of_a_mistake_is_right_far_into_a_long_line(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "CHUNK_BYTES", 64)
    good = "[\n" + f"{ROW}, " * 30
    with pytest.raises(WorkbenchError) as caught:
        read(write(good + "{'a': 1}]"))
    problem = caught.value.problems[0]
    assert (problem.key, problem.place.line) == ("D11_single_quotes", 2)
    assert problem.values["column"] == len(good) - 2 + 2


def test_a_lone_surrogate_is_replaced_and_noted(write) -> None:
    rows, problems = read(write('[\n{"a": ["x", "\\ud800"], "b": "\\ud83d\\ude00", "\\udfff": 1}]'))
    assert rows[0].values == {"a": ["x", "\ufffd"], "b": "😀", "\ufffd": 1}
    assert [(problem.key, problem.place.field, problem.severity) for problem in problems] == [
        ("D16_lone_surrogate", "a[1]", "warning")
    ]
    json.dumps(rows[0].values, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("content", ['[\n{"a": "1",\n"a": "2"}]', '{"a": "0"}\n{"a": "1", "a": "2"}\n'])
def test_a_key_that_is_there_twice_is_a_warning_with_its_line(write, content: str) -> None:
    rows, problems = read(write(content))
    assert rows[-1].values == {"a": "2"}
    assert [(problem.key, problem.place.line, problem.place.field) for problem in problems] == [
        ("D13_duplicate_key", 2, "a")
    ]


def test_what_a_bad_line_had_twice_is_not_told_of_the_next(write) -> None:
    _, problems = read(write(f'{ROW}\n{{"b": {{"a": 1, "a": 2}}, 5\n{ROW}', "data.jsonl"))
    assert keys(problems) == ["D08_bad_line"]


def test_a_line_that_is_too_long_is_passed_over(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "MAX_ROW_CHARACTERS", 5000)
    monkeypatch.setattr(texts, "CHUNK_BYTES", 1000)
    rows, problems = read(write(f'{ROW}\n{{"a": "{"x" * 100_000}"}}\n{ROW}', "data.jsonl"))
    assert [(problem.key, problem.place.line) for problem in problems] == [("D17_line_too_long", 2)]
    assert [row.line for row in rows] == [1, 3]


def test_a_row_of_a_document_that_is_too_long_is_refused_while_it_is_read(write, monkeypatch) -> None:
    monkeypatch.setattr(json_documents, "MAX_ROW_CHARACTERS", 5000)
    monkeypatch.setattr(texts, "CHUNK_BYTES", 1000)
    with open_rows(write(f'[\n{ROW},\n{ROW},\n{{"a": "{"x" * 3_000_000}"}}\n]')) as stream:
        assert [item.line for item in (next(stream), next(stream)) if isinstance(item, Row)] == [2, 3]
        with pytest.raises(WorkbenchError) as caught:
            next(stream)
        assert stream.share < 0.2
    assert (caught.value.key, caught.value.problems[0].place.line) == ("D17_line_too_long", 4)


@pytest.mark.parametrize("wrapped", [False, True])
def test_rows_bigger_than_a_chunk_are_read(write, wrapped: bool) -> None:
    long = json.dumps({"a": "x" * 3 * texts.CHUNK_BYTES})
    content = f'{{"rows": [{long}, {ROW}]}}' if wrapped else f"{long}\n{ROW}\n"
    rows, problems = read(write(content))
    assert ([len(row.values) for row in rows], keys(problems)) == ([1, 2], ["D10_rows_share_lines"] if wrapped else [])


def test_text_with_brackets_is_no_json(write) -> None:
    rows, _ = read(write("[1] Smith et al. {2} and so on\n", "notes.md"))
    assert rows[0].values == {"text": "[1] Smith et al. {2} and so on"}
