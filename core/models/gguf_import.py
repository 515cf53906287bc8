"""A GGUF file becomes a model folder: weights dequantised to bf16 safetensors, tokenizer and template included.

Owns that conversion. The result is an ordinary folder in `models/`; the precision that packing dropped does not come
back. The other direction (export) is not here.
"""

from __future__ import annotations

from pathlib import Path

from core.errors import Place, WorkbenchError, excerpt, refusal
from core.models import memory
from core.models.arrival import Cancelled, Progress, Report, check_disk, never, silent, write_problem
from core.models.catalog import inspect
from core.models.gguf_header import GgufHeader, read_gguf_header
from core.models.loader import quiet_libraries
from core.models.tokenizer_files import template_problems
from core.workspace import Workspace, free_name, new_folder

BYTES_PER_WEIGHT = 2  # bf16
MEMORY_BYTES_PER_WEIGHT = 6  # dequantising passes through fp32 beside the bf16 result


def convert_gguf(
    file: Path,
    workspace: Workspace,
    wish: str | None = None,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> str:
    """Convert a GGUF file to a folder in `models/` and return its name: `wish` made free, else after the file.

    Raises:
        WorkbenchError: M06, M11 where the file cannot be imported; A13, M17 where disk or memory is too small; A24 when
            cancelled, which is heeded between the steps.
    """
    header = check_gguf(file, workspace)
    name = free_name(workspace.models, wish or file.stem)
    try:
        with new_folder(workspace.models / name) as staging:
            _convert(file, staging, report, cancelled)
            problems = inspect(staging).errors
            if problems:
                raise WorkbenchError(problems)
    except OSError as error:
        raise write_problem(workspace.models, header.parameters * BYTES_PER_WEIGHT, error) from error
    return name


def check_gguf(file: Path, workspace: Workspace) -> GgufHeader:
    """What the header, free memory and free disk tell before the conversion.

    Raises:
        WorkbenchError: M06, M11, A13, M17.
    """
    header = read_gguf_header(file)
    problems = template_problems(header.template, file.name) if header.template else []
    if problems:
        raise WorkbenchError(problems)
    check_disk(workspace.models, header.parameters * BYTES_PER_WEIGHT)
    needed_gb = header.parameters * MEMORY_BYTES_PER_WEIGHT / memory.GB
    free_gb = memory.free_memory_gb()
    if needed_gb > free_gb:
        shown = {"name": file.name, "needed": f"{needed_gb:.1f}", "free": f"{free_gb:.1f}", "used": "bf16"}
        raise refusal("M17_too_big", Place(file=file.name), **shown)
    known = _importable_architectures()
    if header.architecture not in known:
        shown = {"architecture": excerpt(header.architecture), "known": ", ".join(sorted(known))}
        raise refusal("M11_gguf_architecture", Place(file=file.name, field="general.architecture"), **shown)
    return header


def _convert(file: Path, target: Path, report: Report, cancelled: Cancelled) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    report(Progress("converting"))
    quiet_libraries()
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        # Without `dequantize` the weights stay packed, and neither training nor saving takes them.
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
    except (ValueError, KeyError, TypeError, RuntimeError, NotImplementedError, IndexError, OSError) as error:
        raise refusal("M11_gguf_conversion", Place(file=file.name), file=file.name, reason=excerpt(error)) from error
    if cancelled():
        raise refusal("A24_cancelled")
    report(Progress("saving"))
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _importable_architectures() -> set[str]:
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    return set(GGUF_SUPPORTED_ARCHITECTURES)
