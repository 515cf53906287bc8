"""Every training method: learns, leaves the base as it was, keeps what it made, and goes on bit by bit after a stop."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.adapters.card import read_card
from core.adapters.method_facts import METHODS
from core.adapters.method_size import method_size, trainable_parameters
from core.adapters.methods import method_problems
from core.errors import WorkbenchError
from core.models.catalog import find_model
from core.models.loader import load
from core.models.precision import LoadedPrecision
from core.models.twin import make_twin
from core.settings import LoadSettings, Method, MethodSettings
from core.training.checkpoints import list_checkpoints
from core.training.events import Event, StepDone
from core.training.learner import Learner, make_learner
from core.training.lineage import method_settings
from core.training.loss import count_trained, output_layer, summed_loss
from core.training.progress import Snapshot, Status
from core.training.runner import Runner
from core.training.spec import RunSpec, StartingAdapter
from core.workspace import Workspace
from tests.core.adapters.building import card
from tests.core.training.conftest import spec_of, write_rows

WAIT_S = 60.0
STEPS = 8
STOP_AT = 5  # AdaLoRA has pruned by then
IDS = torch.arange(5, 29).view(2, 12)
LABELS = torch.where(torch.arange(12) < 4, -100, IDS)
BATCH = {"input_ids": IDS, "labels": LABELS}
RESUMED: tuple[Method, ...] = ("adalora", "pissa", "layernorm", "prefix", "ptuning", "freeze", "full")


# ---- models: llama without biases, Qwen2 with some, GPT-2 with transposed layers ----


def build_other(folder: Path, tiny: Path, config: Any) -> None:
    """A tiny random model of another architecture with the tokenizer of the tiny llama."""
    from transformers import AutoModelForCausalLM

    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("*.safetensors", "*config.json"))
    shutil.copy(tiny / "tokenizer_config.json", folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Workspace:
    """One data directory for all tests of this file: each has runs and adapters of its own name."""
    from transformers import GPT2Config, Qwen2Config

    made = Workspace(tmp_path_factory.mktemp("methods"))
    made.create()
    shutil.copytree(tiny_model_dir, made.models / "tiny")
    size = {"vocab_size": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    qwen = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "max_position_embeddings": 512}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    build_other(made.models / "biased", tiny_model_dir, Qwen2Config(**size, **qwen, **heads))
    build_other(made.models / "gpt", tiny_model_dir, GPT2Config(**size, n_embd=64, n_layer=2, n_head=4))
    write_rows(made, 20)
    return made


@pytest.fixture(scope="module")
def base(place: Workspace) -> Callable[..., Any]:
    """A model of the data directory by name and precision, loaded once."""
    models: dict[tuple[str, str], Any] = {}

    def loaded(name: str = "tiny", precision: LoadedPrecision = "fp32") -> Any:
        if (name, precision) not in models:
            models[name, precision] = load(find_model(place, name), LoadSettings(precision=precision))
        return models[name, precision]

    return loaded


@pytest.fixture
def runner(place: Workspace) -> Iterator[Runner]:
    made = Runner(place)
    yield made
    made.close()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    made: torch.Tensor = model.eval()(input_ids=IDS).logits[:, -IDS.shape[1] :].float().clone()
    return made


def base_of(method: Method, base: Callable[..., Any]) -> Any:
    """BitFit needs biases; LayerNorm tuning and AdaLoRA have their traps on 16-bit bases."""
    if method == "bitfit":
        return base("biased")
    return base(precision="bf16") if method in ("layernorm", "adalora") else base()


def settings_of(method: Method, **changes: Any) -> MethodSettings:
    return MethodSettings.checked({"method": method, "rank": 4, "virtual_tokens": 4, "trained_layers": 1, **changes})


def run_spec(method: Method, name: str, base_name: str = "tiny") -> RunSpec:
    rate = min(0.1, 20 * METHODS[method].learning_rate)
    sizes = {"method": method, "virtual_tokens": 4, "trained_layers": 1, "dropout": 0.1}
    training = {"epochs": 4, "learning_rate": rate, "evaluations": 1, "scheduler": "constant"}
    return spec_of(name=name, base=base_name, training=training, method=sizes)


# ---- whole runs ----


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_leaves_the_base_as_it_was_and_goes_on_bit_by_bit_after_a_stop(
    method: Method, runner: Runner, place: Workspace, base: Callable[..., Any]
) -> None:
    loaded = base_of(method, base)
    before = logits(loaded.model)
    spec = run_spec(method, f"{method}-whole", loaded.info.name)
    run_id = runner.start(spec, loaded)
    assert runner.wait(WAIT_S)
    whole = runner.snapshot(run_id)
    assert whole.status == Status.FINISHED, (whole.problems, (place.runs / run_id / "log.txt").read_text())
    losses = [loss for _, loss in whole.losses]
    assert sum(losses[-2:]) < sum(losses[:2]), losses
    assert torch.equal(logits(loaded.model), before)
    assert whole.makes == METHODS[method].makes
    made = result(place, method, f"{method}-whole")
    made_card = read_card(made)
    assert made_card and made_card.method == method and made_card.settings and made_card.settings.method == method
    if method in RESUMED:
        stopped = stopped_and_resumed(runner, loaded, spec.model_copy(update={"name": f"{method}-stopped"}))
        assert stopped.losses == whole.losses and stopped.status == Status.FINISHED
        assert contents(result(place, method, f"{method}-stopped")) == contents(made)
        assert torch.equal(logits(loaded.model), before)


def result(place: Workspace, method: Method, name: str) -> Path:
    return (place.models if METHODS[method].makes == "model" else place.adapters) / name


def contents(folder: Path) -> dict[str, str]:
    files = (file for file in folder.iterdir() if file.name != "workbench.json")
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def stopped_and_resumed(
    runner: Runner, loaded: Any, spec: RunSpec, meanwhile: Callable[[], None] = lambda: None
) -> Snapshot:
    emit = runner._emit

    def stopping(active: Any, event: Event) -> None:
        emit(active, event)
        if isinstance(event, StepDone) and event.step == STOP_AT:
            runner.stop(active.run_id)

    runner._emit = stopping  # type: ignore[method-assign]
    run_id = runner.start(spec, loaded)
    assert runner.wait(WAIT_S)
    assert runner.snapshot(run_id).kept_step == STOP_AT
    runner._emit = emit  # type: ignore[method-assign]
    meanwhile()
    runner.resume(run_id, loaded)
    assert runner.wait(WAIT_S)
    return runner.snapshot(run_id)


def test_a_model_made_by_full_fine_tuning_is_loaded_like_any_other(
    runner: Runner, place: Workspace, base: Callable[..., Any]
) -> None:
    loaded = base(precision="bf16")
    run_id = runner.start(run_spec("full", "made"), loaded)
    assert runner.wait(WAIT_S)
    assert not (list_checkpoints(place.runs / run_id / "checkpoints")[-1].adapter).exists()
    made = load(find_model(place, "made"), LoadSettings(precision="bf16"))
    assert made.model.dtype == torch.bfloat16 and made.tokenizer.chat_template == loaded.tokenizer.chat_template
    assert made.model.lm_head.weight is made.model.model.embed_tokens.weight
    assert not torch.equal(logits(made.model), logits(loaded.model))
    with pytest.raises(WorkbenchError) as caught:
        runner.start(run_spec("full", "MADE"), loaded)
    assert caught.value.key == "M25_model_name_taken" and "MADE-2" in caught.value.describe("zh")


def test_a_prefix_is_not_trained_with_activations_computed_twice(runner: Runner, base: Callable[..., Any]) -> None:
    """Trap: a layer that is computed again starts without the prefix, which would learn nothing and say nothing."""
    spec = run_spec("prefix", "twice")
    asked = spec.model_copy(update={"training": spec.training.model_copy(update={"activation_checkpointing": True})})
    run_id = runner.start(asked, base())
    assert runner.wait(WAIT_S)
    assert [problem.key for problem in runner.snapshot(run_id).problems] == ["H12_checkpointing_with_prefix"]


# ---- learners by themselves ----


def trained(learner: Learner, steps: int = 4, rate: float = 1e-2) -> list[float]:
    """Train on one batch; the losses."""
    head = output_layer(learner.model)
    optimizer = torch.optim.AdamW(learner.parameter_groups(rate, 0.01))
    losses = []
    for step in range(1, steps + 1):
        learner.model.train()
        with learner.compute():
            loss = summed_loss(learner.model, BATCH, head) / count_trained(LABELS)
        loss.backward()
        optimizer.step()
        learner.on_step(step)
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def count(learner: Learner) -> int:
    return sum(tensor.numel() for tensor in learner.model.parameters() if tensor.requires_grad)


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_a_quantised_base_trains_with_the_methods_that_say_so_and_refuses_the_others(
    precision: LoadedPrecision, base: Callable[..., Any]
) -> None:
    loaded = base(precision=precision)
    before = logits(loaded.model)
    for method, facts in METHODS.items():
        found = [problem.key for problem in method_problems(settings_of(method), loaded.model, precision)]
        assert ("H09_method_not_on_quantised" in found) == (precision not in facts.quantised), method
        if precision in facts.quantised:
            losses = trained(make_learner(settings_of(method), loaded, seed=1))
            assert losses[-1] < losses[0], method
            assert trainable_parameters(settings_of(method), loaded.model) == count(
                make_learner(settings_of(method), loaded, seed=1)
            )
    assert torch.equal(logits(loaded.model), before)


SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("tiny", {}),
    ("tiny", {"rank": 64, "target_modules": ("mlp",)}),
    ("tiny", {"lora_bias": True, "layers": (1,), "target_modules": ("q_proj", "down_proj")}),
    ("biased", {"target_modules": ("attention",)}),
    ("gpt", {"rank": 3, "target_modules": ("mlp",), "trained_layers": 2}),
]


@pytest.mark.parametrize(("name", "changes"), SHAPES)
def test_the_counted_parameters_are_those_that_are_trained(
    name: str, changes: dict[str, Any], base: Callable[..., Any]
) -> None:
    loaded, tried = base(name), 0
    for method in METHODS:
        settings = settings_of(method, **changes)
        if not method_problems(settings, loaded.model, "fp32"):
            assert trainable_parameters(settings, loaded.model) == count(make_learner(settings, loaded, 1)), method
            tried += 1
    assert tried >= 12
    size = method_size(settings_of("full"), loaded.model)
    assert size.trained == size.total == loaded.info.parameters and size.copied_bytes == 4 * size.total


@pytest.mark.parametrize(
    ("method", "changes", "name", "key", "said"),
    [
        ("bitfit", {}, "tiny", "H06_no_biases", "LayerNorm"),
        ("loha", {}, "gpt", "H06_method_not_on_conv1d", "LoRA"),
        ("lora", {"layers": (0, 2)}, "tiny", "H06_unknown_layer", "2"),
        ("freeze", {"trained_layers": 3}, "tiny", "H06_unknown_layer", "2"),
        ("freeze", {"target_modules": ("W_pack",)}, "tiny", "H06_unknown_target", "W_pack"),
        ("pissa", {"rank": 33}, "tiny", "H05_rank_too_large", "32"),  # the key matrix has 32 rows
    ],
)
def test_what_a_model_cannot_do_is_refused_before_anything_is_built(
    method: Method, changes: dict[str, Any], name: str, key: str, said: str, base: Callable[..., Any]
) -> None:
    problems = method_problems(settings_of(method, **changes), base(name).model, "fp32")
    assert [problem.key for problem in problems] == [key]
    for lang in ("en", "zh"):
        assert said in WorkbenchError(problems).describe(lang)


def test_settings_that_a_method_does_not_use_are_not_looked_at(base: Callable[..., Any]) -> None:
    for method in ("prompt", "layernorm", "full"):
        settings = settings_of(method, rank=512, layers=(99,), target_modules=("W_pack",))  # type: ignore[arg-type]
        assert not method_problems(settings, base().model, "fp32")
        make_learner(settings, base(), seed=1)


@pytest.mark.parametrize(("method", "name"), [("pissa", "tiny"), ("pissa", "gpt"), ("olora", "tiny")])
def test_a_rewritten_base_becomes_a_plain_adapter_for_the_untouched_one(
    method: Method, name: str, base: Callable[..., Any], tmp_path: Path
) -> None:
    from peft import PeftModel

    for precision, bound in (("fp32", 1e-5), ("bf16", 0.05)):
        loaded = base(name, precision)
        learner = make_learner(settings_of(method), loaded, seed=1)
        assert (logits(learner.model) - logits(loaded.model)).abs().max() < bound, "it begins as the base"
        trained(learner)
        learner.save(tmp_path / precision, card(method))
        plain = PeftModel.from_pretrained(make_twin(loaded.model), str(tmp_path / precision))
        assert (logits(plain) - logits(learner.model)).abs().max() < bound
        assert (logits(plain) - logits(loaded.model)).abs().max() > 0.1, "and has learned"


def test_trained_base_weights_are_fp32_and_nearly_all_of_them_move(base: Callable[..., Any]) -> None:
    """Trap: of weights kept in bf16 most steps change nothing."""
    loaded = base("biased", "bf16")
    for method in ("layernorm", "bitfit", "freeze", "full"):
        learner = make_learner(settings_of(method), loaded, seed=1)  # type: ignore[arg-type]
        tensors = {n: t for n, t in learner.model.named_parameters() if t.requires_grad and "embed" not in n}
        before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        trained(learner, rate=1e-4)
        moved = sum(int((tensors[name] != before[name]).sum()) for name in tensors)
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
        assert moved > 0.95 * sum(tensor.numel() for tensor in tensors.values()), method


def test_full_fine_tuning_keeps_tied_weights_tied(base: Callable[..., Any]) -> None:
    model = make_learner(settings_of("full"), base(), seed=1).model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.lm_head.weight is not base().model.lm_head.weight


def test_adalora_prunes_to_its_budget_and_its_checkpoint_can_be_gone_on_with(base: Callable[..., Any]) -> None:
    """Traps: a checkpoint after pruning holds raw tensors and the ranking; `ranknum` is never trained."""
    loaded = base(precision="bf16")
    learner = make_learner(settings_of("adalora"), loaded, seed=1, steps=12)
    names = [name for name, tensor in learner.model.named_parameters() if tensor.requires_grad]
    assert names and not any("ranknum" in name for name in names)
    trained(learner, steps=9)
    pattern = learner.state()["budget"]["rank_pattern"]
    assert sum(sum(kept) for kept in pattern.values()) == 4 * len(pattern), "on average the rank that was asked for"
    again = make_learner(settings_of("adalora"), loaded, seed=2, steps=12)
    again.load_state(learner.state())
    assert torch.equal(logits(again.model), logits(learner.model))
    penalty = learner.penalty()
    assert penalty is not None and penalty.requires_grad and math.isfinite(float(penalty.detach()))


def test_a_pruned_adalora_adapter_that_is_trained_further_goes_on_bit_by_bit_also_without_what_it_started_from(
    runner: Runner, place: Workspace, base: Callable[..., Any]
) -> None:
    loaded = base_of("adalora", base)
    first = run_spec("adalora", "pruned")
    runner.start(first, loaded)
    assert runner.wait(WAIT_S)
    weights = load_file(place.adapters / "pruned" / "adapter_model.safetensors")
    ranks = {len(tensor) for name, tensor in weights.items() if "lora_A" in name}
    assert ranks != {6}, "some layers have lost some of the rank they began with"
    method = method_settings(place.adapters / "pruned")
    start = StartingAdapter(adapter="pruned")
    spec = first.model_copy(update={"name": "pruned-whole", "method": method, "start_from": start})
    run_id = runner.start(spec, loaded)
    assert runner.wait(WAIT_S)
    whole = runner.snapshot(run_id)
    assert whole.status == Status.FINISHED, whole.problems
    made = contents(place.adapters / "pruned-whole")
    stopped = stopped_and_resumed(runner, loaded, spec.model_copy(update={"name": "pruned-stopped"}))
    assert (stopped.status, stopped.losses) == (Status.FINISHED, whole.losses)
    assert contents(place.adapters / "pruned-stopped") == made
    gone = partial(shutil.rmtree, place.adapters / "pruned")
    stopped = stopped_and_resumed(runner, loaded, spec.model_copy(update={"name": "pruned-orphan"}), gone)
    assert (stopped.status, stopped.losses) == (Status.FINISHED, whole.losses)
    assert contents(place.adapters / "pruned-orphan") == made


def test_an_adalora_adapter_whose_ranks_were_left_alone_is_not_pruned_where_it_goes_on(
    base: Callable[..., Any], tmp_path: Path
) -> None:
    settings = settings_of("adalora", dropout=0.0)
    make_learner(settings, base(), seed=1, steps=1).save(tmp_path / "first", card("first", settings=settings))
    further = make_learner(settings, base(), seed=2, start_from=tmp_path / "first", steps=12)
    again = make_learner(settings, base(), seed=2, steps=12, further=True)
    again.load_state(further.state())
    assert trained(again, steps=12) == trained(further, steps=12)
    assert again.state()["budget"]["rank_pattern"] is None


def test_a_step_that_fp16_skips_leaves_the_ranking_as_it_was(base: Callable[..., Any]) -> None:
    learner = make_learner(settings_of("adalora"), base(), seed=1, steps=12)
    for tensor in learner.model.parameters():
        tensor.grad = torch.full_like(tensor, math.inf) if tensor.requires_grad else None
    learner.on_step(1)
    assert all(tensor.isfinite().all() for tensor in learner.state()["budget"]["importance"].values())


def test_a_run_too_short_to_rank_by_is_not_pruned(base: Callable[..., Any]) -> None:
    learner = make_learner(settings_of("adalora"), base(), seed=1, steps=1)
    trained(learner, steps=1)
    assert learner.state()["budget"]["rank_pattern"] is None


def test_lora_plus_learns_faster_in_the_second_matrix(base: Callable[..., Any]) -> None:
    groups = make_learner(settings_of("loraplus", loraplus_ratio=8.0), base(), seed=1).parameter_groups(1e-3, 0.01)
    assert sorted(group["lr"] for group in groups) == [1e-3, 8e-3]
    assert sum(tensor.numel() for group in groups for tensor in group["params"]) == trainable_parameters(
        settings_of("loraplus"), base().model
    )


def test_virtual_tokens_and_vectors_do_not_decay(base: Callable[..., Any]) -> None:
    for method in ("ia3", "prompt", "prefix", "ptuning", "layernorm"):
        groups = make_learner(settings_of(method), base(), seed=1).parameter_groups(1e-3, 0.01)  # type: ignore[arg-type]
        assert {group["weight_decay"] for group in groups} == {0.0}, method
    matrices, norms = make_learner(settings_of("full"), base(), seed=1).parameter_groups(1e-3, 0.01)
    assert (matrices["weight_decay"], norms["weight_decay"]) == (0.01, 0.0)


@pytest.mark.parametrize("method", ["prompt", "prefix", "ptuning"])
def test_the_loss_after_virtual_tokens_is_that_of_the_rows_own_positions(
    method: Method, base: Callable[..., Any]
) -> None:
    learner = make_learner(settings_of(method), base(), seed=1)
    head = output_layer(learner.model)
    with torch.no_grad():
        picked, whole = (float(summed_loss(learner.model, BATCH, each)) for each in (head, None))
        own = learner.model(input_ids=IDS).logits[:, -12:]
    by_hand = torch.nn.functional.cross_entropy(own[:, :-1].flatten(0, 1), LABELS[:, 1:].flatten(), reduction="sum")
    assert picked == pytest.approx(float(by_hand), abs=1e-3) and whole == pytest.approx(picked, abs=1e-3)


def test_a_prefix_begins_as_words_that_the_model_knows(base: Callable[..., Any]) -> None:
    """What peft draws is noise of size 1; this model's keys and values are far smaller."""
    learner = make_learner(settings_of("prefix", virtual_tokens=16), base(), seed=1)
    with torch.no_grad():
        memory = base().model(input_ids=IDS, use_cache=True).past_key_values
    known = torch.cat([part.flatten() for layer in memory.layers for part in (layer.keys, layer.values)])
    begun = torch.cat([tensor.detach().flatten() for tensor in learner.model.parameters() if tensor.requires_grad])
    assert float(known.std()) == pytest.approx(float(begun.std()), rel=0.3)


@pytest.mark.parametrize("method", ["lora", "adalora", "pissa", "ptuning", "prefix", "ia3", "bitfit"])
def test_a_finished_adapter_is_trained_further_from_where_it_was(
    method: Method, base: Callable[..., Any], tmp_path: Path
) -> None:
    """PiSSA goes on as the LoRA it was saved as, P-tuning as the virtual tokens that it made."""
    loaded = base_of(method, base)
    learner = make_learner(settings_of(method), loaded, seed=1, steps=12)
    trained(learner, steps=9)
    learner.save(tmp_path / "first", card("first", settings=settings_of(method)))
    further = make_learner(method_settings(tmp_path / "first"), loaded, seed=2, start_from=tmp_path / "first", steps=12)
    bound = 0.05 if loaded.precision.compute == "bf16" else 1e-4
    assert (logits(further.model) - logits(learner.model)).abs().max() < bound
    assert {t.dtype for t in further.model.parameters() if t.requires_grad} == {torch.float32}
    assert (logits(further.model) - logits(loaded.model)).abs().max() > 1e-2
    losses = trained(further, steps=8)
    assert losses[-1] < losses[0]
