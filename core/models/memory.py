"""How much memory is used and free, on the machine and on its accelerator, in GB (1e9 bytes).

Owns reading the numbers, giving memory back, and telling whether an error means that there was none left; estimates of
what a model or a run will need are made by those who ask.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import sys

import psutil

GB = 1e9
OUT_OF_MEMORY_WORDS = (
    "can't allocate memory",
    "out of memory",
    "cannot allocate memory",
)  # as torch and systems say it


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
    trim_heap()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def trim_heap() -> None:
    """Give what was freed in this process's heap back to the system, where the C library can; takes milliseconds.

    glibc keeps what was freed in the middle of its heap, after a training step often half of what it had needed, until
    it is told to give it back (https://man7.org/linux/man-pages/man3/malloc_trim.3.html). It is kept in pieces; those
    that tensors of other sizes do not fit into are held in vain, and the process grows.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that memory could not be had, whoever noticed it."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which need not be imported to know it
            return True
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False
