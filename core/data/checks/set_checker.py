"""All examples of a set looked at together, in a stream: the problems of each as it comes, those of the set at the end.

Owns what is kept of an example meanwhile (39 bytes, whatever its length) and what follows from it. What is asked of one
example stands in `conversations.py` and `texts.py`.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xxhash
from numpy.typing import NDArray

from core.data.checks.conversations import shape_problems
from core.data.checks.scripts import NAMES, scripts_of, strangers
from core.data.checks.similarity import COMPARED, Similarity
from core.data.checks.texts import text_problems
from core.data.conversation import Example
from core.data.options import FixName
from core.data.places import PlaceList, Places
from core.errors import SHOWN_PROBLEMS, Place, Problem

FEW_ROWS = 10
KEPT_LINES = 10_000
SAME_ANSWER = (5, 0.2)  # questions with one answer: more than so many, and than this share of the rows
LABEL_REPEATS = 5  # where answers are given so often on average, they are choices among a few: a classification
MOSTLY = 0.8
STRANGERS = 0.05  # of the rows; where more are in another script, the set is meant to be in two
ENOUGH_ROWS = 20  # to tell strangers from the rest
_NO_QUESTION = 0

Indices = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class SetFacts:
    """What holds for the examples together, in the order they were added.

    `groups` is one number for equal and nearly equal examples; `drops` are the indices that each fix of the set would
    leave out, ascending. A problem's `values["rows"]` are the lines of all rows it concerns, at most `KEPT_LINES`, and
    `values["files"]` their files. `places` says where each example stands.
    """

    problems: tuple[Problem, ...]
    groups: Indices
    drops: Mapping[FixName, Indices]
    places: Places


class SetChecker:
    """Takes examples one by one; `finish` is called once, after the last."""

    def __init__(self, seed: int = 42) -> None:
        self._similarity = Similarity(seed)
        self._places = PlaceList()
        self._contents = array("Q")
        self._questions = array("Q")
        self._answers = array("Q")
        self._scripts = array("B")  # the one its answer is mostly in
        self._used = array("H")  # all it has, as bits

    def add(self, example: Example) -> list[Problem]:
        """This example's own problems, errors and warnings."""
        shape = shape_problems(example)
        question, answer = _parts(example)
        asked = example.kind == "chat" and all(problem.severity == "warning" for problem in shape)
        content = _fingerprint(example)
        self._similarity.add(len(self._places), content, question, answer)
        self._places.add(example)
        self._contents.append(content)
        self._questions.append((_hash(_asked(example, question)) or 1) if asked else _NO_QUESTION)
        self._answers.append(_hash(answer))
        (asked_in, asked_with), (answered_in, answered_with) = scripts_of(question), scripts_of(answer)
        self._scripts.append(answered_in if answered_with else asked_in)
        self._used.append(asked_with | answered_with)
        return [*shape, *text_problems(example)]

    def finish(self) -> SetFacts:
        """What can only be said of the whole set."""
        places, contents = self._places.places(), np.array(self._contents)
        equal = _firsts(contents)
        repeated = np.flatnonzero(equal != np.arange(len(equal)))
        pairs = self._similarity.pairs()
        leaders, groups = _near(equal, pairs)
        nearly = np.flatnonzero(leaders != equal)
        first_asked, contradicting = self._contradictions(groups)
        compared = {"compared": f"{len(self._similarity):,}", "limit": f"{COMPARED:,}", "total": len(places)}
        all_equal = 0 < len(repeated) == len(places) - 1
        problems = [
            *counted(
                "D31_all_equal" if all_equal else "D31_duplicates", places, repeated, ("=", equal), total=len(places)
            ),
            *counted("D31_near_duplicates", places, nearly, ("≈", leaders), **compared),
            *self._same_answer(places),
            *counted("D51_contradictions", places, contradicting, ("≠", first_asked), total=len(places)),
            *self._language_mix(places),
        ]
        if 0 < len(places) < FEW_ROWS:
            problems.append(Problem("D33_few_rows", values={"count": len(places)}, severity="warning"))
        drops: dict[FixName, Indices] = {
            "drop_contradictions": contradicting,
            "drop_duplicates": repeated,
            "drop_near_duplicates": nearly,
        }
        return SetFacts(tuple(problems), groups, drops, places)

    def _contradictions(self, groups: Indices) -> tuple[Indices, Indices]:
        """For each example the first with its question, and those that answer it otherwise, not just a word."""
        questions, answers = np.array(self._questions), np.array(self._answers)
        first = _firsts(questions)
        otherwise = (answers != answers[first]) & (groups != groups[first])
        return first, np.flatnonzero((questions != _NO_QUESTION) & otherwise)

    def _same_answer(self, places: Places) -> list[Problem]:
        """D50: one answer to many questions, unless answers are a few labels."""
        questions, answers = np.array(self._questions), np.array(self._answers)
        asked = np.flatnonzero(questions != _NO_QUESTION)
        if not len(asked):
            return []
        _, once = np.unique(np.stack([questions[asked], answers[asked]]), axis=1, return_index=True)
        distinct = asked[np.sort(once)]
        kinds, counts = np.unique(answers[distinct], return_counts=True)
        most, share = int(counts.max()), counts.max() / len(distinct)
        labels = len(kinds) > 1 and len(distinct) / len(kinds) >= LABEL_REPEATS and share <= MOSTLY
        if labels or most <= SAME_ANSWER[0] or share <= SAME_ANSWER[1]:
            return []
        rows = asked[answers[asked] == kinds[counts.argmax()]]
        return counted("D50_same_answer", places, rows, percent=round(100 * len(rows) / len(places)), questions=most)

    def _language_mix(self, places: Places) -> list[Problem]:
        """D49: single rows in another script than the rest."""
        used, scripts = np.array(self._used), np.array(self._scripts)
        if len(places) < ENOUGH_ROWS or not used.any():
            return []
        main, rows = strangers(scripts, used)
        if len(rows) >= STRANGERS * len(places):
            return []
        kinds, counts = np.unique(scripts[rows], return_counts=True)
        named = ", ".join(f"{NAMES[kind]} {count}" for kind, count in zip(kinds, counts, strict=True))
        return counted("D49_language_mix", places, rows, total=len(places), scripts=named, main=NAMES[main])


