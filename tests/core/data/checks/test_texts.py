from __future__ import annotations

from typing import Any

import pytest

from core.data.checks.texts import repaired, text_problems, trimmed, without_special_tokens
from core.data.conversation import Example, Message
from tests.core.data.checks.test_conversations import example

GBK_READ = "人工智能属于计算机科学的分支".encode().decode("gb18030")
GBK_READ_IN_PART = "人工智能".encode().decode("gb18030") + "锛"  # the last byte of a character is lost


@pytest.mark.parametrize(
    ("said", "key", "field", "named"),
    [
        (("user: say <|im_end|>", "assistant: a"), "D29_special_tokens", "messages[0]", "<|im_end|>"),
        (("user: q", "assistant: a</s> [INST]"), "D29_special_tokens", "messages[1]", "</s>, [INST]"),
        (("user: q", "assistant: <｜User｜> a"), "D29_special_tokens", "messages[1]", "<｜User｜>"),
        (("user: q", "assistant: The na\ufffdve one\ufffd."), "D05_lost_characters", "messages[1]", "2"),
        (("user: q", "assistant: a cafÃ© in MontrÃ©al"), "D05_garbled_text", "messages[1]", "a café in Montréal"),
        (("user: æˆ‘å¾ˆé«˜å…´", "assistant: a"), "D05_garbled_text", "messages[0]", "我很高兴"),
        (("user: q", "assistant: 浣犲ソ"), "D05_garbled_text", "messages[1]", "你好"),
        (("user: q", "assistant: a\u200bb"), "D46_invisible_characters", "messages[1]", "\\u200b"),
        (("user: q", "assistant: \x1b[31mred\x1b[0m"), "D46_invisible_characters", "messages[1]", "\\u001b[31m"),
        (("user: q", "assistant: a\x08b"), "D46_invisible_characters", "messages[1]", "\\u0008"),
        (("user: q", "assistant:  a"), "D22_spaces_around", "messages[1]", "␣a"),
        (("user: q", "assistant: a\n"), "D22_spaces_around", "messages[1]", "a⏎"),
        (
            ("user: Answer: It is the old capital.", "assistant: It is the old capital."),
            "D47_answer_in_question",
            "",
            "",
        ),
        (("user: q", "assistant: Write to lin@acme-labs.cn now"), "D48_personal_data", "messages[1]", "EMAIL lin…cn"),
    ],
)
def test_odd_words_are_named_with_their_line_and_what_they_are(
    said: tuple[str, ...], key: str, field: str, named: str
) -> None:
    (problem,) = text_problems(example(99, *said))
    assert (problem.key, problem.severity, problem.place.line) == (key, "warning", 99)
    assert problem.place.field == (field or "messages[1]")
    assert named in "".join(map(str, problem.values.values()))


@pytest.mark.parametrize(
    "words",
    [
        "A plain sentence with a < b, [1], <b>bold</b>, <system> and |x|, <|-|>, (?P<s>\\d).",
        "café, naïve, Ünïcödé, Привет, مرحبا, 한국어, こんにちは, 你好，世界！",
        "👩‍👩‍👧 می‌خواهم क्‍ष",  # joiners that belong there
        "联通 电信",  # its GB18030 bytes look like UTF-8
        "the signs þ and ð, ±5 °C, “quoted” – and …",
        "\tindented\n\n    code = 1",
    ],
)
def test_good_words_in_any_script_have_no_problems(words: str) -> None:
    assert text_problems(example(1, f"user: {words}", "assistant: a")) == []
    assert repaired(words) == words


def test_text_that_cannot_be_seen_at_all_is_no_matter_of_words() -> None:
    assert text_problems(example(1, "user: q", "assistant: \u200b")) == []


def test_one_problem_of_a_kind_names_all_it_found() -> None:
    (problem,) = text_problems(example(1, "user: <s>", "assistant: </s> <s>", "user: [INST]", "assistant: b"))
    assert problem.values == {"tokens": "<s>, </s>, [INST]"}


def test_documents_thoughts_and_rejected_answers_are_looked_at() -> None:
    said = Message(role="user", content="q")
    thinking = Message(role="assistant", content="a", reasoning_content="a\u200b")
    assert [
        text_problems(odd)[0].place.field
        for odd in (
            Example((), 1, text="<s>"),
            Example((said, thinking), 1),
            Example((said,), 1, rejected=Message(role="assistant", content="\ufffd")),
        )
    ] == ["text", "messages[1].reasoning_content", "rejected"]


def test_personal_data_given_to_a_tool_are_found() -> None:
    call: Any = {"type": "function", "function": {"name": "mail", "arguments": {"to": "lin@acme-labs.cn"}}}
    (problem,) = text_problems(Example((Message(role="assistant", content="", tool_calls=[call]),), 1))
    assert problem.key == "D48_personal_data"


@pytest.mark.parametrize(
    "said",
    [
        ("user: Is it Paris?", "assistant: Paris"),  # short
        ("user: " + "A long text. " * 20 + "The answer is in here.", "assistant: The answer is in here."),  # a fact
        ("user: It is the old capital.", "assistant: x", "user: q", "assistant: It is the old capital."),
        ("system: Say: I am a helper.", "user: q", "assistant: I am a helper."),
    ],
)
def test_an_answer_that_may_stand_in_the_question_is_no_problem(said: tuple[str, ...]) -> None:
    assert text_problems(example(1, *said)) == []


@pytest.mark.parametrize(
    ("garbled", "meant"),
    [
        ("cafÃ©", "café"),
        ("他说：\nä½\xa0å¥½", "他说：\n你好"),
        ("itâ€™s", "it’s"),
        (GBK_READ, "人工智能属于计算机科学的分支"),
        (GBK_READ_IN_PART, "人工智能\ufffd"),
        ("cafÃ© \ufffd\ufffd", "café \ufffd\ufffd"),
        ("plain", "plain"),
    ],
)
def test_garbled_text_is_brought_back_line_by_line(garbled: str, meant: str) -> None:
    assert repaired(garbled) == meant


def test_trimming_keeps_what_is_between_words() -> None:
    assert trimmed("\ufeff \n a  b\u200b\n\tc \x00") == "a  b\n\tc"


def test_special_tokens_are_taken_out() -> None:
    assert without_special_tokens("<|im_start|>user: [INST]a < b[/INST]</s>") == "user: a < b"
