"""Putting a judged adapter's tensors into a tree.

Owns the three ways in: layers beside the model's linear layers (peft's own), weights in the place of the model's,
virtual tokens before its input. Which tree it is, and who shares it, is the business of `serving`.

Applying must not disturb a training run in the same process: the layers are built on the meta device, which draws no
random numbers (peft initialises even what it is about to overwrite), and the file's tensors are then put in their
place. peft's own `low_cpu_mem_usage` would patch torch for all threads meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from core.adapters.combine import as_lora
from core.adapters.layouts import PROMPT, TunerLayers, VirtualTokens
from core.adapters.tensor_file import named
from core.adapters.tensor_values import Tensors
from core.adapters.validity import AdapterFiles
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.models.prefix import Prefix
from core.models.twin import put_in


def with_layers(tree: Any, adapter_id: str, files: AdapterFiles, tensors: Tensors) -> Any:
    """A PeftModel with one adapter more: a bare tree is wrapped, a PeftModel extended or left as it was on failure.

    Raises:
        WorkbenchError: M19 where peft has no such layers for this base, M20 where the tensors do not fill them exactly.
    """
    from peft import PeftModel, PeftModelForCausalLM

    is_wrapped = isinstance(tree, PeftModel)
    options, parts = _options_and_parts(files, tensors)
    try:
        with _EmptyLayers():
            config = _peft_config(files, options, tree)
            if is_wrapped:
                tree.add_adapter(adapter_id, config)
            else:
                tree = PeftModelForCausalLM(tree, config, adapter_id)
        _fill(tree, adapter_id, parts)
    except BaseException as error:
        if is_wrapped:
            _take_out(tree, adapter_id)
        if isinstance(error, ValueError | TypeError):
            raise refusal("M19_not_injectable", Place(file=files.folder.name), reason=excerpt(error)) from error
        raise
    return tree.eval()


def with_weights(twin: Any, files: AdapterFiles, tensors: Tensors) -> Any:
    """A bare twin with the adapter's weights in the place of the base's, in the base's number format."""
    assert files.fields, "judged files have fields"
    old = dict(twin.named_parameters())
    located = {".".join(files.fields.layout.locate(name) or ()): tensor for name, tensor in tensors.items()}
    put_in(twin, {name: tensor.to(old[name].dtype) for name, tensor in located.items()})
    return twin


def prefix_of(tree: Any, files: AdapterFiles, tensors: Tensors) -> Prefix:
    """The virtual tokens of an adapter, as a bare tree remembers them."""
    assert files.fields and isinstance(files.fields.layout, VirtualTokens), "only virtual tokens make a prefix"
    make = Prefix.from_past if files.fields.layout.deep else Prefix.from_embeddings
    return make(tree, tensors[PROMPT])


def _options_and_parts(files: AdapterFiles, tensors: Tensors) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What peft is told beside the modules, and the tensors by module and part, as `model.layers.0.q_proj/lora_A`."""
    fields = files.fields
    assert fields and isinstance(fields.layout, TunerLayers), "judged files of a type with layers of its own"
    options = {name: fields.values[name] for name in fields.layout.own_rules if fields.values[name] is not None}
    parts = {"/".join(fields.layout.locate(name) or ()): tensor for name, tensor in tensors.items()}
    if fields.type == "ADALORA":
        return as_lora(files, tensors)
    if fields.type == "IA3":
        by_input = [module for module, shapes in files.parts.items() if shapes["ia3_l"][0] == 1]
        options["feedforward_modules"] = by_input
    return options, parts


def _peft_config(files: AdapterFiles, options: dict[str, Any], tree: Any) -> Any:
    """peft's configuration from judged values alone; the modules are those that the file has tensors for."""
    import peft
    from transformers.pytorch_utils import Conv1D

    assert files.fields and isinstance(files.fields.layout, TunerLayers)
    config = getattr(peft, files.fields.layout.config)
    told = {"target_modules": list(files.parts), "inference_mode": True, "task_type": "CAUSAL_LM"}
    if "fan_in_fan_out" in config.__dataclass_fields__:
        told["fan_in_fan_out"] = any(isinstance(module, Conv1D) for module in tree.modules())
    if "init_lora_weights" in config.__dataclass_fields__:
        told["init_lora_weights"] = False
    return config(**options | told)


class _EmptyLayers(TorchFunctionMode):
    """Within it, layers that this thread makes have shapes, but neither memory nor values.

    Narrower than `torch.device("meta")`, in which a quantised weight (which begins as an empty tensor) can't be copied.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func is torch.Tensor.to and args[0].is_meta:
            return args[0]  # peft moves new layers to the base's device, which empty ones have no need of
        if func in (torch.empty, torch.randn) and args and args[0] != 0 and options.get("device") is None:
            options["device"] = "meta"
        return func(*args, **options)


def _take_out(tree: Any, adapter_id: str) -> None:
    """Remove whatever there is of an adapter, also where injecting it ended half-way."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    tree.peft_config.pop(adapter_id, None)
    for module in tree.modules():
        if isinstance(module, BaseTunerLayer):
            module.delete_adapter(adapter_id)


def _fill(tree: Any, adapter_id: str, parts: Mapping[str, torch.Tensor]) -> None:
    """Replace the adapter's meta parameters by the tensors.

    Raises:
        WorkbenchError: M20 where they do not fill it exactly.
    """
    state: dict[str, torch.Tensor] = {}
    for name, tensor in parts.items():
        module, _, part = name.partition("/")
        head, dot, leaf = part.partition(".")
        state[f"base_model.model.{module}.{head}.{adapter_id}{dot}{leaf}"] = tensor
    own = {name: tensor for name, tensor in tree.named_parameters() if f".{adapter_id}" in name}
    shapes = [{name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (own, state)]
    unlike = sorted(name for name, _ in set(shapes[0].items()) ^ set(shapes[1].items()))
    if unlike:
        raise WorkbenchError([Problem("M20_keys_differ", values=named(list(dict.fromkeys(unlike))))])
    tree.load_state_dict(state, strict=False, assign=True)
    for name, tensor in tree.named_parameters():
        if name in own:
            tensor.requires_grad_(False)
