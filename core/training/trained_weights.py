"""Training weights of the base itself, in copies of their own: BitFit, freeze tuning, full fine-tuning.

Owns the copies, which are fp32 whatever the base is: a step is far smaller than what bf16 can add to a weight. The rest
of the twin is shared with the loaded model. BitFit and freeze tuning are kept as the trained weights alone; full
fine-tuning is kept as a model folder in the base's own format.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.adapters.card import AdapterCard, write_card
from core.adapters.methods import trained_names
from core.adapters.store import write_adapter
from core.adapters.tensor_file import WEIGHTS_FILE
from core.models.loader import LoadedModel
from core.models.prefix import Prefix
from core.models.twin import make_twin, put_in
from core.settings import MethodSettings
from core.training.lineage import check_settings_fit
from core.training.parameters import ParameterGroup, State, autocast, copy_into, groups, shapes
from core.workspace import new_folder

CONFIG = {"peft_type": "TRAINED_WEIGHTS", "format_version": 1}
GENERATION_CONFIG = "generation_config.json"


class WeightsLearner:
    """Some or all of the base's own weights."""

    def __init__(self, method: MethodSettings, loaded: LoadedModel, start_from: Path | None = None) -> None:
        self.method = method.method
        self._loaded = loaded
        self.model = make_twin(loaded.model)
        self._trained = own_copies(self.model, trained_names(method, loaded.model))
        if start_from is not None:
            from safetensors.torch import load_file

            weights = load_file(start_from / WEIGHTS_FILE)
            check_settings_fit(start_from, shapes(self._trained), shapes(weights))
            copy_into(self._trained, weights)

    def compute(self) -> AbstractContextManager[Any]:
        return autocast(self._loaded.precision)

    def penalty(self) -> torch.Tensor | None:
        return None

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[ParameterGroup]:
        return groups(self._trained, learning_rate, weight_decay)

    def on_step(self, step: int) -> None:
        """Nothing but the optimizer changes these weights."""

    def state(self) -> State:
        return {"trained": {name: tensor.detach() for name, tensor in self._trained.items()}}

    def load_state(self, state: State) -> None:
        copy_into(self._trained, state["trained"])

    def save(self, folder: Path, card: AdapterCard, replace: bool = False) -> None:
        if self.method == "full":
            self._save_model(folder, card, replace)
        else:
            write_adapter(folder, self._trained, CONFIG, card, replace)

    def decoding(self) -> tuple[Any, Prefix | None]:
        return self.model, None

    def _save_model(self, folder: Path, card: AdapterCard, replace: bool) -> None:
        """A model folder like the base's: configuration, tokenizer with its template, weights in the base's dtype."""
        finished = make_twin(self._loaded.model)
        formats = {name: tensor.dtype for name, tensor in finished.named_parameters()}
        put_in(finished, {name: tensor.detach().to(formats[name]) for name, tensor in self._trained.items()})
        with new_folder(folder, replace) as staging:
            finished.save_pretrained(staging)
            self._loaded.tokenizer.save_pretrained(staging)
            stated = self._loaded.info.folder / GENERATION_CONFIG
            if stated.is_file():
                shutil.copyfile(stated, staging / GENERATION_CONFIG)
            write_card(staging, card)


def own_copies(twin: nn.Module, names: Iterable[str]) -> dict[str, nn.Parameter]:
    """Give a twin trainable fp32 copies of its own of these parameters; tied ones stay tied."""
    chosen = set(names)
    copies = {
        name: nn.Parameter(tensor.detach().to(torch.float32, copy=True))
        for name, tensor in twin.named_parameters()
        if name in chosen
    }
    put_in(twin, copies)
    return copies
