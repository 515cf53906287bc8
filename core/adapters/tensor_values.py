"""The numbers in an adapter's tensor file, read after its header was judged (`validity`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from core.adapters.tensor_file import WEIGHTS_FILE, named
from core.adapters.validity import AdapterFiles
from core.errors import Place, Problem, WorkbenchError

HUGE = 1e6  # weights of trained adapters stay below 10
Tensors = Mapping[str, torch.Tensor]


def load_tensors(files: AdapterFiles, device: torch.device) -> tuple[Tensors, list[Problem]]:
    """The adapter's tensors in fp32, as peft keeps them, copied off the file; remarks about their values.

    Raises:
        WorkbenchError: M21 where a value is no number.
    """
    from safetensors.torch import load_file

    place = Place(file=f"{files.folder.name}/{WEIGHTS_FILE}")
    loaded = load_file(files.folder / WEIGHTS_FILE, device=str(device))
    tensors = {name: tensor.to(torch.float32, copy=True) for name, tensor in loaded.items()}
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WorkbenchError([Problem("M21_not_finite", place, named(broken))])
    huge = [name for name, tensor in tensors.items() if tensor.numel() and tensor.abs().max() > HUGE]
    return tensors, [Problem("M21_huge_values", place, named(huge), "warning")] if huge else []
