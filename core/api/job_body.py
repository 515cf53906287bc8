"""The body of a fine-tuning job → a `RunSpec`.

Owns what OpenAI's hyperparameters mean here. Everything else that a run can be told stands under `workbench`, with the
names and checks of the spec itself:

    n_epochs                    training.epochs
    batch_size                  micro-batch × accumulation: the largest divisor up to `LARGEST_MICRO_BATCH`
    learning_rate_multiplier    times the usual learning rate of the method
    seed, suffix                training.seed, the name of the adapter
    validation_file             data.validation_dataset, over the recipe that is saved with the training file
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from core.adapters.method_facts import METHODS
from core.api.models import SEPARATOR
from core.errors import Place, excerpt, refusal
from core.settings import MethodSettings, Settings
from core.training.lineage import method_settings
from core.training.spec import RunSpec
from core.workbench import Workbench

AUTO = "auto"
LARGEST_MICRO_BATCH = 8  # rows; the rest of a batch is accumulated, which trains the same and needs less memory
TEXTS = ("model", "training_file", "validation_file", "suffix")
KNOWN = (*TEXTS, "hyperparameters", "method", "seed", "workbench")
NEUTRAL: dict[str, Any] = {"integrations": [], "metadata": {}}  # the only values that are taken: nothing
OWN = ("data", "load", "method", "training", "start_from", "sample_prompts")


class Hyperparameters(Settings):
    """OpenAI's; None is automatic."""

    n_epochs: Annotated[float | None, Field(gt=0, le=1000)] = None
    batch_size: Annotated[int | None, Field(ge=1, le=4096)] = None
    learning_rate_multiplier: Annotated[float | None, Field(gt=0, le=10_000)] = None


def job_spec(workbench: Workbench, body: Mapping[str, Any]) -> RunSpec:
    """The run that a job's body asks for.

    Raises:
        WorkbenchError: H01 for what is missing, unknown, not offered or wrong; A03 where there is no such model or data
            set; A22 where nobody knows how the adapter was made that is to be trained further.
    """
    given = _given(body)
    parts = _own_parts(given.get("workbench"))
    base, adapter = _base_and_adapter(workbench, given["model"])
    if adapter:
        _set(parts, "start_from", "adapter", adapter)
        made_with = method_settings(workbench.adapter_details(adapter).folder)
        parts["method"] = made_with.model_dump() | parts.get("method", {})
    _take_hyperparameters(parts, _hyperparameters(given))
    if "seed" in given:
        _set(parts, "training", "seed", given["seed"])
    if "validation_file" in given:
        workbench.data.find(given["validation_file"])
        _set(parts, "data", "validation_dataset", given["validation_file"])
    dataset = given["training_file"]
    recipe = workbench.data.recipe(dataset).model_dump()
    method = MethodSettings.checked(parts.get("method", {})).method
    wish = given.get("suffix") or Path(dataset).stem
    return RunSpec.checked(
        {
            **parts,
            "name": workbench.free_result_name(wish, method),
            "base": base,
            "dataset": dataset,
            "data": recipe | parts.get("data", {}),
        }
    )


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in body.items() if value is not None}
    _refuse_others(given, "", (*KNOWN, *NEUTRAL))
    for name, nothing in NEUTRAL.items():
        if given.get(name, nothing) != nothing:
            raise refusal("H01_not_offered", Place(field=name, excerpt=excerpt(repr(given[name]))), field=name)
    for name in TEXTS:
        if name in given and not isinstance(given[name], str):
            raise refusal("H01_not_a_text", Place(field=name, excerpt=excerpt(repr(given[name]))), field=name)
    for name in ("model", "training_file"):
        if not given.get(name):
            raise refusal("H01_needed", Place(field=name), field=name)
    return given


def _own_parts(own: object) -> dict[str, Any]:
    """The parts of a spec under `workbench`, each a new dict where it is one."""
    values = _object(own, "workbench")
    _refuse_others(values, "workbench", OWN)
    return {
        name: value if name == "sample_prompts" else dict(_object(value, f"workbench.{name}"))
        for name, value in values.items()
    }


def _base_and_adapter(workbench: Workbench, model: str) -> tuple[str, str | None]:
    """The base model that a name means, and the adapter that is trained further where it names one."""
    bases = [info.name for info in workbench.models() if not info.gguf]
    if model in bases:
        return model, None
    base, _, name = model.rpartition(SEPARATOR)
    for info in workbench.adapters():
        if info.name == name and base in ("", info.base_name):
            return info.base_name, name
    known = excerpt(", ".join(bases)) or "–"
    raise refusal("A03_no_such_model", Place(field="model"), name=excerpt(model), known=known)


def _hyperparameters(given: Mapping[str, Any]) -> Hyperparameters:
    """Those of the method, and the older ones beside it."""
    method = _object(given.get("method"), "method")
    kind = method.get("type", "supervised")
    if kind != "supervised":
        raise refusal("H01_not_offered", Place(field="method.type", excerpt=excerpt(repr(kind))), field="method.type")
    _refuse_others(method, "method", ("type", "supervised"))
    supervised = _object(method.get("supervised"), "method.supervised")
    _refuse_others(supervised, "method.supervised", ("hyperparameters",))
    new = _object(supervised.get("hyperparameters"), "method.supervised.hyperparameters")
    old = _object(given.get("hyperparameters"), "hyperparameters")
    for name in new:
        if old.get(name, new[name]) != new[name]:
            field = f"hyperparameters.{excerpt(name)}"
            raise refusal("H01_said_twice", Place(field=field), field=field, other=f"method.supervised.{field}")
    said = {name: value for name, value in {**old, **new}.items() if value is not None and value != AUTO}
    return Hyperparameters.checked(said)


def _refuse_others(values: Mapping[str, Any], field: str, known: tuple[str, ...]) -> None:
    for name in values:
        if name not in known:
            path = excerpt(f"{field}.{name}" if field else name)
            raise refusal("H01_not_a_parameter", Place(field=path), field=path, known=", ".join(known))


def _take_hyperparameters(parts: dict[str, Any], asked: Hyperparameters) -> None:
    """Put them into the parts of the spec, unless those say otherwise already."""
    if asked.n_epochs is not None:
        _set(parts, "training", "epochs", asked.n_epochs)
    if asked.batch_size is not None:
        rows = asked.batch_size
        micro = max(size for size in range(1, LARGEST_MICRO_BATCH + 1) if rows % size == 0)
        _set(parts, "training", "micro_batch_size", micro)
        _set(parts, "training", "gradient_accumulation_steps", rows // micro)
    if asked.learning_rate_multiplier is not None:
        method = MethodSettings.checked(parts.get("method", {})).method
        rate = asked.learning_rate_multiplier * METHODS[method].learning_rate
        _set(parts, "training", "learning_rate", rate)


def _set(parts: dict[str, Any], part: str, name: str, value: Any) -> None:
    """Fill in one value of a part of the spec.

    Raises:
        WorkbenchError: H01 where `workbench` has it too.
    """
    values = parts.setdefault(part, {})
    if name in values:
        field = f"workbench.{part}.{name}"
        raise refusal("H01_said_twice", Place(field=field), field=field, other=name)
    values[name] = value


def _object(value: object, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refusal("H01_not_an_object", Place(field=field, excerpt=excerpt(repr(value))), field=field)
    return value
