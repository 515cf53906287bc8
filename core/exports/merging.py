"""A model made of a base and an adapter: merged in fp32, shown to answer as the adapter does, then written.

Owns the merge as a whole. The base is read from disk anew, never taken from memory, where it may be packed in 4 bits
and where others answer with it. The folder appears only when what was written has been read back and agrees.

    base in fp32 → answers with the adapter → merge → the same answers? → number format → folder → read back → the same?
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.adapters.base_shapes import shapes_of
from core.adapters.card import AdapterCard, Ancestor, write_card
from core.adapters.layouts import ReplacedWeights
from core.adapters.tensor_file import named, weights_sha256
from core.adapters.tensor_values import load_tensors
from core.adapters.validity import AdapterFiles, judge
from core.chat import injection
from core.errors import Place, Problem, WorkbenchError, refusal
from core.exports.agreement import QUESTIONS, Agreement, Merged, Reference, agreement, references
from core.exports.model_card import README, model_readme
from core.exports.plan import Dtype, ExportPlan
from core.models import memory
from core.models.arrival import write_problem
from core.models.catalog import inspect
from core.models.loader import LoadedModel, load
from core.models.origin import MERGED
from core.settings import LoadSettings
from core.workspace import Workspace, new_folder, now

Report = Callable[[str, float], None]
"""Told a phase (`exports.phase.<phase>`) and the share of the whole that is done."""

ADAPTER_ID = "merging"
GENERATION_CONFIG = "generation_config.json"
PASSED_ON = ("LICENSE", "NOTICE")
ROUNDING: dict[Dtype, float] = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.01}
"""The most that logits may differ once the weights are in a format, as a share of the largest of them."""


def merge(workspace: Workspace, plan: ExportPlan, target: Path, report: Report) -> Merged:
    """Write the merged model as a new folder `target`.

    Raises:
        WorkbenchError: M19, M20, M21 where the adapter does not fit the base or holds no numbers, M18 where its layers
            cannot be merged, M20 where the result does not answer as the adapter does; A13, A14, A20. Nothing is left.
    """
    wishes = LoadSettings(precision="fp32")
    report("reading", 0.02)
    loaded = load(plan.base, wishes, lambda phase, share: report("reading", 0.02 + 0.2 * share), workspace.state)
    files = judge(plan.adapter.folder, shapes_of(loaded.model), loaded.fingerprint, plan.base.name)
    if files.errors:
        raise WorkbenchError(files.errors)
    model, wanted = _merged(loaded, files, report)
    report("comparing", 0.6)
    exact = agreement(model, wanted)
    _refuse_difference(plan, exact, "fp32")
    fingerprint, tokenizer = loaded.fingerprint, loaded.tokenizer
    del loaded
    try:
        with new_folder(target) as staging:
            report("writing", 0.65)
            _write(model, tokenizer, plan, staging)
            del model
            memory.release()
            report("reading_back", 0.8)
            written = _read_back(staging, wanted)
            _refuse_difference(plan, written, plan.dtype)
            write_card(staging, _card(plan, files, fingerprint, target.name))
    except OSError as error:
        raise write_problem(target.parent, plan.disk_bytes, error) from error
    report("writing", 1.0)
    return Merged(exact, written)


def _merged(loaded: LoadedModel, files: AdapterFiles, report: Report) -> tuple[Any, list[Reference]]:
    """The base's tree with the adapter in its weights, and how the adapter answered before."""
    assert files.fields, "judged files have fields"
    tensors, _ = load_tensors(files, next(loaded.model.parameters()).device)
    told = iter(range(1, len(QUESTIONS) + 1))
    prompt = files.card.system_prompt if files.card else None

    def answered() -> None:
        report("answering", 0.25 + 0.25 * next(told) / len(QUESTIONS))

    report("answering", 0.25)
    if isinstance(files.fields.layout, ReplacedWeights):
        model = injection.with_weights(loaded.model, files, tensors)
        return model, references(model, loaded.tokenizer, prompt, answered)
    _refuse_new_biases(loaded.model, files)
    tree = injection.with_layers(loaded.model, ADAPTER_ID, files, tensors)
    wanted = references(tree, loaded.tokenizer, prompt, answered)
    report("merging", 0.5)
    try:
        return tree.merge_and_unload(safe_merge=True, adapter_names=[ADAPTER_ID]), wanted
    except ValueError as error:  # peft's words for a change that is no number
        raise refusal("M21_merge_not_finite", Place(file=files.folder.name), name=files.folder.name) from error


def _refuse_new_biases(model: Any, files: AdapterFiles) -> None:
    """A bias that the adapter adds to a layer without one has no place in the base's architecture."""
    assert files.fields
    if not files.fields.values.get("lora_bias"):
        return
    own = {name for name, _ in model.named_parameters()}
    bare = [module for module in files.parts if f"{module}.bias" not in own]
    if bare:
        raise WorkbenchError([Problem("M18_bias_not_mergeable", Place(file=files.folder.name), named(bare))])


def _refuse_difference(plan: ExportPlan, found: Agreement, dtype: Dtype) -> None:
    """In fp32 every token must be the same; in a shorter format the logits may differ by its rounding."""
    bound = ROUNDING[dtype] * max(1.0, found.largest)
    if found.difference <= bound and (dtype != "fp32" or found.same == found.tokens):
        return
    shown = {"adapter": plan.adapter.name, "base": plan.base.name, "same": found.same, "tokens": found.tokens}
    figures = {"difference": f"{found.difference:.3g}", "bound": f"{bound:.3g}", "dtype": dtype}
    raise refusal("M20_merged_differs", Place(file=plan.adapter.name), **shown, **figures)


def _write(model: Any, tokenizer: Any, plan: ExportPlan, staging: Path) -> None:
    """A model folder like the base's, with the template that was in force, and a README."""
    import torch

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    model.to(dtypes[plan.dtype])
    model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    for name in (GENERATION_CONFIG, *PASSED_ON):
        if (plan.base.folder / name).is_file():
            shutil.copyfile(plan.base.folder / name, staging / name)
    (staging / README).write_text(model_readme(plan), encoding="utf-8")


def _read_back(folder: Path, wanted: list[Reference]) -> Agreement:
    info = inspect(folder)
    if info.errors:
        raise WorkbenchError(info.errors)
    return agreement(load(info, LoadSettings(precision="fp32")).model, wanted)


def _card(plan: ExportPlan, files: AdapterFiles, fingerprint: str, name: str) -> AdapterCard:
    """Where the merged model comes from: the adapter first, then what that came from."""
    card = files.card or AdapterCard(name=plan.adapter.name, base_name=plan.base.name, method=files.method)
    parent = Ancestor(plan.adapter.name, weights_sha256(files.folder), card.run_id or "", card.dataset or "")
    made = {"name": name, "base_name": plan.base.name, "base_fingerprint": fingerprint, "created": now()}
    return card.model_copy(update={**made, "method": MERGED, "template": None, "lineage": (parent, *card.lineage)})
