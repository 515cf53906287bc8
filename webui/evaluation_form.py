"""The form of an evaluation between the page, which shows it, and `EvaluationSpec`, which says what its values may be.

form = values in the order of `FORM`, then the sampling form's
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.evaluation.spec import BASE, EvaluationSpec
from core.settings import SamplingSettings
from webui.part_choice import part_fields
from webui.sampling_form import sampling_of

MEASURED = ("loss", "answers", "forgetting")
JUDGE = ("judge_url", "judge_model", "judge_key")
FORM = (
    "dataset",
    "part",
    "columns",
    "measured",
    "fields",
    "rows",
    "way",
    "max_new_tokens",
    "window",
    "stride",
    "judging",
    *JUDGE,
    "consent",
)
GREEDY, AS_IN_CHAT = "greedy", "chat"
NAME_CHARACTERS = 80


def named(values: Sequence[Any]) -> dict[str, Any]:
    """The form's own values by their names."""
    return dict(zip(FORM, values[: len(FORM)], strict=True))


def spec_from(base: str, values: Sequence[Any]) -> EvaluationSpec:
    """The evaluation that a form describes, of the base model with this name.

    Raises:
        WorkbenchError: H01 for each value of the wrong type or out of range.
    """
    form = named(values)
    columns = form["columns"] if form["columns"] is not None else []
    measured = form["measured"] if isinstance(form["measured"], list) else []
    chosen = {
        "name": _name(form["dataset"], columns),
        "base": base,
        "columns": [BASE, *(each for each in columns if each != BASE)] if isinstance(columns, list) else columns,
        "dataset": form["dataset"],
        **part_fields(form["part"]),
        "rows": _whole(form["rows"]),
        **{name: name in measured for name in MEASURED},
        "sampling": _sampling(form, values[len(FORM) :]),
        "fields": patterns(form["fields"]),
        "window": _whole(form["window"]),
        "stride": _whole(form["stride"]),
        "judge": _judge(form),
    }
    return EvaluationSpec.checked(chosen)


def patterns(lines: Any) -> Any:
    """One pattern a line, as typed; what is no text as it came, for the core to refuse."""
    if not isinstance(lines, str):
        return () if lines is None else lines
    return tuple(dict.fromkeys(line.strip() for line in lines.splitlines() if line.strip()))


def _name(dataset: Any, columns: Any) -> str:
    """A name that says what was compared on what: people know it again in the list."""
    who = ", ".join(str(each) for each in columns) if isinstance(columns, list) else ""
    return " · ".join(part for part in (who, str(dataset or "")) if part)[:NAME_CHARACTERS]


def _sampling(form: dict[str, Any], values: Sequence[Any]) -> SamplingSettings | dict[str, Any]:
    limit = _whole(form["max_new_tokens"])
    if form["way"] == AS_IN_CHAT:
        return sampling_of(values)
    default = EvaluationSpec.model_fields["sampling"].default
    return SamplingSettings.checked({**default.model_dump(), **({} if limit is None else {"max_new_tokens": limit})})


def _judge(form: dict[str, Any]) -> dict[str, Any] | None:
    if not form["judging"]:
        return None
    return {name.removeprefix("judge_"): form[name] for name in JUDGE[:2]} | {"key_variable": form["judge_key"] or ""}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
