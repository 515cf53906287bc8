"""How many tokens a data set has under a tokenizer: in each row, in the trained parts, of each role.

Owns counting, and what a maximum length would do to the rows (`TokenTable.at`, which agrees with `render_all`). The
tokens themselves are `rendering.py`'s; figures and words are drawn in `webui/statistics_views.py`. Only numbers are
kept, so that a set of millions of rows fits into memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from core.data.conversation import Example, whole_text
from core.data.options import DataOptions
from core.data.rendering import NOT_TRAINED, Rendered, renderer
from core.data.template_forms import without_thoughts
from core.errors import WorkbenchError
from core.settings import LongRows

REPORTED_EVERY = 100  # examples
ROLES = ("system", "user", "assistant", "tool", "template")
FAR_OUT = 4  # a longest row this many times as long as 95 % of the rows does not stretch the histogram
Numbers = np.ndarray[Any, np.dtype[np.integer[Any]]]


class LongRow(NamedTuple):
    line: int
    tokens: int
    trained: int
    file: str  # as in `Example.file`


@dataclass(frozen=True)
class LimitEffect:
    """What a maximum length leaves of the rows.

    `tokens_lost` and `trained_lost` are those that training would not see: behind the cut, and all of the rows that
    are left out, because they are too long or because the cut leaves them nothing to learn.
    """

    rows_over: int
    rows_lost: int
    tokens_lost: int
    trained_lost: int
    kept_rows: int


@dataclass(frozen=True, eq=False)
class Histogram:
    """Rows by length. Bin `i` holds those of `i * width` up to, not including, `(i + 1) * width` tokens.

    The last bin holds all longer ones too where `open_ended`. `tokens` and `trained` are sums over the rows of a bin.
    """

    width: int
    rows: Numbers
    tokens: Numbers
    trained: Numbers
    open_ended: bool


@dataclass(frozen=True, eq=False)
class TokenTable:
    """The lengths of a data set's training rows, in the order of its examples.

    An example is one row, or one for each answer where the template rewrites earlier turns; so the arrays of rows may
    be longer than `turns`. A document (continued pre-training) counts whole, as training packs it without loss.
    """

    lines: Numbers  # (rows,) line of the row's example
    rows: Numbers  # (rows,) number of the row's example in its file
    files: tuple[str, ...]
    file_numbers: Numbers  # (rows,) index into `files`
    tokens: Numbers  # (rows,)
    trained: Numbers  # (rows,)
    documents: np.ndarray[Any, np.dtype[np.bool_]]  # (rows,)
    spans: Numbers  # (spans, 2) where a run of trained tokens begins, and where it is over
    span_rows: Numbers  # (spans,) index of the row
    turns: Numbers  # (examples,) messages, system prompts not counted; 0 for a document
    by_role: Mapping[str, Numbers]  # tokens in each example that has this role; roles of `ROLES` that occur
    refused: int = 0  # examples that the template refuses; they are nowhere else in the table

    @property
    def examples(self) -> int:
        return len(self.turns)

    @property
    def total_tokens(self) -> int:
        return int(self.tokens.sum(dtype=np.int64))

    @property
    def trained_tokens(self) -> int:
        return int(self.trained.sum(dtype=np.int64))

    def percentile(self, percent: float) -> int:
        """The length that so many percent of the rows do not exceed; 0 without rows."""
        return percentile(self.tokens, percent)

    def longest(self, count: int) -> list[LongRow]:
        """The longest rows, the longest first, of equals the earlier first."""
        order = np.argsort(-self.tokens.astype(np.int64), kind="stable")[:count]
        return [
            LongRow(int(self.lines[at]), int(self.tokens[at]), int(self.trained[at]), self.files[self.file_numbers[at]])
            for at in order
        ]

    def at(self, max_length: int, long_rows: LongRows) -> LimitEffect:
        """What would become of the rows under a maximum length: longer ones are skipped, or cut at their end.

        Documents are neither: they become blocks of the maximum length, and nothing of them is lost.
        """
        over = (self.tokens > max_length) & ~self.documents
        tokens = np.where(over, max_length, self.tokens)
        ends = np.where(over[self.span_rows], np.minimum(self.spans[:, 1], max_length), self.spans[:, 1])
        learned = np.clip(ends - self.spans[:, 0], 0, None)
        trained = np.bincount(self.span_rows, weights=learned, minlength=len(tokens))
        kept = (trained > 0) & ~(over & (long_rows == "skip"))
        kept_rows = int(kept.sum())
        return LimitEffect(
            rows_over=int(over.sum()),
            rows_lost=len(tokens) - kept_rows,
            tokens_lost=self.total_tokens - int(tokens[kept].sum(dtype=np.int64)),
            trained_lost=self.trained_tokens - int(trained[kept].sum()),
            kept_rows=kept_rows,
        )

    def histogram(self, bins: int = 40) -> Histogram:
        """At most so many bins, of a round width. A few rows that are far longer share the last."""
        longest, most = int(self.tokens.max(initial=1)), self.percentile(95)
        end = longest if longest <= FAR_OUT * most else 2 * most
        width = _round_width(end / bins)
        count = end // width + 1
        at = np.minimum(self.tokens // width, count - 1)
        rows, tokens, trained = (
            np.bincount(at, weights=weights, minlength=count).astype(np.int64)
            for weights in (None, self.tokens, self.trained)
        )
        return Histogram(width, rows, tokens, trained, open_ended=longest >= count * width)


def measure(
    tokenizer: Any, examples: Iterable[Example], options: DataOptions, report: Callable[[int], None] | None = None
) -> TokenTable:
    """Count the tokens of every example; `report` is told now and then how many are done, and may raise to end it.

    Raises:
        WorkbenchError: M05, M06 where the model has no template that could be used.
        core.jobs.Cancelled: what `report` raises.
    """
    count, render = _Count(), renderer(tokenizer, options)
    for number, example in enumerate(examples, 1):
        try:
            rows = render(example)
        except WorkbenchError as error:
            if error.code.startswith("M"):
                raise
            count.refused += 1
        else:
            count.add(example, rows, _role_tokens(tokenizer, example, options))
        if report and number % REPORTED_EVERY == 0:
            report(number)
    return count.table()


def percentile(numbers: Numbers, percent: float) -> int:
    """The smallest of the numbers that so many percent of them do not exceed; 0 where there are none."""
    return int(np.percentile(numbers, percent, method="inverted_cdf")) if len(numbers) else 0


class _Count:
    """A table while it is counted."""

    def __init__(self) -> None:
        self.refused = 0
        self._files: dict[str, int] = {}
        self._lines, self._rows, self._file_numbers = array("q"), array("q"), array("i")
        self._tokens, self._trained, self._documents = array("i"), array("i"), array("b")
        self._spans, self._span_rows = array("i"), array("i")
        self._turns = array("i")
        self._by_role = {role: array("i") for role in ROLES}

    def add(self, example: Example, rows: Sequence[Rendered], roles: Mapping[str, int]) -> None:
        file = self._files.setdefault(example.file, len(self._files))
        for row in rows:
            spans = _trained_spans(row.labels)
            self._span_rows.extend([len(self._tokens)] * len(spans))
            self._spans.extend(spans.ravel().tolist())
            self._lines.append(example.line)
            self._rows.append(example.row)
            self._file_numbers.append(file)
            self._tokens.append(len(row.input_ids))
            self._trained.append(int((spans[:, 1] - spans[:, 0]).sum()))
            self._documents.append(example.kind == "text")
        self._turns.append(sum(message["role"] != "system" for message in example.messages))
        if example.kind == "text":
            return
        # What the template writes around the words, tools and their calls included: what no message accounts for.
        template = max(len(row.input_ids) for row in rows) - sum(roles.values())
        for role, tokens in {**roles, "template": max(0, template)}.items():
            self._by_role[role].append(tokens)

    def table(self) -> TokenTable:
        return TokenTable(
            lines=np.array(self._lines),
            rows=np.array(self._rows),
            files=tuple(self._files),
            file_numbers=np.array(self._file_numbers),
            tokens=np.array(self._tokens),
            trained=np.array(self._trained),
            documents=np.array(self._documents, dtype=np.bool_),
            spans=np.array(self._spans).reshape(-1, 2),
            span_rows=np.array(self._span_rows),
            turns=np.array(self._turns),
            by_role={role: np.array(tokens) for role, tokens in self._by_role.items() if tokens},
            refused=self.refused,
        )


def _trained_spans(labels: Sequence[int]) -> Numbers:
    """(spans, 2): where each run of trained tokens begins, and the place behind its end."""
    trained = np.asarray(labels) != NOT_TRAINED
    return np.flatnonzero(np.diff(trained, prepend=False, append=False)).reshape(-1, 2)


def _role_tokens(tokenizer: Any, example: Example, options: DataOptions) -> dict[str, int]:
    """Tokens of what each role says, thoughts included where they are kept."""
    texts: list[tuple[str, str]] = []
    for message in example.messages:
        said = without_thoughts(message) if options.thinking == "drop" else message
        texts += [(said["role"], whole_text(each)) for each in (said.get("reasoning_content"), said["content"]) if each]
    tokens: dict[str, int] = {}
    if texts:
        ids = tokenizer([words for _, words in texts], add_special_tokens=False, verbose=False)["input_ids"]
        for (role, _), counted in zip(texts, ids, strict=True):
            tokens[role] = tokens.get(role, 0) + len(counted)
    return tokens


def _round_width(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 … that is no less."""
    power = 1
    while True:
        for step in (1, 2, 5):
            if step * power >= least:
                return step * power
        power *= 10
