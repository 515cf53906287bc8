"""What a person may be shown when something is refused: code, what, where, why, fix.

    WorkbenchError            a refusal meant for people; carries one or more Problems
    └── (no subclasses: the Problem's key says which refusal it is)
    anything else             a bug; the page and the command line log it and show a reference

A `Problem` holds a catalogue key and values, never a finished sentence, so that one refusal reads right in every
language. Its code is the part of the key before the first underscore (`D08_bad_json_line` → `D08`); codes are those of
the catalogue of bad inputs: D data files, M models and adapters, H hyper-parameters, A actions and environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.i18n import Language, text

SHOWN_PROBLEMS = 20
EXCERPT_CHARACTERS = 80


@dataclass(frozen=True)
class Place:
    """Where a problem is; empty parts are left out when shown. `line` counts from 1."""

    file: str = ""
    line: int | None = None
    field: str = ""
    excerpt: str = ""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: its catalogue key, its place, and the values its texts name."""

    key: str
    place: Place = field(default_factory=Place)
    values: dict[str, Any] = field(default_factory=dict)
    severity: Literal["error", "warning"] = "error"

    @property
    def code(self) -> str:
        return self.key.split("_", 1)[0]

    def describe(self, lang: Language = "en") -> ProblemText:
        return ProblemText(
            code=self.code,
            what=self._say("what", lang),
            where=_place_text(self.place, lang),
            why=self._say("why", lang),
            fix=self._say("fix", lang),
        )

    def _say(self, part: str, lang: Language) -> str:
        return text(f"errors.{self.key}.{part}", lang, **self.values)


@dataclass(frozen=True)
class ProblemText:
    """A problem in words of one language."""

    code: str
    what: str
    where: str
    why: str
    fix: str

    def __str__(self) -> str:
        head = f"{self.code} · {self.what}"
        return "\n".join(part for part in (head, self.where, self.why, self.fix) if part)


class WorkbenchError(Exception):
    """A refusal meant for people.

    `problems` holds at most `SHOWN_PROBLEMS`; `total` counts them all.
    """

    def __init__(self, problems: Sequence[Problem], total: int | None = None) -> None:
        assert problems, "a refusal names at least one problem"
        self.problems = tuple(problems[:SHOWN_PROBLEMS])
        self.total = len(problems) if total is None else total
        super().__init__(self.describe())

    @property
    def code(self) -> str:
        return self.problems[0].code

    @property
    def key(self) -> str:
        return self.problems[0].key

    def describe(self, lang: Language = "en") -> str:
        """All problems in words; says how many more there are."""
        parts = [str(problem.describe(lang)) for problem in self.problems]
        if self.total > len(self.problems):
            parts.append(text("errors.more", lang, count=self.total - len(self.problems)))
        return "\n\n".join(parts)


def refusal(key: str, place: Place | None = None, **values: Any) -> WorkbenchError:
    """The error to raise for one problem: `raise refusal("M10_lfs_pointer", Place(file=name), name=name)`."""
    return WorkbenchError([Problem(key, place or Place(), values)])


def excerpt(value: object) -> str:
    """At most `EXCERPT_CHARACTERS` of a value with control and bidirectional characters made visible."""
    beginning = str(value)[: EXCERPT_CHARACTERS + 1]
    shown = "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in beginning)
    return shown if len(shown) <= EXCERPT_CHARACTERS else shown[: EXCERPT_CHARACTERS - 1] + "…"


def _place_text(place: Place, lang: Language) -> str:
    parts = [place.file] if place.file else []
    if place.line is not None:
        parts.append(text("errors.place.line", lang, line=place.line))
    if place.field:
        parts.append(text("errors.place.field", lang, field=place.field))
    if place.excerpt:
        parts.append(f"«{place.excerpt}»")
    return " · ".join(parts)
