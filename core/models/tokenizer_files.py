"""A model folder's tokenizer files and chat template, looked at without building a tokenizer.

Owns M04 (no tokenizer), M05 (no template) and the bounds on templates (M06). What the tokenizer's vocabulary is like is
checked by the loader, which builds it; rendering belongs to `core.data.rendering`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Place, Problem, excerpt
from core.models.plain_files import read_json_object

MAX_TEMPLATE_BYTES = 64 * 1024
MAX_TOKENIZER_CONFIG_BYTES = 10_000_000
TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
OLD_TEMPLATE_FILE = "chat_template.json"
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True)
class TokenizerFiles:
    """`template` is the source of the folder's own default chat template, None where it has none."""

    template: str | None = None
    problems: tuple[Problem, ...] = ()


def read_tokenizer(folder: Path) -> TokenizerFiles:
    """Look for a tokenizer and a chat template; whatever is wrong is in `problems`."""
    problems: list[Problem] = []
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        problems.append(Problem("M04_no_tokenizer", Place(file=folder.name), {"files": ", ".join(_TOKENIZERS[:4])}))
    config: dict[str, Any] = {}
    if (folder / TOKENIZER_CONFIG).is_file():
        read = read_json_object(folder / TOKENIZER_CONFIG, MAX_TOKENIZER_CONFIG_BYTES, "M04_tokenizer_config_broken")
        if isinstance(read, Problem):
            problems.append(read)
        else:
            config = read
    file, template = _template(folder, config)
    if template is None:
        problems.append(Problem("M05_no_template", Place(file=folder.name), {"name": folder.name}, "warning"))
    else:
        problems += template_problems(template, f"{folder.name}/{file}")
    return TokenizerFiles(template, tuple(problems))


def template_problems(template: str, file: str) -> list[Problem]:
    """What is wrong with a template before it is ever run: its size, its syntax."""
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    size = len(template.encode())
    if size > MAX_TEMPLATE_BYTES:
        return [Problem("M06_chat_template_too_big", Place(file=file), {"bytes": size, "limit": MAX_TEMPLATE_BYTES})]
    try:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        # transformers marks the assistant's words with this tag; its meaning doesn't matter for the syntax.
        plain = template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
        environment.parse(plain.replace("{%- generation %}", "").replace("{%- endgeneration %}", ""))
    except (TemplateError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        return [Problem("M06_chat_template_broken", Place(file=file, line=line), {"reason": excerpt(error)})]
    return []


def _template(folder: Path, config: dict[str, Any]) -> tuple[str, str | None]:
    """The file a template stands in and its source; the newer place wins, as in transformers."""
    path = folder / TEMPLATE_FILE
    if path.is_file():
        with path.open("rb") as file:
            return TEMPLATE_FILE, file.read(MAX_TEMPLATE_BYTES + 1).decode("utf-8", errors="replace")
    if (folder / OLD_TEMPLATE_FILE).is_file():
        read = read_json_object(folder / OLD_TEMPLATE_FILE, MAX_TOKENIZER_CONFIG_BYTES, "M04_tokenizer_config_broken")
        if isinstance(read, dict) and isinstance(read.get("chat_template"), str):
            return OLD_TEMPLATE_FILE, read["chat_template"]
    stated = config.get("chat_template")
    if isinstance(stated, list):
        named = {entry.get("name"): entry.get("template") for entry in stated if isinstance(entry, dict)}
        stated = named.get("default")
    return TOKENIZER_CONFIG, stated if isinstance(stated, str) and stated.strip() else None
