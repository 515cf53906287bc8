from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.conversation import Example, Message
from core.data.formats.row_reader import RowReader, read_messages
from core.data.options import FORMATS, ColumnRole
from core.data.reading.rows import Row
from core.errors import Problem, WorkbenchError

MAPPING: dict[str, ColumnRole] = {"instruction": "user", "messages": "messages", "output": "assistant"}
PATTERNS = {"instruction,output": "User: %instruction%\nAssistant: %output%"}


def turns(*said: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role=role, content=content) for role, content in said)  # type: ignore[typeddict-item]


def read(name: Any, *values: dict[str, Any]) -> tuple[list[Example], list[Problem]]:
    """The examples of rows on lines 10, 20, …, and all problems: of the rows, then of the file."""
    reader = RowReader(name)
    examples: list[Example] = []
    problems: list[Problem] = []
    for number, row in enumerate(values, start=1):
        try:
            examples.append(reader.read(Row(10 * number, row), number))
        except WorkbenchError as error:
            problems += error.problems
    return examples, problems + reader.problems()


ASKED = turns(("user", "q"), ("assistant", "a"))
WITH_SYSTEM = turns(("system", "s"), *(("user", "q"), ("assistant", "a")))
WITH_HISTORY = turns(("user", "h"), ("assistant", "i"), ("user", "q"), ("assistant", "a"))
ALPACA = {"instruction": "q", "output": "a"}
SAID = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHARED = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
SYSTEM = {"role": "system", "content": "s"}
EARLIER = [{"role": "user", "content": "h"}, {"role": "assistant", "content": "i"}]


@pytest.mark.parametrize(
    ("name", "values", "messages"),
    [
        ("alpaca", {"instruction": "q", "input": "", "output": "a"}, ASKED),
        ("alpaca", {"instruction": "q", "output": "a"}, ASKED),
        ("alpaca", {"instruction": "q", "input": None, "output": "a"}, ASKED),
        ("alpaca", {"instruction": "q", "input": "x", "output": "a"}, turns(("user", "q\nx"), ("assistant", "a"))),
        ("alpaca", {"instruction": "", "input": "q", "output": "a"}, ASKED),
        ("alpaca", {"Instruction": "q", " OUTPUT ": "a"}, ASKED),
        ("alpaca", {"Output": "x", "output": "a", "instruction": "q", "OUTPUT": "y"}, ASKED),
        ("alpaca", {"instruction": "q", "output": "a", "system": "s"}, WITH_SYSTEM),
        ("alpaca", {"instruction": "q", "output": "a", "system": " "}, ASKED),
        ("alpaca", {"instruction": "q", "output": "a", "history": [["h", "i"]]}, WITH_HISTORY),
        ("alpaca", {"instruction": "q", "output": "a", "history": '[["h", "i"]]'}, WITH_HISTORY),
        ("alpaca", {"instruction": "q", "output": "a", "history": EARLIER}, WITH_HISTORY),
        ("alpaca", {"instruction": "q", "output": "a", "history": None}, ASKED),
        ("alpaca", {"instruction": "q", "context": "c", "answer": "a"}, turns(("user", "q\nc"), ("assistant", "a"))),
        ("alpaca", {"指令": "q", "输入": "x", "输出": "a"}, turns(("user", "q\nx"), ("assistant", "a"))),
        ("sharegpt", {"conversations": SHARED}, ASKED),
        ("sharegpt", {"conversations": [{"from": "system", "value": "s"}, *SHARED]}, WITH_SYSTEM),
        ("sharegpt", {"system": "s", "conversations": SHARED}, WITH_SYSTEM),
        ("messages", {"system": "x", "messages": [SYSTEM, *SAID]}, WITH_SYSTEM),
        ("messages", {"messages": SAID}, ASKED),
        ("messages", {"messages": SAID, "id": 3, "source": {"url": "x"}}, ASKED),
        ("messages", {"conversations": SAID}, ASKED),
        ("messages", {"messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'}, ASKED),
        ("messages", {"messages": [{"role": "system", "content": ""}, *SAID]}, ASKED),
        ("messages", {"messages": [{"role": "developer", "content": "s"}, *SAID]}, WITH_SYSTEM),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, SAID[1]]}, ASKED),
        ("prompt_completion", {"prompt": "q", "completion": "a"}, ASKED),
        ("prompt_completion", {"prompt": SAID[:1], "completion": SAID[1:]}, ASKED),
        ("prompt_completion", {"question": "q", "answer": "a", "id": 3}, ASKED),
        ("prompt_completion", {"问题": "q", "答案": "a"}, ASKED),
        ("prompt_completion", {"input": "q", "output": "a", "system": "s"}, WITH_SYSTEM),
    ],
)
def test_a_row_becomes_its_conversation(name: Any, values: dict[str, Any], messages: tuple[Message, ...]) -> None:
    assert read(name, values) == ([Example(messages, 10, row=1)], [])


