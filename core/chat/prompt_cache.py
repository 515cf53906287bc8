"""What the model remembers of finished answers, so that the next turn of a conversation reads only what is new.

Owns which memories are kept, and finding the one that a new prompt begins like. They are keyed by the adapter (its copy
in a tree) and by token ids: another adapter, template, system prompt or earlier text has other ids and finds less, or
nothing. The oldest go when their bytes are more than `max_bytes`. What a memory is is `core.models.row_memory`'s.

Not thread-safe: one thread, the engine's, uses it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from core.models import row_memory
from core.models.memory import GB, free_memory_gb

# A tenth of what is free leaves training its memory; 2 GB hold four columns of a conversation that fills 4,096 tokens
# of a 7B model with grouped queries in bf16 (0.5 GB each; of the starter 0.1 GB).
SHARE_OF_FREE = 0.1
MOST_BYTES = 2 * 10**9
FEWEST_TOKENS = 16  # a shorter common beginning is read faster than it is put together


@dataclass(frozen=True, eq=False)
class _Entry:
    """A row that has read these ids; its memory may begin with virtual tokens, which are not among them."""

    key: str
    ids: list[int]
    memory: Any
    size: int


class PromptCache:
    """Memories of rows, the one used last at the end."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: list[_Entry] = []

    @classmethod
    def on(cls, device: str) -> PromptCache:
        """As much as is sensible on a device just now."""
        return cls(int(min(MOST_BYTES, SHARE_OF_FREE * GB * free_memory_gb(device))))

    @property
    def size_bytes(self) -> int:
        return sum(entry.size for entry in self._entries)

    def recall(self, key: str, ids: Sequence[int]) -> tuple[int, Any] | None:
        """The memory of the longest known beginning of a prompt, and how many of its ids that is.

        Never of all: the last token is read to know what follows it.
        """
        of_key = [entry for entry in self._entries if entry.key == key]
        lengths = [_common(entry.ids, ids) for entry in of_key]
        length = min(max(lengths, default=0), len(ids) - 1)
        if length < FEWEST_TOKENS:
            return None
        found = of_key[max(range(len(of_key)), key=lengths.__getitem__)]
        self._entries.remove(found)
        self._entries.append(found)
        virtual = row_memory.slots(found.memory) - len(found.ids)
        return length, row_memory.beginning(found.memory, virtual + length)

    def keep(self, key: str, ids: Sequence[int], memory: Any) -> None:
        """Remember a row that has read these ids, in the place of those that it goes on from."""
        entry = _Entry(key, [*ids], memory, row_memory.size_bytes(memory))
        same = [each for each in self._entries if each.key == key]
        if entry.size > self.max_bytes or any(_common(each.ids, ids) == len(ids) for each in same):
            return
        gone = [each for each in same if _common(each.ids, ids) == len(each.ids)]
        self._entries = [*(each for each in self._entries if each not in gone), entry]
        while self.size_bytes > self.max_bytes:
            del self._entries[0]

    def forget(self, keys: Collection[str]) -> None:
        """Drop the memories of adapters that are gone."""
        self._entries = [entry for entry in self._entries if entry.key not in keys]

    def clear(self) -> None:
        self._entries.clear()


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two rows have in common from their beginning."""
    length = min(len(one), len(other))
    return next((i for i in range(length) if one[i] != other[i]), length)
