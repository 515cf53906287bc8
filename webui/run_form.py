"""The form of a run as values in one order, and back: a `RunSpec` from them, and they from a `RunSpec`. Pure.

Owns that order and the groups in which the page shows the settings; each declared setting is in exactly one group. The
base model and the recipe of the data set are no part of the form: they are what is loaded, and the server's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.data.options import DataOptions
from core.settings import MethodSettings, Settings, TrainingSettings, fields_of
from core.training.spec import RunSpec
from webui.fields import settings_from, values_from
from webui.incoming import checked_type

MAIN = "main"  # the group that is always seen; all others are for experts
GROUPS: dict[str, tuple[str, ...]] = {
    MAIN: ("method", "rank", "virtual_tokens", "trained_layers", "epochs", "learning_rate", "max_length"),
    "method": ("alpha", "loraplus_ratio", "dropout", "lora_bias", "target_modules", "layers"),
    "length": ("steps", "long_rows"),
    "batch": (
        "micro_batch_size",
        "gradient_accumulation_steps",
        "group_by_length",
        "packing",
        "activation_checkpointing",
        "threads",
    ),
    "learning_rate": ("scheduler", "warmup_share", "warmup_steps"),
    "optimizer": ("optimizer", "adam_beta1", "adam_beta2", "max_grad_norm"),
    "regularisation": ("weight_decay", "neftune_alpha", "label_smoothing"),
    "validation": (
        "validation_share",
        "validation_rows",
        "evaluations",
        "best_by",
        "early_stopping",
        "loss_target",
    ),
    "record": ("checkpoint_every_s", "trackers", "seed"),
}
METHOD = tuple(fields_of(MethodSettings))
SETTINGS = tuple(name for names in GROUPS.values() for name in names)
FORM = ("dataset", "name", "start_from", "sample_prompts", *SETTINGS)
NOT_SETTINGS = len(FORM) - len(SETTINGS)


def owner(name: str) -> type[Settings]:
    """The model that declares a setting of the form."""
    return MethodSettings if name in METHOD else TrainingSettings


def spec_from(base: str, precision: str, options: DataOptions, values: Sequence[Any]) -> RunSpec:
    """The run that the form describes: `values` in the order of `FORM`.

    Raises:
        WorkbenchError: H01 with every value that is wrong.
    """
    form = dict(zip(FORM, values, strict=True))
    for name in FORM[:NOT_SETTINGS]:
        checked_type(form[name], name)
    fields: dict[str, Any] = {
        "name": (form["name"] or "").strip(),
        "base": base,
        "dataset": form["dataset"] or "",
        "data": options.model_dump(),
        "load": {"precision": precision},
        "method": _settings(MethodSettings, form),
        "training": _settings(TrainingSettings, form),
        "start_from": {"adapter": form["start_from"]} if form["start_from"] else None,
        "sample_prompts": _prompts(form["sample_prompts"] or ""),
    }
    return RunSpec.checked(fields)


def form_values(spec: RunSpec) -> list[Any]:
    """What each component of the form holds for a run, in the order of `FORM`: the inverse of `spec_from`.

    Hashes stay behind: a run that is made of the form takes the data and the adapter as they are then. An alpha of
    twice the rank is the automatic one: it stays so when the rank is changed.
    """
    prompts = "\n".join(prompt.replace("\n", "\\n") for prompt in spec.sample_prompts)
    follows = spec.method.alpha == 2 * spec.method.rank
    method = spec.method.model_copy(update={"alpha": None}) if follows else spec.method
    settings = dict(zip(METHOD, values_from(method, METHOD), strict=True))
    training = tuple(fields_of(TrainingSettings))
    settings |= dict(zip(training, values_from(spec.training, training), strict=True))
    start_from = spec.start_from.adapter if spec.start_from else ""
    return [spec.dataset, spec.name, start_from, prompts, *(settings[name] for name in SETTINGS)]


def default_settings() -> list[Any]:
    """What the settings' components hold on a fresh page, in the order of `SETTINGS`."""
    return form_values(RunSpec(name="", base="", dataset=""))[NOT_SETTINGS:]


def method_from(form: Mapping[str, Any]) -> MethodSettings:
    """The method that a form describes, by the names of its settings.

    Raises:
        WorkbenchError: H01 with every value that is wrong.
    """
    return MethodSettings.checked(_settings(MethodSettings, form))


def _settings(model: type[Settings], form: Mapping[str, Any]) -> dict[str, Any]:
    names = tuple(fields_of(model))
    return settings_from(model, names, [form[name] for name in names])


def _prompts(typed: str) -> list[str]:
    lines = (line.strip() for line in typed.splitlines())
    return [line.replace("\\n", "\n") for line in lines if line]
