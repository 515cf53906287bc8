"""The most memory that a piece of work needs at once, measured while it is done.

Owns how that is found on each system. On an accelerator its allocator counts tensors. On Linux the kernel keeps the
highest resident size of the process (`VmHWM` in /proc/self/status), which writing 5 to /proc/self/clear_refs sets back
(https://www.kernel.org/doc/html/latest/filesystems/proc.html). Elsewhere a thread looks many times a second.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol

from core.models.memory import GB, process_memory_gb, release, used_memory_gb

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
LOOK_EVERY_S = 0.01


class PeakMemory(AbstractContextManager["PeakMemory"]):
    """Within it, `gb` is the most this process has held on a device since, over what it held at the beginning.

    Memory that nothing uses any more is given back first, so that it does not hide what is needed. What other threads
    take meanwhile is counted too. One at a time: the kernel has one mark for a process.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device

    @property
    def gb(self) -> float:
        return max(0.0, self._gauge.highest_gb() - self._before_gb)

    def __enter__(self) -> PeakMemory:
        release()
        self._gauge = _gauge(self._device)
        self._before_gb = used_memory_gb(self._device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._gauge.close()


class _Gauge(Protocol):
    """Knows the highest value since it was made."""

    def highest_gb(self) -> float: ...
    def close(self) -> None: ...


def _gauge(device: str) -> _Gauge:
    if device.startswith("cuda"):
        return _AllocatorGauge(device)
    try:
        return _KernelGauge()
    except OSError:  # another system, or one that forbids it
        return _LookingGauge()


class _AllocatorGauge:
    def __init__(self, device: str) -> None:
        import torch

        self._device = torch.device(device)
        torch.cuda.reset_peak_memory_stats(self._device)

    def highest_gb(self) -> float:
        import torch

        return float(torch.cuda.max_memory_allocated(self._device)) / GB

    def close(self) -> None:
        """The allocator goes on counting; the next gauge sets it back."""


class _KernelGauge:
    def __init__(self) -> None:
        CLEAR_REFS.write_text("5")
        self.highest_gb()

    def highest_gb(self) -> float:
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / GB
        raise OSError("the kernel keeps no highest resident size")

    def close(self) -> None:
        """The kernel goes on counting; the next gauge sets it back."""


class _LookingGauge:
    def __init__(self) -> None:
        self._highest_gb = process_memory_gb()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="peak-memory", daemon=True)
        self._thread.start()

    def highest_gb(self) -> float:
        self._highest_gb = max(self._highest_gb, process_memory_gb())
        return self._highest_gb

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self._highest_gb = max(self._highest_gb, process_memory_gb())
