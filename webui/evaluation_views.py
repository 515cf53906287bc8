"""Evaluations before and while they go, as HTML: fields explained, what a judge would get, progress, the list. Pure.

All that have ended stand side by side in `overview_table`; the report of one is `core.evaluation.report_views`' affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.i18n import Language, text
from core.markup import Kind, badge, card, duration, escape, heading, note, table, visible
from core.training.progress import Status
from webui.views import problem_list, progress_bar

if TYPE_CHECKING:
    from core.evaluation.desk import EvaluationSummary
    from core.evaluation.judge import Outgoing
    from core.evaluation.overview import OverviewLine
    from core.evaluation.results import FieldResult
    from core.evaluation.store import EvaluationStatus

SHOWN_VALUES = 8
SHOWN_ROWS = 12
OVERVIEW = {
    "model": "str",
    "adapter": "str",
    "dataset": "str",
    "part": "str",
    "rows": "number",
    "window": "number",
    "stride": "number",
    "loss": "number",
    "perplexity": "number",
    "created": "str",
}
OVERVIEW_TYPES = list(OVERVIEW.values())


def fields_explained(found: Sequence[FieldResult], rows: int, lang: Language) -> str:
    """What each pattern finds in the reference answers of so many rows."""
    if not found:
        return note(text("evaluate.fields.none", lang))
    headers = [text(f"evaluate.fields.{name}", lang) for name in ("label", "found", "values")]
    return table(headers, [_field(each, rows, lang) for each in found], text("evaluate.fields.caption", lang))


def _field(found: FieldResult, rows: int, lang: Language) -> list[str]:
    matched = sum(map(sum, found.confusion))
    values = ", ".join(found.classes[:SHOWN_VALUES]) + (" …" if len(found.classes) > SHOWN_VALUES else "")
    return [found.label, text("evaluate.fields.found_value", lang, found=f"{matched:,}", rows=f"{rows:,}"), values]


def leaving(sent: Outgoing, lang: Language) -> str:
    """What a judge would get, in numbers."""
    if sent.is_this_machine:
        return card(note(text("evaluate.judge.stays", lang, host=sent.host)), "info")
    listed = ", ".join(f"{row:,}" for row in sent.rows[:SHOWN_ROWS]) + (" …" if len(sent.rows) > SHOWN_ROWS else "")
    amounts = {"requests": f"{sent.requests:,}", "rows": f"{len(sent.rows):,}", "listed": listed}
    lines = [
        text("evaluate.judge.leaves", lang, host=sent.host, model=sent.model, **amounts),
        text("evaluate.judge.characters", lang, characters=f"{sent.characters:,}", answers=f"{sent.answers_to_come:,}"),
    ]
    key = "with_key" if sent.key_variable else "without_key"
    lines.append(text(f"evaluate.judge.{key}", lang, variable=sent.key_variable))
    if not sent.is_encrypted:
        lines.append(text("evaluate.judge.readable", lang))
    return card(heading(text("evaluate.judge.what", lang)) + "".join(map(note, lines)), "warning")


def progress_card(status: EvaluationStatus, name: str, lang: Language) -> str:
    """An evaluation in progress: its phase, how much of it is done, the time left."""
    words = [text(f"evaluation.phase.{status.phase}", lang)] if status.phase else []
    if status.total:
        words.append(text("evaluate.progress.of", lang, done=f"{status.done:,}", total=f"{status.total:,}"))
    if status.eta_s is not None:
        words.append(text("evaluate.progress.time_left", lang, time=duration(status.eta_s, lang)))
    head = heading(name, badge(text(f"evaluate.status.{status.status}", lang), "info"))
    bar = progress_bar(status.share if status.total else None, " · ".join(words))
    return card(head + bar, "info")


def ended_card(status: EvaluationStatus, name: str, lang: Language) -> str:
    """An evaluation that has no report, and why."""
    head = heading(name, badge(text(f"evaluate.status.{status.status}", lang), _kind(status)))
    problem = problem_list([status.problem], lang) if status.problem else ""
    return card(head + problem, _kind(status))


def evaluation_list(evaluations: Sequence[EvaluationSummary], opened: object, lang: Language) -> str:
    """All evaluations in the order given; the opened one is marked. Those with a report are opened by their name."""
    if not evaluations:
        return note(text("evaluate.list.none", lang))
    return f'<ul class="wb-runs">{"".join(_item(each, each.id == opened, lang) for each in evaluations)}</ul>'


def _item(each: EvaluationSummary, opened: bool, lang: Language) -> str:
    finished = each.status.status == Status.FINISHED
    name = _button("open", each, each.spec.name, "wb-run-open") if finished else escape(each.spec.name)
    state = "" if finished else badge(text(f"evaluate.status.{each.status.status}", lang), _kind(each.status))
    again = "" if finished or each.status.status.active else _button("again", each, text("evaluate.list.again", lang))
    delete = "" if each.status.status.active else _button("delete", each, text("evaluate.list.delete", lang))
    current = ' aria-current="true"' if opened else ""
    made_of = " · ".join((each.spec.base, each.spec.dataset))
    problem = note(each.status.problem.describe(lang).what, "warning") if each.status.problem else ""
    return (
        f'<li class="wb-evaluation"{current}><div><div class="wb-run-name">{name}{state}</div>{problem}</div>'
        f"<div>{escape(made_of)}<br><small>{escape(_when(each.id))}</small></div>"
        f'<div class="wb-moves">{again}{delete}</div></li>'
    )


def overview_table(lines: Sequence[OverviewLine], lang: Language) -> dict[str, Any]:
    """A line for each column of each evaluation; numbers stay numbers, by which they can be sorted."""
    headers = [text(f"evaluate.overview.{name}", lang) for name in OVERVIEW]
    return {"headers": headers, "data": [_overview_row(line, lang) for line in lines]}


def _overview_row(line: OverviewLine, lang: Language) -> list[object]:
    return [
        visible(line.model),
        visible(line.adapter) or text("evaluation_report.base", lang),
        visible(line.dataset),
        text(f"evaluate.overview.{line.part}", lang),
        line.rows,
        line.window_tokens,
        line.stride_tokens,
        None if line.loss is None else round(line.loss, 4),
        None if line.perplexity is None else round(line.perplexity, 2),
        visible(line.created[:16].replace("T", " ")),
    ]


def _button(way: str, each: EvaluationSummary, words: str, style: str = "wb-chip") -> str:
    data = f'data-do="{way}" data-evaluation="{escape(each.id)}"'
    return f'<button type="button" class="{style}" {data}>{escape(words)}</button>'


def _when(evaluation_id: str) -> str:
    """When an evaluation was started, which is in its id: 20260102-030405-abcd."""
    day, moment = evaluation_id[:8], evaluation_id[9:13]
    return f"{day[:4]}-{day[4:6]}-{day[6:]} {moment[:2]}:{moment[2:]}"


def _kind(status: EvaluationStatus) -> Kind:
    return "bad" if status.status == Status.FAILED else "info" if status.status.active else "warning"
