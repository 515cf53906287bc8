"""The serving trees: exact, quiet about the global generator, and empty-handed after a failure."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from core.chat import serving
from core.chat.serving import ServingTrees
from core.errors import WorkbenchError
from core.models.generation import GenerationRequest, decode
from core.models.loader import LoadedModel
from core.models.twin import make_twin
from core.settings import SamplingSettings
from tests.core.adapters.building import random_adapter

IDS = [1, 77, 9, 40, 7, 120, 33]
GREEDY = SamplingSettings(do_sample=False, max_new_tokens=20, repetition_penalty=2.0)  # else it repeats one token


@pytest.fixture
def trees(loaded: LoadedModel) -> ServingTrees:
    return ServingTrees(loaded)


def answers(trees: ServingTrees, loaded: LoadedModel, names: list[str | None]) -> list[list[int]]:
    """Greedy token ids for the same prompt, one list for each name, as the engine would run them."""
    found: list[list[int]] = [[] for _ in names]
    for route in trees.routes([trees.find(name) for name in names]):
        requests = [GenerationRequest(IDS, GREEDY, adapter) for adapter in route.adapters]
        for tokens in decode(route.tree, loaded.eos_ids, loaded.pad_id, requests):
            for token in tokens:
                if token.token_id is not None:
                    found[route.rows[token.row]].append(token.token_id)
    return found


def logits(tree: Any, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        return tree(input_ids=torch.tensor([IDS]), **options).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["a", "b", "c", "d"])
def test_an_applied_adapter_is_bit_exact_with_plain_peft(
    trees: ServingTrees, loaded: LoadedModel, adapters: dict[str, Path], name: str
) -> None:
    from peft import PeftModel

    plain = PeftModel.from_pretrained(make_twin(loaded.model), adapters[name]).eval()
    trees.apply("one", adapters["a"])
    applied = trees.apply("two", adapters[name])
    (route,) = trees.routes([applied])
    options = {"adapter_names": list(route.adapters)} if applied.shares_batch else {}
    assert logits(route.tree, **options).equal(logits(plain))
    assert not logits(plain).equal(logits(loaded.model))


def test_applying_and_removing_leave_the_global_generator_alone(trees: ServingTrees, adapters: dict[str, Path]) -> None:
    before = torch.get_rng_state()
    for name, folder in adapters.items():
        trees.apply(name, folder)
    for name in adapters:
        trees.remove(name)
        trees.drop_retired(())
    assert torch.get_rng_state().equal(before)


def test_applying_patches_nothing_that_other_threads_use(
    trees: ServingTrees, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[object, str]] = []
    put_in = serving._put_in

    def watched(tree: Any, adapter_id: str, tensors: Any) -> None:
        import threading

        def other_thread() -> None:
            seen.append((torch.nn.Module.register_parameter, str(torch.empty(1).device)))

        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join(timeout=10)
        put_in(tree, adapter_id, tensors)

    register = torch.nn.Module.register_parameter
    monkeypatch.setattr(serving, "_put_in", watched)
    trees.apply("a", adapters["a"])
    assert seen == [(register, "cpu")]


def test_base_and_three_adapters_in_one_batch_answer_as_each_alone(
    trees: ServingTrees, loaded: LoadedModel, adapters: dict[str, Path]
) -> None:
    """Law 8: fp32, greedy, token by token."""
    for name in ("a", "b", "c"):
        trees.apply(name, adapters[name])
    names = [None, "a", "b", "c"]
    together = answers(trees, loaded, names)
    alone = [answers(trees, loaded, [name])[0] for name in names]
    assert together == alone
    assert len({tuple(answer) for answer in together}) == 4


def test_a_dora_adapter_answers_beside_the_others_in_a_tree_of_its_own(
    trees: ServingTrees, loaded: LoadedModel, adapters: dict[str, Path]
) -> None:
    base = answers(trees, loaded, [None])[0]
    for name in ("a", "d"):
        trees.apply(name, adapters[name])
    together = answers(trees, loaded, ["d", None, "a"])
    assert together == [answers(trees, loaded, [name])[0] for name in ("d", None, "a")]
    assert together[1] == base
    assert together[0] != base


def test_the_base_answers_the_same_before_during_and_after(
    trees: ServingTrees, loaded: LoadedModel, adapters: dict[str, Path]
) -> None:
    """Law 3, chat's part."""
    expected = logits(loaded.model)
    state = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    for name, folder in adapters.items():
        trees.apply(name, folder)
        (route,) = trees.routes([None])
        assert logits(route.tree).equal(expected)
    (mixed,) = trees.routes([None, trees.find("a")])
    names = ["__base__", mixed.adapters[1]]
    both = mixed.tree(input_ids=torch.tensor([IDS, IDS]), adapter_names=names).logits
    assert both[0].argmax(-1).equal(expected[0].argmax(-1))
    for name in adapters:
        trees.remove(name)
    trees.drop_retired(())
    (route,) = trees.routes([None])
    assert logits(route.tree).equal(expected)
    assert all(tensor.equal(state[name]) for name, tensor in loaded.model.state_dict().items())


def test_applied_adapters_neither_train_nor_drop_out(trees: ServingTrees, adapters: dict[str, Path]) -> None:
    for name in ("a", "b"):
        trees.apply(name, adapters[name])
    (route,) = trees.routes([trees.find("b")])
    assert not any(tensor.requires_grad for tensor in route.tree.parameters())
    assert not any(module.training for module in route.tree.modules())


