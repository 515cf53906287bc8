"""The one catalogue of words: every text a person can read, in English and Simplified Chinese.

Owns looking a key up and filling its values. The words themselves are the YAML files beside this module, one file a
room and language (`en/data.yaml`, `zh/data.yaml`); files of a language are merged into one tree and a key is its
dotted path. Error texts live under `errors.<key>.{what,why,fix}`, settings under
`settings.<Model>.<field>.{label,help}`. It stands in `core` because the command line and the page speak the same words.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Literal

import yaml

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


def text(key: str, lang: Language = "en", /, **values: object) -> str:
    """The text of a key with `{name}` places filled from `values`.

    Raises:
        KeyError: the catalogue has no such key, or the text names a value that was not given.
    """
    template = catalogue(lang)[key]
    return template.format(**values) if values else template


def has_text(key: str) -> bool:
    return key in catalogue("en")


@cache
def catalogue(lang: Language) -> dict[str, str]:
    """All texts of a language, flattened to dotted keys.

    Raises:
        ValueError: two files define the same key.
    """
    texts: dict[str, str] = {}
    folder = resources.files(__package__) / lang
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            tree = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            for key, value in _flatten("", tree):
                if key in texts:
                    raise ValueError(f"{lang}/{file.name} defines {key} a second time")
                texts[key] = value
    return texts


def _flatten(prefix: str, tree: dict[str, object]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            pairs += _flatten(f"{path}.", value)
        else:
            pairs.append((path, str(value)))
    return pairs
