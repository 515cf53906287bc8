"""Fields of an answer that a program would read: found by regular expressions, compared with the reference's.

Owns the patterns (one group each, `语速：(\\d)`), what they find, and proposing them from the data. A person writes
them, so they run on RE2, which has no backtracking: time grows with the text, whatever the pattern. What it lacks for
that (look-around, back-references) a pattern with one group has no need of.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import re2
import regex

from core.errors import Place, Problem, WorkbenchError, excerpt
from core.evaluation.results import FieldResult
from core.evaluation.spec import MAX_FIELDS
from core.evaluation.text_units import normalised

MAX_PATTERN_CHARACTERS = 200
MAX_CLASSES = 20
OTHERS = "…"  # the class of all values that are not among the most frequent
SAMPLE_ROWS = 500  # of which fields are proposed
NEARLY_ALL = 0.9
MAX_WORD_CHARACTERS = 30

KEY = r"[\p{L}_][\p{L}\p{N}_ -]{0,29}"
QUOTED = regex.compile(rf'"({KEY})"\s*(:\s*)"?([^",}}\]\n]+)')  # "key": value, as JSON has it
BARE = regex.compile(rf'(?<![\p{{L}}\p{{N}}_"])({KEY}?)\s*([：:=][\s*]*)([^，,；;。|\n]+)')  # key: value
NUMBER = regex.compile(r"\s*-?\d+(\.\d+)?\s*[^\d\s.:/-]{0,3}\s*")  # with a short unit
BETWEEN_PAIRS = '，,；;。| \n"{}'
LABEL = regex.compile(r"[\p{L}\p{N}_][\p{L}\p{N}_ -]*")
NO_LABEL = regex.compile(r"\(\?[^)]*\)|\\[pP]\{\w+\}|\\.|\[[^\]]*\]")  # what of a pattern is no literal text


@dataclass(frozen=True)
class _Seen:
    """Where one key was found in a reference: in which form, with what between it and the value.

    `rest` is all that stands before the next key: more than the value where that is the beginning of free text.
    """

    key: str
    is_quoted: bool
    gap: str
    value: str
    rest: str


def match_field(pattern: str, answers: Sequence[str], references: Sequence[str]) -> FieldResult:
    """How often answers have a field at all, and the right value of it; among the rows whose reference has it.

    The first place that matches counts. Values are equal where `normalised` makes them so. A field that an answer
    lacks is wrong. Of more than 20 different values the rare ones share a class, "…".

    Raises:
        WorkbenchError: as `check_patterns`.
    """
    finder = _compiled(pattern)
    found = [(_value(finder, wanted), _value(finder, got)) for wanted, got in zip(references, answers, strict=True)]
    pairs = [(wanted, got) for wanted, got in found if wanted is not None]
    rows = max(1, len(pairs))
    most = Counter(wanted for wanted, _ in pairs).most_common(1)
    classes, confusion = _confusion(pairs)
    return FieldResult(
        pattern=pattern,
        label=label_of(pattern),
        parse_rate=sum(got is not None for _, got in pairs) / rows,
        accuracy=sum(wanted == got for wanted, got in pairs) / rows,
        most_frequent=most[0][1] / rows if most else 0.0,
        classes=classes,
        confusion=confusion,
    )


def check_patterns(patterns: Iterable[str], references: Sequence[str] | None = None) -> None:
    """Refuse what could not be measured, before anything is.

    Raises:
        WorkbenchError: H01 for each pattern that is too long, is no regular expression of RE2, or has not exactly one
            group; and, where `references` are given, for each that none of them matches.
    """
    problems = [problem for pattern in patterns if (problem := _problem(pattern, references))]
    if problems:
        raise WorkbenchError(problems)


def propose_fields(references: Sequence[str]) -> tuple[str, ...]:
    """Patterns for the `key：value` pairs and JSON keys that nearly all references have, in their order.

    Proposed is what can be right or wrong: numbers, and words out of a few; not what is the same everywhere, nor free
    text. References that are nothing but one of a few short words are one field, the whole answer.
    """
    sample = [text for text in references[:SAMPLE_ROWS] if text.strip()]
    occurrences: dict[tuple[str, bool], list[_Seen]] = defaultdict(list)
    for text in sample:
        first = {(seen.key, seen.is_quoted): seen for seen in reversed(_pairs(text))}
        for name in reversed(first):
            occurrences[name].append(first[name])
    usual = {name: seen for name, seen in occurrences.items() if len(seen) >= NEARLY_ALL * len(sample)}
    keys = {key for key, _ in usual}
    patterns = [pattern for seen in usual.values() if (pattern := _pattern(seen, keys))]
    if not patterns and _is_choice(sample):
        patterns = [r"^\s*(.+?)\s*$"]
    return tuple(patterns[:MAX_FIELDS])


def label_of(pattern: str) -> str:
    """What a field is called: the first words before its group, or the pattern itself."""
    before = regex.split(r"\((?!\?)", NO_LABEL.sub(" ", pattern))[0]
    label = LABEL.search(before)
    return label[0].strip() if label else pattern


def _problem(pattern: str, references: Sequence[str] | None) -> Problem | None:
    place = Place(field="fields", excerpt=excerpt(pattern))
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        values = {"characters": len(pattern), "limit": MAX_PATTERN_CHARACTERS}
        return Problem("H01_pattern_too_long", place, values)
    try:
        finder = _compiled(pattern)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        return Problem("H01_pattern_unreadable", place, {"pattern": excerpt(pattern), "reason": excerpt(reason)})
    if finder.groups != 1:
        return Problem("H01_pattern_groups", place, {"pattern": excerpt(pattern), "groups": finder.groups})
    if references is not None and all(_value(finder, text) is None for text in references):
        return Problem("H01_pattern_never_found", place, {"pattern": excerpt(pattern), "rows": len(references)})
    return None


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def _value(finder: Any, text: str) -> str | None:
    match = finder.search(text)
    return normalised(match.group(1)) if match and match.group(1) is not None else None


def _confusion(pairs: Sequence[tuple[str, str | None]]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """The classes, numbers by size and words by frequency, and the table of `FieldResult.confusion`."""
    wanted = Counter(value for value, _ in pairs)
    counts = wanted + Counter(value for _, value in pairs if value is not None and value not in wanted)
    kept = [value for value, _ in counts.most_common()]
    if len(kept) > MAX_CLASSES:
        kept = [*kept[: MAX_CLASSES - 1], OTHERS]
    if all(regex.fullmatch(r"-?\d+(\.\d+)?", value) for value in kept):
        kept.sort(key=float)
    cells = Counter((_class(value, kept), _class(got, kept)) for value, got in pairs)
    columns = [*kept, None]
    return tuple(kept), tuple(tuple(cells[value, got] for got in columns) for value in kept)


def _class(value: str | None, kept: Sequence[str]) -> str | None:
    return value if value is None or value in kept else OTHERS


def _pairs(text: str) -> list[_Seen]:
    """The keys of one reference with their values, in order."""
    found = [(match, is_quoted) for form, is_quoted in ((QUOTED, True), (BARE, False)) for match in form.finditer(text)]
    found.sort(key=lambda each: each[0].start())
    ends = [*(match.start() for match, _ in found[1:]), len(text)]
    return [
        _Seen(match[1].strip(), is_quoted, match[2], match[3], text[match.start(3) : end].strip(BETWEEN_PAIRS))
        for (match, is_quoted), end in zip(found, ends, strict=False)  # no pair has an end, too
    ]


def _pattern(seen: Sequence[_Seen], keys: set[str]) -> str | None:
    """The pattern of one key, None where its values are no field."""
    values = [each.value for each in seen]
    is_number = all(NUMBER.fullmatch(value) for value in values)
    if not (is_number and len(set(values)) > 1) and not _is_choice([each.rest for each in seen]):
        return None
    key, sign = seen[0].key, "-?" if is_number and any("-" in value for value in values) else ""
    if seen[0].is_quoted:
        return rf'"{key}"\s*:\s*({sign}[\d.]+)' if is_number else rf'"{key}"\s*:\s*"?([^",}}\]\n]+)'
    is_end_of_another = any(other != key and other.endswith(key) for other in keys)
    start = r"(?:^|[^\pL\pN_])" if is_end_of_another else ""
    marks = list(dict.fromkeys(each.gap[0] for each in seen))
    mark = marks[0] if len(marks) == 1 else f"[{''.join(marks)}]"
    gap = r"[\s*]*" if any(len(each.gap) > 1 for each in seen) else ""
    return f"{start}{key}{mark}{gap}" + (rf"({sign}[\d.]+)" if is_number else r"([^，,；;。|\n]+)")


def _is_choice(values: Sequence[str]) -> bool:
    """Whether values are some of a few short words, nearly all of which come again."""
    counts = Counter(map(normalised, values))
    again = sum(count for count in counts.values() if count > 1)
    is_short = all(len(value) <= MAX_WORD_CHARACTERS and "\n" not in value.strip() for value in values)
    return is_short and 2 <= len(counts) <= MAX_CLASSES and again >= NEARLY_ALL * len(values)
