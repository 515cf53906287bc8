from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.data.formats.detection import Column, detect_format
from core.data.formats.row_reader import RowReader
from core.data.reading.rows import Row

SAID = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHARED = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
ALPACA = {"instruction": "q", "output": "a"}
SHARED_DATA = Path(__file__).resolve().parents[5] / "shared" / "data"


def rows(*values: dict[str, Any]) -> list[Row]:
    return [Row(10 * number, row) for number, row in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("alpaca", ALPACA),
        ("alpaca", {"Instruction": "q", " OUTPUT ": "a"}),
        ("alpaca", {"instruction": "q", "context": "c", "response": "a"}),
        ("alpaca", {"指令": "q", "输入": "", "输出": "a"}),
        ("sharegpt", {"conversations": SHARED}),
        ("sharegpt", {"conversations": SHARED, "tools": "[]"}),
        ("sharegpt", {"conversations": json.dumps(SHARED)}),
        ("sharegpt", {"conversations": []}),
        ("messages", {"messages": SAID}),
        ("messages", {"conversations": SAID}),
        ("messages", {"messages": SAID, "prompt": "q", "completion": "a"}),
        ("messages", {"messages": SAID, "label": "sports"}),
        ("messages", {"messages": [*SAID, {"role": "assistant", "tool_calls": [{"id": "1"}]}]}),
        ("prompt_completion", {"prompt": "q", "completion": "a"}),
        ("prompt_completion", {"prompt": "q", "response": "a"}),
        ("prompt_completion", {"question": "q", "answer": "a", "id": 3}),
        ("prompt_completion", {"query": "q", "response": "a"}),
        ("prompt_completion", {"input": "q", "output": "a"}),
        ("prompt_completion", {"problem": "q", "solution": "s", "answer": "a"}),
        ("prompt_completion", {"问题": "q", "回答": "a"}),
        ("prompt_completion", {"输入": "q", "输出": "a"}),
        ("text", {"text": "Once upon a time"}),
        ("text", {"title": "t", "content": "Once upon a time"}),
        ("text", {"文本": "从前"}),
        ("preference", {"conversations": SHARED[:1], "chosen": SHARED[1], "rejected": SHARED[1]}),
        ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}),
        ("kto", {"messages": SAID, "label": True}),
        ("kto", {"prompt": "q", "completion": "a", "label": "False"}),
        ("kto", {"instruction": "q", "output": "a", "kto_tag": False}),
    ],
)
def test_a_format_is_known_by_its_columns(name: str, values: dict[str, Any]) -> None:
    found = detect_format(rows(values))
    assert (found.format, found.counts, found.problems) == (name, {name: 1}, ())


@pytest.mark.parametrize(
    "values",
    [
        {"id": 1, "instruction": "q", "instances": []},
        {"text": "Great film", "label": 1},  # something to classify, not a document
        {"role": "user", "content": "q"},  # one message a row
        {"content": "q", "response": "a"},  # the answer would be lost
        {"text": 3},
        {},
    ],
)
def test_columns_of_no_format_are_named_and_may_be_mapped(values: dict[str, Any]) -> None:
    found = detect_format(rows(values, values))
    assert (found.format, found.counts) == (None, {"unknown": 2})
    (problem,) = found.problems
    assert (problem.code, problem.key, problem.place.line) == ("D21", "D21_unknown_columns", 10)
    assert all(column in problem.describe("en").what for column in values)
    assert problem.describe("en").fix.startswith("Choose what each column holds.")
    assert "每一列的用途" in problem.describe("zh").fix


def test_most_rows_decide_not_the_first() -> None:
    found = detect_format(rows({"messages": SAID}, ALPACA, {"id": 1}, ALPACA))
    assert (found.format, found.counts) == ("alpaca", {"alpaca": 2, "messages": 1, "unknown": 1})
    assert found.problems == ()


def test_rows_without_any_known_column_do_not_outvote_those_that_have_them() -> None:
    assert detect_format(rows({"id": 1}, {"id": 2}, ALPACA)).format == "alpaca"


