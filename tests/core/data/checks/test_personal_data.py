from __future__ import annotations

import pytest

from core.data.checks.personal_data import hinted, masked, personal_data

FOUND = [
    ("Mail lin.wei+x@sub.acme-labs.co.uk.", "EMAIL", "lin.wei+x@sub.acme-labs.co.uk"),
    ("邮箱是zhangsan@qq.com，谢谢", "EMAIL", "zhangsan@qq.com"),
    ("电话13867905431。", "PHONE", "13867905431"),
    ("电话：+86 138 6790 5431", "PHONE", "+86 138 6790 5431"),
    ("座机010-62751234", "PHONE", "010-62751234"),
    ("Call (212) 736-5000 today", "PHONE", "(212) 736-5000"),
    ("Call +44 20 7946 0958.", "PHONE", "+44 20 7946 0958"),
    ("Call +4915118293640", "PHONE", "+4915118293640"),
    ("身份证11010519491231002X", "ID", "11010519491231002X"),
    ("SSN 219-09-9999", "ID", "219-09-9999"),
    ("4539 1488 0343 6467", "CARD", "4539 1488 0343 6467"),
    ("my card is 5500005555555559", "CARD", "5500005555555559"),
    ("Amex 3782 822463 10005", "CARD", "3782 822463 10005"),
]


@pytest.mark.parametrize(("text", "kind", "value"), FOUND)
def test_personal_data_are_found_and_masked(text: str, kind: str, value: str) -> None:
    assert list(personal_data(text)) == [(kind, value)]
    assert masked(text) == text.replace(value, f"[{kind}]")


def test_all_in_a_text_are_masked_in_their_places() -> None:
    text = "a 13867905431, b@acme-labs.cn; 13867905432@qq.com (212) 736-5000 c"
    assert masked(text) == "a [PHONE], [EMAIL]; [EMAIL] [PHONE] c"


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com and me@localhost and icon@2x.png, git@github.com:a/b",
        "a@b",
        "@someone in 2024-05-15 at 10:30",
        "ISBN 978-3-16-148410-0, version 1.2.3.4, 192.168.100.200",
        "pi is 3.14159265358979323846",
        "256626720691 + 13867905431 = 270494626122",
        "  472547338\n+960397912423686",
        "timestamps 1700000000 and 1700000000123",
        "card 4539148803436468",  # no Luhn
        "16 digits 4539148803436467 of pi",  # no word of a card
        "身份证110105194912310021",  # wrong check digit
        "DFARS 252.227-7013, +1980-02-29 01:00",
        "123-45-6789 and 000-12-3456",
        "手机13812345678",
        "card 4111 1111 1111 1111",
        "call 555-123-4567 or (212) 555-0100",
        "https://example.org/13812345678/x?id=13812345678",
        "1,381,234,567.89",
        "1234567890",
    ],
)
def test_other_numbers_and_stand_ins_are_no_personal_data(text: str) -> None:
    assert list(personal_data(text)) == []
    assert masked(text) == text


def test_a_hint_does_not_tell_the_whole() -> None:
    assert hinted("PHONE", "13812345670") == "PHONE 138…70"


def test_a_long_text_of_digits_and_dots_is_read_in_no_time() -> None:
    assert list(personal_data("1.a-" * 50_000 + "@" * 50_000 + "1 " * 50_000)) == []
