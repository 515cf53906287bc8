from __future__ import annotations

import json
from typing import Any

import pytest

from core.data.conversation import Message
from core.data.formats.patterns import read_patterns
from core.data.formats.row_reader import RowReader
from core.data.reading.rows import Row
from core.errors import WorkbenchError

CHATBOT = {
    "instruction,output": "User: %instruction%\nAssistant: %output%",
    "instruction,input,output": "User: %instruction%: %input%\nAssistant: %output%",
}


@pytest.mark.parametrize(
    ("patterns", "values", "question", "answer"),
    [
        (CHATBOT, {"instruction": "q", "input": "", "output": "a"}, "User: q\nAssistant:", "a"),
        (CHATBOT, {"instruction": "q", "input": "x", "output": "a"}, "User: q: x\nAssistant:", "a"),
        (CHATBOT, {"Instruction": "q", "OUTPUT": "a", "id": 3}, "User: q\nAssistant:", "a"),
        (CHATBOT, {"instruction": "%output% %input%", "output": "a"}, "User: %output% %input%\nAssistant:", "a"),
        ({"Q, A": "%Q%\n\n%A%"}, {"q": "why", "a": "so"}, "why", "so"),
        ({"q,a": "%q%, again %q%: %a%, %a%. End"}, {"q": "why", "a": "so"}, "why, again why: so,", "so. End"),
        ({"q,a": "100% of %q% is %a%"}, {"q": "why", "a": "so"}, "100% of why is", "so"),
    ],
)
def test_what_stands_before_the_last_column_is_the_question(
    patterns: dict[str, str], values: dict[str, Any], question: str, answer: str
) -> None:
    assert read_patterns(json.dumps(patterns).encode("utf-8-sig"), "chatbot.json") == patterns
    assert RowReader("patterns", patterns=patterns).read(Row(1, values), 1).messages == (
        Message(role="user", content=question),
        Message(role="assistant", content=answer),
    )


@pytest.mark.parametrize(
    ("values", "key", "field"),
    [
        ({"instruction": "q", "output": " "}, "D20_no_pattern_fits", ""),
        ({"text": "x"}, "D20_no_pattern_fits", ""),
        ({"instruction": "q", "output": 3}, "D23_not_text", "output"),
    ],
)
def test_a_row_that_no_entry_fits_is_named_with_its_line(values: dict[str, Any], key: str, field: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        RowReader("patterns", patterns=CHATBOT).read(Row(30, values), 3)
    (problem,) = caught.value.problems
    assert (problem.key, problem.place.line, problem.place.field) == (key, 30, field)
    assert "choose to skip bad rows" in problem.describe("en").fix


@pytest.mark.parametrize(
    ("content", "keys", "fix"),
    [
        (b"", ["D21_no_format_file"], '"instruction,output": "User: %instruction%\\nAssistant: %output%"'),
        (b"\xff\xfe", ["D21_no_format_file"], "Write its entries like this"),
        (b"[" * 100_000, ["D21_no_format_file"], "Write its entries like this"),
        (b"[]", ["D21_no_format_file"], "Write its entries like this"),
        (b"{}", ["D21_no_format_file"], "Write its entries like this"),
        (b'{"a,b": 3}', ["D21_no_format_file"], "Write its entries like this"),
        (b'{"q,a": "%q% only"}', ["D21_pattern_column_unused"], "Add the place to the text"),
        (b'{"": "%q%"}', ["D21_pattern_column_unused"], "Add the place to the text"),
        (b'{"text": " %text%"}', ["D21_pattern_without_question"], "before the one with the answer"),
        (b'{"q,a": "%q%", "t": "%t%"}', ["D21_pattern_column_unused", "D21_pattern_without_question"], "Add the place"),
    ],
)
def test_what_is_no_format_file_is_refused_with_everything_that_is_wrong(
    content: bytes, keys: list[str], fix: str
) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read_patterns(content, "chatbot.json")
    assert [problem.key for problem in caught.value.problems] == keys
    assert all(problem.place.file == "chatbot.json" for problem in caught.value.problems)
    assert fix in caught.value.problems[0].describe("en").fix


def test_a_recipe_without_patterns_is_refused_before_the_first_row() -> None:
    with pytest.raises(WorkbenchError) as caught:
        RowReader("patterns")
    assert caught.value.key == "D21_no_format_file"
