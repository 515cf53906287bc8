from __future__ import annotations

from typing import Any

import pytest

from core.data.conversation import Example, Message
from core.data.formats.detection import detect_format
from core.data.formats.paths import MISSING, leaves, value_at
from core.data.formats.row_reader import RowReader
from core.data.options import ColumnRole
from core.data.reading.rows import Row
from core.errors import WorkbenchError

SAID = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SEED = {"id": 1, "instruction": "q", "instances": [{"input": "x", "output": "a"}, {"input": "y", "output": "b"}]}


def turns(*said: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role=role, content=content) for role, content in said)  # type: ignore[typeddict-item]


ASKED = turns(("user", "q"), ("assistant", "a"))


@pytest.mark.parametrize(
    ("mapping", "values", "example"),
    [
        (
            {"instruction": "user", "instances[0].input": "user", "instances[0].output": "assistant"},
            SEED,
            Example(turns(("user", "q\nx"), ("assistant", "a")), 10, 1),
        ),
        (
            {"instances[1].input": "user", "instruction": "user", "instances[1].output": "assistant"},
            SEED,
            Example(turns(("user", "y\nq"), ("assistant", "b")), 10, 1),
        ),
        ({"A": "assistant", "Q": "user"}, {"Q": "q", "A": "a"}, Example(ASKED, 10, 1)),
        (
            {"Q": "user", "more": "user", "A": "assistant", "S": "system"},
            {"Q": "q", "more": None, "A": "a", "S": "s"},
            Example(turns(("system", "s"), ("user", "q"), ("assistant", "a")), 10, 1),
        ),
        (
            {"before": "history", "Q": "user", "A": "assistant"},
            {"before": [["h", "i"]], "Q": "q", "A": "a"},
            Example(turns(("user", "h"), ("assistant", "i"), ("user", "q"), ("assistant", "a")), 10, 1),
        ),
        ({"data.talk": "messages"}, {"data": {"talk": SAID}}, Example(ASKED, 10, 1)),
        ({"body": "text"}, {"body": "x"}, Example((), 10, 1, text="x")),
        ({"title": "text", "body": "text"}, {"title": "t", "body": "x"}, Example((), 10, 1, text="t\nx")),
        (
            {"Q": "user", "good": "chosen", "bad": "rejected"},
            {"Q": "q", "good": "a", "bad": "b"},
            Example(ASKED, 10, 1, rejected=Message(role="assistant", content="b")),
        ),
        (
            {"Q": "user", "A": "assistant", "ok": "label"},
            {"Q": "q", "A": "a", "ok": False},
            Example(ASKED, 10, 1, label=False),
        ),
        (
            {"talk": "messages", "can": "tools"},
            {"talk": SAID, "can": [{"name": "f"}]},
            Example(ASKED, 10, 1, tools=({"type": "function", "function": {"name": "f"}},)),
        ),
    ],
)
def test_mapped_columns_make_an_example(
    mapping: dict[str, ColumnRole], values: dict[str, Any], example: Example
) -> None:
    reader = RowReader("mapped", mapping)
    assert reader.read(Row(10, values), 1) == example
    assert reader.problems() == []


def test_a_row_without_a_mapped_column_is_named_with_its_line() -> None:
    reader = RowReader("mapped", {"instruction": "user", "instances[0].output": "assistant"})
    with pytest.raises(WorkbenchError) as caught:
        reader.read(Row(30, {"instruction": "q", "instances": []}), 3)
    (problem,) = caught.value.problems
    assert (problem.key, problem.place.line) == ("D20_key_missing", 30)
    assert problem.place.field == "instances[0].output"
    assert problem.describe("en").fix.startswith("Add it")


def test_a_mapped_column_that_is_empty_is_named_with_its_path() -> None:
    reader = RowReader("mapped", {"a.q": "user", "a.more": "user", "a.a": "assistant"})
    with pytest.raises(WorkbenchError) as caught:
        reader.read(Row(30, {"a": {"q": " ", "more": None, "a": 3}}), 3)
    assert [(problem.key, problem.place.field) for problem in caught.value.problems] == [
        ("D22_empty_text", "a.q"),
        ("D23_not_text", "a.a"),
    ]


@pytest.mark.parametrize(
    ("roles", "key"),
    [
        ((), "D21_mapping_incomplete"),
        (("user",), "D21_mapping_incomplete"),
        (("assistant", "system"), "D21_mapping_incomplete"),
        (("text", "user"), "D21_mapping_incomplete"),
        (("user", "chosen"), "D21_mapping_incomplete"),
        (("user", "chosen", "rejected", "assistant"), "D21_mapping_incomplete"),
        (("user", "label"), "D21_mapping_incomplete"),
        (("messages", "label", "label"), "D21_mapping_twice"),
        (("user", "chosen", "chosen", "rejected"), "D21_mapping_twice"),
    ],
)
def test_a_mapping_from_which_nothing_can_be_made_is_refused_at_once(roles: tuple[Any, ...], key: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        RowReader("mapped", {f"c{number}": role for number, role in enumerate(roles)})
    (problem,) = caught.value.problems
    assert (problem.code, problem.key) == ("D21", key)
    assert problem.describe("en").fix.startswith("Choose one column")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a", {"b": [{"c": 1}, {"c": 2}]}),
        ("a.b[1].c", 2),
        ("a.b[2].c", MISSING),
        ("a.b.c", MISSING),
        ("a.b[0]c", 1),
        ("x.y", 3),
        ("x.y[0]", MISSING),
        ("k[0]", 4),
        ("k[0].z", MISSING),
        ("json.q", 5),
        ("json[0]", MISSING),
        ("nothing", MISSING),
        ("n.m", MISSING),
        ("d.e.f", 6),
    ],
)
def test_a_path_leads_to_what_stands_there(path: str, value: object) -> None:
    row = {
        "a": {"b": [{"c": 1}, {"c": 2}]},
        "x.y": 3,
        "k[0]": 4,
        "json": '{"q": 5}',
        "n": None,
        "d": {"x": 0},
        "d.e": {"f": 6},
    }
    assert value_at(row, path) == value


def test_every_column_that_is_shown_can_be_mapped() -> None:
    values = {
        **SEED,
        "x.y": {"z.w": [1, 2]},
        "talk": SAID,
        "one": SAID[0],
        "": "no name",
        "e": {},
        "deep": {"a": [{"b": [{"c": "x"}]}]},
    }
    named = dict(leaves(values))
    assert [column.path for column in detect_format([Row(1, values)]).columns] == list(named)
    assert {path: value_at(values, path) for path in named} == named
    assert {"x.y.z.w", "talk", "one", "deep.a[0].b[0].c", "instances[0].output"} <= set(named)
