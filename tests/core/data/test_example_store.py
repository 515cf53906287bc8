"""Examples on disk come back as they were put there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.conversation import Example
from core.data.example_store import ExampleStore

WORDS = st.text(max_size=30)
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
MESSAGES: Any = st.lists(st.fixed_dictionaries({"role": ROLES, "content": WORDS}), max_size=4).map(tuple)
EXAMPLES = st.builds(
    Example,
    messages=MESSAGES,
    line=st.integers(1, 10**9),
    row=st.integers(0, 10**9),
    file=WORDS,
    tools=st.lists(st.dictionaries(WORDS, st.integers() | WORDS, max_size=2), max_size=2).map(tuple),
    text=st.none() | WORDS,
    rejected=st.none() | st.fixed_dictionaries({"role": ROLES, "content": WORDS}),
    label=st.none() | st.booleans(),
)


@given(st.lists(EXAMPLES, max_size=6))
def test_examples_come_back_as_they_were(examples: list[Example]) -> None:
    store = ExampleStore()
    for example in examples:
        store.add(example)
    assert list(store) == examples == store[:]
    assert [store[number - len(examples)] for number in range(len(examples))] == examples


@pytest.mark.parametrize("index", [1, -2])
def test_there_is_nothing_behind_the_last_one(index: int) -> None:
    store = ExampleStore()
    store.add(Example((), 1))
    with pytest.raises(IndexError):
        store[index]


def test_half_characters_survive() -> None:
    store = ExampleStore()
    store.add(Example(({"role": "user", "content": "\ud800"},), 1))
    assert store[0].messages[0]["content"] == "\ud800"
