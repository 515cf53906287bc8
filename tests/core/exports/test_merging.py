"""A merged model: the adapter's own answers in plain transformers, for every type that can be merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.adapters.card import read_card
from core.errors import WorkbenchError
from core.exports import merging
from core.exports.agreement import Agreement
from core.exports.merging import merge
from core.exports.plan import Dtype, ExportPlan, ExportWish, plan_export
from core.models.catalog import find_model
from core.workspace import Workspace
from tests.core.adapters.building import ALL_TYPES, edit_json
from tests.core.adapters.reloading import last_logits
from tests.core.exports.conftest import Adapted, greedy

TOKENS = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
MERGEABLE = [kind for kind in ALL_TYPES if kind not in (*TOKENS, "LORA/bias", "LORA/rslora")]


def plan_of(place: Workspace, adapter: str, dtype: Dtype | None = None) -> ExportPlan:
    return plan_export(place, ExportWish(adapter=adapter, result="model", dtype=dtype))


def quiet(phase: str, share: float) -> None:
    """A report that nobody reads."""


@pytest.mark.usefixtures("few_tokens")
@pytest.mark.parametrize("kind", MERGEABLE)
def test_a_merged_model_answers_in_plain_transformers_as_the_adapter_does(
    place: Workspace, adapted: Adapted, tiny_model: Any, tiny_tokenizer: Any, kind: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    name = adapted(kind)
    merged = merge(place, plan_of(place, name), place.models / "merged", quiet)
    assert (merged.exact.same, merged.written.same) == (merged.exact.tokens, merged.exact.tokens)
    assert merged.exact.tokens > 0
    loaded = AutoModelForCausalLM.from_pretrained(place.models / "merged")
    text = greedy(loaded, tiny_tokenizer)
    base, changed = (last_logits(model, [5, 6, 7]) for model in (tiny_model, loaded))
    assert float((base - changed).abs().max()) > 0.01, "the adapter is in it"
    if kind != "TRAINED_WEIGHTS":  # the workbench's own form
        assert text == greedy(PeftModel.from_pretrained(tiny_model, place.adapters / name).eval(), tiny_tokenizer)


@pytest.mark.usefixtures("few_tokens")
def test_a_merged_model_can_be_loaded_and_says_where_it_comes_from(place: Workspace, adapted: Adapted) -> None:
    (place.models / "tiny" / "LICENSE").write_text("Apache-2.0")
    phases: list[tuple[str, float]] = []
    name = adapted("LORA")
    merged = merge(place, plan_of(place, name, "bf16"), place.models / "my model", lambda *told: phases.append(told))
    info = find_model(place, "my model")
    assert (info.loadable, info.dtype) == (True, "bf16")
    assert info.origin and (info.origin.adapter, info.origin.base, info.origin.dataset) == (
        "lora",
        "tiny",
        "jokes.json",
    )
    card = read_card(info.folder)
    assert card and card.lineage[0].adapter == "lora" and len(card.lineage[0].sha256) == 64
    assert (info.folder / "LICENSE").read_text() == "Apache-2.0"
    assert "`tiny`" in (info.folder / "README.md").read_text("utf-8")
    assert 0 < merged.written.difference < 0.05 * merged.written.largest, "the rounding of bf16"
    shares = [share for _, share in phases]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert "answering" in dict(phases)


def test_what_cannot_be_merged_is_refused_with_the_reason(place: Workspace, adapted: Adapted) -> None:
    with pytest.raises(WorkbenchError, match="virtual tokens") as refused:
        plan_of(place, adapted("PREFIX_TUNING"))
    assert refused.value.key == "M18_not_mergeable"
    with pytest.raises(WorkbenchError, match="biases") as refused:
        merge(place, plan_of(place, adapted("LORA/bias")), place.models / "merged", quiet)
    assert refused.value.key == "M18_bias_not_mergeable"
    assert not (place.models / "merged").exists()


@pytest.mark.usefixtures("few_tokens")
def test_a_merged_model_that_answers_otherwise_is_thrown_away(
    place: Workspace, adapted: Adapted, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(place, adapted("LORA"))
    monkeypatch.setattr(merging, "_read_back", lambda *_: Agreement(18, 17, 1e-6, 1.0))
    with pytest.raises(WorkbenchError, match="17 of 18") as refused:
        merge(place, plan, place.models / "merged", quiet)
    assert refused.value.key == "M20_merged_differs"
    assert [folder.name for folder in place.models.iterdir()] == ["tiny"]


def test_a_real_difference_is_seen(tiny_model: Any, tiny_tokenizer: Any) -> None:
    import torch

    from core.exports.agreement import agreement, references

    wanted = references(tiny_model, tiny_tokenizer, "Be brief.")
    assert agreement(tiny_model, wanted).same == agreement(tiny_model, wanted).tokens
    with torch.no_grad():
        tiny_model.model.norm.weight.mul_(-1)
    found = agreement(tiny_model, wanted)
    assert found.same < found.tokens and found.difference > 0.1


def test_a_base_that_is_not_here_or_quantised_is_refused_before_anything_is_read(
    place: Workspace, adapted: Adapted
) -> None:
    name = adapted("LORA")
    edit_json(place.models / "tiny" / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(WorkbenchError) as refused:
        plan_of(place, name)
    assert refused.value.key in ("M16_merge_into_quantised", "M19_base_not_here")
    (place.models / "tiny" / "config.json").unlink()
    with pytest.raises(WorkbenchError, match="tiny") as refused:
        plan_of(place, name)
    assert refused.value.key == "M19_base_not_here"


def test_the_base_is_found_by_structure_where_its_folder_has_another_name(place: Workspace, adapted: Adapted) -> None:
    name = adapted("LORA")
    (place.models / "tiny").rename(place.models / "renamed")
    assert plan_of(place, name).base.name == "renamed"
    foreign = place.adapters / name / "workbench.json"
    foreign.unlink()
    with pytest.raises(WorkbenchError, match="M19"):
        plan_of(place, name)
    edit_json(place.adapters / name / "adapter_config.json", base_model_name_or_path="someone/Renamed")
    assert plan_of(place, name).base.name == "renamed"


def test_memory_and_disk_are_judged_before_a_merge(
    place: Workspace, adapted: Adapted, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = adapted("LORA")
    plan = plan_of(place, name, "fp32")
    assert plan.problems == () and plan.dtype == "fp32"
    assert plan.disk_bytes == plan.base.parameters * 4 == plan.result_bytes
    assert plan_of(place, name).dtype == "fp32", "the base's own"
    monkeypatch.setattr("core.models.memory.free_memory_gb", lambda *_: 0.1)
    monkeypatch.setattr("core.models.arrival.SPARE_BYTES", 10**18)
    problems = plan_of(place, name).problems
    assert [problem.key for problem in problems] == ["M17_merge_too_big", "A13_disk_full"]
    assert all(problem.describe(lang).fix for problem in problems for lang in ("en", "zh"))


def test_a_card_of_a_merged_model_made_elsewhere_is_only_read(tmp_path: Path) -> None:
    from core.models.origin import read_origin

    for lineage in (None, [], "x", [3], [{"adapter": 7}], {"adapter": "a"}):
        values = {"base_name": "b", "method": "merged", "lineage": lineage}
        (tmp_path / "workbench.json").write_text(json.dumps(values))
        origin = read_origin(tmp_path)
        assert origin and origin.adapter == ""
