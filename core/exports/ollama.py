"""Ollama's Modelfile for a model with its chat template, sampling settings and system prompt.

Ollama has its own template language (https://docs.ollama.com/modelfile). Owns the few families of templates that can be
written in it, as pieces around each role's words. A family is used only where it writes a conversation exactly as the
model's own template does; for any other model the Modelfile has no TEMPLATE, and Ollama goes by the GGUF file's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from core.chat.sampling import model_defaults
from core.chat.system_prompt import template_system_prompt
from core.data.templates import ensure_template, render_text
from core.errors import Place, WorkbenchError, excerpt, refusal
from core.models.catalog import ModelInfo
from core.models.generation_config import sampling_defaults
from core.models.template_trial import survives_trial
from core.models.tokenizer_files import read_tokenizer

Role = Literal["system", "user", "assistant"]
Pieces = tuple[str, str]  # before and after a role's words
MAX_CONTEXT = 8192  # tokens; Ollama's memory for them is taken at once
QUOTES = '"""'


@dataclass(frozen=True)
class Family:
    """A form of conversation: what stands around each role's words, and what ends an answer."""

    name: str
    system: Pieces
    user: Pieces
    assistant: Pieces
    stop: tuple[str, ...]

    def written(self, messages: Sequence[tuple[Role, str]]) -> str:
        """The conversation with an answer opened at its end, without a BOS, which llama.cpp puts there itself."""
        parts = ((getattr(self, role), words) for role, words in messages)
        return "".join(before + words + after for (before, after), words in parts) + self.assistant[0]

    @property
    def template(self) -> str:
        """The same in Ollama's language."""
        roles: tuple[tuple[Role, Pieces], ...] = (
            ("system", self.system),
            ("user", self.user),
            ("assistant", self.assistant),
        )
        cases = [f'if eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}' for role, (before, after) in roles]
        choice = "{{ else ".join(cases)
        return f"{{{{- range .Messages }}}}{{{{ {choice}{{{{ end }}}}{{{{ end }}}}{self.assistant[0]}"


def families(end: str) -> tuple[Family, ...]:
    """The known families; `end` is the model's end token, with which some of them close an answer."""
    return (
        _tagged("chatml", "<|im_start|>{}\n", "<|im_end|>\n", "<|im_end|>"),
        _tagged("llama3", "<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>", "<|eot_id|>"),
        _tagged("phi3", "<|{}|>\n", "<|end|>\n", "<|end|>"),
        _tagged("zephyr", "<|{}|>\n", f"{end}\n", end),
        Family(  # this workbench's own, for models that have none
            "plain",
            ("### System:\n", "\n\n"),
            ("### User:\n", "\n\n"),
            ("### Assistant:\n", f"{end}\n\n"),
            stop=(end, "### User:"),
        ),
    )


def _tagged(name: str, head: str, after: str, stop: str) -> Family:
    """A family in which every role's words stand between the same marks."""
    system, user, assistant = ((head.format(role), after) for role in get_args(Role))
    return Family(name, system, user, assistant, (stop,))


@dataclass(frozen=True)
class Modelfile:
    """A Modelfile's text, and the family whose template is in it; None where Ollama goes by the GGUF file."""

    text: str
    family: str | None


def modelfile(base: ModelInfo, system_prompt: str | None, gguf: str) -> Modelfile:
    """The Modelfile for a GGUF file with the tokenizer and template of this base.

    Raises:
        WorkbenchError: M04, M06 where the base's tokenizer or template cannot be used.
    """
    tokenizer = _tokenizer(base)
    family = family_of(tokenizer)
    system = system_prompt or template_system_prompt(tokenizer)
    lines = [f"FROM ./{gguf}"]
    if family:
        lines.append(f"TEMPLATE {QUOTES}{family.template}{QUOTES}")
    if system:
        lines.append(f"SYSTEM {QUOTES}{system.replace(QUOTES, chr(39) * 3)}{QUOTES}")
    lines += [f"PARAMETER {name} {value}" for name, value in _parameters(base)]
    lines += [f'PARAMETER stop "{stop}"' for stop in (family.stop if family else ()) if stop]
    return Modelfile("\n".join(lines) + "\n", family.name if family else None)


def family_of(tokenizer: Any) -> Family | None:
    """The family that writes conversations just as the tokenizer's own template does."""
    own = template_system_prompt(tokenizer)
    asked: list[tuple[Role, str]] = [("user", "first"), ("assistant", "second"), ("user", "third")]
    with_system: list[tuple[Role, str]] = [("system", "zeroth"), *asked]
    without: list[tuple[Role, str]] = [("system", own), *asked] if own else asked
    try:
        wanted = (_rendered(tokenizer, with_system), _rendered(tokenizer, asked))
    except WorkbenchError:  # a template without a place for system messages is in none of these families
        return None
    for family in families(tokenizer.eos_token or ""):
        written = (family.written(with_system), family.written(without))
        if wanted in (written, tuple(f"{tokenizer.bos_token or ''}{text}" for text in written)):
            return family
    return None


def _rendered(tokenizer: Any, messages: Sequence[tuple[Role, str]]) -> str:
    said: list[Mapping[str, Any]] = [{"role": role, "content": words} for role, words in messages]
    return render_text(tokenizer, said, prompt=True)


def _parameters(base: ModelInfo) -> list[tuple[str, str]]:
    """The model's own sampling settings, as Ollama calls them."""
    chosen = model_defaults(sampling_defaults(base.folder)).settings
    values: dict[str, float] = {
        "temperature": chosen.temperature if chosen.do_sample else 0,
        "top_k": chosen.top_k,
        "top_p": chosen.top_p,
        "min_p": chosen.min_p,
        "repeat_penalty": chosen.repetition_penalty,
    }
    if base.max_length:
        values["num_ctx"] = min(base.max_length, MAX_CONTEXT)
    return [(name, f"{value:g}") for name, value in values.items()]


def _tokenizer(base: ModelInfo) -> Any:
    """The base's tokenizer, with the template that the workbench uses for it."""
    from transformers import AutoTokenizer

    template = read_tokenizer(base.folder).template
    if template and not survives_trial(template):
        raise refusal("M06_chat_template_endless", Place(file=base.name), name=base.name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise refusal("M04_tokenizer_unusable", Place(file=base.name), name=base.name, reason=excerpt(error)) from error
    ensure_template(tokenizer)
    return tokenizer
