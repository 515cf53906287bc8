"""The module trees that chat runs on: twins of the pristine base model with the applied adapters in them.

Owns putting adapters into trees and taking them out, and saying which tree answers with which adapter. Adapters of LoRA
type share one tree, so that base and any of them can answer in one batch; a DoRA adapter, which peft cannot mix, gets a
tree of its own. Every tree is a twin: it costs no weight memory, and the pristine tree is never wrapped.

Applying must not disturb a training run in the same process: the layers are built on the meta device, which draws no
random numbers (peft initialises even what it is about to overwrite), and the file's tensors are then put in their
place. peft's own `low_cpu_mem_usage` would patch torch for all threads meanwhile.

Not thread-safe: one thread, the engine's, uses it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from core.adapters.card import AdapterCard
from core.adapters.methods import linear_shapes
from core.adapters.tensor_file import WEIGHTS_FILE, module_and_part, named
from core.adapters.validity import AdapterFiles, judge
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.models.loader import LoadedModel
from core.models.twin import make_twin

HUGE = 1e6  # weights of trained adapters stay below 10


@dataclass(frozen=True)
class Applied:
    """An adapter in a tree. `id` is its name inside peft; `shares_batch` is false for one with a tree of its own."""

    name: str
    id: str
    folder: Path
    card: AdapterCard | None
    method: str
    shares_batch: bool
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Route:
    """Where rows are answered: a tree, and for each row (by its index) the adapter's id in it, None for the base."""

    tree: Any
    rows: tuple[int, ...]
    adapters: tuple[str | None, ...]


class ServingTrees:
    """The trees over one loaded model. Without adapters there is only a plain twin."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._plain = make_twin(model.model)
        self._shared: Any | None = None  # a PeftModel; None while no adapter of LoRA type is applied
        self._own: dict[str, Any] = {}  # a tree by the id of the only adapter in it
        self._applied: dict[str, Applied] = {}
        self._retired: set[str] = set()  # ids in trees that have no name any more
        self._count = 0

    @property
    def applied(self) -> tuple[Applied, ...]:
        return tuple(self._applied.values())

    def apply(self, name: str, folder: Path) -> Applied:
        """Put an adapter into a tree; one that is applied under this name is replaced (its rows end undisturbed).

        Raises:
            WorkbenchError: M13, M18-M23 where the folder is no adapter for this base. Nothing is left registered.
        """
        files = self._judged(folder)
        tensors, warnings = _read_tensors(files, next(self._plain.parameters()).device)
        assert files.fields, "judged files have fields"
        adapter = Applied(
            name=name,
            id=self._new_id(name),
            folder=folder,
            card=files.card,
            method=files.fields.method,
            shares_batch=not files.fields.use_dora,
            warnings=tuple(problem for problem in (*files.problems, *warnings) if problem.severity == "warning"),
        )
        if adapter.shares_batch:
            self._shared = _with_adapter(self._shared or self._plain_twin(), adapter.id, files, tensors)
        else:
            self._own[adapter.id] = _with_adapter(self._plain_twin(), adapter.id, files, tensors)
        if name in self._applied:
            self.remove(name)
        self._applied[name] = adapter
        return adapter

    def remove(self, name: str) -> None:
        """Take an adapter's name away at once. Its weights go with the next `drop_retired`; rows that use them end.

        Raises:
            WorkbenchError: M25 where no adapter of this name is applied.
        """
        adapter = self._find(name)
        del self._applied[name]
        self._retired.add(adapter.id)

    def drop_retired(self, in_use: Collection[str]) -> None:
        """Delete the weights of removed adapters that no row uses any more."""
        gone = self._retired - set(in_use)
        self._retired -= gone
        for adapter_id in gone & self._own.keys():
            del self._own[adapter_id]
        in_shared = gone & self._shared_ids()
        staying = sorted(self._shared_ids() - in_shared)
        if self._shared is None or not in_shared:
            return
        if not staying:
            self._shared = None
            return
        self._shared.set_adapter(staying[0], inference_mode=True)
        for adapter_id in in_shared:
            self._shared.delete_adapter(adapter_id)

    def holds(self, adapter: Applied) -> bool:
        """Whether the weights of an adapter are still in a tree."""
        return adapter.id in self._own or adapter.id in self._shared_ids()

    def find(self, name: str | None) -> Applied | None:
        """The applied adapter of that name, None for the base.

        Raises:
            WorkbenchError: M25 where no adapter of this name is applied.
        """
        return None if name is None else self._find(name)

    def routes(self, adapters: Sequence[Applied | None]) -> list[Route]:
        """The trees that answer these rows together: one for the base and all LoRA adapters, one for each other."""
        shared = tuple(i for i, adapter in enumerate(adapters) if adapter is None or adapter.shares_batch)
        ids = tuple(adapter.id if adapter else None for adapter in adapters)
        routes: list[Route] = []
        if shared:
            tree = self._shared if any(ids[i] for i in shared) else self._plain
            routes.append(Route(tree, shared, tuple(ids[i] for i in shared)))
        for adapter_id in dict.fromkeys(adapter.id for adapter in adapters if adapter and not adapter.shares_batch):
            rows = tuple(i for i, row_id in enumerate(ids) if row_id == adapter_id)
            # The bare tree inside, whose only adapter is active: in it, rows name none.
            routes.append(Route(self._own[adapter_id].get_base_model(), rows, (None,) * len(rows)))
        return routes

    def _find(self, name: str) -> Applied:
        adapter = self._applied.get(name)
        if adapter is None:
            known = excerpt(", ".join(tuple(self._applied))) or "–"
            raise refusal("M25_not_applied", Place(excerpt=excerpt(name)), name=excerpt(name), known=known)
        return adapter

    def _shared_ids(self) -> set[str]:
        return set(self._shared.peft_config) if self._shared is not None else set()

    def _new_id(self, name: str) -> str:
        self._count += 1
        return f"ad_{hashlib.sha256(f'{self._count}/{name}'.encode()).hexdigest()[:16]}"

    def _plain_twin(self) -> Any:
        return make_twin(self._model.model)

    def _judged(self, folder: Path) -> AdapterFiles:
        """The folder's files, its warnings about this base among the problems; raises on any error."""
        layers = linear_shapes(self._model.model, with_head=True)
        files = judge(folder, layers, self._model.fingerprint, self._model.info.name)
        if files.errors:
            raise WorkbenchError(files.errors)
        return files


