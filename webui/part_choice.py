"""Which rows of a data set are asked or measured: the choice as the page offers it, and what its values mean.

Owns the values: the usual held-out part, all rows, or `run:<id>` for what that run held out. What there is to choose
from is found by `EvaluationDesk.parts`, rows are chosen by `core.evaluation.rows`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from core.errors import WorkbenchError
from core.i18n import Language, text
from core.workbench import Workbench

if TYPE_CHECKING:
    from core.evaluation.desk import PartChoice

HELD_OUT, ALL, BY_RUN = "held_out", "all", "run:"


def part_choices(workbench: Workbench, lang: Language, dataset: str | None, wish: Any) -> Any:
    """The choice of rows; the usual held-out ones, where nothing is chosen or it is gone."""
    if not dataset:
        return gr.update(choices=[], value=None)
    try:
        choices = [_choice(each, lang) for each in workbench.evaluations.parts(dataset)]
    except WorkbenchError:  # whoever reads the rows says why
        return gr.update(choices=[], value=None)
    values = [value for _, value in choices]
    return gr.update(choices=choices, value=wish if wish in values else values[0])


def part_fields(part: Any) -> dict[str, Any]:
    """The fields of an `EvaluationSpec` that a value of the choice stands for; what is no text stays as it came."""
    if isinstance(part, str) and part.startswith(BY_RUN):
        return {"part": HELD_OUT, "run_id": part.removeprefix(BY_RUN)}
    return {"part": part}


def _choice(choice: PartChoice, lang: Language) -> tuple[str, str]:
    rows = f"{choice.rows:,}"
    if choice.part == ALL:
        return text("evaluate.all", lang, rows=rows), ALL
    if choice.run_id:
        return text("evaluate.held_out_by", lang, run=choice.run_name, rows=rows), f"{BY_RUN}{choice.run_id}"
    return text("evaluate.held_out", lang, rows=rows), HELD_OUT
