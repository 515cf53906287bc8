"""What came of an evaluation: frozen records of plain values, and their JSON.

Owns the records alone. Columns and rows stand in the order of the spec: `answers[c]`, `losses[c]`, `scores[c]` and
`problems[c]` of a row belong to column c. What was not asked for is None or empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.evaluation.spec import EvaluationSpec

MeasureSet = dict[str, float]
"""Measures of answers by the names in `measures.MEASURES`, which says the range and unit of each."""


@dataclass(frozen=True)
class Advice:
    """One thing a person could do about what was found: `evaluation.advice.<key>` in the catalogue, and its values."""

    key: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RowResult:
    """One row: its number in the data set (from 1), the last thing asked, the answer it should get, and what came.

    `losses` are token means. `problems` are keys of `evaluation.row.<key>`, such as `looping` and `cut`.
    """

    row: int
    question: str
    reference: str
    answers: tuple[str | None, ...]
    losses: tuple[float | None, ...]
    scores: tuple[MeasureSet, ...]
    problems: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class LossResult:
    """Mean cross-entropy of all trained tokens (nats), e to the power of it, and how many tokens and rows they are.

    `cut_rows` are rows longer than the model's context, of which only the first part was measured. `window_tokens` is
    the length of the windows that plain text was read in; None without plain text, and in results of older versions.
    """

    loss: float
    perplexity: float
    tokens: int
    rows: int
    cut_rows: int = 0
    window_tokens: int | None = None


@dataclass(frozen=True)
class FieldResult:
    """One field of the answers, found by a regular expression with one group; `label` is its name for people.

    `confusion[i][j]` counts rows whose reference has `classes[i]` and whose answer has `classes[j]`; the last column
    those whose answer did not parse. `most_frequent` is the share of rows that always answering the most frequent
    reference would get right.
    """

    pattern: str
    label: str
    parse_rate: float
    accuracy: float
    most_frequent: float
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ForgettingResult:
    """What a column still knows of the world: token-mean loss on fixed texts (by language) and general questions.

    `questions` are (question, answer given); `right` says how many were right, `correct` which.
    """

    loss_by_text: dict[str, float]
    questions: tuple[tuple[str, str], ...]
    right: int
    correct: tuple[bool, ...] = ()


@dataclass(frozen=True)
class JudgedResult:
    """What a model elsewhere thought: its mean mark (1 to 10), how many answers it rated, how many it could not."""

    mean: float | None
    rated: int
    failed: int


@dataclass(frozen=True)
class ColumnResult:
    """All that was measured of one column; `column` as in the spec, "" for the base model."""

    column: str
    loss: LossResult | None = None
    measures: MeasureSet = field(default_factory=dict)
    fields: tuple[FieldResult, ...] = ()
    forgetting: ForgettingResult | None = None
    judged: JudgedResult | None = None
    tokens_per_s: float = 0.0


@dataclass(frozen=True)
class EvaluationResult:
    """A finished evaluation. `created` as cards and events have it; `best` and `worst` are indices into `rows`."""

    id: str
    spec: EvaluationSpec
    created: str
    columns: tuple[ColumnResult, ...]
    rows: tuple[RowResult, ...]
    advice: tuple[Advice, ...]
    elapsed_s: float
    best: tuple[int, ...] = ()
    worst: tuple[int, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)  # of the libraries that measured


def result_to_json(result: EvaluationResult) -> dict[str, Any]:
    """The result as values that JSON has."""
    values = {each.name: getattr(result, each.name) for each in dataclasses.fields(result) if each.name != "spec"}
    return {"spec": result.spec.model_dump(mode="json"), **_plain(values)}


def result_from_json(values: Mapping[str, Any]) -> EvaluationResult:
    """The result that `result_to_json` wrote.

    Raises:
        WorkbenchError: H01 where its spec is none.
        KeyError, TypeError: where anything else is missing.
    """
    return EvaluationResult(
        id=values["id"],
        spec=EvaluationSpec.checked(values["spec"]),
        created=values["created"],
        columns=tuple(map(_column, values["columns"])),
        rows=tuple(row_from_json(row) for row in values["rows"]),
        advice=tuple(Advice(**each) for each in values["advice"]),
        elapsed_s=values["elapsed_s"],
        best=tuple(values["best"]),
        worst=tuple(values["worst"]),
        versions=values.get("versions", {}),
    )


def row_from_json(values: Mapping[str, Any]) -> RowResult:
    """A row as `dataclasses.asdict` wrote it."""
    return RowResult(**{**values, **_tuples(values, "answers", "losses", "scores", "problems")})


def _column(values: Mapping[str, Any]) -> ColumnResult:
    fields = tuple(FieldResult(**{**each, **_tuples(each, "classes", "confusion")}) for each in values["fields"])
    made = {
        name: kind(**values[name])
        for name, kind in {"loss": LossResult, "judged": JudgedResult}.items()
        if values[name] is not None
    }
    forgetting = values["forgetting"]
    if forgetting is not None:
        made["forgetting"] = ForgettingResult(**{**forgetting, **_tuples(forgetting, "questions", "correct")})
    return ColumnResult(**{**values, **made, "fields": fields})


def _tuples(values: Mapping[str, Any], *names: str) -> dict[str, tuple[Any, ...]]:
    """Lists of these names as tuples, lists inside them too."""
    return {name: tuple(tuple(each) if isinstance(each, list) else each for each in values[name]) for name in names}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Records inside values as mappings."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        return [plain(each) for each in value] if isinstance(value, tuple) else value

    return {name: plain(value) for name, value in values.items()}
