"""Which rows an evaluation is about, and what of each is asked and compared.

Owns choosing them: all rows of a data set, or the part that a run held out, by the very split that training makes
(`core.training.preparation.set_apart`). It reads the data set under a recipe and renders nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from core.data.conversation import Example, Message
from core.data.library import DataLibrary
from core.data.options import DataOptions
from core.data.report import DatasetReport
from core.data.template_forms import uses_tools, without_thoughts
from core.errors import Place, WorkbenchError, refusal
from core.evaluation.spec import EvaluationSpec
from core.training.preparation import read_data, set_apart
from core.training.spec import RunSpec
from core.workspace import Workspace

SHOWN_CHARACTERS = 2000  # of a document, where a question would stand


@dataclass(frozen=True)
class ChosenRow:
    """A row of the data set. `prompt` is what comes before its last answer; () where nothing is asked.

    `question` is the last thing said before that answer (of a document its beginning), `reference` the answer as it is
    to be, without thoughts.
    """

    row: int
    example: Example
    question: str
    reference: str
    prompt: tuple[Message, ...]


@dataclass(frozen=True)
class ChosenRows:
    """The rows of an evaluation in their order, and the recipe they were read under; `of` is how many there were."""

    rows: tuple[ChosenRow, ...]
    options: DataOptions
    of: int


def choose_rows(spec: EvaluationSpec, workspace: Workspace, library: DataLibrary, run: RunSpec | None) -> ChosenRows:
    """The rows that a spec names; `run` is the run that `run_id` names, whose data are read as it read them.

    Raises:
        WorkbenchError: A03 where there is no such data set, or no held-out part; D45 where it is not the data of the
            run any more; D27 where none of the rows has an answer; the data set's own problems.
    """
    data = read_data(run, workspace) if run else library.report(spec.dataset)
    if data.errors:
        raise WorkbenchError(data.errors, data.error_count)
    examples = held_out(spec.dataset, data, run) if spec.part == "held_out" else data.examples
    if spec.part == "held_out" and not examples:
        raise refusal("A03_nothing_held_out", Place(file=spec.dataset), name=spec.dataset, rows=len(data.examples))
    options = run.data if run else library.recipe(spec.dataset)
    rows = [_chosen(examples[at], options) for at in _drawn(len(examples), spec.rows, spec.seed)]
    if not any(row.reference or row.example.kind == "text" for row in rows):
        raise refusal("D27_nothing_to_compare", Place(file=spec.dataset), name=spec.dataset)
    return ChosenRows(tuple(rows), options, len(examples))


def rows_seen(rows: Sequence[ChosenRow], library: DataLibrary, run: RunSpec) -> int:
    """How many of the rows a run trained on, as far as its data are still there."""
    try:
        learned = set_apart(run, library.report(run.dataset, run.data))[0]
    except WorkbenchError:
        return 0
    wanted = {row.example.key for row in rows}
    known = {example.key for example in learned} & wanted
    return sum(row.example.key in known for row in rows)


def held_out(dataset: str, data: DatasetReport, run: RunSpec | None) -> Sequence[Example]:
    """The examples that a run holds out: this one, or one of this data set that nobody changed anything of."""
    return set_apart(run or RunSpec(name=dataset, base="", dataset=dataset, data=data.options), data)[1]


def _drawn(count: int, wanted: int | None, seed: int) -> Sequence[int]:
    """Which of so many rows, in their order."""
    if wanted is None or wanted >= count:
        return range(count)
    return sorted(random.Random(seed).sample(range(count), wanted))  # noqa: S311 - a choice, not a secret


def _chosen(example: Example, options: DataOptions) -> ChosenRow:
    if example.text is not None:
        return ChosenRow(example.row, example, example.text[:SHOWN_CHARACTERS], "", ())
    messages = list(example.messages)
    if options.thinking == "drop":
        messages = [without_thoughts(message) for message in messages]
    learned = (at for at, said in enumerate(messages) if said["role"] == "assistant" and said.get("trained", True))
    last = max(learned, default=len(messages))
    before, answer = messages[:last], messages[last:][:1]
    question = before[-1]["content"] if before else ""
    reference = without_thoughts(answer[0])["content"] if answer else ""
    # Chat shows a model no tools: an answer that needs them would be asked for another way than it was learned.
    asked = question.strip() and reference and not uses_tools(before + answer, example.tools)
    return ChosenRow(example.row, example, question, reference, tuple(before) if asked else ())
