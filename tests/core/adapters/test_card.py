from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.adapters.card import CARD_FILE, AdapterCard, read_card, write_card
from core.errors import WorkbenchError
from tests.core.adapters.building import card


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = card("polite", "llama-64x2-v512-abc", system_prompt="你是老师", template="chatml", run_id="r1")
    write_card(tmp_path, written)
    assert read_card(tmp_path) == written


def test_an_adapter_made_elsewhere_has_no_card(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("{", "M18_card_damaged"),
        ("[]", "M18_card_damaged"),
        ('{"name": 3, "base_name": "b"}', "M18_card_damaged"),
        ("[" * 100_000, "M18_card_damaged"),
        ('{"name": "a", "base_name": "b", "format_version": 99}', "A21_card_is_newer"),
        (json.dumps({"name": "a", "base_name": "b", "system_prompt": "x" * 300_000}), "M18_card_damaged"),
    ],
)
def test_a_card_that_cannot_be_used_says_why(tmp_path: Path, content: str, key: str) -> None:
    (tmp_path / CARD_FILE).write_text(content, "utf-8")
    with pytest.raises(WorkbenchError) as caught:
        read_card(tmp_path)
    assert caught.value.key == key
    assert caught.value.describe("zh")


def test_a_field_of_a_later_minor_version_is_ignored(tmp_path: Path) -> None:
    (tmp_path / CARD_FILE).write_text('{"name": "a", "base_name": "b", "colour": "red"}', "utf-8")
    assert read_card(tmp_path) == AdapterCard(name="a", base_name="b")
