"""Reading and writing the small YAML and JSON files that people share: runs, presets, characters.

Owns the bounds of such a file: plain values only, 256 KB, no deep nesting, no aliases (a few lines of them can unfold
to gigabytes). What the keys mean is for those who ask.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from core.errors import Place, excerpt, refusal

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, in which `2e-4` is a number as everywhere else."""


_Loader.yaml_implicit_resolvers = {
    first: list(resolvers) for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_mapping(content: bytes, file_name: str) -> dict[str, Any]:
    """The mapping that a YAML or JSON file holds (JSON is read as the YAML it is).

    Raises:
        WorkbenchError: H01 where the file is too large, no UTF-8, uses aliases, or holds something else.
    """
    place = Place(file=excerpt(file_name))
    if len(content) > MAX_BYTES:
        raise refusal("H01_settings_file_too_large", place, bytes=len(content), limit=MAX_BYTES)
    try:
        words = content.decode("utf-8-sig")
        _refuse_traps(words, place)
        values = yaml.load(words, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise refusal(
            "H01_settings_file_unreadable", Place(file=place.file, line=line), reason=excerpt(error.problem or error)
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise refusal("H01_settings_file_unreadable", place, reason=excerpt(error)) from error
    if not isinstance(values, dict):
        raise refusal("H01_settings_file_unreadable", place, reason=type(values).__name__)
    return {str(key): value for key, value in values.items()}


def _refuse_traps(words: str, place: Place) -> None:
    """Refuse aliases and deep nesting while the events come: the parser's time grows with the square of the depth."""
    depth = 0
    for event in yaml.parse(words, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise refusal("H01_settings_file_unreadable", place, reason="YAML alias")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise refusal("H01_settings_file_unreadable", place, reason=f"depth > {MAX_DEPTH}")


def write_mapping(values: dict[str, Any]) -> bytes:
    """A mapping as YAML that a person can read and edit."""
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False, width=120).encode()
