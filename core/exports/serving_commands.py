"""The commands by which other programs serve an adapter or a model: vLLM, transformers, Ollama.

Owns which of them takes which kind of adapter, and the exact words. Everything is filled in for one adapter and quoted
for a POSIX shell; nothing here is ever run.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.adapters.store import AdapterInfo
from core.exports.plain_lora import plain_lora

Tool = Literal["vllm", "transformers", "ollama"]
Needs = Literal["", "merged", "gguf"]

# https://docs.vllm.ai/en/latest/api/vllm/config/lora/ (MaxLoRARanks)
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class Serving:
    """How one program serves it: `commands`, one a line. `needs` is what must be made first; "" for nothing."""

    tool: Tool
    commands: tuple[str, ...]
    needs: Needs = ""


def serving_commands(info: AdapterInfo, base: Path, merged: Path) -> tuple[Serving, ...]:
    """What to type to serve an adapter. `merged` is where its merged model is, or will be."""
    needs: Needs = "" if merged.is_dir() else "merged"
    return (
        _vllm(info, base, merged, needs),
        Serving("transformers", _transformers(merged), needs),
        Serving("ollama", ollama_commands(info.name), "gguf"),
    )


def vllm_rank(info: AdapterInfo) -> int | None:
    """The smallest `--max-lora-rank` that covers an adapter; None where vLLM can serve it only merged."""
    fields = plain_lora(info)
    return next((known for known in VLLM_RANKS if fields and known >= fields.values["r"]), None)


def ollama_commands(name: str) -> tuple[str, ...]:
    tag = ollama_name(name)
    return (f"ollama create {tag} -f Modelfile", f"ollama run {tag}")


def ollama_name(name: str) -> str:
    """A name as Ollama takes them: lower-case ASCII letters, digits and `-_.`, beginning with a letter or digit."""
    plain = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-_.")
    return plain or "adapter"


def _vllm(info: AdapterInfo, base: Path, merged: Path, needs: Needs) -> Serving:
    rank = vllm_rank(info)
    if rank is None:
        return Serving("vllm", (shlex.join(["vllm", "serve", str(merged)]),), needs)
    lora = ["--enable-lora", "--max-lora-rank", str(rank), "--lora-modules", f"{info.name}={info.folder}"]
    return Serving("vllm", (shlex.join(["vllm", "serve", str(base), *lora]),))


def _transformers(merged: Path) -> tuple[str, ...]:
    return ("pip install 'transformers[serving]'", shlex.join(["transformers", "serve", str(merged)]))
