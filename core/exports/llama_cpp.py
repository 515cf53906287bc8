"""llama.cpp's own converters, where the person has them: found, asked for with exact arguments, run.

Owns where they may be (an environment variable, which `--llama-cpp` sets, or the PATH; never a path from a browser),
their arguments, and which adapters the one for adapters gets right. Running them is `processes`' work.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from core.adapters.store import AdapterInfo
from core.errors import Place, excerpt, refusal
from core.exports.plain_lora import plain_lora
from core.exports.plan import GgufType
from core.exports.processes import Heard, run_command

FOLDER_VARIABLE = "LLAMA_CPP_DIR"
MODEL_CONVERTER = "convert_hf_to_gguf.py"
ADAPTER_CONVERTER = "convert_lora_to_gguf.py"
SHOWN_LINES = 6


@dataclass(frozen=True)
class Converters:
    """The two scripts, each None where it was not found."""

    model: Path | None
    adapter: Path | None


def find_converters() -> Converters:
    """Look in the folder that the environment names, then on the PATH."""
    return Converters(_find(MODEL_CONVERTER), _find(ADAPTER_CONVERTER))


def model_command(model: Path, outfile: Path, outtype: GgufType, script: Path | None = None) -> list[str]:
    """How a model folder becomes a GGUF file; without a script, as a person types it in llama.cpp's folder."""
    return [*_python(script, MODEL_CONVERTER), str(model), "--outfile", str(outfile), "--outtype", outtype]


def adapter_command(
    adapter: Path, base: Path, outfile: Path, outtype: GgufType, script: Path | None = None
) -> list[str]:
    """How an adapter becomes a GGUF file; of the base only the configuration is read."""
    options = ["--base", str(base), "--outfile", str(outfile), "--outtype", outtype]
    return [*_python(script, ADAPTER_CONVERTER), *options, str(adapter)]


def shown(command: list[str]) -> str:
    """A command as a line for a POSIX shell."""
    return shlex.join(command)


def refuse_unconvertible(info: AdapterInfo) -> None:
    """Raises M18 for an adapter whose GGUF file would answer otherwise: llama.cpp knows plain LoRA of one rank."""
    fields = plain_lora(info)
    if fields is None or fields.values["use_rslora"]:
        raise refusal("M18_no_gguf_adapter", Place(file=info.name), name=info.name, method=info.method)


def convert(command: list[str], outfile: Path, heard: Heard) -> None:
    """Run a converter.

    Raises:
        WorkbenchError: M11 with its last words where it fails; what `run_command` refuses.
    """
    last: list[str] = []

    def listening(line: str | None) -> None:
        last.extend([line] if line and line.strip() else [])
        del last[:-SHOWN_LINES]
        heard(line)

    status = run_command(command, listening, {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""})
    if status or not outfile.is_file():
        shown = {"status": status, "words": excerpt(last[-1]) if last else "–", "python": command[0]}
        raise refusal("M11_converter_failed", Place(file=Path(command[1]).name), **shown)


def _find(name: str) -> Path | None:
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder and (Path(folder) / name).is_file():
        return (Path(folder) / name).resolve()
    on_path = shutil.which(name)
    return Path(on_path).resolve() if on_path else None


def _python(script: Path | None, name: str) -> list[str]:
    """The script in llama.cpp's own environment where that lies beside it, else in the workbench's."""
    if script is None:
        return ["python", name]
    own = (script.parent / folder / "bin" / "python" for folder in (".venv", "venv"))
    return [next((str(python) for python in own if python.exists()), sys.executable), str(script)]
