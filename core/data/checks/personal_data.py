"""Hints of personal data in a text: e-mail addresses, phone, ID and card numbers.

Owns what such data look like. A number counts only where its own rules hold (check digits, number ranges), and what
documents use as a stand-in (`user@example.com`, 555 numbers, 123-45-6789) does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# A run of digits and what stands between those of one number: found fast, and looked at closely.
_RUN = re.compile(r"\d[\d ().-]{6,}")
_BEFORE_RUN = 5  # characters of a number that may stand before its run: `+86 (`
# Each begins and ends at no letter, digit, path or sum; Chinese characters may stand right beside it.
_NUMBER = re.compile(
    r"""
    (?<![\w.,/:=\#@&?+$-])(?<![=+*/^][ ])(?:
        (?P<ID>[1-9]\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx])
        |(?P<SSN>\d{3}-\d\d-\d{4})
        |(?P<CARD>\d{4}([ -])\d{4}\4\d{4}\4\d{4}|3[47]\d\d([ -])\d{6}\5\d{5}|\d{13,19})
        |(?P<PHONE>
            (?:\+?86[ -]?)?1[3-9]\d(?:[ -]?\d{4}){2}  # mobile, China
            |0\d{2,3}-\d{7,8}  # landline, China
            |(?:\+?1[ .-]?)?(?:\([2-9]\d\d\)[ ]?[2-9]\d\d[.-]|[2-9]\d\d([.-])[2-9]\d\d\7)\d{4}  # North America
            |(?<!\d\s)(?!\+\d{4}-\d\d-\d\d)\+[1-9]\d{0,2}(?:[ .-]?\(?\d{2,5}\)?){2,5}  # anywhere, with its country code
        )
    )(?![\w/@-]|[.,]\d|[ ]?[=+*^%])
    """,
    re.VERBOSE | re.ASCII,
)
_NAME = re.compile(r"(?<![\w.+@/-])[A-Za-z0-9][\w.+-]{0,63}\Z", re.ASCII)
_DOMAIN = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.)+[A-Za-z]{2,24}(?![\w@-])", re.ASCII)
_STAND_IN_DOMAINS = re.compile(
    r"(?:^|[@.])(?:(?:example|domain|yourdomain|company|yourcompany|email|mail|website)\.(?:com|org|net|edu)|"
    r"(?:\w+\.)?(?:example|test|invalid|local|localhost|png|jpe?g|gif|svg|webp|js|css|py))$",
    re.IGNORECASE,
)
_CARD_WORD = re.compile(r"card|visa|amex|unionpay|debit|卡", re.IGNORECASE)  # beside a number without gaps
_CARD_LENGTHS = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|2[2-7]|35|6011|65"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"62"), (16, 17, 18, 19)),
)


def personal_data(text: str) -> Iterator[tuple[str, str]]:
    """What looks like personal data, each as what it is (EMAIL, PHONE, ID, CARD) and how it stands in the text."""
    return ((kind, text[start:end]) for kind, start, end in _spans(text))


def masked(text: str) -> str:
    """The text with a mark such as `[EMAIL]` in place of each."""
    parts, done = [], 0
    for kind, start, end in _spans(text):
        parts += [text[done:start], f"[{kind}]"]
        done = end
    return "".join([*parts, text[done:]])


def hinted(kind: str, value: str) -> str:
    """Enough of it to find it again: `EMAIL li…om`."""
    return f"{kind} {value[:3]}…{value[-2:]}"


def _spans(text: str) -> list[tuple[str, int, int]]:
    """What was found and from where to where, in the order of the text; none reaches into another."""
    return sorted([*_addresses(text), *_numbers(text)], key=lambda found: found[1])


def _addresses(text: str) -> Iterator[tuple[str, int, int]]:
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        name = _NAME.search(text, max(0, at - 65), at) if domain else None
        if domain and name and name.group() != "git" and not _STAND_IN_DOMAINS.search(domain.group()):
            yield "EMAIL", name.start(), domain.end()
        at = text.find("@", at + 1)


def _numbers(text: str) -> Iterator[tuple[str, int, int]]:
    position = 0
    for run in _RUN.finditer(text):
        position = max(position, run.start() - _BEFORE_RUN)
        while position < run.end():
            found = _NUMBER.match(text, position)
            kind = _kind(found) if found else None
            if found and kind:
                yield kind, found.start(), found.end()
            position = found.end() if found and kind else position + 1


def _kind(found: re.Match[str]) -> str | None:
    """What a number is, None where its rules do not hold."""
    name, value = str(found.lastgroup), found.group()
    digits = re.sub(r"\D", "", value)
    match name:
        case "ID":
            holds = _is_chinese_id(value)
        case "SSN":
            name, holds = "ID", _is_social_security_number(value)
        case "CARD":
            holds = _is_card(digits) and (value != digits or _CARD_WORD.search(found.string) is not None)
        case _:
            holds = 8 <= len(digits) <= 15 and not _is_stand_in_phone(digits)
    return name if holds else None


def _is_chinese_id(value: str) -> bool:
    """GB 11643: the last of 18 characters is a check digit modulo 11."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(value, weights, strict=False))
    return value[-1].upper() == "10X98765432"[total % 11]


def _is_social_security_number(value: str) -> bool:
    area, group, serial = value.split("-")
    given_out = area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
    return given_out and value not in ("123-45-6789", "078-05-1120", "111-11-1111", "111-22-3333")


def _is_card(digits: str) -> bool:
    """A number range of a card network, its length, and the Luhn check digit."""
    if not any(start.match(digits) and len(digits) in lengths for start, lengths in _CARD_LENGTHS):
        return False
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    total = sum(map(int, digits[-1::-2])) + sum(value - 9 if value > 9 else value for value in doubled)
    return total % 10 == 0 and len(set(digits)) > 2


def _is_stand_in_phone(digits: str) -> bool:
    """Numbers of films and manuals: 555 in North America, or the digits in a row."""
    return (len(digits) in (10, 11) and "555" in (digits[-10:-7], digits[-7:-4])) or (
        "123456" in digits or len(set(digits)) <= 2
    )
