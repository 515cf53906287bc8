"""The serving trees: exact, quiet about the global generator, and empty-handed after a failure."""

from __future__ import annotations

import copy
import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from core.adapters.store import save_adapter, write_adapter
from core.chat import injection
from core.chat.serving import Applied, ServingTrees
from core.errors import WorkbenchError
from core.models.catalog import inspect
from core.models.generation import GenerationRequest, decode
from core.models.loader import LoadedModel, load
from core.models.twin import make_twin
from core.settings import LoadSettings, SamplingSettings
from tests.core.adapters.building import (
    ALL_TYPES,
    card,
    changed_weights,
    random_adapter,
    random_adapter_of,
    save_random_adapter_of,
)

IDS = [1, 77, 9, 40, 7, 120, 33]
# peft takes the bias of a LoRA for a cut-off matrix and thinks of merging it; AdaLoRA's ranks it takes for LoRA's.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*lora_bias.*", "ignore:.*LoRA tensor.*", "ignore:.*rank_pattern keys did not match.*"
)
GREEDY = SamplingSettings(do_sample=False, max_new_tokens=20, repetition_penalty=2.0)  # else it repeats one token


@pytest.fixture
def trees(loaded: LoadedModel) -> ServingTrees:
    return ServingTrees(loaded)


def answers(
    trees: ServingTrees, loaded: LoadedModel, names: list[str | None], sampling: SamplingSettings = GREEDY
) -> list[list[int]]:
    """Greedy token ids for the same prompt, one list for each name, as the engine would run them."""
    found: list[list[int]] = [[] for _ in names]
    for route in trees.routes([trees.find(name) for name in names]):
        requests = [GenerationRequest(IDS, sampling, adapter) for adapter in route.adapters]
        for tokens in decode(route.tree, loaded.eos_ids, loaded.pad_id, requests, prefix=route.prefix):
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
    fill = injection._fill

    def watched(tree: Any, adapter_id: str, parts: Any) -> None:
        import threading

        def other_thread() -> None:
            seen.append((torch.nn.Module.register_parameter, str(torch.empty(1).device)))

        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join(timeout=10)
        fill(tree, adapter_id, parts)

    register = torch.nn.Module.register_parameter
    monkeypatch.setattr(injection, "_fill", watched)
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

    def broken(tree: Any, adapter_id: str, parts: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(injection, "_fill", broken)
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


def test_an_adapter_that_is_applied_again_is_there_all_the_while(
    trees: ServingTrees, adapters: dict[str, Path]
) -> None:
    """Whoever asks looks it up on another thread."""
    old = trees.apply("a", adapters["a"])
    seen: list[Applied | None] = []

    class Retired(set[str]):
        def add(self, adapter_id: str) -> None:
            seen.append(trees.find("a"))
            super().add(adapter_id)

    trees._retired = Retired()
    new = trees.apply("a", adapters["a"], strength=0.5)
    assert (seen, trees.applied, trees.drop_retired(())) == ([old], (new,), {old.id})


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


@pytest.fixture(scope="session")
def of_all_types(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("types")
    made: dict[str, Path] = {}
    for kind in ALL_TYPES:
        name = kind.replace("/", " ")
        made[kind] = save_random_adapter_of(loaded.model, kind, root / name, loaded.fingerprint)
    return made


def first_logits(trees: ServingTrees, loaded: LoadedModel, applied: Applied | None) -> torch.Tensor:
    """The logits (vocab,) after the prompt, as decoding sees them."""
    (route,) = trees.routes([applied])
    seen: list[torch.Tensor] = []
    head = route.tree.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, args, output: seen.extend(output[0, -1:]))
    try:
        request = GenerationRequest(IDS, GREEDY, route.adapters[0])
        next(decode(route.tree, loaded.eos_ids, loaded.pad_id, [request], prefix=route.prefix))
    finally:
        hook.remove()
    return seen[0]


@pytest.mark.parametrize("kind", ALL_TYPES)
def test_an_adapter_of_each_type_answers_as_in_plain_peft(
    trees: ServingTrees, loaded: LoadedModel, adapters: dict[str, Path], of_all_types: dict[str, Path], kind: str
) -> None:
    """fp32. Asked together with the base and a LoRA in one group; then removed without leftovers."""
    short = GREEDY.model_copy(update={"max_new_tokens": 4})
    generator, expected_of_base = torch.get_rng_state(), logits(loaded.model)
    state = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    trees.apply("lora", adapters["a"])
    before = answers(trees, loaded, [None, "lora"], short)
    applied = trees.apply("it", of_all_types[kind])
    expected = plain_logits(loaded, of_all_types[kind], kind)
    torch.testing.assert_close(first_logits(trees, loaded, applied), expected, rtol=1e-5, atol=1e-5)
    assert (expected - expected_of_base[0, -1]).abs().max() > 0.01, "it must matter to prove anything"
    together = answers(trees, loaded, ["it", None, "lora"], short)
    assert together == [answers(trees, loaded, ["it"], short)[0], *before]
    trees.remove("it")
    trees.drop_retired(())
    assert not trees.holds(applied)
    assert answers(trees, loaded, [None, "lora"], short) == before
    assert torch.get_rng_state().equal(generator)
    assert logits(loaded.model).equal(expected_of_base)
    assert all(tensor.equal(state[name]) for name, tensor in loaded.model.state_dict().items())


def plain_logits(loaded: LoadedModel, folder: Path, kind: str) -> torch.Tensor:
    """What the libraries compute with this adapter, without anything of ours."""
    import warnings

    from peft import PeftModel
    from safetensors.torch import load_file

    with torch.random.fork_rng(), warnings.catch_warnings(action="ignore", category=UserWarning):
        if kind == "TRAINED_WEIGHTS":
            model = copy.deepcopy(loaded.model)
            model.load_state_dict(load_file(folder / "adapter_model.safetensors"), strict=False)
        else:
            model = PeftModel.from_pretrained(make_twin(loaded.model), folder).eval()
    return logits(model)[0, -1]


def test_only_the_low_rank_types_share_the_batch(trees: ServingTrees, of_all_types: dict[str, Path]) -> None:
    shared = {kind for kind, folder in of_all_types.items() if trees.apply(kind, folder).shares_batch}
    assert shared == {"LORA", "LORA/bias", "LORA/rslora", "ADALORA"}


def test_trained_layers_that_were_pruned_away_add_nothing(
    trees: ServingTrees, loaded: LoadedModel, tmp_path: Path
) -> None:
    """AdaLoRA's ranks after pruning, one of them nought: `rank_pattern` says which are left, the tensors are cut."""
    trained = random_adapter_of(loaded.model, "ADALORA")
    names = [name for name, _ in trained.base_model.model.named_parameters() if "lora_E" in name]
    kept = [[row < left for row in range(6)] for left in (3, 0, 6, 1, 2, 5)]
    pattern = dict(zip([name.replace("base_model.model.", "") for name in names], kept, strict=True))
    trained.peft_config["default"].rank_pattern = pattern
    save_adapter(trained, "default", tmp_path / "pruned", card("pruned"))
    applied = trees.apply("it", tmp_path / "pruned")
    expected = plain_logits(loaded, tmp_path / "pruned", "ADALORA")
    torch.testing.assert_close(first_logits(trees, loaded, applied), expected, rtol=1e-5, atol=1e-5)


def test_weights_in_the_place_of_tied_ones_serve_both_ends(
    trees: ServingTrees, loaded: LoadedModel, tmp_path: Path
) -> None:
    weights = changed_weights(loaded.model, ("model.embed_tokens.",))
    config = {"peft_type": "TRAINED_WEIGHTS", "format_version": 1}
    write_adapter(tmp_path / "tied", weights, config, card("tied", method="freeze"))
    tree = trees.routes([trees.apply("it", tmp_path / "tied")])[0].tree
    assert tree.get_output_embeddings().weight is tree.get_input_embeddings().weight
    assert tree.get_input_embeddings().weight.equal(weights["model.embed_tokens.weight"])


@pytest.fixture(scope="module", params=["bf16", "int8", "nf4"])
def narrow(request: pytest.FixtureRequest, tiny_model_dir: Path) -> LoadedModel:
    return load(inspect(tiny_model_dir), LoadSettings(precision=request.param))


@pytest.mark.parametrize("kind", ALL_TYPES)
def test_on_a_narrow_base_a_type_answers_as_in_plain_peft_or_is_refused_before(
    narrow: LoadedModel, of_all_types: dict[str, Path], kind: str
) -> None:
    """In bf16 the library's own rounding counts; weights of the base are cast to its format."""
    trees = ServingTrees(narrow)
    refused = {"int8": ("LORA/dora", "IA3", "TRAINED_WEIGHTS"), "nf4": ("LOHA", "LOKR", "IA3", "TRAINED_WEIGHTS")}
    if kind in refused.get(narrow.precision.precision, ()):
        with pytest.raises(WorkbenchError, match="M19"):
            trees.apply("it", of_all_types[kind])
        return
    applied = trees.apply("it", of_all_types[kind])
    found = first_logits(trees, narrow, applied)
    if (narrow.precision.precision, kind) != ("int8", "ADALORA"):  # there plain peft mixes number formats and fails
        torch.testing.assert_close(found, plain_logits(narrow, of_all_types[kind], kind), rtol=2e-2, atol=2e-2)


NO_STRENGTH = ("LORA/dora", "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")


@pytest.mark.parametrize("kind", ALL_TYPES)
def test_strength_goes_from_the_base_exactly_to_what_was_learned_or_is_refused(
    trees: ServingTrees, loaded: LoadedModel, of_all_types: dict[str, Path], kind: str
) -> None:
    base = first_logits(trees, loaded, None)
    if kind in NO_STRENGTH:
        with pytest.raises(WorkbenchError) as caught:
            trees.apply("it", of_all_types[kind], 0.5)
        assert caught.value.key == "M18_no_strength" and caught.value.describe("zh")
        assert trees.applied == ()
        return
    found = {}
    for strength in (0.0, 0.5, 1.0, 2.0):
        applied = trees.apply("it", of_all_types[kind], strength)
        assert applied.strength == strength
        found[strength] = first_logits(trees, loaded, applied)
    assert found[0.0].equal(base)
    torch.testing.assert_close(found[1.0], plain_logits(loaded, of_all_types[kind], kind), rtol=1e-5, atol=1e-5)
    distances = [float((logits_ - base).abs().max()) for logits_ in found.values()]
    assert len(set(distances)) == 4 and distances[1] < distances[2]
    assert len(trees.applied) == 1
