"""Votes on answers that stood side by side: which was best, kept on disk, counted for each column and each pair.

Owns the file, what a comparison is, and the counting. Names hidden until the vote are `blind`'s, words the page's.
Voting again on the same answers replaces the vote. A line that a killed process tore is passed over; the next vote
begins a line of its own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.chat.conversations import Conversation
from core.errors import Place, refusal
from core.tables import csv_text, jsonl_text
from core.workspace import now, sync_folder

MOST_COLUMNS = 5
log = logging.getLogger("workbench.chat")


class Vote(BaseModel):
    """One vote. `comparison` identifies the answers, whoever asked for them; `best` is a column, None = equally good.

    `columns` are in the order in which they were seen; `at` is ISO 8601 in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    comparison: str
    at: str
    model: str = ""
    message: str
    columns: tuple[str, ...] = Field(min_length=2, max_length=MOST_COLUMNS)
    answers: tuple[str, ...]
    best: str | None
    blind: bool = False
    seed: int | None = None


@dataclass(frozen=True)
class Score:
    """How often a column was better than another, as good, and worse."""

    column: str
    wins: int = 0
    equal: int = 0
    losses: int = 0

    @property
    def votes(self) -> int:
        return self.wins + self.equal + self.losses


@dataclass(frozen=True)
class Pair:
    """How often the first of two columns was better than the second, as good, and worse."""

    first: str
    second: str
    wins: int
    equal: int
    losses: int


@dataclass(frozen=True)
class Tally:
    """All votes counted: `scores` of columns, the most wins first, over all pairs they were in; `pairs` likewise."""

    votes: int
    scores: tuple[Score, ...]
    pairs: tuple[Pair, ...]


class VoteStore:
    """The votes in one file. Safe to use from several threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._kept: dict[str, Vote] | None = None  # by comparison; read when first asked for

    def add(self, vote: Vote) -> None:
        """Keep a vote.

        Raises:
            WorkbenchError: A14 where it cannot be written; then it does not count.
        """
        line = (json.dumps(vote.model_dump(), ensure_ascii=False) + "\n").encode("utf-8", "replace")
        with self._lock:
            kept = self._votes()
            try:
                self._append(line)
            except OSError as error:
                raise refusal("A14_cannot_write", Place(file=self._file.name), reason=error.strerror or "") from error
            kept.pop(vote.comparison, None)
            kept[vote.comparison] = vote

    def list(self) -> Sequence[Vote]:
        """All votes that count, the oldest first."""
        with self._lock:
            return list(self._votes().values())

    def find(self, comparison: str) -> Vote | None:
        """The vote on these answers, if there is one."""
        with self._lock:
            return self._votes().get(comparison)

    def clear(self) -> None:
        """Remove all votes; without any this does nothing."""
        with self._lock:
            if self._file.exists():
                self._file.unlink()
                sync_folder(self._file.parent)
            self._kept = {}

    def _votes(self) -> dict[str, Vote]:
        if self._kept is None:
            self._kept = {vote.comparison: vote for vote in _read(self._file)}
        return self._kept

    def _append(self, line: bytes) -> None:
        """One write at the end of the file: a vote is there as a whole, or its line is torn and passed over."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a+b", buffering=0) as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)
            os.fsync(file.fileno())


def vote_on(conversation: Conversation, columns: Sequence[str], best: str | None, blind: bool = False) -> Vote:
    """The vote on the last turn's answers of these columns, which all have one."""
    turn = conversation.turns[-1]
    answers = [turn.columns[column].answer for column in columns]
    return Vote(
        comparison=comparison_of(conversation, columns),
        at=now(),
        model=conversation.model,
        message=turn.user,
        columns=tuple(columns),
        answers=tuple(answer.text for answer in answers),
        best=best,
        blind=blind,
        seed=answers[0].seed,
    )


def comparison_of(conversation: Conversation, columns: Iterable[str]) -> str:
    """What identifies these answers to the last message, in whatever order they are shown."""
    turn = conversation.turns[-1]
    answers = sorted((column, turn.columns[column].answer.text) for column in columns)
    said = json.dumps([conversation.id, len(conversation.turns), turn.user, answers])
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:32]


def tally(votes: Iterable[Vote]) -> Tally:
    """Count votes. The best of several is better than each of the others, which say nothing of each other.

    Where all are equally good, each pair is.
    """
    met: dict[tuple[str, str], list[int]] = {}  # (first, second) → wins of the first, equal, wins of the second
    count = 0
    for vote in votes:
        count += 1
        for place, one in enumerate(vote.columns):
            for other in vote.columns[place + 1 :]:
                first, second = sorted((one, other))
                verdict = 1 if vote.best is None else {first: 0, second: 2}.get(vote.best)
                if verdict is not None:
                    met.setdefault((first, second), [0, 0, 0])[verdict] += 1
    pairs = [Pair(first, second, *counted) for (first, second), counted in sorted(met.items())]
    scores = [_score(column, pairs) for column in sorted({name for pair in met for name in pair})]
    scores.sort(key=lambda score: (-score.wins, score.losses))
    return Tally(count, tuple(scores), tuple(pairs))


def votes_csv(votes: Iterable[Vote]) -> str:
    """The votes as a table, one a row; `best` is empty where the answers were equally good."""
    places = range(1, MOST_COLUMNS + 1)
    named = [f"{what}_{place}" for place in places for what in ("column", "answer")]
    header = ["at", "model", "message", "best", "blind", "seed", *named]
    return csv_text(header, map(_row, votes))


def votes_jsonl(votes: Iterable[Vote]) -> str:
    """The votes as JSON lines, as they are kept."""
    return jsonl_text(vote.model_dump() for vote in votes)


def _row(vote: Vote) -> list[object]:
    seen = [value for pair in zip(vote.columns, vote.answers, strict=True) for value in pair]
    rest = [""] * (2 * MOST_COLUMNS - len(seen))
    return [vote.at, vote.model, vote.message, vote.best or "", vote.blind, vote.seed, *seen, *rest]


def _score(column: str, pairs: Sequence[Pair]) -> Score:
    as_first = [(pair.wins, pair.equal, pair.losses) for pair in pairs if pair.first == column]
    as_second = [(pair.losses, pair.equal, pair.wins) for pair in pairs if pair.second == column]
    return Score(column, *(sum(counts) for counts in zip(*as_first, *as_second, strict=True)))


def _read(file: Path) -> list[Vote]:
    if not file.is_file():
        return []
    votes = []
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            votes += [Vote.model_validate_json(line)] if line.strip() else []
        except ValidationError:
            log.warning("a line of %s is no vote", file.name)
    return votes
