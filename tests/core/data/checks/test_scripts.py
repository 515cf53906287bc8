from __future__ import annotations

import pytest

from core.data.checks.scripts import NAMES, scripts_of


@pytest.mark.parametrize(
    ("text", "main", "used"),
    [
        ("plain words", "ABC", {"ABC"}),
        ("Überraschung für naïve Ångström", "ABC", {"ABC"}),
        ("你好，世界和平", "中文", {"中文"}),
        ("请用 Python 写一个函数", "中文", {"ABC", "中文"}),
        ("これは日本語の文章です", "かな", {"かな"}),
        ("안녕하세요 여러분", "한글", {"한글"}),
        ("Привет, мир", "АБВ", {"АБВ"}),
        ("مرحبا بالعالم", "ابج", {"ابج"}),
        ("नमस्ते दुनिया", "अआइ", {"अआइ"}),
        ("1 + 1 = 2", None, set()),
        ("a) 3", None, set()),
        ("👍👍👍👍👍", None, set()),
        ("", None, set()),
    ],
)
def test_scripts_are_told_apart(text: str, main: str | None, used: set[str]) -> None:
    script, bits = scripts_of(text)
    assert (NAMES[script] if bits else None) == main
    assert {name for bit, name in enumerate(NAMES) if bits >> bit & 1} == used
