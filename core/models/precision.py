"""Which number format a base model is loaded in, on which device, and why.

Owns that choice. It looks at the hardware and the settings; nothing is loaded here. The reason is a key of the
catalogue with values, so that the page can say it in the reader's language.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from core.i18n import Language, text
from core.models.catalog import ModelInfo
from core.settings import LoadSettings, Precision

LoadedPrecision = Literal["fp32", "bf16", "fp16", "int8", "nf4"]
Compute = Literal["fp32", "bf16", "fp16"]

# Bytes a weight takes; quantised formats keep embeddings and norms in 16 bits, which the share below allows for.
BYTES_PER_WEIGHT: dict[LoadedPrecision, float] = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1.1, "nf4": 0.6}


@dataclass(frozen=True)
class PrecisionChoice:
    """What "auto" or a wish became. `compute` is the format of activations and of weights that stay unquantised.

    `note` is a further key to show (4-bit and 8-bit on a CPU save memory, not time), or None.
    """

    precision: LoadedPrecision
    compute: Compute
    device: str
    quantized: bool
    reason: str
    values: dict[str, Any] = field(default_factory=dict)
    note: str | None = None

    def describe(self, lang: Language = "en") -> str:
        """The reason, and the note where there is one, in words."""
        parts = [text(self.reason, lang, **self.values)]
        if self.note:
            parts.append(text(self.note, lang))
        return " ".join(parts)


@dataclass(frozen=True)
class Hardware:
    """What counts for the choice: the device and the 16-bit formats it computes in without emulating them."""

    device: str
    name: str
    bf16: bool
    fp16: bool


def this_hardware() -> Hardware:
    """The first CUDA device where there is one, else the CPU."""
    import torch

    if torch.cuda.is_available():
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return Hardware("cuda:0", torch.cuda.get_device_name(0), bf16=bf16, fp16=True)
    abilities = torch.cpu.get_capabilities()
    bf16 = any(bool(abilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last is ARM's
    # fp16 matrix products on CPUs are emulated almost everywhere: 3 to 13 times slower than bf16 where measured.
    return Hardware("cpu", "CPU", bf16=bf16, fp16=False)


def choose_precision(settings: LoadSettings, info: ModelInfo, hardware: Hardware | None = None) -> PrecisionChoice:
    """What a wish becomes here. A format the device lacks falls back to one it has, and the reason names both.

    A model that is stored quantised is loaded as it is stored; `loader.load` refuses other wishes for it.
    """
    machine = hardware or this_hardware()
    best: Compute = "bf16" if machine.bf16 else "fp32"
    used, reason = _resolved(settings.precision, info, machine, best)
    values = {"device": machine.name, "wish": settings.precision, "used": used}
    compute: Compute = used if used in ("fp32", "bf16", "fp16") else best
    quantized = compute != used
    note = f"models.precision.note.{used}_cpu" if quantized and machine.device == "cpu" else None
    return PrecisionChoice(used, compute, machine.device, quantized, f"models.precision.reason.{reason}", values, note)


def _resolved(wish: Precision, info: ModelInfo, machine: Hardware, best: Compute) -> tuple[LoadedPrecision, str]:
    """The precision used and the name of its reason."""
    if info.quantization:
        return ("int8" if info.dtype == "int8" else "nf4"), "stored"
    if wish == "auto":
        return best, f"auto_{best}"
    if (wish == "fp16" and not machine.fp16) or (wish == "bf16" and not machine.bf16):
        return best, "fell_back"
    return wish, "asked"
