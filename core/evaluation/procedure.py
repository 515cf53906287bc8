"""The whole course of an evaluation: rows, losses, answers, the forgetting meter, the judge, the result.

Owns the order of the phases and what each works on; a plain function that a thread, a command or a test can call. It
works on twins and an engine of its own over the loaded model: chat keeps its adapters, their strengths and its queue,
and a training run notices nothing. Adapters are read at the beginning, before anything is measured; what happens to
their folders afterwards changes nothing.

    EvaluationSpec + Materials → evaluate → EvaluationResult
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.chat.answering import answer_prompts
from core.chat.context import UNLIMITED_CONTEXT_TOKENS, fit_prompt
from core.chat.engine import Engine
from core.data.library import DataLibrary
from core.errors import WorkbenchError, refusal
from core.evaluation.advice import advice, judge_failed
from core.evaluation.assembly import Measured, best_and_worst, column_result, row_result, scored, visible
from core.evaluation.field_match import check_patterns
from core.evaluation.forgetting import SHORT_ANSWER, forgetting_result, general_losses, general_questions
from core.evaluation.judge import Item, Verdict, judge_answers
from core.evaluation.loss import Column, MeasuredRow, measured_rows, row_losses
from core.evaluation.results import EvaluationResult
from core.evaluation.rows import ChosenRow, ChosenRows, choose_rows, rows_seen
from core.evaluation.spec import EvaluationSpec
from core.jobs import Cancelled
from core.models.loader import LoadedModel
from core.training.checkpoints import library_versions
from core.training.spec import RunSpec
from core.workspace import Workspace, now

Tell = Callable[[str, int, int], None]
"""Told a phase (`evaluation.phase.<phase>`), and how much of it is done, of how much (0 where that is not known)."""


@dataclass(frozen=True)
class Materials:
    """What an evaluation works with. `folders` are those of the columns that are adapters, `run` that of `run_id`.

    `made_by` are the runs that made the columns, where they are known; `answers_file` gets every answer as it comes.
    """

    workspace: Workspace
    library: DataLibrary
    loaded: LoadedModel
    folders: Mapping[str, Path]
    run: RunSpec | None = None
    made_by: Mapping[str, RunSpec] = field(default_factory=dict)
    answers_file: Path = Path(os.devnull)


@dataclass(frozen=True)
class _Work:
    """What every phase needs. `limit` is the context that prompt and answer have under every column.

    `asked` are the places of the rows that are to be answered.
    """

    spec: EvaluationSpec
    materials: Materials
    rows: tuple[ChosenRow, ...]
    measured_rows: list[MeasuredRow]
    asked: list[int]
    columns: Mapping[str, Column]
    found: Mapping[str, Measured]
    limit: int
    tell: Tell
    cancelled: Callable[[], bool]


def evaluate(
    evaluation_id: str, spec: EvaluationSpec, materials: Materials, tell: Tell, cancelled: Callable[[], bool]
) -> EvaluationResult:
    """Measure everything that the spec asks for.

    Raises:
        WorkbenchError: as `choose_rows`, `check_patterns` and `ServingTrees.apply`, before anything is computed; A20
            from the engine.
        Cancelled: where `cancelled` says so.
    """
    began, created = time.monotonic(), now()
    tell("reading", 0, 0)
    work = _prepared(spec, materials, tell, cancelled)
    with closing(Engine(materials.loaded)) as engine:
        for name, folder in materials.folders.items() if spec.answers or spec.forgetting else ():
            engine.apply(name, folder)
        if spec.loss:
            _measure_losses(work)
        general = _general_losses(work) if spec.forgetting else {}
        if work.asked:
            _ask_rows(work, engine)
        if spec.forgetting:
            _ask_questions(work, engine, general)
    failed = _judge(work) if spec.judge else None
    _check(cancelled)
    result = _assembled(evaluation_id, created, work)
    told = (*result.advice, *([judge_failed(failed)] if failed else []))
    return replace(result, advice=told, elapsed_s=time.monotonic() - began)


def _prepared(spec: EvaluationSpec, materials: Materials, tell: Tell, cancelled: Callable[[], bool]) -> _Work:
    chosen = choose_rows(spec, materials.workspace, materials.library, materials.run)
    _check(cancelled)
    if spec.answers:
        check_patterns(spec.fields, [row.reference for row in chosen.rows if row.prompt])
    loaded = materials.loaded
    columns = {name: Column.of(loaded, name, materials.folders.get(name)) for name in spec.columns}
    most_virtual = max(column.virtual_tokens for column in columns.values())
    limit = (loaded.max_length or UNLIMITED_CONTEXT_TOKENS) - most_virtual
    return _Work(
        spec=spec,
        materials=materials,
        rows=chosen.rows,
        measured_rows=_rendered(spec, loaded, chosen, limit) if spec.loss else [],
        asked=_asked(spec, loaded, chosen, limit) if spec.answers else [],
        columns=columns,
        found={name: Measured() for name in spec.columns},
        limit=limit,
        tell=tell,
        cancelled=cancelled,
    )


def _rendered(spec: EvaluationSpec, loaded: LoadedModel, chosen: ChosenRows, limit: int) -> list[MeasuredRow]:
    examples = [row.example for row in chosen.rows]
    return measured_rows(loaded.tokenizer, examples, chosen.options, limit, spec.window, spec.stride)


def _asked(spec: EvaluationSpec, loaded: LoadedModel, chosen: ChosenRows, limit: int) -> list[int]:
    """The places of the rows whose prompt leaves room for an answer, if need be without its oldest turns."""

    def fits(row: ChosenRow) -> bool:
        try:
            fit_prompt(loaded.tokenizer, row.prompt, "", limit, spec.sampling.max_new_tokens)
        except WorkbenchError:
            return False
        return True

    places = [place for place, row in enumerate(chosen.rows) if row.prompt and fits(row)]
    if not places and any(row.reference for row in chosen.rows):
        raise refusal("H11_nothing_asked", rows=len(chosen.rows), limit=limit)
    return places


def _measure_losses(work: _Work) -> None:
    pieces = [piece for row in work.measured_rows for piece in row.pieces if piece.trained_tokens]
    total = len(work.columns) * sum(len(piece.input_ids) for piece in pieces)
    done = 0

    def read(tokens: int) -> None:
        nonlocal done
        done += tokens
        work.tell("loss", done, total)

    work.tell("loss", 0, total)
    for name, column in work.columns.items():
        pad_id = work.materials.loaded.pad_id
        work.found[name].losses = row_losses(column, work.measured_rows, pad_id, read, work.cancelled)


def _general_losses(work: _Work) -> dict[str, dict[str, float]]:
    loaded, found = work.materials.loaded, {}
    for done, (name, column) in enumerate(work.columns.items()):
        work.tell("forgetting", done, len(work.columns))
        found[name] = general_losses(column, loaded.tokenizer, loaded.pad_id, work.limit, work.cancelled)
    return found


def _ask_rows(work: _Work, engine: Engine) -> None:
    """Let every column answer every row whose prompt has room; each answer is written down as it comes."""
    spec = work.spec
    sampling = spec.sampling
    if sampling.seed is None:
        sampling = sampling.model_copy(update={"seed": spec.seed})
    places = work.asked
    prompts = [work.rows[place].prompt for place in places]

    def report(done: int, total: int) -> None:
        work.tell("answers", done, total)

    report(0, len(places) * len(spec.columns))
    with work.materials.answers_file.open("a", encoding="utf-8") as file:
        for number, at, reply in answer_prompts(engine.submit, prompts, spec.columns, sampling, report, work.cancelled):
            place, column = places[number], spec.columns[at]
            work.found[column].replies[place] = reply
            line = {"row": work.rows[place].row, "column": column, "answer": reply.text, "finished": reply.finished}
            file.write(json.dumps({**line, "tokens": reply.tokens}, ensure_ascii=False) + "\n")
            file.flush()
    _check(work.cancelled)


def _ask_questions(work: _Work, engine: Engine, losses: Mapping[str, dict[str, float]]) -> None:
    columns, prompts = work.spec.columns, [asked.prompt for asked in general_questions()]
    answers = {column: [""] * len(prompts) for column in columns}

    def report(done: int, total: int) -> None:
        work.tell("questions", done, total)

    report(0, len(prompts) * len(columns))
    for number, at, reply in answer_prompts(engine.submit, prompts, columns, SHORT_ANSWER, report, work.cancelled):
        answers[columns[at]][number] = visible(reply.text).strip()
    _check(work.cancelled)
    for column in columns:
        work.found[column].forgetting = forgetting_result(losses[column], answers[column])


def _judge(work: _Work) -> WorkbenchError | None:
    """Have all answers marked elsewhere. An endpoint that fails costs the marks to come, not what was measured."""
    assert work.spec.judge, "asked for"
    keys = [(name, place) for place in work.asked for name in work.spec.columns]
    items = [Item.of(work.rows[place], visible(work.found[name].replies[place].text)) for name, place in keys]

    def arrived(index: int, verdict: Verdict) -> None:
        name, place = keys[index]
        work.found[name].marks[place] = verdict.mark
        work.tell("judge", sum(len(measured.marks) for measured in work.found.values()), len(items))

    work.tell("judge", 0, len(items))
    try:
        judge_answers(work.spec.judge, items, arrived, work.cancelled)
    except WorkbenchError as error:
        return error
    return None


def _assembled(evaluation_id: str, created: str, work: _Work) -> EvaluationResult:
    work.tell("result", 0, 0)
    found = [(work.found[name], scored(work.spec, work.rows, work.found[name])) for name in work.spec.columns]
    columns = tuple(
        column_result(name, measured, scores, work.measured_rows)
        for name, (measured, scores) in zip(work.spec.columns, found, strict=True)
    )
    cut = [row.cut for row in work.measured_rows] or [False] * len(work.rows)
    rows = tuple(row_result(work.spec, place, row, found, cut[place]) for place, row in enumerate(work.rows))
    best, worst = best_and_worst(rows)
    return EvaluationResult(
        id=evaluation_id,
        spec=work.spec,
        created=created,
        columns=columns,
        rows=rows,
        advice=advice(work.spec, columns, rows, _seen(work)),
        elapsed_s=0.0,
        best=best,
        worst=worst,
        versions=library_versions(),
    )


def _seen(work: _Work) -> dict[str, int]:
    library = work.materials.library
    return {name: rows_seen(work.rows, library, run) for name, run in work.materials.made_by.items()}


def _check(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled
