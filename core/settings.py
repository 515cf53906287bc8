"""Every parameter a person can set, declared once: type, default, range, usual range, unit.

The page, the YAML specs, the command line, the checks and the documentation all derive from these models. A field that
is `None` by default is automatic: `core.training.plan` resolves it and says why. Labels and help texts are in the
catalogue under `settings.<Model>.<field>.{label,help}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from core.errors import Place, Problem, WorkbenchError, excerpt

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8", "nf4"]
Method = Literal[
    "lora",
    "rslora",
    "dora",
    "loraplus",
    "pissa",
    "olora",
    "adalora",
    "loha",
    "lokr",
    "ia3",
    "oft",
    "layernorm",
    "bitfit",
    "prompt",
    "prefix",
    "ptuning",
    "freeze",
    "full",
]
Scheduler = Literal["cosine", "linear", "constant", "cosine_restarts", "polynomial", "inverse_sqrt"]
Optimizer = Literal["adamw", "adamw_fused", "adamw_8bit", "adamw_schedule_free", "adafactor", "sgd", "lion"]
Metric = Literal["loss", "accuracy"]
LongRows = Literal["skip", "cut"]
SettingsT = TypeVar("SettingsT", bound="Settings")


@dataclass(frozen=True)
class Scale:
    """What a form shows for a number beside its bounds: unit, usual range, step."""

    unit: str = ""
    usual: tuple[float, float] | None = None
    step: float | None = None


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys, no NaN, no bool or text taken for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    @field_validator("*", mode="before")
    @classmethod
    def _list_becomes_tuple(cls, value: object, info: ValidationInfo) -> object:
        """YAML and JSON have lists only."""
        wanted = cls.model_fields[str(info.field_name)].annotation
        is_tuple = any(get_origin(each) is tuple for each in (wanted, *get_args(wanted)))
        return tuple(value) if is_tuple and isinstance(value, list) else value

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """The settings with these values.

        Raises:
            WorkbenchError: H01 for each unknown key and each value of the wrong type or out of range.
        """
        return checked(cls, values)


def checked(model: type[SettingsT], values: Mapping[str, Any]) -> SettingsT:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise WorkbenchError([_problem(model, details) for details in error.errors()]) from error


class LoadSettings(Settings):
    """How a base model is put into memory."""

    precision: Precision = "auto"


class MethodSettings(Settings):
    """What is trained: a method of `core.adapters.methods`, and how large it is. A method ignores what is not its own.

    `alpha` None means twice the rank; `layers` are numbers from 0, none of them named means all.
    """

    method: Method = "lora"
    rank: Annotated[int, Field(ge=1, le=512), Scale(usual=(4, 64), step=1)] = 16
    alpha: Annotated[float | None, Field(gt=0, le=4096), Scale(usual=(4, 128))] = None
    dropout: Annotated[float, Field(ge=0, le=0.9), Scale(usual=(0, 0.1), step=0.01)] = 0.0
    lora_bias: bool = False
    loraplus_ratio: Annotated[float, Field(ge=1, le=100), Scale(usual=(4, 32))] = 16.0
    virtual_tokens: Annotated[int, Field(ge=1, le=512), Scale(unit="tokens", usual=(8, 64), step=1)] = 20
    trained_layers: Annotated[int, Field(ge=1, le=1000), Scale(usual=(1, 8), step=1)] = 2
    target_modules: tuple[str, ...] = ("all-linear",)
    layers: Annotated[tuple[int, ...], Field(max_length=1000)] = ()


class TrainingSettings(Settings):
    """How a learner is trained. `None` is automatic; `core.training.plan` shows what it becomes and why.

    `steps`, `warmup_steps` and `loss_target` are the exceptions: None means that they decide nothing.
    """

    epochs: Annotated[float | None, Field(gt=0, le=1000), Scale(usual=(1, 20))] = None
    steps: Annotated[int | None, Field(ge=1, le=1_000_000), Scale(usual=(20, 2000))] = None
    learning_rate: Annotated[float | None, Field(gt=0, le=1), Scale(usual=(5e-5, 1e-3))] = None
    max_length: Annotated[int | None, Field(ge=8, le=1_048_576), Scale(unit="tokens", usual=(256, 4096))] = None
    long_rows: LongRows = "skip"
    micro_batch_size: Annotated[int | None, Field(ge=1, le=4096), Scale(unit="rows", usual=(1, 16))] = None
    gradient_accumulation_steps: Annotated[int | None, Field(ge=1, le=4096), Scale(usual=(1, 16))] = None
    packing: bool = False
    group_by_length: bool = True
    optimizer: Optimizer = "adamw"
    adam_beta1: Annotated[float, Field(ge=0, le=0.9999), Scale(usual=(0.8, 0.95), step=0.01)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0, le=0.99999), Scale(usual=(0.95, 0.999), step=0.001)] = 0.999
    scheduler: Scheduler = "cosine"
    warmup_share: Annotated[float, Field(ge=0, le=1), Scale(usual=(0, 0.1), step=0.01)] = 0.05
    warmup_steps: Annotated[int | None, Field(ge=0, le=1_000_000), Scale(usual=(0, 100))] = None
    weight_decay: Annotated[float, Field(ge=0, le=1), Scale(usual=(0, 0.1), step=0.01)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0, le=1e6), Scale(usual=(0.5, 2))] = 1.0
    neftune_alpha: Annotated[float, Field(ge=0, le=100), Scale(usual=(0, 15))] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, le=0.9), Scale(usual=(0, 0.1), step=0.01)] = 0.0
    validation_share: Annotated[float | None, Field(ge=0, le=0.5), Scale(usual=(0.05, 0.2))] = None
    validation_rows: Annotated[int, Field(ge=0, le=1_000_000), Scale(unit="rows", usual=(0, 500))] = 0
    evaluations: Annotated[int | None, Field(ge=0, le=1000), Scale(unit="per run", usual=(5, 20))] = None
    best_by: Metric = "loss"
    early_stopping: Annotated[int, Field(ge=0, le=1000), Scale(unit="evaluations", usual=(2, 5))] = 0
    loss_target: Annotated[float | None, Field(gt=0, le=100), Scale(usual=(0.1, 2))] = None
    checkpoint_every_s: Annotated[float | None, Field(ge=1, le=86_400), Scale(unit="s", usual=(30, 600))] = None
    activation_checkpointing: bool | None = None
    trackers: tuple[str, ...] = ()
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    threads: Annotated[int | None, Field(ge=1, le=256)] = None


class SamplingSettings(Settings):
    """Everything that shapes an answer. `seed` None draws a new one for each answer, which is then shown."""

    do_sample: bool = True
    temperature: Annotated[float, Field(gt=0, le=5), Scale(usual=(0.2, 1.2), step=0.05)] = 0.7
    top_k: Annotated[int, Field(ge=0, le=1000), Scale(unit="tokens", usual=(0, 100), step=1)] = 0
    top_p: Annotated[float, Field(gt=0, le=1), Scale(usual=(0.8, 1), step=0.01)] = 0.95
    min_p: Annotated[float, Field(ge=0, le=1), Scale(usual=(0, 0.1), step=0.01)] = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.5, le=3), Scale(usual=(1, 1.2), step=0.01)] = 1.0
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=50), Scale(unit="tokens", usual=(0, 6), step=1)] = 0
    num_beams: Annotated[int, Field(ge=1, le=16), Scale(usual=(1, 4), step=1)] = 1
    max_new_tokens: Annotated[int, Field(ge=1, le=32_768), Scale(unit="tokens", usual=(64, 2048), step=1)] = 512
    seed: Annotated[int | None, Field(ge=0, le=2**32 - 1)] = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class SettingField:
    """One declared parameter as a form or a help text needs it. `choices` is empty for anything but a choice."""

    model: str
    name: str
    default: Any
    minimum: float | None
    above_minimum: bool  # the minimum itself is refused
    maximum: float | None
    scale: Scale
    choices: tuple[str, ...]
    automatic: bool
    boolean: bool

    @property
    def label_key(self) -> str:
        return f"settings.{self.model}.{self.name}.label"

    @property
    def help_key(self) -> str:
        return f"settings.{self.model}.{self.name}.help"


def fields_of(model: type[Settings]) -> dict[str, SettingField]:
    """The declared parameters of a settings model, in order."""
    return {name: _field(model, name, info) for name, info in model.model_fields.items()}


def _field(model: type[Settings], name: str, info: FieldInfo) -> SettingField:
    bounds = {key: getattr(rule, key) for rule in info.metadata for key in ("ge", "gt", "le") if hasattr(rule, key)}
    scale = next((rule for rule in info.metadata if isinstance(rule, Scale)), Scale())
    literals = (info.annotation, *get_args(info.annotation))  # a choice, or a choice that may be left automatic
    choices = tuple(choice for literal in literals for choice in get_args(literal) if isinstance(choice, str))
    return SettingField(
        model=model.__name__,
        name=name,
        default=info.default,
        minimum=bounds.get("ge", bounds.get("gt")),
        above_minimum="gt" in bounds,
        maximum=bounds.get("le"),
        scale=scale,
        choices=choices,
        automatic=info.default is None,
        boolean=info.annotation is bool or bool in get_args(info.annotation),
    )


def _problem(model: type[Settings], details: Any) -> Problem:
    """A pydantic error as a problem in our words, with the field's range and the value that was seen."""
    path = ".".join(str(part) for part in details["loc"])
    model, name = _owner(model, details["loc"])
    if details["type"] == "missing":
        return Problem("H01_missing_setting", Place(field=path), {"field": path})
    seen = excerpt(repr(details.get("input")))
    place = Place(field=path, excerpt=seen)
    known = fields_of(model)
    if name not in known:
        return Problem("H01_unknown_setting", place, {"field": path, "known": ", ".join(known)})
    spec = known[name]
    if spec.choices and spec.minimum is None:
        return Problem("H01_not_a_choice", place, {"field": path, "seen": seen, "choices": ", ".join(spec.choices)})
    if name == "layers":
        return Problem("H01_not_layer_numbers", place, {"field": path, "seen": seen})
    if spec.minimum is None or spec.maximum is None:
        code = "H01_not_text" if details["type"] == "string_type" else "H01_wrong_type"
        values = {"field": path, "seen": seen, "default": spec.default, "text": excerpt(str(details.get("input")))}
        return Problem(code, place, values)
    low, high, *usual = map(_bound, (spec.minimum, spec.maximum, *(spec.scale.usual or (spec.minimum, spec.maximum))))
    allowed = f"{low} {'<' if spec.above_minimum else '≤'} {name} ≤ {high}"
    code = "H01_not_whole" if details["type"].startswith("int_") else "H01_out_of_range"
    return Problem(code, place, {"field": path, "seen": seen, "allowed": allowed, "usual": " – ".join(usual)})


def _bound(number: float) -> str:
    """A limit, with all its digits."""
    return f"{number:g}" if number < 100_000 else f"{number:,.0f}"


def _owner(model: type[Settings], location: tuple[object, ...]) -> tuple[type[Settings], str]:
    """The settings model, perhaps one inside another, that declares the field an error is about; and that field."""
    names = [part for part in location if isinstance(part, str)]
    for name in names[:-1]:
        info = model.model_fields.get(name)
        if info is None or not (isinstance(info.annotation, type) and issubclass(info.annotation, Settings)):
            return model, name
        model = info.annotation
    return model, names[-1] if names else ""
