"""What a message may not do in the chat window, and what of it must stay as it was."""

from __future__ import annotations

import re

import pytest

from webui.chat_text import JOINER, LATEX_DELIMITERS, Part, inert, parts, plain

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
        ("<think>\n\n</think>\n\nHi", [Part("Hi")]),
        ("[THINK]hm[/THINK]So", [Part("hm", reasoning=True), Part("So")]),
        ("◁think▷嗯◁/think▷好", [Part("嗯", reasoning=True), Part("好")]),
        ("It writes `<think>` first.", [Part("It writes `<think>` first.")]),
        ("```py\ncut('<think>')\n```", [Part("```py\ncut('<think>')\n```")]),
        ("<think>a ` tick</think>one ` more", [Part("a ` tick", reasoning=True), Part("one ` more")]),
    ],
)
def test_reasoning_is_told_from_the_answer(answer: str, expected: list[Part]) -> None:
    assert parts(answer) == expected


@pytest.mark.parametrize(
    ("answer", "shown"),
    [("Hello <thi", "Hello "), ("<think>so</th", "so"), ("a <b", "a <b"), ("a [TH", "a "), ("2 <", "2 ")],
)
def test_what_may_become_a_tag_is_held_back_while_the_answer_grows(answer: str, shown: str) -> None:
    assert [part.text for part in parts(answer, growing=True)] == [shown]
    assert "".join(part.text for part in parts(answer)).endswith(answer[-2:])


def formulas(text: str) -> list[str]:
    """What the window draws: what stands between its delimiters, with the plain ones around it."""
    ends = [(re.escape(each["left"]), re.escape(each["right"])) for each in LATEX_DELIMITERS]
    return [
        found[0].replace(JOINER, "")
        for found in re.finditer("|".join(f"{a}.+?{b}" for a, b in ends), inert(text), re.S)
    ]


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("So $E = mc^2$ holds, and $x$, too.", ["$E = mc^2$", "$x$"]),
        ("其中$x$是未知数，$5$是答案。", ["$x$", "$5$"]),
        (
            "\\(a_1\\) and \\[ \\begin{matrix} a & b \\\\[2pt] c & d \\end{matrix} \\]",
            ["\\(a_1\\)", "\\[ \\begin{matrix} a & b \\\\[2pt] c & d \\end{matrix} \\]"],
        ),
        ("$$\na < b\n$$", ["$$\na < b\n$$"]),
        ("$面积 = 长 \\times 宽$", ["$面积 = 长 \\times 宽$"]),
        ("- **Energy**: $E$\n- | $|x|$ |", ["$E$", "$|x|$"]),
        ("It costs $5 and $10.", []),
        ("$5-$10, US$5 or HK$10, $10/$20", []),
        ("只要$5，一共$", []),
        ("between $5 or 10$.", []),
        ("I have $20 and $x = 5$", ["$x = 5$"]),
        ("\\$5 and \\$6, $HOME/$USER", []),
        ("`$a$` and\n```sh\necho $A $B$\n```\nand $c$", ["$c$"]),
        ("```\nnot closed yet: $a$", []),
        ("still growing: $$x + ", []),
    ],
)
def test_formulas_are_drawn_and_money_and_code_are_not(text: str, drawn: list[str]) -> None:
    assert formulas(text) == drawn
    assert plain(inert(text)) == text


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("**重要：**这里", "**重要：|**这里"),
        ("这是**“好”**的", "这是**|“好”|**的"),
        ("每天3~5次，每次10~20分钟", "每天3|\\~5次，每次10|\\~20分钟"),
        ("你好~我是小明~", "你好|\\~我是小明|\\~"),
        ("`3~5` ~~gone~~ https://a.b/~me **b**", "`3~5` ~~gone~~ https://a.b/~me **b**"),
    ],
)
def test_markdown_that_mistakes_chinese_is_helped(text: str, marked: str) -> None:
    assert inert(text) == marked.replace("|", JOINER)
    assert plain(inert(text)) == text