def _read_tensors(files: AdapterFiles, device: torch.device) -> tuple[dict[str, torch.Tensor], list[Problem]]:
    """The adapter's tensors in fp32, as peft keeps them, copied off the file; remarks about their values."""
    from safetensors.torch import load_file

    place = Place(file=f"{files.folder.name}/{WEIGHTS_FILE}")
    loaded = load_file(files.folder / WEIGHTS_FILE, device=str(device))
    tensors = {name: tensor.to(torch.float32, copy=True) for name, tensor in loaded.items()}
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WorkbenchError([Problem("M21_not_finite", place, named(broken))])
    huge = [name for name, tensor in tensors.items() if tensor.abs().max() > HUGE]
    return tensors, [Problem("M21_huge_values", place, named(huge), "warning")] if huge else []


def _with_adapter(tree: Any, adapter_id: str, files: AdapterFiles, tensors: dict[str, torch.Tensor]) -> Any:
    """A PeftModel with one adapter more: a bare tree is wrapped, a PeftModel extended or left as it was on failure."""
    from peft import PeftModel, PeftModelForCausalLM

    config = _peft_config(tree, files)
    is_wrapped = isinstance(tree, PeftModel)
    try:
        with _EmptyLayers():
            if is_wrapped:
                tree.add_adapter(adapter_id, config)
            else:
                tree = PeftModelForCausalLM(tree, config, adapter_id)
        _put_in(tree, adapter_id, tensors)
    except BaseException:
        if is_wrapped:
            _take_out(tree, adapter_id)
        raise
    return tree.eval()


class _EmptyLayers(TorchFunctionMode):
    """Within it, layers that this thread makes have shapes, but neither memory nor values.

    Narrower than `torch.device("meta")`, in which a quantised weight (which begins as an empty tensor) can't be copied.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty and args and args[0] != 0 and options.get("device") is None:
            options["device"] = "meta"
        return func(*args, **options)


def _take_out(tree: Any, adapter_id: str) -> None:
    """Remove whatever there is of an adapter, also where injecting it ended half-way."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    tree.peft_config.pop(adapter_id, None)
    for module in tree.modules():
        if isinstance(module, BaseTunerLayer):
            module.delete_adapter(adapter_id)


def _put_in(tree: Any, adapter_id: str, tensors: dict[str, torch.Tensor]) -> None:
    """Replace the adapter's meta parameters by the tensors.

    Raises:
        WorkbenchError: M20 where they do not fill it exactly.
    """
    state: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        module, part = module_and_part(name)
        matrix, _, leaf = part.partition(".")
        state[f"base_model.model.{module}.{matrix}.{adapter_id}.{leaf or 'weight'}"] = tensor
    result = tree.load_state_dict(state, strict=False, assign=True)
    own = {name: tensor for name, tensor in tree.named_parameters() if f".{adapter_id}." in name}
    empty = [name for name, tensor in own.items() if tensor.is_meta]
    if result.unexpected_keys or empty:
        raise WorkbenchError([Problem("M20_keys_differ", values=named([*result.unexpected_keys, *empty]))])
    for tensor in own.values():
        tensor.requires_grad_(False)


def _peft_config(tree: Any, files: AdapterFiles) -> Any:
    """peft's configuration from judged fields alone; the modules are those that the file has tensors for."""
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    fields = files.fields
    assert fields, "judged files have fields"
    return LoraConfig(
        r=fields.rank,
        lora_alpha=fields.alpha,
        target_modules=list(files.modules),
        rank_pattern=dict(fields.rank_pattern),
        alpha_pattern=dict(fields.alpha_pattern),
        use_rslora=fields.use_rslora,
        use_dora=fields.use_dora,
        lora_bias=fields.lora_bias,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in tree.modules()),
        init_lora_weights=False,
        inference_mode=True,
        task_type="CAUSAL_LM",
    )
