from __future__ import annotations

from pathlib import Path

import pytest

from core.chat.characters import Character, CharacterStore, read_character, shipped_characters
from core.errors import WorkbenchError
from core.i18n import LANGUAGES

TGW = """name: Chiharu
greeting: |-
  *{{char}} smiles at {{user}}* Hello, <USER>!
context: |-
  {{char}}'s persona: a young engineer. {{ Char }} likes {{user}}.
your_name: Wang
unknown: 3
"""
CARD_V2 = """{"spec": "chara_card_v2", "data": {"name": "Lin", "description": "{{char}} teaches.",
 "personality": "calm", "scenario": "a school", "first_mes": "Hi {{user}}", "mes_example": ""}}"""
CARD_V1 = '{"char_name": "Old", "char_persona": "wise", "char_greeting": "Hm.", "world_scenario": ""}'


@pytest.fixture
def store(tmp_path: Path) -> CharacterStore:
    return CharacterStore(tmp_path / "characters")


def test_a_text_generation_webui_character_is_read_with_its_places_filled() -> None:
    character = read_character(TGW.encode(), "Chiharu.yaml")
    assert character.name == "Chiharu"
    assert character.greeting == "*Chiharu smiles at Wang* Hello, Wang!"
    assert character.system_prompt == "Chiharu's persona: a young engineer. Chiharu likes Wang."


@pytest.mark.parametrize(
    ("content", "name", "prompt", "greeting"),
    [
        (CARD_V2, "Lin", "Lin teaches.\n\ncalm\n\na school", "Hi You"),
        (CARD_V1, "Old", "wise", "Hm."),
        ("greeting: 你好\n", "file", "", "你好"),
        ("\ufeffname: B\ncontext: c", "B", "c", ""),
    ],
)
def test_other_shapes_of_character_files_are_read(content: str, name: str, prompt: str, greeting: str) -> None:
    character = read_character(content.encode(), "file.json")
    assert (character.name, character.system_prompt, character.greeting) == (name, prompt, greeting)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"", "H01_settings_file_unreadable"),
        (b"- a", "H01_settings_file_unreadable"),
        (b"name: [", "H01_settings_file_unreadable"),
        (b"name: \xff", "H01_settings_file_unreadable"),
        (b"name: !!python/object/apply:os.system ['false']", "H01_settings_file_unreadable"),
        (b"a: &a [x]\nb: [*a, *a]", "H01_settings_file_unreadable"),
        (b"[" * 200_000, "H01_settings_file_unreadable"),
        (b"a:\n" + b"".join(b" " * i + b"- \n" for i in range(400)), "H01_settings_file_unreadable"),
        (b"x" * 300_000, "H01_settings_file_too_large"),
        (b"name: only\ncolour: red", "H01_no_character"),
        (b"greeting: " + b"x" * 70_000, "H01_text_too_long"),
    ],
)
def test_a_file_that_is_no_character_is_refused(content: bytes, key: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read_character(content, "file.yaml")
    assert caught.value.key == key
    assert caught.value.describe("zh")


def test_the_line_of_a_mistake_is_named() -> None:
    with pytest.raises(WorkbenchError) as caught:
        read_character(b"name: a\ngreeting: b\n  c: d: e\n", "file.yaml")
    assert caught.value.problems[0].place.line == 3


def test_characters_are_shipped_in_both_languages() -> None:
    for lang in LANGUAGES:
        characters = shipped_characters(lang)
        assert len(characters) >= 3
        assert all(each.name and each.system_prompt and each.greeting for each in characters)
    assert {each.name for each in shipped_characters("en")}.isdisjoint(each.name for each in shipped_characters("zh"))


def test_a_persons_character_is_kept_found_and_deleted(store: CharacterStore) -> None:
    store.save(Character("我的老师", "请用中文。", "你好"))
    assert store.find("我的老师", "zh") == Character("我的老师", "请用中文。", "你好")
    assert store.list("en").characters[-1].name == "我的老师"
    store.delete("我的老师")
    with pytest.raises(WorkbenchError, match="H01"):
        store.find("我的老师", "zh")


def test_a_persons_character_takes_the_place_of_a_shipped_one(store: CharacterStore) -> None:
    shipped = shipped_characters("en")[0]
    store.save(Character(shipped.name, "mine", ""))
    assert store.find(shipped.name).system_prompt == "mine"
    assert len(store.list("en").characters) == len(shipped_characters("en"))
    store.delete(shipped.name)
    assert store.find(shipped.name) == shipped
    with pytest.raises(WorkbenchError, match="H01"):
        store.delete(shipped.name)


def test_an_imported_character_gets_a_free_name(store: CharacterStore) -> None:
    content = b"name: ../evil/../name\ncontext: c"
    first = store.add_file(content, "x.yaml")
    second = store.add_file(content, "x.yaml")
    assert first.name == "evil-..-name" or "/" not in first.name
    assert second.name == f"{first.name}-2"
    assert store.find(second.name).system_prompt == "c"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "con", "x" * 80])
def test_names_that_are_not_allowed_are_refused(store: CharacterStore, name: str) -> None:
    with pytest.raises(WorkbenchError, match="D42"):
        store.save(Character(name, "p", "g"))
    with pytest.raises(WorkbenchError, match="D42"):
        store.delete(name)


def test_a_damaged_file_is_reported_and_the_others_are_listed(store: CharacterStore, tmp_path: Path) -> None:
    store.save(Character("good", "p"))
    (tmp_path / "characters" / "bad.yaml").write_text("a: [", "utf-8")
    found = store.list("en")
    assert [each.name for each in found.characters if each.origin == "own"] == ["good"]
    assert [problem.key for problem in found.problems] == ["H01_settings_file_unreadable"]
