"""What a message may not do in the chat window, and what of it must stay as it was."""

from __future__ import annotations

import re

import pytest

from webui.chat_text import Part, inert, parts, plain

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</span><script>alert(1)</script>",
    "<!-- --><style>*{display:none}</style>",
    '<div style="position:fixed;inset:0">over</div>',
    "![pixel](https://example.com/p.png)",
    "[![pixel](https://example.com/p.png)](https://example.com)",
    "```mermaid\ngraph TD; A-->B\n```",
    "~~~ Mermaid\ngraph TD\n~~~",
    "<iframe src='https://example.com'></iframe>",
    "<?php echo 1 ?>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_begins_a_tag_an_image_or_a_drawing_is_left(text: str) -> None:
    assert not re.search(r"<[A-Za-z/!?]|!\[|```[ \t]*mermaid|~~~[ \t]*mermaid", inert(text), re.IGNORECASE)


@pytest.mark.parametrize(
    "text", [*HOSTILE, "1 < 2 && 3 > 2", "a <b", "表情 😀 <标签>", "Ends with <", "x![", "tab\there"]
)
def test_an_edited_message_is_what_the_person_wrote(text: str) -> None:
    assert plain(inert(text)) == text


def test_text_that_is_harmless_is_not_touched() -> None:
    text = "1 < 2, **bold**, `code`, [link](https://example.com)\n\n- list\n    indented"
    assert inert(text) == text


@pytest.mark.parametrize(
    ("text", "shown"), [("a\x1b[31mred", "a\\u001b[31mred"), ("half \ud800", "half \\ud800"), ("a\r\nb", "a\nb")]
)
def test_control_characters_and_half_characters_can_be_seen(text: str, shown: str) -> None:
    assert inert(text) == shown


def test_ten_thousand_combining_marks_become_a_few() -> None:
    assert len(inert("e" + "\u0301" * 10_000)) < 20


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Hello", [Part("Hello")]),
        ("", []),
        ("<think>why</think>\n\nBecause.", [Part("why", reasoning=True), Part("Because.")]),
        ("<think>still at it", [Part("still at it", reasoning=True, open=True)]),
        ("begun by the template</think>Done", [Part("begun by the template", reasoning=True), Part("Done")]),
        ("Ah. <thinking>hm</thinking> So.", [Part("Ah."), Part("hm", reasoning=True), Part(" So.")]),
        ("    indented code", [Part("    indented code")]),
    ],
)
def test_reasoning_is_told_from_the_answer(answer: str, expected: list[Part]) -> None:
    assert parts(answer) == expected
