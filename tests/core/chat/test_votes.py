"""Votes: kept whole, replaced when given again, counted by pair, taken away as files that are harmless."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from core.chat.conversations import BASE, Answer, Conversation, add_answer, add_turn, choose_variant
from core.chat.votes import Pair, Score, Vote, VoteStore, comparison_of, tally, vote_on, votes_csv, votes_jsonl
from core.errors import WorkbenchError


def conversation(**answers: str) -> Conversation:
    talk = add_turn(Conversation(id="0" * 32, created="", updated="", model="tiny"), "=1+1")
    for column, words in answers.items():
        talk = add_answer(talk, column, Answer(text=words, seed=7))
    return talk


def vote(comparison: str, columns: tuple[str, ...], best: str | None) -> Vote:
    return Vote(comparison=comparison, at="", message="q", columns=columns, answers=("",) * len(columns), best=best)


@pytest.fixture
def store(tmp_path: Path) -> VoteStore:
    return VoteStore(tmp_path / "state" / "votes.jsonl")


def test_a_vote_is_there_after_a_restart_and_voting_again_replaces_it(store: VoteStore, tmp_path: Path) -> None:
    talk = conversation(base="a", poet="b")
    store.add(vote_on(talk, ["poet", BASE], "poet", blind=True))
    store.add(vote_on(talk, [BASE, "poet"], None))
    (kept,) = VoteStore(tmp_path / "state" / "votes.jsonl").list()
    assert (kept.message, kept.columns, kept.answers, kept.best, kept.seed) == (
        "=1+1",
        (BASE, "poet"),
        ("a", "b"),
        None,
        7,
    )
    assert store.find(comparison_of(talk, ["poet", BASE])) == kept
    retried = add_answer(talk, "poet", Answer(text="c"))
    assert store.find(comparison_of(retried, ["poet", BASE])) is None, "other answers, another comparison"
    assert store.find(comparison_of(choose_variant(retried, "poet", 0), ["poet", BASE])) == kept


def test_a_torn_line_is_passed_over_and_the_next_vote_is_whole(store: VoteStore, tmp_path: Path) -> None:
    store.add(vote("1", (BASE, "poet"), "poet"))
    file = tmp_path / "state" / "votes.jsonl"
    with file.open("ab") as end:
        end.write('{"comparison": "半'.encode()[:-1])
    again = VoteStore(file)
    again.add(vote("2", (BASE, "poet"), None))
    assert [each.comparison for each in VoteStore(file).list()] == ["1", "2"]


def test_a_vote_that_cannot_be_written_does_not_count(store: VoteStore, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(WorkbenchError) as refused:
        store.add(vote("1", (BASE, "poet"), "poet"))
    assert refused.value.key == "A14_cannot_write"
    assert store.list() == []


def test_the_best_of_three_beats_both_others_which_say_nothing_of_each_other(store: VoteStore) -> None:
    counted = tally([vote("1", ("base", "a", "b"), "b"), vote("2", ("a", "base"), "a"), vote("3", ("base", "a"), None)])
    assert counted.votes == 3
    assert counted.scores == (Score("b", 2, 0, 0), Score("a", 1, 1, 1), Score("base", 0, 1, 2))
    assert counted.pairs == (Pair("a", "b", 0, 0, 1), Pair("a", "base", 1, 1, 0), Pair("b", "base", 1, 0, 0))


def test_votes_are_cleared_for_good(store: VoteStore, tmp_path: Path) -> None:
    store.clear()
    store.add(vote("1", (BASE, "poet"), "poet"))
    store.clear()
    assert store.list() == VoteStore(tmp_path / "state" / "votes.jsonl").list() == []


def test_a_cell_that_a_spreadsheet_would_calculate_is_text(store: VoteStore) -> None:
    talk = conversation(base="@sum", poet="-1", owl="\tx", fox="+2", bear="半")
    votes = [vote_on(talk, ["base", "poet", "owl", "fox", "bear"], "bear")]
    (row,) = csv.DictReader(io.StringIO(votes_csv(votes).removeprefix("\ufeff")))
    assert (row["message"], row["answer_1"], row["answer_2"], row["answer_3"]) == ("'=1+1", "'@sum", "'-1", "'\tx")
    assert (row["answer_4"], row["answer_5"], row["best"], row["seed"]) == ("'+2", "半", "bear", "7")
    assert json.loads(votes_jsonl(votes))["answers"] == ["@sum", "-1", "\tx", "+2", "半"]
