"""Where answers differ: in words, in Chinese in characters, and never losing a letter."""

from __future__ import annotations

import pytest

from core.chat.differences import compared


def marked(*answers: str) -> list[str]:
    """Each answer with what differs in brackets."""
    return [
        "".join(f"[{piece.text}]" if piece.differs else piece.text for piece in each.pieces)
        for each in compared(answers)
    ]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("The cat sat.", "The dog sat."), ["The [cat ]sat.", "The [dog ]sat."]),
        (("我今天去学校。", "我昨天去了学校。"), ["我[今]天去学校。", "我[昨]天去[了]学校。"]),
        (("说 LoRA 很好", "说 QLoRA 很好"), ["说 [LoRA ]很好", "说 [QLoRA ]很好"]),
        (("same", "same"), ["same", "same"]),
        (("a  b\n", "a b"), ["a  b\n", "a b"]),  # spaces alone are no difference
        (("", "x y"), ["", "[x y]"]),
        (("x", ""), ["[x]", ""]),
        (("only one",), ["only one"]),
        ((), []),
    ],
)
def test_what_the_other_does_not_have_is_marked(answers: tuple[str, ...], expected: list[str]) -> None:
    assert marked(*answers) == expected


def test_of_the_first_answer_only_what_nobody_else_has_is_marked() -> None:
    assert marked("a b c", "a b d", "a x c")[0] == "a b c"
    assert marked("a b c", "a x d", "a y d")[0] == "a [b c]"


def test_a_lone_sign_between_two_differences_is_marked_with_them() -> None:
    assert marked("red, green stop", "blue, black stop")[1] == "[blue, black ]stop"
    assert marked("甲乙的丙丁。", "戊己的庚辛。")[1] == "[戊己的庚辛]。"


def test_pieces_are_the_answer_and_the_share_counts_words() -> None:
    answers = ("One two, three.\n\n四五六 — 🙂 end", "One 2, three?\n四六 — end")
    found = compared(answers)
    assert ["".join(piece.text for piece in each.pieces) for each in found] == list(answers)
    assert found[1].shared == pytest.approx(5 / 6)  # one, three, 四, 六, end, of six
    assert compared(("", ""))[1].shared == 1.0
