"""`evaluate`: base and adapters measured on the rows of a data set, followed to its end in this terminal.

Progress goes to standard error, what came of it to standard output; Ctrl-C cancels it. The result is kept with those of
the page.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from core.commands.output import language, write
from core.errors import WorkbenchError
from core.i18n import Language, has_text, text
from core.leaving import next_signal_leaves_at_once
from core.workspace import Workspace, write_bytes

if TYPE_CHECKING:
    from core.evaluation.results import ColumnResult, EvaluationResult
    from core.evaluation.spec import EvaluationSpec
    from core.evaluation.store import EvaluationStatus
    from core.workbench import Workbench

BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {postfix}"
INTERRUPTED = 130


def add_parsers(subparsers: Any) -> list[argparse.ArgumentParser]:
    from core.evaluation.spec import Part

    evaluate: argparse.ArgumentParser = subparsers.add_parser(
        "evaluate", help="measure a model and its adapters on a data set"
    )
    evaluate.add_argument("--spec", type=Path, metavar="SPEC.yaml", help="the evaluation, copied from the page")
    evaluate.add_argument("--model", help="name of a base model in models/")
    evaluate.add_argument(
        "--adapter", action="append", default=[], help="name of an adapter in loras/, or “run @ step”; repeatable"
    )
    evaluate.add_argument("--data", help="name of a data set in training/datasets/")
    evaluate.add_argument("--part", choices=get_args(Part), help="the rows that training holds out, or all")
    evaluate.add_argument("--run", dest="run_id", metavar="RUN_ID", help="take the rows that this run held out")
    evaluate.add_argument("--rows", type=int, help="at most so many rows, drawn by the seed")
    evaluate.add_argument(
        "--field", action="append", metavar="PATTERN", help="a regular expression with one group; default: proposed"
    )
    evaluate.add_argument("--max-new-tokens", type=int, help="longest answer in tokens")
    evaluate.add_argument("--window", type=int, help="tokens of a window of plain text")
    evaluate.add_argument("--stride", type=int, help="tokens that a window of plain text moves on")
    evaluate.add_argument("--html", type=Path, metavar="REPORT.html", help="write the report as one file")
    evaluate.set_defaults(run=_evaluate)
    return [evaluate]


def _evaluate(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.settings import LoadSettings
    from core.workbench import Workbench

    spec = _spec(options)
    with workspace.writer(), Workbench(workspace) as workbench:
        desk = workbench.evaluations
        if spec.answers and not spec.fields:
            spec = spec.model_copy(update={"fields": _proposed(workbench, spec)})
        workbench.load_model(spec.base, LoadSettings(), remember=False)
        evaluation_id = desk.start(spec)
        ended = _follow(workbench, evaluation_id, options)
        if ended.problem:
            raise WorkbenchError([ended.problem])
        if ended.status != "finished":
            return INTERRUPTED
        result = desk.result(evaluation_id)
    lang = language(options)
    lines = list(_told(result, lang))
    if options.html:
        from core.evaluation.report_file import report_html

        write_bytes(options.html.resolve(), report_html(result, lang).encode())
        lines += ["", str(options.html)]
    from core.evaluation.results import result_to_json

    write(options, result_to_json(result), lines)
    return 0


def _spec(options: argparse.Namespace) -> EvaluationSpec:
    """The file's spec with what the command line says over it."""
    from core.evaluation.spec import BASE, EvaluationSpec, read_spec

    values: dict[str, Any] = read_spec(options.spec).model_dump() if options.spec else {}
    asked = {"base": options.model, "dataset": options.data, "part": options.part, "run_id": options.run_id}
    asked |= {"rows": options.rows, "window": options.window, "stride": options.stride, "fields": options.field}
    values |= {name: value for name, value in asked.items() if value is not None}
    if options.adapter or "columns" not in values:
        values["columns"] = (BASE, *options.adapter)
    if options.max_new_tokens is not None:
        sampling = values.get("sampling") or EvaluationSpec.model_fields["sampling"].default.model_dump()
        values["sampling"] = {**sampling, "max_new_tokens": options.max_new_tokens}
    values.setdefault("name", " · ".join(filter(None, [*values["columns"], values.get("dataset")])))
    return EvaluationSpec.checked(values)


def _proposed(workbench: Workbench, spec: EvaluationSpec) -> tuple[str, ...]:
    from core.evaluation.field_match import propose_fields

    return propose_fields(workbench.evaluations.references(spec))


def _follow(workbench: Workbench, evaluation_id: str, options: argparse.Namespace) -> EvaluationStatus:
    """Show how far it is until it ends; the first Ctrl-C cancels it, the second leaves."""
    from tqdm import tqdm

    desk, lang = workbench.evaluations, language(options)

    def cancel(_number: int, _frame: object) -> None:
        desk.cancel(evaluation_id)
        next_signal_leaves_at_once()

    before = signal.signal(signal.SIGINT, cancel)
    try:
        with tqdm(total=None, disable=options.json, dynamic_ncols=True, bar_format=BAR) as bar:
            while not desk.wait(timeout_s=0.3):
                status = desk.status(evaluation_id)
                bar.total, bar.n = status.total or None, status.done
                bar.set_description(text(f"evaluation.phase.{status.phase}", lang) if status.phase else "")
                left = f"ETA {tqdm.format_interval(status.eta_s)}" if status.eta_s is not None else ""
                bar.set_postfix_str(left, refresh=False)
                bar.refresh()
    finally:
        signal.signal(signal.SIGINT, before)
    return desk.status(evaluation_id)


def _told(result: EvaluationResult, lang: Language) -> Iterator[str]:
    """A table with a column for each model, then what could be done about it."""
    from core.evaluation.advice import advice_text
    from core.evaluation.spec import BASE

    names = [text("evaluation.base", lang) if column.column == BASE else column.column for column in result.columns]
    yield "\t".join(["", *names])
    told = [_figures(column, lang) for column in result.columns]
    for name in dict.fromkeys(name for figures in told for name in figures):
        yield "\t".join([name, *(figures.get(name, "–") for figures in told)])
    yield from ("", *(advice_text(each, lang) for each in result.advice))


def _figures(column: ColumnResult, lang: Language) -> dict[str, str]:
    """Every figure of a column by its name."""
    from core.evaluation.measures import MEASURES

    figures = {}
    if column.loss:
        figures[_word("loss", lang)] = f"{column.loss.loss:.4f}"
        figures[_word("perplexity", lang)] = f"{column.loss.perplexity:.2f}"
    for key, value in column.measures.items():
        share = key in MEASURES and MEASURES[key].unit == "share"
        figures[_word(key, lang)] = f"{value:.1%}" if share else f"{value:.2f}"
    for field in column.fields:
        shown = {"parsed": f"{field.parse_rate:.1%}", "frequent": f"{field.most_frequent:.1%}"}
        figures[field.label] = text("cli.field", lang, accuracy=f"{field.accuracy:.1%}", **shown)
    if column.forgetting:
        losses = ", ".join(f"{name} {loss:.3f}" for name, loss in column.forgetting.loss_by_text.items())
        figures[text("cli.general_loss", lang)] = losses
        figures[text("cli.general_questions", lang)] = f"{column.forgetting.right}/{len(column.forgetting.questions)}"
    if column.judged and column.judged.mean is not None:
        figures[_word("judged", lang)] = f"{column.judged.mean:.2f}"
    return figures


def _word(name: str, lang: Language) -> str:
    keys = (f"measures.{name}.label", f"evaluation_report.measure.{name}")
    return next((text(key, lang) for key in keys if has_text(key)), name)