@pytest.mark.parametrize("values", [{"text": " Once\n"}, {"content": " Once\n"}, {"Document": " Once\n"}])
def test_a_text_becomes_a_document_to_the_letter(values: dict[str, Any]) -> None:
    assert read("text", values) == ([Example((), 10, row=1, text=" Once\n")], [])


LIKED, DISLIKED = {"from": "gpt", "value": "a"}, {"from": "gpt", "value": "b"}


@pytest.mark.parametrize(
    ("values", "messages"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, ASKED),
        ({"system": "s", "question": "q", "chosen": "a", "rejected": "b"}, WITH_SYSTEM),
        (
            {"instruction": "q", "input": "x", "chosen": "a", "rejected": "b"},
            turns(("user", "q\nx"), ("assistant", "a")),
        ),
        ({"instruction": "q", "history": [["h", "i"]], "chosen": "a", "rejected": "b"}, WITH_HISTORY),
        ({"conversations": SHARED[:1], "chosen": LIKED, "rejected": DISLIKED}, ASKED),
        ({"prompt": SAID[:1], "chosen": SAID[1:], "rejected": [{"role": "assistant", "content": "b"}]}, ASKED),
        ({"prompt": "q", "chosen": SAID, "rejected": [SAID[0], {"role": "assistant", "content": "b"}]}, ASKED),
        (
            {"system": "s", "messages": SAID, "chosen": SAID, "rejected": [SAID[0], {"role": "model", "content": "b"}]},
            WITH_SYSTEM,
        ),
        ({"prompt": "q", "chosen": "a", "rejected": '["b"]'}, ASKED),
        ({"prompt": "q", "chosen": "a", "rejected": '{"role": "admin"}'}, ASKED),
    ],
)
def test_a_preference_row_is_the_chosen_conversation_and_the_rejected_answer(
    values: dict[str, Any], messages: tuple[Message, ...]
) -> None:
    (example,), _ = read("preference", values)
    said = values["rejected"] if isinstance(values["rejected"], str) else "b"
    assert (example.messages, example.rejected) == (messages, Message(role="assistant", content=said))
    assert example.kind == "preference"


@pytest.mark.parametrize("label", [True, False, "true", "False"])
@pytest.mark.parametrize(
    "values",
    [
        {"messages": SAID},
        {"prompt": "q", "completion": "a"},
        {"instruction": "q", "output": "a"},
        {"messages": SAID, "prompt": "q", "completion": "a"},
    ],
)
def test_a_kto_row_is_a_conversation_and_whether_its_answer_was_liked(values: dict[str, Any], label: object) -> None:
    expected = Example(ASKED, 10, row=1, label=str(label).lower() == "true")
    assert read("kto", {**values, "label": label}) == ([expected], [])


def test_an_example_knows_its_line_its_number_and_its_member_of_an_archive() -> None:
    example = RowReader("alpaca").read(Row(7, ALPACA, "part/b.json"), 31)
    assert (example.line, example.row, example.file) == (7, 31, "part/b.json")


def test_problems_name_the_member_of_an_archive() -> None:
    with pytest.raises(WorkbenchError) as caught:
        RowReader("alpaca").read(Row(7, {"instruction": "q", "output": ""}, "part/b.json"), 31)
    assert (caught.value.problems[0].place.file, caught.value.problems[0].place.line) == ("part/b.json", 7)


def messages(*said: Any) -> dict[str, Any]:
    return {"messages": list(said)}


