from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from core import i18n
from core.data.checks.conversations import shape_problems
from core.data.checks.fixes import CURES, ROW_FIXES, SET_FIXES, fixed
from core.data.checks.texts import text_problems
from core.data.conversation import Example, Message
from core.data.options import FIXES, FixName
from core.i18n import has_text, text
from tests.core.data.checks.test_conversations import example

PAIR = example(1, "user: q", "assistant: a").messages
REJECTED = Message(role="assistant", content="b")
CALL: Any = {"type": "function", "function": {"name": "f", "arguments": {"to": "lin@acme-labs.cn"}}}

CASES: list[tuple[FixName, Example, Sequence[str] | None]] = [
    ("trim_text", example(1, "user: \u200bq", "assistant:  a\n"), ("user: q", "assistant: a")),
    ("repair_encoding", example(1, "user: cafÃ©", "assistant: 浣犲ソ"), ("user: café", "assistant: 你好")),
    ("remove_special_tokens", example(1, "user: [INST]q", "assistant: a</s>"), ("user: q", "assistant: a")),
    (
        "merge_same_role",
        example(1, "user: q", "user: r", "assistant: a", "assistant: b"),
        ("user: q\nr", "assistant: a\nb"),
    ),
    (
        "drop_inner_system",
        example(1, "system: s", "user: q", "system: t", "assistant: a"),
        ("system: s", "user: q", "assistant: a"),
    ),
    (
        "drop_opening_answer",
        example(1, "system: s", "assistant: hi", "user: q", "assistant: a"),
        ("system: s", "user: q", "assistant: a"),
    ),
    ("drop_unanswered_end", example(1, "user: q", "assistant: a", "user: r"), ("user: q", "assistant: a")),
    (
        "mask_personal_data",
        example(1, "user: q", "assistant: call 13867905431"),
        ("user: q", "assistant: call [PHONE]"),
    ),
    ("keep_chosen", Example(PAIR, 1, rejected=REJECTED), ("user: q", "assistant: a")),
    ("keep_liked", Example(PAIR, 1, label=True), ("user: q", "assistant: a")),
    ("keep_liked", Example(PAIR, 1, label=False), None),
    (
        "drop_contained_answers",
        example(1, "user: Say: I am always here for you.", "assistant: I am always here for you."),
        None,
    ),
]


@pytest.mark.parametrize(("name", "odd", "expected"), CASES)
def test_a_fix_cures_its_problems_and_nothing_is_left_to_do(
    name: FixName, odd: Example, expected: Sequence[str] | None
) -> None:
    found = {problem.key for problem in (*shape_problems(odd), *text_problems(odd))}
    assert found & CURES[name]
    done = fixed(odd, (name,))
    if expected is None:
        assert done is None
        return
    assert done is not None
    assert [f"{said['role']}: {said['content']}" for said in done.messages] == list(expected)
    assert not {problem.key for problem in (*shape_problems(done), *text_problems(done))} & CURES[name]
    assert fixed(done, (name,)) is done


@pytest.mark.parametrize("name", ROW_FIXES)
def test_a_row_without_the_problem_stays_the_same_object(name: FixName) -> None:
    for good in (example(1, "system: s", "user: q", "assistant: a"), Example((), 1, text="A document.")):
        assert fixed(good, (name,)) is good


def test_every_fix_is_of_rows_or_of_the_set_and_has_a_cure_and_words() -> None:
    assert {*ROW_FIXES, *SET_FIXES} == set(get_args(FixName)) == set(CURES)
    assert not {*ROW_FIXES} & {*SET_FIXES}
    for name in get_args(FixName):
        for part in ("label", "help"):
            assert all(text(f"data.fixes.{name}.{part}", lang) for lang in ("en", "zh"))  # type: ignore[arg-type]
    for key in frozenset().union(*CURES.values()):
        assert has_text(f"errors.{key}.what")


def test_fixes_are_applied_in_their_order_and_a_row_left_out_stays_out() -> None:
    odd = example(1, "user:  q ", "user: [INST]", "assistant: a")
    done = fixed(odd, ("trim_text", "remove_special_tokens", "merge_same_role"))
    assert done is not None
    assert [said["content"] for said in done.messages] == ["q", "a"]
    assert fixed(Example(PAIR, 1, label=False), ("keep_liked", "trim_text")) is None


def test_turns_of_different_names_or_weights_stay_two() -> None:
    one = Message(role="assistant", content="a", trained=False)
    apart = Example((*PAIR[:1], one, PAIR[1]), 1)
    assert fixed(apart, ("merge_same_role",)) is apart


def test_joined_turns_keep_their_calls_and_thoughts() -> None:
    first = Message(role="assistant", content="", tool_calls=[CALL], reasoning_content="hm")
    second = Message(role="assistant", content="a", tool_calls=[CALL])
    done = fixed(Example((*PAIR[:1], first, second), 1), ("merge_same_role",))
    assert done is not None
    assert done.messages[1] == {
        "role": "assistant",
        "content": "a",
        "tool_calls": [CALL, CALL],
        "reasoning_content": "hm",
    }
    assert first["tool_calls"] == [CALL]


def test_words_are_rewritten_wherever_they_stand() -> None:
    mail = "lin@acme-labs.cn"
    said = Message(role="assistant", content=mail, reasoning_content=mail, tool_calls=[CALL])
    odd = Example((*PAIR[:1], said), 4, 2, "member", text=mail, rejected=Message(role="assistant", content=mail))
    done = fixed(odd, ("mask_personal_data",))
    assert done is not None
    assert "acme" not in repr(done)
    assert repr(done).count("[EMAIL]") == 5
    assert (done.line, done.row, done.file) == (4, 2, "member")
    assert "acme" in repr(odd)


@pytest.mark.parametrize(("lang", "named"), [("en", "pply “([^”]+)”"), ("zh", "使用“([^”]+)”")])
def test_problems_name_fixes_as_the_page_does(lang: str, named: str) -> None:
    words = (Path(i18n.__file__).parent / lang / "checks.yaml").read_text(encoding="utf-8")
    labels = {text(f"data.fixes.{name}.label", lang) for name in FIXES}  # type: ignore[arg-type]
    mentioned = set(re.findall(named, words))
    assert mentioned
    assert mentioned <= labels
