"""What is trained: a twin of the loaded model with something of its own in it, whatever the method.

Owns making it, what a checkpoint must hold of it, and its finished form. The loop asks it for parameters and hands it
the moment after each optimizer step; it knows nothing of data, steps to come or events. The loaded model is never
wrapped nor written: what a method changes in the base is copied into the twin first.

    MethodSettings + LoadedModel → make_learner → Learner (trained by `trainer`) → `save` → a folder that others load
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import set_seed

from core.adapters.card import AdapterCard
from core.adapters.config_file import CONFIG_FILE
from core.adapters.method_facts import METHODS
from core.adapters.methods import PROMPT_METHODS, adapted_shapes
from core.adapters.peft_configs import peft_config
from core.adapters.store import save_adapter, write_adapter
from core.adapters.tensor_file import WEIGHTS_FILE
from core.models.loader import LoadedModel
from core.models.prefix import Prefix
from core.models.twin import make_twin
from core.settings import Method, MethodSettings
from core.training.lineage import check_settings_fit
from core.training.parameters import (
    ParameterGroup,
    State,
    autocast,
    copy_into,
    evaluating,
    groups,
    shapes,
    trained_parameters,
)
from core.training.rank_budget import RankBudget
from core.training.rewritten_base import RewrittenBase, copy_matrices
from core.training.trained_weights import WeightsLearner
from core.workspace import read_json

ADAPTER = "adapter"  # the adapter's name in the twin
VIRTUAL = "prompt_embeddings"  # virtual tokens in a file; peft loads them, and calls them unexpected all the same
NEVER_DECAYED: tuple[Method, ...] = ("ia3", *PROMPT_METHODS)  # zero is no rest position of factors and virtual tokens


class Learner(Protocol):
    """Something that is trained. `model` is what the loop runs and what holds the parameters that have gradients."""

    method: Method
    model: Any

    def compute(self) -> AbstractContextManager[Any]:
        """Within it, forward passes are right: under autocast where fp32 weights meet a 16-bit base."""

    def penalty(self) -> torch.Tensor | None:
        """What the method adds to the loss, a scalar; its value is no part of the loss that is shown."""

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[ParameterGroup]:
        """All trained parameters for an optimizer, in an order that is always the same."""

    def on_step(self, step: int) -> None:
        """After each optimizer step, counted from 1, while the gradients are still there."""

    def state(self) -> State:
        """Tensors and plain values from which training goes on bit by bit, beside optimizer and generators."""

    def load_state(self, state: State) -> None:
        """Be again what `state` was."""

    def save(self, folder: Path, card: AdapterCard, replace: bool = False) -> None:
        """Write the finished thing as a whole, in the form that chat and other programs load."""

    def decoding(self) -> tuple[Any, Prefix | None]:
        """The bare tree and the virtual tokens with which `generation.decode` answers as it stands now."""


def make_learner(
    method: MethodSettings,
    loaded: LoadedModel,
    seed: int,
    start_from: Path | None = None,
    steps: int | None = None,
    further: bool = False,
) -> Learner:
    """A fresh learner, drawn from the seed, or one that begins as the finished adapter in a folder.

    `steps` is how long it will be trained, which AdaLoRA's budget depends on; None where it is only to be measured.
    `further` says of one that is about to load a state that its run began as a finished adapter; it needs no folder.
    The process-wide generators are left as the seed and the drawing made them.
    """
    set_seed(seed)
    if METHODS[method.method].trains_base and method.method != "layernorm":
        return WeightsLearner(method, loaded, start_from)
    return AdapterLearner(method, loaded, start_from, steps, further)


class AdapterLearner:
    """An adapter of one of peft's own methods in a twin."""

    def __init__(
        self, method: MethodSettings, loaded: LoadedModel, start_from: Path | None, steps: int | None, further: bool
    ) -> None:
        from peft import get_peft_model

        self.method = method.method
        self._settings = method
        self._precision = loaded.precision
        facts = METHODS[method.method]
        twin = make_twin(loaded.model)
        config = peft_config(method, twin, steps)
        if facts.rewrites_base:
            copy_matrices(twin, adapted_shapes(method, twin))
        self.model = get_peft_model(twin, config, adapter_name=ADAPTER)
        if method.method == "layernorm":
            _keep_fp32_masters(self.model)
        if method.method == "prefix":
            _begin_as_words(self.model)
        if start_from is not None:
            _begin_as(self.model, start_from)
        self._rewritten = RewrittenBase(self.model, loaded.model, ADAPTER) if facts.rewrites_base else None
        # The ranks of a finished AdaLoRA adapter are settled: trained further, it keeps them.
        budget_steps = None if further or start_from else steps
        self._budget = RankBudget(self.model, ADAPTER, budget_steps) if method.method == "adalora" else None

    def compute(self) -> AbstractContextManager[Any]:
        return autocast(self._precision) if METHODS[self.method].trains_base else nullcontext()

    def penalty(self) -> torch.Tensor | None:
        return self._budget.penalty() if self._budget else None

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[ParameterGroup]:
        decay = 0.0 if self.method in NEVER_DECAYED else weight_decay
        if self.method != "loraplus":
            return groups(trained_parameters(self.model), learning_rate, decay)
        named = trained_parameters(self.model)
        second = {name: tensor for name, tensor in named.items() if ".lora_B." in name}
        first = {name: tensor for name, tensor in named.items() if name not in second}
        return [
            *groups(first, learning_rate, decay),
            *groups(second, learning_rate * self._settings.loraplus_ratio, decay),
        ]

    def on_step(self, step: int) -> None:
        if self._budget:
            self._budget.on_step(step)

    def state(self) -> State:
        state: State = {"trained": {name: tensor.detach() for name, tensor in trained_parameters(self.model).items()}}
        if self._rewritten:
            state["starts"] = self._rewritten.starts
        if self._budget:
            state["budget"] = self._budget.state()
        return state

    def load_state(self, state: State) -> None:
        trained = trained_parameters(self.model)
        if self._budget:
            self._budget.take_ranks(trained, state["trained"])
        copy_into(trained, state["trained"])
        if self._rewritten:
            self._rewritten.restart(state["starts"])
        if self._budget:
            self._budget.load_state(state["budget"])

    def save(self, folder: Path, card: AdapterCard, replace: bool = False) -> None:
        if self._rewritten:
            tensors, config = self._rewritten.converted()
            write_adapter(folder, tensors, config, card, replace)
        else:
            save_adapter(self.model, ADAPTER, folder, card, replace)

    def decoding(self) -> tuple[Any, Prefix | None]:
        tree = self.model.get_base_model()
        if self.method not in PROMPT_METHODS:
            return tree, None
        with evaluating(self.model):
            virtual = self.model.get_prompt_embedding_to_save(ADAPTER).to(tree.device)
            made = Prefix.from_past if self.method == "prefix" else Prefix.from_embeddings
            return tree, made(tree, virtual)


