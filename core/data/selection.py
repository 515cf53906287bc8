"""Some examples of some sequences in some order, without copying one: what filters, samples, mixes and splits give.

Owns picking by number. Which examples are picked is decided by `report.py` and `split`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from core.data.conversation import Example

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection(Sequence[Example]):
    """The examples `sources[source[i]][position[i]]`; those of a source with a name carry it as their file."""

    sources: tuple[Sequence[Example], ...]
    names: tuple[str, ...]
    source: NDArray[np.int16]
    position: Indices

    @classmethod
    def of(cls, examples: Sequence[Example], chosen: Indices | None = None, name: str = "") -> Selection:
        """Some of one sequence (all where none are named)."""
        position = np.arange(len(examples), dtype=np.int64) if chosen is None else chosen
        return cls((examples,), (name,), np.zeros(len(position), np.int16), position)

    def __len__(self) -> int:
        return len(self.position)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        number = int(self.source[index])
        example = self.sources[number][int(self.position[index])]
        return replace(example, file=self.names[number]) if self.names[number] else example

    def picked(self, positions: Any) -> Selection:
        """Those at some positions, in that order."""
        return replace(self, source=self.source[positions], position=self.position[positions])

    def joined(self, other: Selection) -> Selection:
        """These, then those of another selection."""
        shift = np.int16(len(self.sources))
        return Selection(
            self.sources + other.sources,
            self.names + other.names,
            np.concatenate([self.source, other.source + shift]),
            np.concatenate([self.position, other.position]),
        )