USER = {"role": "user", "content": "q"}
CALL = {"function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("name", "values", "key", "field", "fix"),
    [
        ("alpaca", messages(*SAID), "D19_other_format", "", "a file of their own"),
        ("messages", {"text": "x"}, "D19_other_format", "", "a file of their own"),
        ("text", ALPACA, "D19_other_format", "", "a file of their own"),
        ("preference", {"prompt": "q", "completion": "a"}, "D19_other_format", "", "a file of their own"),
        ("alpaca", {"instruction": "q", "id": 3}, "D20_key_missing", "output", "Add it"),
        ("alpaca", {"id": 3, "output": "a"}, "D20_key_missing", "instruction", "Add it"),
        ("alpaca", {"instruction": "q", "outputs": "a"}, "D20_key_misspelt", "output", "Rename “outputs” to “output”"),
        ("prompt_completion", {"prompt": "q"}, "D20_key_missing", "completion", "Add it"),
        ("messages", {"id": 3}, "D20_key_missing", "messages", "Add it"),
        ("sharegpt", {"id": 3}, "D20_key_missing", "conversations", "Add it"),
        ("text", {"id": 3}, "D20_key_missing", "text", "Add it"),
        ("preference", {"prompt": "q", "chosen": "a"}, "D20_key_missing", "rejected", "Add it"),
        ("preference", {"chosen": "a", "rejected": "b"}, "D20_question_missing", "chosen", "Add a column “prompt”"),
        ("kto", messages(*SAID), "D20_key_missing", "label", "Add it"),
        ("kto", {"prompt": "q", "label": True}, "D20_key_missing", "completion", "Add it"),
        ("alpaca", {"instruction": "q", "output": None}, "D22_empty_text", "output", "Fill it in"),
        ("alpaca", {"instruction": "q", "output": " \n"}, "D22_empty_text", "output", "Fill it in"),
        ("alpaca", {"instruction": "", "input": " ", "output": "a"}, "D22_empty_text", "instruction", "Fill it in"),
        ("alpaca", {**ALPACA, "history": [["x", None]]}, "D22_empty_text", "history[0][1]", "Fill it in"),
        ("prompt_completion", {"prompt": "q", "completion": ""}, "D22_empty_text", "completion", "Fill it in"),
        ("text", {"text": "\n"}, "D22_empty_text", "text", "Fill it in"),
        ("messages", messages(USER, {"role": "assistant"}), "D22_empty_text", "messages[1].content", "Fill it in"),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": ""}]},
            "D22_empty_text",
            "conversations[0].value",
            "",
        ),
        ("alpaca", {"instruction": "q", "output": 3}, "D23_not_text", "output", "in quotes"),
        ("alpaca", {"instruction": ["q"], "output": "a"}, "D23_not_text", "instruction", "in quotes"),
        ("alpaca", {"instruction": "q", "input": True, "output": "a"}, "D23_not_text", "input", "in quotes"),
        ("alpaca", {"instruction": "q", "system": {}, "output": "a"}, "D23_not_text", "system", "in quotes"),
        ("messages", messages(USER, {"role": "model", "content": 5}), "D23_not_text", "messages[1].content", "quotes"),
        ("messages", messages({**USER, "name": 5}), "D23_not_text", "messages[0].name", "quotes"),
        (
            "messages",
            messages({"role": "user", "content": [{"type": "image_url"}]}),
            "D23_part_not_text",
            "messages[0].content[0]",
            "Remove the part",
        ),
        ("alpaca", {**ALPACA, "history": "x"}, "D23_history_not_pairs", "history", "as pairs"),
        ("alpaca", {**ALPACA, "history": [["x"]]}, "D23_history_not_pairs", "history[0]", "as pairs"),
        ("messages", {**messages(USER), "tools": "none"}, "D23_tools_not_a_list", "tools", "as a list"),
        ("messages", {**messages(USER), "tools": [{"type": "function"}]}, "D23_not_a_tool", "tools[0]", '{"name": "…"'),
        ("messages", messages({"role": "model", "tool_calls": "f"}), "D23_not_a_call", "messages[0].tool_calls", ""),
        ("messages", messages({"role": "model", "tool_calls": [1]}), "D23_not_a_call", "messages[0].tool_calls[0]", ""),
        (
            "sharegpt",
            {"conversations": [{"from": "function_call", "value": "f(1)"}]},
            "D23_not_a_call",
            "conversations[0].value",
            'Write it as {"name": "…", "arguments": {…}}',
        ),
        (
            "messages",
            messages({"role": "model", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": '}}]}),
            "D23_arguments_not_an_object",
            "messages[0].tool_calls[0]",
            '{"city": "…"}',
        ),
        ("messages", messages(USER, {**SAID[1], "weight": 0.5}), "D23_weight", "messages[1].weight", "Write 0 or 1"),
        ("messages", messages(USER, {**SAID[1], "weight": True}), "D23_weight", "messages[1].weight", "Write 0 or 1"),
        ("messages", messages(USER, {**SAID[1], "trained": "no"}), "D23_weight", "messages[1].trained", "Write 0 or 1"),
        ("kto", {**messages(*SAID), "label": 3}, "D23_not_a_label", "label", "true or false"),
        ("messages", {"messages": "not a list"}, "D24_not_a_list", "messages", "as a list"),
        ("messages", {"messages": {"role": "user"}}, "D24_not_a_list", "messages", "as a list"),
        ("messages", {"messages": []}, "D24_not_a_list", "messages", "as a list"),
        ("messages", {"messages": None}, "D24_not_a_list", "messages", "as a list"),
        ("messages", messages(["user", "q"]), "D24_not_a_message", "messages[0]", '{"role": "user", "content": "…"}'),
        ("kto", {**messages(*SAID, USER), "label": True}, "D24_no_answer_last", "label", "Remove what follows"),
        ("preference", {"chosen": SAID, "rejected": [USER]}, "D24_no_answer_last", "rejected", "Remove what follows"),
        ("preference", {"chosen": SAID, "rejected": [*EARLIER, SAID[1]]}, "D24_pair_differs", "rejected", "equal"),
        ("messages", messages(USER, {"role": "bot", "content": "a"}), "D25_unknown_role", "messages[1].role", "Rename"),
        ("messages", messages(USER, {"content": "a"}), "D25_unknown_role", "messages[1].role", "Rename"),
        ("messages", messages(USER, {"role": 3, "content": "a"}), "D25_unknown_role", "messages[1].role", "Rename"),
        (
            "sharegpt",
            {"conversations": [{"from": "narrator", "value": "x"}]},
            "D25_unknown_role",
            "conversations[0].from",
            "Rename the role",
        ),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_line_and_field(
    name: Any, values: dict[str, Any], key: str, field: str, fix: str
) -> None:
    good = {"chosen": "a", "rejected": "b", "prompt": "q"} if name == "preference" else {}
    examples, problems = read(name, good, values)
    assert all(example.line != 20 for example in examples)
    (problem,) = [problem for problem in problems if problem.place.line == 20 and problem.severity == "error"]
    assert (problem.key, problem.place.field) == (key, field)
    said = problem.describe("en")
    assert said.code == key[:3]
    assert fix in said.fix
    assert problem.describe("zh").fix != said.fix


def test_all_problems_of_a_row_are_named_at_once() -> None:
    said = [{"role": "bot", "content": "x"}, {"role": "user", "content": ""}, 3, {"role": "assistant", "content": 5}]
    _, problems = read("messages", {"messages": said, "system": 1, "tools": 2})
    assert [(problem.key, problem.place.field) for problem in problems if problem.severity == "error"] == [
        ("D25_unknown_role", "messages[0].role"),
        ("D22_empty_text", "messages[1].content"),
        ("D24_not_a_message", "messages[2]"),
        ("D23_not_text", "messages[3].content"),
        ("D23_not_text", "system"),
        ("D23_tools_not_a_list", "tools"),
    ]


def test_a_missing_key_is_asked_for_by_the_name_the_other_rows_use() -> None:
    _, (problem,) = read("prompt_completion", {"问题": "q", "回答": "a"}, {"问题": "q"})
    assert (problem.key, problem.place.field) == ("D20_key_missing", "回答")


def test_rows_of_other_formats_are_counted_with_the_first_line_of_each() -> None:
    _, problems = read("alpaca", ALPACA, {"messages": SAID}, ALPACA, {"prompt": "q", "completion": "a"}, ALPACA)
    assert [(problem.key, problem.place.line, problem.severity) for problem in problems] == [
        ("D19_other_format", 20, "error"),
        ("D19_mixed_formats", 20, "warning"),
    ]
    said = problems[1].describe("en")
    assert "alpaca (3; 10), messages (1; 20), prompt_completion (1; 40)" in said.what
    assert said.fix.startswith("Split the file by format")


def test_the_format_that_is_read_is_named_first() -> None:
    _, problems = read("messages", {"messages": SAID}, {"conversations": SHARED}, {"conversations": SHARED})
    (problem,) = [problem for problem in problems if problem.key == "D19_mixed_formats"]
    assert problem.values["found"] == "messages (1; 10), sharegpt (2; 20)"


def test_a_column_that_is_almost_one_of_the_format_is_said_to_be_left_out() -> None:
    _, (problem,) = read("alpaca", ALPACA, {**ALPACA, "inputs": "x", "id": 1}, {**ALPACA, "inputs": "y"})
    assert (problem.key, problem.place.line, problem.place.field) == ("D20_similar_column", 20, "inputs")
    assert (problem.severity, problem.values["count"]) == ("warning", 2)
    assert problem.describe("en").fix == "Rename “inputs” to “input” if that is what it is."


def test_unusual_role_names_are_read_visibly() -> None:
    values = messages({"role": "Human", "content": "q"}, {"role": "gpt", "content": "a"})
    examples, (problem,) = read("messages", values, values)
    assert [example.messages for example in examples] == [ASKED, ASKED]
    assert (problem.key, problem.severity) == ("D25_roles_read_as", "warning")
    assert problem.values["roles"] == "Human → user (2), gpt → assistant (2)"
    assert problem.describe("en").fix.startswith("Nothing to do")


def test_a_rewritten_row_is_read_as_a_file_would_be() -> None:
    assert read_messages(SAID, 7) == ASKED


@pytest.mark.parametrize(
    ("values", "key", "field"),
    [
        ([], "D24_not_a_list", "messages"),
        ([3], "D24_not_a_message", "messages[0]"),
        ([{"role": "bot", "content": "a"}], "D25_unknown_role", "messages[0].role"),
        ([{"role": "user", "content": " "}], "D22_empty_text", "messages[0].content"),
    ],
)
def test_a_rewritten_row_that_cannot_be_read_is_refused_with_its_line(
    values: list[object], key: str, field: str
) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read_messages(values, 7)
    (problem,) = caught.value.problems
    assert (problem.key, problem.place.line, problem.place.field) == (key, 7, field)


LEAVES = (
    st.none() | st.booleans() | st.integers(0, 2) | st.floats(0, 1) | st.sampled_from(["", "q", "[", "user", "gpt"])
)
KEYS = st.sampled_from(["role", "from", "content", "value", "weight", "tool_calls", "name", "arguments", "function"])
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system"]), "content": st.text(min_size=1, max_size=3)},
    optional={
        "weight": st.integers(0, 1),
        "name": st.text(max_size=2),
        "reasoning_content": st.text(max_size=2),
        "tool_calls": st.lists(st.just(CALL), max_size=2),
    },
)
ANY = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(TURN | TURN | TURN | ANY, min_size=1, max_size=4))
def test_any_turns_are_read_or_refused_and_what_was_read_is_read_again_as_itself(said: list[object]) -> None:
    try:
        messages = read_messages(said, 7)
    except WorkbenchError as error:
        assert all(problem.place.line == 7 for problem in error.problems)
    else:
        assert not messages or read_messages(messages, 7) == messages


ODD: list[object] = [None, True, 0, 1.5, "", "x", [], [[]], {}, {"a": []}, [None], [{}], "[", "[1]", "[" * 5000]
CALLS: list[object] = [[{}], "x", {"a": 1}, [{"function": 3}]]
ODD += [[{"role": "model", "content": "a", "tool_calls": calls}] for calls in CALLS]
ODD += [
    '[{"role": "user", "content": "\\ud800"}]',
    "[NaN]",
    [{"from": [], "value": {}}],
    [{"role": "user", "weight": []}],
]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", ODD, ids=lambda value: str(value)[:20])
def test_no_value_of_any_key_is_answered_with_a_traceback(name: Any, value: Any) -> None:
    keys = "instruction input output system history messages conversations prompt completion text chosen rejected label"
    good: tuple[dict[str, Any], ...] = ({}, ALPACA, {"messages": SAID}, {"prompt": "q", "chosen": "a", "rejected": "b"})
    for row in ({**other, key: value} for key in (*keys.split(), "tools") for other in good):
        reader = RowReader(name, MAPPING, PATTERNS)
        try:
            example = reader.read(Row(1, row), 1)
        except WorkbenchError as error:
            assert all(problem.place.line == 1 for problem in error.problems)
        else:
            assert "".join(example.words()).encode("utf-8")
        assert all(str(problem.describe("zh")) for problem in reader.problems())