def _keep_fp32_masters(model: Any) -> None:
    """Let the copies of norms that are trained be fp32: of a bf16 weight most steps are too small to change it."""
    from peft.tuners.ln_tuning.layer import LNTuningLayer

    for module in model.modules():
        if isinstance(module, LNTuningLayer):
            module.ln_tuning_layers[ADAPTER].float()


def _begin_as_words(model: Any) -> None:
    """Let a prefix begin as what the model remembers of words drawn at random, not as noise it has never seen.

    Li and Liang (https://arxiv.org/abs/2101.00190) found that it learns faster and, from few rows, better.
    """
    tree, embedding = model.get_base_model(), model.prompt_encoder[ADAPTER].embedding
    words = torch.randint(tree.config.get_text_config().vocab_size, (1, embedding.num_embeddings))
    with evaluating(model):
        memory = tree(input_ids=words.to(tree.device), use_cache=True).past_key_values
        pairs = [part for layer in memory.layers for part in (layer.keys, layer.values)]  # (1, heads, n, head_dim) each
        embedding.weight.copy_(torch.cat([part[0].transpose(0, 1).flatten(1) for part in pairs], dim=1))


def _begin_as(model: Any, folder: Path) -> None:
    """Give a new adapter the weights of a finished one that was made with the same settings.

    Raises:
        WorkbenchError: A22 where its card names settings that its weights cannot have been made with.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights, config = load_file(folder / WEIGHTS_FILE), model.peft_config[ADAPTER]
    own = shapes(get_peft_model_state_dict(model, adapter_name=ADAPTER))
    if config.peft_type == "ADALORA":  # the ranks that its layers have kept are its own affair
        own = {name: tuple(weights[name].shape) if name in weights else shape for name, shape in own.items()}
    check_settings_fit(folder, own, shapes(weights))
    if config.peft_type == "ADALORA":
        config.rank_pattern = read_json(folder / CONFIG_FILE)["rank_pattern"]
    outcome = set_peft_model_state_dict(model, weights, adapter_name=ADAPTER)
    assert set(outcome.unexpected_keys) <= {VIRTUAL}, "its tensors have been compared"
    if config.peft_type == "ADALORA":
        _widen(model, weights)


def _widen(model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Make tensors fp32 again: giving a layer the rank it was pruned to, peft gives it the base's format too."""
    from peft.tuners.tuners_utils import cast_adapter_dtype

    cast_adapter_dtype(model, ADAPTER)
    tensors = {name.removesuffix(f".{ADAPTER}"): tensor for name, tensor in model.named_parameters()}
    copy_into({name: tensors[name] for name in weights}, weights)
