"""Characters: a name, a system prompt and a greeting to chat with.

Owns the few that are shipped (one set a language), the person's own in `state/characters`, and importing files of Text
Generation WebUI and of character cards as JSON. Which system prompt wins is `system_prompt`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path, PurePath
from typing import Any, Literal

from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.i18n import Language
from core.small_yaml import read_mapping, write_mapping
from core.workspace import checked_name, free_name, sync_folder, write_bytes

MAX_TEXT_CHARACTERS = 64_000
DEFAULT_USER = "You"

_PLACE = re.compile(r"\{\{\s*(?:char|user)\s*\}\}|<BOT>|<USER>", re.IGNORECASE)


@dataclass(frozen=True)
class Character:
    """Who answers. Texts are ready to use: the places `{{char}}` and `{{user}}` are filled when a file is imported."""

    name: str
    system_prompt: str = ""
    greeting: str = ""
    origin: Literal["shipped", "own"] = "own"


@dataclass(frozen=True)
class CharacterList:
    """Characters by name, the shipped ones first, and the files that could not be read."""

    characters: tuple[Character, ...]
    problems: tuple[Problem, ...] = ()


class CharacterStore:
    """The characters one can choose: the shipped ones of a language and the person's own, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self, lang: Language = "en") -> CharacterList:
        """A person's own character takes the place of a shipped one of the same name."""
        own: list[Character] = []
        problems: list[Problem] = []
        for file in sorted(self._folder.glob("*.yaml")) if self._folder.is_dir() else ():
            try:
                own.append(replace(_read(file.read_bytes(), file.name), name=file.stem))
            except (WorkbenchError, OSError) as error:
                problems += error.problems if isinstance(error, WorkbenchError) else [_unreadable(file, error)]
        names = {character.name for character in own}
        shipped = (character for character in shipped_characters(lang) if character.name not in names)
        return CharacterList((*shipped, *own), tuple(problems))

    def find(self, name: str, lang: Language = "en") -> Character:
        """The character of that name.

        Raises:
            WorkbenchError: H01 with the names there are.
        """
        characters = self.list(lang).characters
        for character in characters:
            if character.name == name:
                return character
        known = ", ".join(character.name for character in characters)
        raise refusal("H01_no_such_character", Place(excerpt=excerpt(name)), name=excerpt(name), known=excerpt(known))

    def save(self, character: Character) -> Character:
        """Keep a character under its name; replaces the person's own one of that name.

        Raises:
            WorkbenchError: D42 where the name is not allowed; H01 where a text is too long.
        """
        values = {
            "name": checked_name(character.name),
            "greeting": _checked_text("greeting", character.greeting),
            "context": _checked_text("system_prompt", character.system_prompt),
        }
        write_bytes(self._folder / f"{values['name']}.yaml", write_mapping(values))
        return replace(character, origin="own")

    def delete(self, name: str) -> None:
        """Delete a person's own character; a shipped one stays.

        Raises:
            WorkbenchError: H01 where the person has none of that name.
        """
        file = self._folder / f"{checked_name(name)}.yaml"
        if not file.is_file():
            known = ", ".join(each.name for each in self.list().characters if each.origin == "own") or "–"
            raise refusal(
                "H01_no_such_character", Place(excerpt=excerpt(name)), name=excerpt(name), known=excerpt(known)
            )
        file.unlink()
        sync_folder(self._folder)

    def add_file(self, content: bytes, file_name: str) -> Character:
        """Import a character file (YAML or JSON) under its own name made allowed, numbered where it is taken.

        Raises:
            WorkbenchError: H01 where the file cannot be read or holds no character.
        """
        character = read_character(content, file_name)
        return self.save(replace(character, name=free_name(self._folder, character.name, ".yaml")))


def read_character(content: bytes, file_name: str) -> Character:
    """A character of a Text Generation WebUI file (name, greeting, context) or a character card in JSON.

    Raises:
        WorkbenchError: H01 where the file cannot be read, or has neither a greeting nor a prompt.
    """
    character = _read(content, file_name)
    if not character.system_prompt and not character.greeting:
        raise refusal("H01_no_character", Place(file=excerpt(file_name)))
    return character


def shipped_characters(lang: Language) -> tuple[Character, ...]:
    """The characters that come with the workbench, in a language."""
    folder = resources.files("core.chat") / "characters" / lang
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return tuple(replace(_read(file.read_bytes(), file.name), origin="shipped") for file in files)


def _read(content: bytes, file_name: str) -> Character:
    values = read_mapping(content, file_name)
    card = values.get("data")
    if isinstance(card, dict) and str(values.get("spec", "")).startswith("chara_card"):
        values = card
    name = _first(values, "name", "char_name") or PurePath(file_name).stem
    user = _first(values, "your_name", "user") or DEFAULT_USER
    prompt = _first(values, "context") or _card_prompt(values)
    greeting = _first(values, "greeting", "first_mes", "char_greeting")
    return Character(
        name=" ".join(name.split())[:200],
        system_prompt=_checked_text("context", _filled(prompt, name, user)),
        greeting=_checked_text("greeting", _filled(greeting, name, user)),
    )


def _card_prompt(values: Mapping[str, Any]) -> str:
    """The prompt of a character card: its parts, each a paragraph."""
    parts = (
        _first(values, "system_prompt"),
        _first(values, "description", "char_persona"),
        _first(values, "personality"),
        _first(values, "scenario", "world_scenario"),
        _first(values, "mes_example", "example_dialogue"),
    )
    return "\n\n".join(part for part in parts if part)


def _first(values: Mapping[str, Any], *keys: str) -> str:
    for key in keys:
        value = values.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""


def _filled(words: str, name: str, user: str) -> str:
    return _PLACE.sub(lambda found: name if found.group().strip("{} <>").lower() in ("char", "bot") else user, words)


def _checked_text(field: str, words: str) -> str:
    if len(words) > MAX_TEXT_CHARACTERS:
        raise refusal("H01_text_too_long", Place(field=field), count=len(words), limit=MAX_TEXT_CHARACTERS)
    return words


def _unreadable(file: Path, error: OSError) -> Problem:
    shown = {"reason": excerpt(error.strerror or error)}
    return Problem("H01_settings_file_unreadable", Place(file=file.name), shown)