def leak_problems(train: Sequence[Example], validation: Sequence[Example], name: str = "") -> list[Problem]:
    """D32: rows to be checked on that are trained on as well, by their lines in the validation set of that name."""
    if not validation:
        return []
    leaked = np.flatnonzero(np.isin(_fingerprints(validation), _fingerprints(train)))
    found = counted("D32_rows_in_both", Places.of(validation), leaked, total=len(validation))
    files = {"files": (name,) * min(len(leaked), KEPT_LINES)}
    return [replace(each, place=replace(each.place, file=name), values=each.values | files) for each in found]


def counted(
    key: str, places: Places, found: Indices, beside: tuple[str, Indices] | None = None, **values: object
) -> list[Problem]:
    """One warning for the examples found: how many, the first lines in words, and the first as its place.

    `beside` is how they stand to others, and which those are, for each example: `7 = 3` is said for line 7.
    """
    if not len(found):
        return []
    first, kept = found[:SHOWN_PROBLEMS].tolist(), found[:KEPT_LINES].tolist()
    shown = [places.said(at) for at in first]
    if beside:
        sign, others = beside
        shown = [f"{one} {sign} {places.said(int(others[at]))}" for one, at in zip(shown, first, strict=True)]
    rows, files = tuple(places.lines[kept].tolist()), tuple(places.file(at) for at in kept)
    said = ", ".join(shown) + (" …" if len(found) > SHOWN_PROBLEMS else "")
    told = {"count": len(found), "lines": said, "rows": rows, "files": files, **values}
    return [Problem(key, Place(file=files[0], line=rows[0]), told, "warning")]


def _near(equal: Indices, pairs: Sequence[tuple[int, int]]) -> tuple[Indices, Indices]:
    """For each example the one it nearly repeats (itself or its equal where none), and the group it belongs to.

    A group is all that are linked by nearly equal pairs; but only what is near a kept example repeats it.
    """
    leader: dict[int, int] = {}
    root: dict[int, int] = {}

    def root_of(index: int) -> int:
        while index in root:
            index = root[index]
        return index

    for first, second in sorted(pairs, key=lambda pair: (pair[1], pair[0])):
        if first not in leader:
            leader.setdefault(second, first)
        low, high = sorted((root_of(first), root_of(second)))
        if low != high:
            root[high] = low
    leaders, groups = np.arange(len(equal)), np.arange(len(equal))
    for index, first in leader.items():
        leaders[index] = first
    for index in root:
        groups[index] = root_of(index)
    return leaders[equal], groups[equal]


def _firsts(hashes: Hashes) -> Indices:
    """For each the index of the first that is equal."""
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def _parts(example: Example) -> tuple[str, str]:
    """Everything before the last answer but the system prompt, and that answer; a document is all answer."""
    if example.text is not None:
        return "", example.text
    roles = [message["role"] for message in example.messages]
    last = len(roles) - 1 - roles[::-1].index("assistant") if "assistant" in roles else len(roles)
    asked = (_said(message) for message in example.messages[:last] if message["role"] != "system")
    answer = _said(example.messages[last]) if last < len(roles) else ""
    return "\n".join(asked), answer


def _asked(example: Example, question: str) -> str:
    """Everything an answer depends on."""
    tools = json.dumps(example.tools) if example.tools else ""
    return f"{example.system_prompt or ''}\n{tools}\n{question}"


def _said(message: Mapping[str, object]) -> str:
    calls = json.dumps(message["tool_calls"], ensure_ascii=False) if "tool_calls" in message else ""
    return f"{message['content']}{calls}"


def _hash(text: str) -> int:
    """Of the words, whatever the white space between them."""
    return xxhash.xxh3_64_intdigest(" ".join(text.split()).encode("utf-8", "surrogatepass"))


def _fingerprint(example: Example) -> int:
    """Equal where `Example.key` is equal, and otherwise not but once in 2^64."""
    said = (example.messages, example.text, example.tools, example.rejected, example.label)
    return xxhash.xxh3_64_intdigest(json.dumps(said, sort_keys=True).encode())


def _fingerprints(examples: Sequence[Example]) -> Hashes:
    return np.fromiter(map(_fingerprint, examples), np.uint64, len(examples))
