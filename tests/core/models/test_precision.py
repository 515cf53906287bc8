"""What a wished precision becomes on which hardware, and that the reason can be said."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.models.catalog import ModelInfo
from core.models.precision import Hardware, choose_precision, this_hardware
from core.settings import LoadSettings

INFO = ModelInfo("m", Path("m"))
MODERN = Hardware("cpu", "CPU", bf16=True, fp16=False)
OLD = Hardware("cpu", "CPU", bf16=False, fp16=False)
GPU = Hardware("cuda:0", "H100", bf16=True, fp16=True)

TABLE = [
    ("auto", MODERN, "bf16", "bf16", "auto_bf16", None),
    ("auto", OLD, "fp32", "fp32", "auto_fp32", None),
    ("auto", GPU, "bf16", "bf16", "auto_bf16", None),
    ("fp32", MODERN, "fp32", "fp32", "asked", None),
    ("bf16", OLD, "fp32", "fp32", "fell_back", None),
    ("fp16", MODERN, "bf16", "bf16", "fell_back", None),
    ("fp16", GPU, "fp16", "fp16", "asked", None),
    ("nf4", MODERN, "nf4", "bf16", "asked", "nf4_cpu"),
    ("nf4", OLD, "nf4", "fp32", "asked", "nf4_cpu"),
    ("int8", MODERN, "int8", "bf16", "asked", "int8_cpu"),
    ("nf4", GPU, "nf4", "bf16", "asked", None),
]


@pytest.mark.parametrize(("wish", "machine", "precision", "compute", "reason", "note"), TABLE)
def test_a_wish_becomes_what_the_hardware_has(
    wish: str, machine: Hardware, precision: str, compute: str, reason: str, note: str | None
) -> None:
    choice = choose_precision(LoadSettings(precision=wish), INFO, machine)  # type: ignore[arg-type]
    assert (choice.precision, choice.compute, choice.device) == (precision, compute, machine.device)
    assert choice.reason == f"models.precision.reason.{reason}"
    assert choice.note == (f"models.precision.note.{note}" if note else None)
    assert choice.quantized == (wish in ("nf4", "int8"))
    for lang in ("en", "zh"):
        assert machine.name in choice.describe(lang)


def test_a_fall_back_names_both_formats() -> None:
    said = choose_precision(LoadSettings(precision="fp16"), INFO, OLD).describe()
    assert "fp16" in said and "fp32" in said


def test_a_model_that_is_stored_quantised_is_loaded_as_it_is() -> None:
    stored = ModelInfo("m", Path("m"), dtype="nf4", quantization="bitsandbytes")
    choice = choose_precision(LoadSettings(), stored, MODERN)
    assert (choice.precision, choice.quantized) == ("nf4", True)
    assert choice.reason.endswith("stored") and choice.note


def test_this_machine_can_be_asked() -> None:
    assert this_hardware().device.startswith(("cpu", "cuda"))