def test_swapping_many_times_leaves_no_leak_and_the_last_one_counts(
    trees: ServingTrees, loaded: LoadedModel, adapters: dict[str, Path]
) -> None:
    trees.apply("stays", adapters["c"])
    expected = {name: answers_with(trees, loaded, adapters[name]) for name in ("a", "b")}

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    before = None
    for swap in range(20):
        trees.apply("swapped", adapters["ab"[swap % 2]])
        trees.drop_retired(())
        if swap == 3:
            before = tensors()
    assert tensors() == before
    assert answers(trees, loaded, ["swapped"])[0] == expected["b"]
    assert len(trees.applied) == 2


def answers_with(trees: ServingTrees, loaded: LoadedModel, folder: Path) -> list[int]:
    trees.apply("probe", folder)
    found = answers(trees, loaded, ["probe"])[0]
    trees.remove("probe")
    trees.drop_retired(())
    return found


def test_the_shared_tree_goes_with_its_last_adapter(trees: ServingTrees, adapters: dict[str, Path]) -> None:
    applied = trees.apply("a", adapters["a"])
    tree = weakref.ref(trees.routes([applied])[0].tree)
    trees.remove("a")
    assert trees.holds(applied)
    trees.drop_retired({applied.id})
    assert trees.holds(applied)
    trees.drop_retired(())
    assert not trees.holds(applied)
    gc.collect()
    assert tree() is None


@pytest.mark.parametrize("others", [(), ("b",)])
def test_an_adapter_that_fails_while_it_is_put_in_leaves_nothing_registered(
    trees: ServingTrees,
    loaded: LoadedModel,
    adapters: dict[str, Path],
    others: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in others:
        trees.apply(name, adapters[name])
    before = answers(trees, loaded, [None, *others])

    def broken(tree: Any, adapter_id: str, tensors: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(serving, "_put_in", broken)
        with pytest.raises(MemoryError):
            trees.apply("a", adapters["a"])
    assert [applied.name for applied in trees.applied] == list(others)
    assert answers(trees, loaded, [None, *others]) == before
    if others:
        (route,) = trees.routes([trees.find("b")])
        assert list(route.tree.peft_config) == list(route.adapters)
        assert not any(tensor.is_meta for tensor in route.tree.parameters())
    trees.apply("a", adapters["a"])
    assert answers(trees, loaded, ["a"])[0] != before[0]


def changed(folder: Path, target: Path, value: float) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    tensors = load_file(folder / "adapter_model.safetensors")
    first = next(iter(tensors))
    tensors[first] = tensors[first].clone().fill_(value)
    save_file(tensors, target / "adapter_model.safetensors")
    return target


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_with_values_that_are_no_numbers_is_refused(
    trees: ServingTrees, adapters: dict[str, Path], tmp_path: Path, value: float
) -> None:
    with pytest.raises(WorkbenchError, match="M21"):
        trees.apply("a", changed(adapters["a"], tmp_path / "a", value))
    assert trees.applied == ()


def test_huge_values_warn(trees: ServingTrees, adapters: dict[str, Path], tmp_path: Path) -> None:
    applied = trees.apply("a", changed(adapters["a"], tmp_path / "a", 1e30))
    assert [problem.key for problem in applied.warnings] == ["M21_huge_values"]


def test_an_adapter_of_another_base_is_refused_and_nothing_changes(
    trees: ServingTrees, adapters: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(adapters["a"], tmp_path / "a")
    card = tmp_path / "a" / "workbench.json"
    card.write_text(json.dumps(json.loads(card.read_text("utf-8")) | {"base_fingerprint": "llama-9x9-v9-0"}), "utf-8")
    with pytest.raises(WorkbenchError, match="M19"):
        trees.apply("a", tmp_path / "a")
    assert trees.applied == ()


def test_a_refused_replacement_leaves_the_old_adapter_applied(
    trees: ServingTrees, loaded: LoadedModel, adapters: dict[str, Path], tmp_path: Path
) -> None:
    trees.apply("a", adapters["a"])
    before = answers(trees, loaded, ["a"])
    with pytest.raises(WorkbenchError):
        trees.apply("a", tmp_path)
    assert answers(trees, loaded, ["a"]) == before


def test_a_pattern_in_a_foreign_adapter_is_not_needed(
    trees: ServingTrees, loaded: LoadedModel, adapters: dict[str, Path], tmp_path: Path
) -> None:
    trees.apply("a", adapters["a"])
    shutil.copytree(adapters["a"], tmp_path / "a")
    (tmp_path / "a" / "workbench.json").unlink()
    config = tmp_path / "a" / "adapter_config.json"
    pattern = {"target_modules": "(.*a+)+(q_proj|v_proj|down_proj)$"}
    config.write_text(json.dumps(json.loads(config.read_text("utf-8")) | pattern), "utf-8")
    applied = trees.apply("foreign", tmp_path / "a")
    assert [problem.key for problem in applied.warnings] == ["M22_pattern_ignored"]
    assert answers(trees, loaded, ["foreign"]) == answers(trees, loaded, ["a"])


def test_the_folder_may_vanish_once_an_adapter_is_applied(
    trees: ServingTrees, loaded: LoadedModel, adapters: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(adapters["a"], tmp_path / "a")
    trees.apply("a", tmp_path / "a")
    before = answers(trees, loaded, ["a"])
    weights = tmp_path / "a" / "adapter_model.safetensors"
    weights.write_bytes(b"\0" * weights.stat().st_size)
    assert answers(trees, loaded, ["a"]) == before


def test_a_tree_that_training_wrapped_is_no_other_tree(
    trees: ServingTrees, loaded: LoadedModel, adapters: dict[str, Path]
) -> None:
    before = answers(trees, loaded, [None])
    random_adapter(loaded.model, seed=9).train()
    assert answers(trees, loaded, [None]) == before
