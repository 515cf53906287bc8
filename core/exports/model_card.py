"""The README.md that goes with an adapter or a merged model: what it is, whose licence holds, how it is used.

Owns those words, in English and Chinese in one file: it is read by people elsewhere, whose language nobody knows. Its
head is the YAML that Hugging Face and ModelScope read. The same adapter makes the same text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from core.adapters.store import AdapterInfo
from core.errors import excerpt
from core.exports.plan import ExportPlan, new_biases
from core.exports.serving_commands import vllm_rank
from core.models.catalog import ModelInfo
from core.models.starter import STARTER

README = "README.md"
LICENCE_FILES = ("LICENSE", "NOTICE")


def adapter_readme(info: AdapterInfo, base: ModelInfo | None) -> str:
    """The README of an adapter; `base` is its base model where that is here."""
    name = _base_name(info)
    facts: list[tuple[str, object]] = [("Base model · 基础模型", name), ("Method · 方法", info.method)]
    facts += [("Rank · 秩", info.rank)]
    facts += [("Data · 数据集", info.dataset), ("Made · 创建时间", info.created)]
    facts += [
        ("Training loss · 训练损失", _loss(info.train_loss)),
        ("Validation loss · 验证损失", _loss(info.eval_loss)),
    ]
    return "\n".join(
        [
            _head(info.base_name or "?", "peft", [info.method]),
            f"# {info.name}",
            "",
            f"An adapter for `{name}`, made with LoRA Workbench. It is used together with its base model.",
            f"用 LoRA Workbench 为 `{name}` 制作的适配器，须与基础模型一起使用。",
            "",
            *_table(facts),
            *_licence(name, base),
            *_peft_usage(info),
            *_vllm_usage(info, base),
        ]
    )


def model_readme(plan: ExportPlan) -> str:
    """The README of a merged model."""
    name, base = plan.adapter.name, plan.base.name
    facts: list[tuple[str, object]] = [("Base model · 基础模型", base), ("Adapter · 适配器", name)]
    facts += [("Method · 方法", plan.adapter.method)]
    facts += [("Data · 数据集", plan.adapter.dataset), ("Number format · 数值格式", plan.dtype)]
    return "\n".join(
        [
            _head(base, "transformers", ["merge"]),
            f"# {base} + {name}",
            "",
            f"`{base}` with the adapter `{name}` merged into its weights by LoRA Workbench; a whole model by itself.",
            f"由 LoRA Workbench 把适配器 `{name}` 合并进 `{base}` 的权重得到，是一个可以独立使用的完整模型。",
            "",
            *_table(facts),
            *_licence(base, plan.base),
            "## Use · 使用",
            "",
            *_code("python", _TRANSFORMERS),
            *_code("", "vllm serve .\ntransformers serve ."),
        ]
    )


def base_licence_files(base: ModelInfo | None) -> list[Path]:
    """The licence and notice of a base model, where its folder has them."""
    folder = base.folder if base else None
    return [folder / name for name in LICENCE_FILES if (folder / name).is_file()] if folder else []


_PEFT = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

BASE = {base}  # a folder or a repository: {name}
tokenizer = AutoTokenizer.from_pretrained(BASE)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), ".")
messages = [{{"role": "user", "content": "Who are you?"}}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**ids, max_new_tokens=100)[0]))"""
_TRANSFORMERS = """\
from transformers import pipeline

chat = pipeline("text-generation", model=".")
print(chat([{"role": "user", "content": "Who are you?"}], max_new_tokens=100)[0]["generated_text"][-1])"""


def _base_name(info: AdapterInfo) -> str:
    """The base as its card names it, on one line: an adapter made elsewhere may say anything."""
    return excerpt(info.base_name) or "?"


def _head(base: str, library: str, tags: Sequence[str]) -> str:
    """The YAML that hubs read; a JSON text is a YAML text."""
    lines = [f"base_model: {json.dumps(base, ensure_ascii=False)}", f"library_name: {library}"]
    lines += ["pipeline_tag: text-generation", f"tags: {json.dumps(['lora-workbench', *tags])}"]
    return "\n".join(["---", *lines, "---", ""])


def _table(facts: Sequence[tuple[str, object]]) -> list[str]:
    rows = [f"| {name} | {excerpt(value).replace('|', '/')} |" for name, value in facts if value not in (None, "")]
    return ["| | |", "|---|---|", *rows, ""]


def _licence(name: str, base: ModelInfo | None) -> list[str]:
    """Whose licence holds; which one it is where that is known here."""
    known = STARTER.licence if name == STARTER.name else ""
    beside = [f"BASE_{file.name}" for file in base_licence_files(base)]
    here = f" ({', '.join([*([known] if known else []), *beside])})" if known or beside else ""
    return [
        "## Licence · 许可证",
        "",
        f"The licence of the base model `{name}` holds for what is made from it{here}; look it up before you share it.",
        "The rights in the data it was trained on stay with their owners.",
        f"由基础模型 `{name}` 得到的内容须遵守该模型的许可证{here}，转发之前请先查看；训练数据的权利仍属于其所有者。",
        "",
    ]


def _peft_usage(info: AdapterInfo) -> list[str]:
    if info.method == "trained_weights":
        words = "This form is LoRA Workbench's own (trained weights of the base): import it there, or merge it first."
        return [
            "## Use · 使用",
            "",
            words,
            "此格式为 LoRA Workbench 自有格式（基础模型中被训练的权重）：请在其中导入，或先合并。",
            "",
        ]
    base = json.dumps("path/to/base", ensure_ascii=False)
    return ["## Use · 使用", "", *_code("python", _PEFT.format(base=base, name=_base_name(info)))]


def _vllm_usage(info: AdapterInfo, base: ModelInfo | None) -> list[str]:
    rank = vllm_rank(info)
    if rank is None and base and new_biases(info, base):
        words = "vLLM: not possible; the adapter adds biases to layers that have none, so it cannot be merged either."
        return [words, "vLLM：不支持。该适配器给没有偏置的层增加了偏置，因此也无法合并。", ""]
    if rank is None:
        return ["vLLM: merge it into its base first. · vLLM：请先合并到基础模型中。", ""]
    command = f"vllm serve path/to/base --enable-lora --max-lora-rank {rank} --lora-modules adapter=."
    return _code("", command)


def _code(language: str, content: str) -> list[str]:
    return [f"```{language}", content, "```", ""]


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
