from __future__ import annotations

import time

import pytest

from core.data.reading import table_rows
from core.data.reading.streams import open_rows
from core.errors import WorkbenchError
from tests.core.data.reading.reading import keys, read


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("table.csv", 'a,b\n1,2\n\n"x\ny",3\n4,5\n', [2, 4, 6]),
        ("table.csv", "a;b\r\n1;2\r\n3;4\r\n", [2, 3]),
        ("table.tsv", "a\tb\n1,5\t2\n", [2]),
        ("mac.csv", "a,b\r1,2\r3,4\r", [2, 3]),
        ("excel.csv", "sep=;\r\nprompt;completion\r\n1,5;2\r\n", [3]),
    ],
)
def test_each_row_has_the_line_it_begins_on(write, name: str, content: str, lines: list[int]) -> None:
    rows, problems = read(write(content, name))
    assert [row.line for row in rows] == lines
    assert set(keys(problems)) <= {"D35_delimiter"}


@pytest.mark.parametrize("mark", ",;\t|")
def test_cells_are_text_by_column_whatever_the_delimiter(write, mark: str) -> None:
    content = mark.join(["prompt", "completion"]) + "\n" + mark.join(['"say ""hi"""', "1"]) + "\n"
    file = write(content, "table.csv")
    rows, problems = read(file)
    assert rows[0].values == {"prompt": 'say "hi"', "completion": "1"}
    assert keys(problems) == ([] if mark in ",\t" else ["D35_delimiter"])
    with open_rows(file) as stream:
        assert stream.container.delimiter == mark


def test_single_quotation_marks_hold_cells_where_all_cells_have_them(write) -> None:
    rows, problems = read(write("'prompt','completion'\n'a, b','it''s'\n", "table.csv"))
    assert (rows[0].values, problems) == ({"prompt": "a, b", "completion": "it's"}, [])


def test_a_table_is_known_by_its_columns_whatever_its_name(write) -> None:
    for header in ("question,answer", "问题,回答"):
        rows, _ = read(write(f"{header}\nWho, me?,no\nWho?,yes\n", "table.txt"))
        assert [list(row.values.values())[-1] for row in rows] == ["yes"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(write) -> None:
    rows, _ = read(write(b"\xef\xbb\xbfprompt,completion\na,b\n", "table.csv"))
    assert list(rows[0].values) == ["prompt", "completion"]


def test_columns_without_a_name_of_their_own_get_one_and_it_is_said(write) -> None:
    rows, problems = read(write(",prompt,completion,prompt,\n0,1,2,3,4\n", "pandas.csv"))
    assert rows[0].values == {"column 1": "0", "prompt": "1", "completion": "2", "prompt 2": "3", "column 5": "4"}
    assert [(problem.key, problem.place.line, problem.values["number"]) for problem in problems] == [
        ("D35_column_unnamed", 1, 1),
        ("D35_column_repeated", 1, 4),
        ("D35_column_unnamed", 1, 5),
    ]
    assert {problem.severity for problem in problems} == {"warning"}


def test_a_name_that_is_made_up_takes_none_that_is_there(write) -> None:
    rows, _ = read(write("text,text,text 2,column 4,\na,b,c,d,e\n", "table.csv"))
    assert len(rows[0].values) == 5
    assert [rows[0].values[name] for name in ("text", "text 2", "column 4")] == ["a", "c", "d"]


@pytest.mark.parametrize(
    "first", ["What is a cold?,An illness.", "你好吗？,我很好。", "1,2", "a" * 61 + ",b", '"two\nlines",b']
)
def test_a_table_without_names_is_read_from_its_first_line(write, first: str) -> None:
    rows, problems = read(write(f"{first}\nWhy?,Because.\n", "table.csv"))
    assert [row.line for row in rows] == [1, 3 if "\n" in first else 2]
    assert list(rows[1].values.items()) == [("column 1", "Why?"), ("column 2", "Because.")]
    assert [(problem.key, problem.place.line, problem.severity) for problem in problems] == [
        ("D35_no_header", 1, "warning")
    ]


def test_a_ragged_row_is_named_with_its_line(write) -> None:
    rows, problems = read(write('prompt,completion\n"a\nb",1\nx\n1,2,3\n', "data.csv"))
    assert [row.line for row in rows] == [2]
    assert [(problem.key, problem.place.line, problem.values["cells"]) for problem in problems] == [
        ("D35_ragged_row", 4, 1),
        ("D35_ragged_row", 5, 3),
    ]


@pytest.mark.parametrize(
    ("rows", "key", "good"),
    [
        (['"open,2', "3,4", "5,6"], "D35_open_quote", [4, 5]),
        (['"open,2', "3,4", '"5",6'], "D35_stray_quote", [4, 5]),
        (['"a" b,2', "3,4"], "D35_stray_quote", [4]),
        (['5" disk,2', "3,4"], None, [3, 4]),
    ],
)
def test_a_stray_quotation_mark_costs_its_line_alone(write, rows: list[str], key: str | None, good: list[int]) -> None:
    read_rows, problems = read(write("\n".join(["prompt,completion", "1,2", *rows]), "quote.csv"))
    assert [(problem.key, problem.place.line) for problem in problems] == ([(key, 3)] if key else [])
    assert [row.line for row in read_rows] == [2, *good]


def test_a_cell_without_end_is_refused_and_memory_bounded(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_rows, "MAX_ROW_CHARACTERS", 1000)
    content = "prompt,completion\n" + "x" * 2000 + ',1\n"open,2\n' + "3,4\n" * 1000
    rows, problems = read(write(content, "long.csv"))
    assert len(rows) == 1000
    assert [(problem.key, problem.place.line) for problem in problems] == [
        ("D17_line_too_long", 2),
        ("D35_open_quote", 3),
    ]


def test_a_table_of_quotation_marks_that_never_end_is_given_up_soon(write) -> None:
    started = time.process_time()
    with pytest.raises(WorkbenchError, match="D35"):
        read(write("prompt,completion\n" + 'a""","\n' * 100_000, "quotes.csv"))
    assert time.process_time() - started < 2


def test_a_table_of_very_many_columns_is_refused(write) -> None:
    with pytest.raises(WorkbenchError, match="D41"):
        read(write(",".join(f"c{number}" for number in range(1001)) + "\n" + "1," * 1000 + "1\n", "wide.csv"))


def test_a_formula_is_text(write) -> None:
    rows, _ = read(write('prompt,completion\n=cmd(),"=1+1"\n', "formula.csv"))
    assert rows[0].values == {"prompt": "=cmd()", "completion": "=1+1"}
