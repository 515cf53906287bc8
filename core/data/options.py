"""The recipe of a data set: everything between a file and its examples, part of a run's spec and kept with the file.

Owns the choices and their ranges. A recipe and the bytes of its files decide the examples to the letter, so a run can
be made again, a fix undone, and the file itself is never changed. What the choices do is `report.py`'s affair.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from core.settings import Scale, Settings

FormatName = Literal[
    "alpaca", "sharegpt", "messages", "prompt_completion", "text", "preference", "kto", "mapped", "patterns"
]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)
ColumnRole = Literal[
    "system", "user", "assistant", "history", "messages", "tools", "text", "chosen", "rejected", "label"
]
COLUMN_ROLES: tuple[ColumnRole, ...] = get_args(ColumnRole)
FixName = Literal[
    "trim_text",  # spaces and invisible characters around and inside texts
    "repair_encoding",  # text that was decoded wrongly once
    "remove_special_tokens",  # control tokens typed into texts
    "merge_same_role",  # two turns of one role become one
    "drop_inner_system",  # system messages after the first turn
    "drop_opening_answer",  # assistant turns before anything was asked
    "drop_unanswered_end",  # turns after the last answer
    "mask_personal_data",  # e-mail addresses, phone and ID numbers
    "keep_chosen",  # preference pairs become conversations with the preferred answer
    "keep_liked",  # labelled answers become conversations; those not liked are left out
    "drop_contained_answers",  # rows whose answer stands in their question already
    "drop_contradictions",  # all but the first answer to one question
    "drop_duplicates",  # equal rows but the first
    "drop_near_duplicates",  # nearly equal rows but the first
]
FIXES: tuple[FixName, ...] = get_args(FixName)
Answers = Literal["every", "last"]
Thinking = Literal["keep", "drop"]


RENDERING = ("answers", "train_prompt", "thinking", "text_overlap", "text_separator")  # decide tokens, not examples


class MixIn(Settings):
    """Another data set whose rows are added, under its own recipe. `share` is its part of the rows in the end.

    None adds all its rows.
    """

    dataset: str
    share: Annotated[float | None, Field(gt=0, lt=1)] = None


class RowEdit(Settings):
    """A row as a person rewrote it, by its number in the file; without messages it is left out."""

    row: Annotated[int, Field(ge=1)]
    messages: tuple[dict[str, Any], ...] | None = None


class DataOptions(Settings):
    """How the rows of a file become examples. `format` and `encoding` None are the detected ones."""

    encoding: str | None = None
    sheet: str | None = None
    format: FormatName | None = None
    mapping: dict[str, ColumnRole] = Field(default={})
    patterns: dict[str, str] = Field(default={})
    placeholders: dict[str, str] = Field(default={})
    system_prompt: str | None = None
    skip_bad_rows: bool = False
    fixes: tuple[FixName, ...] = ()
    edits: tuple[RowEdit, ...] = ()
    min_characters: Annotated[int | None, Field(ge=0, le=100_000_000), Scale(unit="characters")] = None
    max_characters: Annotated[int | None, Field(ge=1, le=100_000_000), Scale(unit="characters")] = None
    take: Annotated[int | None, Field(ge=1, le=5_000_000), Scale(unit="rows")] = None
    take_at_random: bool = False
    shuffle: bool = False
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    mix: tuple[MixIn, ...] = ()
    validation_dataset: str | None = None
    answers: Answers = "every"
    train_prompt: bool = False
    thinking: Thinking = "keep"
    text_overlap: Annotated[int, Field(ge=0, le=100_000), Scale(unit="tokens", usual=(0, 256))] = 0
    text_separator: str = ""

    @property
    def other_datasets(self) -> tuple[str, ...]:
        """Names of the other data sets that are mixed in or measured on, each once."""
        names = [*(other.dataset for other in self.mix), *filter(None, [self.validation_dataset])]
        return tuple(dict.fromkeys(names))

    def without_rendering(self) -> DataOptions:
        """The part of the recipe that decides which examples there are."""
        return self.model_copy(update={name: type(self).model_fields[name].default for name in RENDERING})

    def alone(self) -> DataOptions:
        """The recipe of a set that is used by another: what it would itself take from others is not taken."""
        return self.model_copy(update={"mix": (), "validation_dataset": None})
