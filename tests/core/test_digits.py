"""Whole numbers in texts that anybody may have written."""

from __future__ import annotations

import pytest

from core.digits import whole_number_in


@pytest.mark.parametrize(
    ("written", "number"),
    [("0", 0), ("040", 40), ("9" * 9, 10**9 - 1), ("9" * 10, None), ("9" * 5000, None), ("", None), ("-1", None)]
    + [(other, None) for other in ("1.5", " 1", "٥", "²", "1e3", "x")],
)
def test_plain_digits_alone_are_a_number(written: str, number: int | None) -> None:
    assert whole_number_in(written) == number
