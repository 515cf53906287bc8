"""An evaluation as a file: what is measured, on which rows, of which columns; read from and written to YAML.

Owns the fields and their ranges. Whether the names in it exist is asked by the desk, before any work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from core.errors import Place, Problem, excerpt, refusal
from core.settings import SamplingSettings, Scale, Settings
from core.small_yaml import MAX_BYTES, read_mapping, write_mapping
from core.workspace import write_bytes

BASE = ""  # the column that is the base model
MAX_COLUMNS = 5
MAX_FIELDS = 20
WINDOW_TOKENS = 1024  # of a document: as long as a training block; more context lowers its loss by little
Part = Literal["held_out", "all"]


class JudgeSettings(Settings):
    """A model elsewhere that rates answers: an OpenAI-compatible endpoint. The key itself is never written down."""

    url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"  # name of the environment variable that holds the key


class EvaluationSpec(Settings):
    """What an evaluation is made of. `base`, `columns` and `dataset` are names in the registries, never paths.

    The first column is the reference that the others are compared with; "" is the base model, else an adapter's name or
    "run @ step". `part` "held_out" is the split that the run `run_id` made, or without one that which a run of this
    data set makes by default. At most `rows` rows, drawn by `seed`, None for all. `fields` are regular expressions with
    one group. Plain text is read in windows of `window` tokens, None for `WINDOW_TOKENS` or the context where that is
    shorter; `stride` is how many tokens a window moves on, None for windows that do not overlap.
    `judge` None sends nothing anywhere.
    """

    name: str
    base: str
    columns: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_COLUMNS)]
    dataset: str
    part: Part = "held_out"
    run_id: str | None = None
    rows: Annotated[int | None, Field(ge=1, le=1_000_000), Scale(unit="rows", usual=(20, 500))] = None
    loss: bool = True
    answers: bool = True
    forgetting: bool = True
    sampling: SamplingSettings = SamplingSettings(do_sample=False, max_new_tokens=256)
    fields: Annotated[tuple[str, ...], Field(max_length=MAX_FIELDS)] = ()
    window: Annotated[int | None, Field(ge=2, le=1_048_576), Scale(unit="tokens", usual=(512, 4096))] = None
    stride: Annotated[int | None, Field(ge=1, le=1_048_576), Scale(unit="tokens", usual=(256, 1024))] = None
    judge: JudgeSettings | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42


def window_problems(spec: EvaluationSpec, context: int | None) -> list[Problem]:
    """What is wrong with the windows of plain text in a context of so many tokens; None for one without an end."""
    if spec.window and context and spec.window > context:
        return [Problem("H01_window_over_context", Place(field="window"), {"window": spec.window, "context": context})]
    window = spec.window or min(WINDOW_TOKENS, context or WINDOW_TOKENS)
    if spec.stride and spec.stride > window:
        return [Problem("H01_stride_over_window", Place(field="stride"), {"stride": spec.stride, "window": window})]
    return []


def read_spec(path: Path) -> EvaluationSpec:
    """The spec in a YAML file.

    Raises:
        WorkbenchError: A03 where there is no such file; H01 where it is too large, is no YAML mapping, uses anchors, or
            has unknown keys or values that are not allowed (all of them at once).
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refusal("A03_no_spec_file", Place(file=excerpt(path)), name=excerpt(path.name)) from error
    return EvaluationSpec.checked(read_mapping(content, path.name))


def write_spec(path: Path, spec: EvaluationSpec) -> None:
    """Write a spec so that `read_spec` gives it back."""
    write_bytes(path, spec_text(spec).encode())


def spec_text(spec: EvaluationSpec) -> str:
    """The spec as YAML, as shown and copied."""
    return write_mapping(spec.model_dump(mode="json")).decode()
