from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.adapters.card import AdapterCard
from core.chat.characters import Character
from core.chat.system_prompt import effective_system_prompt, template_system_prompt
from core.i18n import LANGUAGES, text

CHARACTER = Character("c", "the character's")
CARD = AdapterCard(name="a", base_name="b", system_prompt="the data's")


@pytest.mark.parametrize(
    ("typed", "character", "card", "default", "expected"),
    [
        ("typed", CHARACTER, CARD, "default", ("typed", "typed")),
        ("  ", CHARACTER, CARD, "default", ("the character's", "character")),
        (None, Character("c"), CARD, "default", ("the data's", "adapter")),
        ("", None, AdapterCard(name="a", base_name="b"), "default", ("default", "template")),
        ("", None, None, "", ("", "none")),
    ],
)
def test_the_first_there_is_wins_and_says_where_it_comes_from(
    typed: str | None, character: Character | None, card: AdapterCard | None, default: str, expected: tuple[str, str]
) -> None:
    found = effective_system_prompt(typed, character, card, default)
    assert (found.text, found.source) == expected
    assert found.sent == ("" if found.source == "template" else found.text)
    assert all(text(found.source_key, lang) for lang in LANGUAGES)


def test_a_template_without_a_default_has_none(tiny_tokenizer: Any) -> None:
    assert template_system_prompt(tiny_tokenizer) == ""


def test_a_template_that_knows_no_system_messages_has_none(tiny_tokenizer: Any) -> None:
    tiny_tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ m['content'] }}{% endfor %}"
    )
    assert template_system_prompt(tiny_tokenizer) == ""


@pytest.mark.starter
def test_the_starters_template_says_that_it_is_smollm(starter_dir: Path) -> None:
    from transformers import AutoTokenizer

    assert "SmolLM" in template_system_prompt(AutoTokenizer.from_pretrained(starter_dir))
