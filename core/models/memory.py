"""How much memory is used and free, on the machine and on its accelerator, in GB (1e9 bytes).

Owns reading the numbers; estimates of what a model or a run will need are made by those who ask.
"""

from __future__ import annotations

import gc
import os
import sys

import psutil

GB = 1e9


def process_memory_gb() -> float:
    """Resident memory of this process."""
    return float(psutil.Process(os.getpid()).memory_info().rss) / GB


def free_memory_gb(device: str = "cpu") -> float:
    """Memory a new model could take on a device: what the system calls available, or the accelerator's free memory."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.mem_get_info(torch.device(device))[0]) / GB
    return float(psutil.virtual_memory().available) / GB


def used_memory_gb(device: str = "cpu") -> float:
    """What this process holds on a device; where that is not the CPU, tensors alone, without the driver's share."""
    if device.startswith("cuda") and "torch" in sys.modules:
        import torch

        return float(torch.cuda.memory_allocated(torch.device(device))) / GB
    return process_memory_gb()


def release() -> None:
    """Give memory that nothing refers to any more back to the system and the accelerator."""
    gc.collect()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
