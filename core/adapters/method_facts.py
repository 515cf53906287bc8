"""What each training method is: facts that the page, the plan and the checks need before anything is built.

Owns the table `METHODS`, one row a method of `core.settings.Method`. Pure: nothing here imports torch. How a method is
built is `methods`' and training's business; its words are in the catalogue under `methods.<name>`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.settings import Method

Makes = Literal["adapter", "model"]
LOW_RANK = ("rank", "alpha", "dropout", "target_modules", "layers")


@dataclass(frozen=True)
class MethodFacts:
    """One method. `settings` are the fields of `MethodSettings` that it uses, `learning_rate` its default.

    `usual_rates` is the range in which people train with it. `quantised`: precisions of a quantised base on which it
    trains. `trains_base`: tensors of the base itself are trained, in copies of their own kept in fp32. `rewrites_base`:
    the start of training changes base matrices, which are copied for it, and the adapter is converted when it is saved.
    `shares_batch`: chat answers with it in one batch with the base and other adapters. `can_checkpoint`: activations
    may be computed twice instead of kept.
    """

    name: Method
    settings: tuple[str, ...]
    learning_rate: float
    usual_rates: tuple[float, float]
    quantised: tuple[str, ...] = ("int8", "nf4")
    makes: Makes = "adapter"
    trains_base: bool = False
    rewrites_base: bool = False
    shares_batch: bool = False
    mergeable: bool = True
    can_checkpoint: bool = True


_LORA = (*LOW_RANK, "lora_bias")
# The default rates were tried on the starter in bf16: in 10 to 12 steps of 2 or 3 rows, the loss of rows not trained on
# fell from 2.7 to 1.9 (LoRA), 1.1 (PiSSA), 1.3 (AdaLoRA), 1.6 (LoHa), 1.3 (LoKr), 0.9 (IA3), 1.1 (OFT), 1.0 (norms),
# 1.3 (prompt), 1.1 to 1.5 (prefix, a little higher and lower), 0.9 (LoRA+), 0.8 (OLoRA), 1.5 (rsLoRA), 2.1 (P-tuning,
# freeze, full). DoRA and BitFit have those of their relatives.
_ALL = (
    MethodFacts("lora", _LORA, 2e-4, (5e-5, 1e-3), shares_batch=True),
    MethodFacts("rslora", _LORA, 1e-4, (2e-5, 5e-4), shares_batch=True),
    MethodFacts("dora", LOW_RANK, 2e-4, (5e-5, 1e-3), quantised=("nf4",)),
    MethodFacts("loraplus", (*_LORA, "loraplus_ratio"), 1e-4, (1e-5, 5e-4), shares_batch=True),
    MethodFacts("pissa", LOW_RANK, 1e-4, (1e-5, 5e-4), quantised=(), rewrites_base=True, shares_batch=True),
    MethodFacts("olora", LOW_RANK, 1e-4, (1e-5, 5e-4), quantised=(), rewrites_base=True, shares_batch=True),
    MethodFacts("adalora", LOW_RANK, 1e-2, (1e-3, 5e-2), quantised=("nf4",), shares_batch=True),
    MethodFacts("loha", LOW_RANK, 3e-3, (3e-4, 1e-2), quantised=("int8",)),
    MethodFacts("lokr", LOW_RANK, 3e-3, (3e-4, 1e-2), quantised=("int8",)),
    MethodFacts("ia3", ("target_modules",), 1e-2, (1e-3, 5e-2), quantised=()),
    MethodFacts("oft", ("dropout", "target_modules", "layers"), 1e-3, (1e-4, 5e-3)),
    MethodFacts("layernorm", (), 5e-3, (5e-4, 2e-2), trains_base=True),
    MethodFacts("bitfit", (), 2e-3, (2e-4, 1e-2), quantised=(), trains_base=True),
    MethodFacts("prompt", ("virtual_tokens",), 3e-2, (3e-3, 0.3), mergeable=False),
    MethodFacts("prefix", ("virtual_tokens",), 3e-2, (1e-3, 0.1), mergeable=False, can_checkpoint=False),
    MethodFacts("ptuning", ("virtual_tokens",), 3e-3, (3e-4, 3e-2), mergeable=False),
    MethodFacts("freeze", ("trained_layers", "target_modules"), 1e-4, (1e-5, 5e-4), quantised=(), trains_base=True),
    MethodFacts("full", (), 2e-5, (1e-6, 1e-4), quantised=(), makes="model", trains_base=True),
)
METHODS: dict[Method, MethodFacts] = {facts.name: facts for facts in _ALL}