def test_a_key_misspelt_in_every_row_is_still_alpaca() -> None:
    found = detect_format(rows({"instruction": "q", "outputs": "a"}))
    assert (found.format, found.problems) == ("alpaca", ())


def test_no_rows_are_no_format() -> None:
    found = detect_format([])
    assert (found.format, found.counts, found.columns) == (None, {}, ())


def test_columns_are_listed_with_samples_type_and_a_guess() -> None:
    values = [
        {
            "id": 1,
            "Question": "why",
            "reply": None,
            "meta": {"lang": "en"},
            "instances": [{"input": "x"}, {"input": 1}],
        },
        {"id": 2, "Question": "why", "reply": "so", "meta": {"lang": "zh"}, "instances": []},
        {"id": 3, "Question": "how", "reply": "", "meta": {}, "instances": [{"input": "y"}], "talk": SHARED},
    ]
    assert detect_format(rows(*values)).columns == (
        Column("id", ("1", "2", "3"), "number", None),
        Column("Question", ("why", "how"), "text", "user"),
        Column("reply", ("so",), "text", "assistant"),
        Column("meta.lang", ("en", "zh"), "text", None),
        Column("instances[0].input", ("x", "y"), "text", "user"),
        Column("talk", (json.dumps(SHARED),), "list", "messages"),
    )


@pytest.mark.parametrize(
    ("column", "value", "guess"),
    [
        ("label", True, "label"),
        ("label", 3, None),
        ("text", "x", "text"),
        ("text", 3, None),
        ("messages", "x", None),
        ("context", "x", "user"),
        ("system", "x", "system"),
        ("tools", "[]", "tools"),
        ("history", [["q", "a"]], "history"),
        ("chosen", "x", "chosen"),
        ("系统", "x", "system"),
        ("回答", "x", "assistant"),
        ("whatever", "x", None),
    ],
)
def test_a_role_is_guessed_only_where_the_value_can_have_it(column: str, value: object, guess: str | None) -> None:
    assert [each.guess for each in detect_format(rows({column: value})).columns] == [guess]


def test_a_thousand_columns_are_not_all_shown() -> None:
    assert len(detect_format(rows({f"c{number}": "x" for number in range(1000)})).columns) == 200


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"{SHARED_DATA} is not there")
@pytest.mark.parametrize(
    ("name", "format", "kind"),
    [
        ("alpaca_en_demo.json", "alpaca", "chat"),
        ("alpaca_zh_demo.json", "alpaca", "chat"),
        ("c4_demo.jsonl", "text", "text"),
        ("chinese_med.json", "alpaca", "chat"),
        ("dpo_en_demo.json", "preference", "preference"),
        ("glaive_toolcall_en_demo.json", "sharegpt", "chat"),
        ("identity.json", "alpaca", "chat"),
        ("kto_en_demo.json", "kto", "kto"),
        ("oral_grading_full.jsonl", "messages", "chat"),
        ("oral_grading_short.jsonl", "messages", "chat"),
        ("ruozhiba.json", "alpaca", "chat"),
        ("ruozhiba_sharegpt_300.json", "sharegpt", "chat"),
        ("seed_tasks.jsonl", None, "chat"),
        ("wiki_demo.txt", "text", "text"),
    ],
)
def test_real_files_are_detected_and_every_row_is_read(name: str, format: Any, kind: str) -> None:  # noqa: A002
    text = (SHARED_DATA / name).read_text(encoding="utf-8")
    if name.endswith(".txt"):
        values = [{"text": text}]
    else:
        values = [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)
    found = detect_format(rows(*values))
    assert found.format == format
    mapping = {} if format else {column.path: column.guess for column in found.columns if column.guess}
    reader = RowReader(format or "mapped", mapping)
    assert {reader.read(row, 1).kind for row in rows(*values)} == {kind}
    assert reader.problems() == []


def test_without_a_row_nothing_is_said_of_columns() -> None:
    assert detect_format([]).problems == ()
