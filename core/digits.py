"""Whole numbers as programs and browsers write them in a text: an address, a name, a button's value."""

from __future__ import annotations

MOST_DIGITS = 9  # Python refuses to read a number of thousands


def whole_number_in(written: str) -> int | None:
    """The number that a text of at most `MOST_DIGITS` plain digits writes; None where it is anything else."""
    plain = written.isascii() and written.isdecimal() and len(written) <= MOST_DIGITS
    return int(written) if plain else None
