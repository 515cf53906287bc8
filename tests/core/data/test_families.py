"""Laws 1 and 2 with the tokenizers and templates that people train: an oracle written by hand for each family.

The oracle is the text of a training row with its trained parts in ⟦brackets⟧. It is tokenised whole, by the tokenizer
alone, and a token is trained where its characters stand in brackets: nothing of ours takes part. A ¦ is put where the
end of chat's prompt would melt into one token with the answer: the text is tokenised apart there.
"""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest

from core.data.conversation import Example, Message
from core.data.options import DataOptions
from core.data.rendering import NOT_TRAINED, Rendered, end_of_turn_ids, render_all, render_example, render_prompt
from tests.core.data.families import tokenizer_of


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates write the date of the day, which may end while the tests go on."""

    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Fixed:
            return cls(2026, 3, 1, tzinfo=tz)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Fixed)


WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
WEATHER_FUNCTION = (
    '{"name": "get_weather", "description": "The weather of a city.", "parameters": {"type": "object", '
    '"properties": {"city": {"type": "string"}}, "required": ["city"]}}'
)
WEATHER_JSON = '{"type": "function", "function": ' + WEATHER_FUNCTION + "}"
WEATHER_INDENTED = """{
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {
                    "type": "string"
                }
            },
            "required": [
                "city"
            ]
        }
    }
}"""
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "巴黎"}}}


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str, **more: Any) -> Message:
    return {"role": "assistant", "content": content, **more}  # type: ignore[typeddict-item]


EXAMPLES = {
    "single": Example((user("What is 2+2?"), assistant("It is four.")), 1),
    "multi": Example(
        (
            {"role": "system", "content": "Be brief."},
            user("Hello"),
            assistant("Hi there."),
            user("你是谁?"),
            assistant("我是助手😀"),
            user("Bye"),
            assistant("See you."),
        ),
        1,
    ),
    "tools": Example(
        (
            user("Weather?"),
            assistant("", tool_calls=[CALL]),
            {"role": "tool", "content": "18 degrees", "name": "get_weather"},
            assistant("It is mild."),
        ),
        1,
        tools=(WEATHER,),
    ),
    "thoughts": Example(
        (
            user("Hello"),
            assistant("Hi.", reasoning_content="A greeting."),
            user("2+2?"),
            assistant("Four.", reasoning_content="Simple."),
        ),
        1,
    ),
}

HERMES = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n" + WEATHER_JSON + "\n"
    "</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
HERMES_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "巴黎"}}\n</tool_call>'
HERMES_RESULT = "<tool_response>\n18 degrees\n</tool_response>"
THOUGHT_1, THOUGHT_2 = "<think>\nA greeting.\n</think>\n\n", "<think>\nSimple.\n</think>\n\n"


def chatml(system: str) -> dict[str, list[str]]:
    """The oracle of templates that write every message as it is; `system` is what they say when no one else does."""
    default = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    return {
        "single": [
            f"{default}<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n⟦It is four.<|im_end|>⟧"
        ],
        "multi": [
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
            "<|im_start|>assistant\n⟦Hi there.<|im_end|>⟧\n<|im_start|>user\n你是谁?<|im_end|>\n"
            "<|im_start|>assistant\n⟦我是助手😀<|im_end|>⟧\n<|im_start|>user\nBye<|im_end|>\n"
            "<|im_start|>assistant\n⟦See you.<|im_end|>⟧"
        ],
        "tools": [
            f"<|im_start|>system\n{HERMES}<|im_end|>\n<|im_start|>user\nWeather?<|im_end|>\n"
            f"<|im_start|>assistant\n⟦{HERMES_CALL}<|im_end|>⟧\n<|im_start|>user\n{HERMES_RESULT}<|im_end|>\n"
            "<|im_start|>assistant\n⟦It is mild.<|im_end|>⟧"
        ],
        "thoughts": [
            f"{default}<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n⟦{THOUGHT_1}Hi.<|im_end|>⟧\n"
            f"<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n⟦{THOUGHT_2}Four.<|im_end|>⟧"
        ],
    }


QWEN = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
QWEN2_5 = chatml(QWEN) | {
    "tools": [
        f"<|im_start|>system\n{QWEN}\n\n{HERMES}<|im_end|>\n<|im_start|>user\nWeather?<|im_end|>\n"
        f"<|im_start|>assistant\n⟦{HERMES_CALL}<|im_end|>⟧\n<|im_start|>user\n{HERMES_RESULT}<|im_end|>\n"
        "<|im_start|>assistant\n⟦It is mild.<|im_end|>⟧"
    ]
}
# Thoughts stand in the last answer alone, empty ones too: one row for each answer.
NO_THOUGHT = "<think>\n\n</think>\n\n"
QWEN3_TOOLS = f"<|im_start|>system\n{HERMES}<|im_end|>\n<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\n"
QWEN3 = {
    "single": [f"<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n⟦{NO_THOUGHT}It is four.<|im_end|>⟧"],
    "multi": [
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        f"<|im_start|>assistant\n⟦{NO_THOUGHT}Hi there.<|im_end|>⟧",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi there.<|im_end|>\n<|im_start|>user\n你是谁?<|im_end|>\n"
        f"<|im_start|>assistant\n⟦{NO_THOUGHT}我是助手😀<|im_end|>⟧",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi there.<|im_end|>\n<|im_start|>user\n你是谁?<|im_end|>\n"
        "<|im_start|>assistant\n我是助手😀<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        f"<|im_start|>assistant\n⟦{NO_THOUGHT}See you.<|im_end|>⟧",
    ],
    "tools": [
        f"{QWEN3_TOOLS}⟦{NO_THOUGHT}{HERMES_CALL}<|im_end|>⟧",
        f"{QWEN3_TOOLS}{HERMES_CALL}<|im_end|>\n<|im_start|>user\n{HERMES_RESULT}<|im_end|>\n"
        f"<|im_start|>assistant\n⟦{NO_THOUGHT}It is mild.<|im_end|>⟧",
    ],
    "thoughts": [
        f"<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n⟦{THOUGHT_1}Hi.<|im_end|>⟧",
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n"
        f"<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n⟦{THOUGHT_2}Four.<|im_end|>⟧",
    ],
}


def llama_turn(role: str, said: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n{said}"


def llama_system(before: str = "", said: str = "") -> str:
    dates = "Cutting Knowledge Date: December 2023\nToday Date: 01 Mar 2026\n\n"
    return "<|begin_of_text|>" + llama_turn("system", f"{before}{dates}{said}<|eot_id|>")


LLAMA3 = {
    "single": [
        llama_system()
        + llama_turn("user", "What is 2+2?<|eot_id|>")
        + llama_turn("assistant", "⟦It is four.<|eot_id|>⟧")
    ],
    "multi": [
        llama_system(said="Be brief.")
        + llama_turn("user", "Hello<|eot_id|>")
        + llama_turn("assistant", "⟦Hi there.<|eot_id|>⟧")
        + llama_turn("user", "你是谁?<|eot_id|>")
        + llama_turn("assistant", "⟦我是助手😀<|eot_id|>⟧")
        + llama_turn("user", "Bye<|eot_id|>")
        + llama_turn("assistant", "⟦See you.<|eot_id|>⟧")
    ],
    "tools": [
        llama_system(before="Environment: ipython\n")
        + llama_turn(
            "user",
            "Given the following functions, please respond with a JSON for a function call with its proper arguments "
            "that best answers the given prompt.\n\n"
            'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.'
            f"Do not use variables.\n\n{WEATHER_INDENTED}\n\nWeather?<|eot_id|>",
        )
        + llama_turn("assistant", '⟦{"name": "get_weather", "parameters": {"city": "巴黎"}}<|eot_id|>⟧')
        + llama_turn("ipython", '"18 degrees"<|eot_id|>')
        + llama_turn("assistant", "⟦It is mild.<|eot_id|>⟧")
    ],
    "thoughts": [
        llama_system()
        + llama_turn("user", "Hello<|eot_id|>")
        + llama_turn("assistant", f"⟦{THOUGHT_1}Hi.<|eot_id|>⟧")
        + llama_turn("user", "2+2?<|eot_id|>")
        + llama_turn("assistant", f"⟦{THOUGHT_2}Four.<|eot_id|>⟧")
    ],
}


def gemma_asked(said: str) -> str:
    return f"<start_of_turn>user\n{said}<end_of_turn>\n<start_of_turn>model\n"


GEMMA3 = {
    "single": [f"<bos>{gemma_asked('What is 2+2?')}⟦It is four.<end_of_turn>⟧"],
    "multi": [
        f"<bos>{gemma_asked('Be brief.' + chr(10) * 2 + 'Hello')}⟦Hi there.<end_of_turn>⟧\n"
        f"{gemma_asked('你是谁?')}⟦我是助手😀<end_of_turn>⟧\n{gemma_asked('Bye')}⟦See you.<end_of_turn>⟧"
    ],
    "tools": [
        f"<bos>{gemma_asked(HERMES + chr(10) * 2 + 'Weather?')}⟦{HERMES_CALL}<end_of_turn>⟧\n"
        f"{gemma_asked(HERMES_RESULT)}⟦It is mild.<end_of_turn>⟧"
    ],
    "thoughts": [
        f"<bos>{gemma_asked('Hello')}⟦{THOUGHT_1}Hi.<end_of_turn>⟧\n"
        f"{gemma_asked('2+2?')}⟦{THOUGHT_2}Four.<end_of_turn>⟧"
    ],
}
# The system prompt and the tools stand at the last question: one row for each answer.
MISTRAL_TOOLS = f"[AVAILABLE_TOOLS][{WEATHER_JSON}][/AVAILABLE_TOOLS]"
MISTRAL_CALL = '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "巴黎"}, "id": "call00000"}]</s>'
MISTRAL = {
    "single": ["<s>[INST]What is 2+2?[/INST]⟦It is four.</s>⟧"],
    "multi": [
        "<s>[INST]Be brief.\n\nHello[/INST]⟦Hi there.</s>⟧",
        "<s>[INST]Hello[/INST]Hi there.</s>[INST]Be brief.\n\n你是谁?[/INST]⟦我是助手😀</s>⟧",
        "<s>[INST]Hello[/INST]Hi there.</s>[INST]你是谁?[/INST]我是助手😀</s>"
        "[INST]Be brief.\n\nBye[/INST]⟦See you.</s>⟧",
    ],
    "tools": [
        f"<s>{MISTRAL_TOOLS}[INST]Weather?[/INST]⟦{MISTRAL_CALL}⟧"
        '[TOOL_RESULTS]{"content": 18 degrees, "call_id": "call00000"}[/TOOL_RESULTS]⟦It is mild.</s>⟧'
    ],
    "thoughts": [f"<s>[INST]Hello[/INST]⟦{THOUGHT_1}Hi.</s>⟧[INST]2+2?[/INST]⟦{THOUGHT_2}Four.</s>⟧"],
}
# No token ends a turn: the next role's token is what an answer ends with.
GLM4 = {
    "single": ["[gMASK]<sop><|user|>\nWhat is 2+2?<|assistant|>⟦\nIt is four.<|user|>⟧"],
    "multi": [
        "[gMASK]<sop><|system|>\nBe brief.<|user|>\nHello<|assistant|>⟦\nHi there.<|user|>⟧\n你是谁?"
        "<|assistant|>⟦\n我是助手😀<|user|>⟧\nBye<|assistant|>⟦\nSee you.<|user|>⟧"
    ],
    "tools": [
        f"[gMASK]<sop><|system|>\n# 可用工具\n\n## get_weather\n\n{WEATHER_FUNCTION}<|user|>\nWeather?"
        '<|assistant|>⟦get_weather\n{"city": "巴黎"}<|observation|>⟧\n18 degrees'
        "<|assistant|>⟦\nIt is mild.<|user|>⟧"
    ],
    "thoughts": [
        f"[gMASK]<sop><|user|>\nHello<|assistant|>⟦\n{THOUGHT_1}Hi.<|user|>⟧\n2+2?"
        f"<|assistant|>⟦\n{THOUGHT_2}Four.<|user|>⟧"
    ],
}
CHATGLM3 = {
    "single": ["[gMASK]sop<|user|>\n What is 2+2?<|assistant|>⟦\n It is four.<|user|>⟧"],
    "multi": [
        "[gMASK]sop<|system|>\n Be brief.<|user|>\n Hello<|assistant|>⟦\n Hi there.<|user|>⟧\n 你是谁?"
        "<|assistant|>⟦\n 我是助手😀<|user|>⟧\n Bye<|assistant|>⟦\n See you.<|user|>⟧"
    ],
    "tools": [
        f"[gMASK]sop<|system|>\n {HERMES}<|user|>\n Weather?<|assistant|>⟦\n {HERMES_CALL}<|user|>⟧\n {HERMES_RESULT}"
        "<|assistant|>⟦\n It is mild.<|user|>⟧"
    ],
    "thoughts": [
        f"[gMASK]sop<|user|>\n Hello<|assistant|>⟦\n {THOUGHT_1}Hi.<|user|>⟧\n 2+2?"
        f"<|assistant|>⟦\n {THOUGHT_2}Four.<|user|>⟧"
    ],
}
EOS = "<｜end▁of▁sentence｜>"
DEEPSEEK = {
    "single": [f"<｜begin▁of▁sentence｜><｜User｜>What is 2+2?<｜Assistant｜>⟦It is four.{EOS}⟧"],
    "multi": [
        f"<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hello<｜Assistant｜>⟦Hi there.{EOS}⟧"
        f"<｜User｜>你是谁?<｜Assistant｜>⟦我是助手😀{EOS}⟧<｜User｜>Bye<｜Assistant｜>⟦See you.{EOS}⟧"
    ],
    "tools": [
        f"<｜begin▁of▁sentence｜>{HERMES}<｜User｜>Weather?<｜Assistant｜>⟦{HERMES_CALL}{EOS}⟧"
        f"<｜User｜>{HERMES_RESULT}<｜Assistant｜>⟦It is mild.{EOS}⟧"
    ],
    "thoughts": [
        f"<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜>⟦{THOUGHT_1}Hi.{EOS}⟧"
        f"<｜User｜>2+2?<｜Assistant｜>⟦{THOUGHT_2}Four.{EOS}⟧"
    ],
}
# The prompt opens a thought, and finished turns lose theirs.
DEEPSEEK_R1 = {
    "single": [
        f"<｜begin▁of▁sentence｜><｜User｜>What is 2+2?<｜Assistant｜><think>\n¦⟦\n</think>\n\nIt is four.{EOS}⟧"
    ],
    "multi": [
        f"<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hello<｜Assistant｜><think>\n¦⟦\n</think>\n\nHi there.{EOS}⟧",
        f"<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hello<｜Assistant｜>Hi there.{EOS}"
        f"<｜User｜>你是谁?<｜Assistant｜><think>\n¦⟦\n</think>\n\n我是助手😀{EOS}⟧",
        f"<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hello<｜Assistant｜>Hi there.{EOS}"
        f"<｜User｜>你是谁?<｜Assistant｜>我是助手😀{EOS}"
        f"<｜User｜>Bye<｜Assistant｜><think>\n¦⟦\n</think>\n\nSee you.{EOS}⟧",
    ],
    "tools": [
        f"<｜begin▁of▁sentence｜>{HERMES}<｜User｜>Weather?<｜Assistant｜><think>\n¦⟦\n</think>\n\n{HERMES_CALL}{EOS}⟧",
        f"<｜begin▁of▁sentence｜>{HERMES}<｜User｜>Weather?<｜Assistant｜>{HERMES_CALL}{EOS}"
        f"<｜User｜>{HERMES_RESULT}<｜Assistant｜><think>\n¦⟦\n</think>\n\nIt is mild.{EOS}⟧",
    ],
    "thoughts": [
        f"<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜><think>\n⟦A greeting.\n</think>\n\nHi.{EOS}⟧",
        f"<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜>\n\nHi.{EOS}"
        f"<｜User｜>2+2?<｜Assistant｜><think>\n⟦Simple.\n</think>\n\nFour.{EOS}⟧",
    ],
}
PHI3 = {
    "single": ["<|user|>\nWhat is 2+2?<|end|>\n<|assistant|>\n⟦It is four.<|end|>⟧"],
    "multi": [
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\n⟦Hi there.<|end|>⟧\n"
        "<|user|>\n你是谁?<|end|>\n<|assistant|>\n⟦我是助手😀<|end|>⟧\n"
        "<|user|>\nBye<|end|>\n<|assistant|>\n⟦See you.<|end|>⟧"
    ],
    "tools": [
        f"<|system|>\n{HERMES}<|end|>\n<|user|>\nWeather?<|end|>\n<|assistant|>\n⟦{HERMES_CALL}<|end|>⟧\n"
        f"<|user|>\n{HERMES_RESULT}<|end|>\n<|assistant|>\n⟦It is mild.<|end|>⟧"
    ],
    "thoughts": [
        f"<|user|>\nHello<|end|>\n<|assistant|>\n⟦{THOUGHT_1}Hi.<|end|>⟧\n"
        f"<|user|>\n2+2?<|end|>\n<|assistant|>\n⟦{THOUGHT_2}Four.<|end|>⟧"
    ],
}
BASE = {
    "single": ["<s>### User:\nWhat is 2+2?\n\n### Assistant:\n⟦It is four.</s>⟧"],
    "multi": [
        "<s>### System:\nBe brief.\n\n### User:\nHello\n\n### Assistant:\n⟦Hi there.</s>⟧\n\n"
        "### User:\n你是谁?\n\n### Assistant:\n⟦我是助手😀</s>⟧\n\n### User:\nBye\n\n### Assistant:\n⟦See you.</s>⟧"
    ],
    "tools": [
        f"<s>### System:\n{HERMES}\n\n### User:\nWeather?\n\n### Assistant:\n⟦{HERMES_CALL}</s>⟧\n\n"
        f"### User:\n{HERMES_RESULT}\n\n### Assistant:\n⟦It is mild.</s>⟧"
    ],
    "thoughts": [
        f"<s>### User:\nHello\n\n### Assistant:\n⟦{THOUGHT_1}Hi.</s>⟧\n\n"
        f"### User:\n2+2?\n\n### Assistant:\n⟦{THOUGHT_2}Four.</s>⟧"
    ],
}
ORACLES = {
    "qwen1_5": chatml("You are a helpful assistant"),
    "qwen2_5": QWEN2_5,
    "qwen3": QWEN3,
    "llama3_2": LLAMA3,
    "gemma3": GEMMA3,
    "mistral_nemo": MISTRAL,
    "glm4": GLM4,
    "chatglm3": CHATGLM3,
    "deepseek_v3": DEEPSEEK,
    "deepseek_r1": DEEPSEEK_R1,
    "phi3": PHI3,
    "base": BASE,
}
SMOLLM2 = chatml("You are a helpful AI assistant named SmolLM, trained by Hugging Face")
ENDINGS = {
    "qwen1_5": ["<|im_end|>"],
    "qwen2_5": ["<|im_end|>"],
    "qwen3": ["<|im_end|>"],
    "llama3_2": ["<|eot_id|>"],
    "gemma3": ["<end_of_turn>"],
    "mistral_nemo": ["</s>"],
    "glm4": ["<|user|>", "<|observation|>", "<|endoftext|>"],
    "chatglm3": ["<|user|>", "</s>"],
    "deepseek_v3": [EOS],
    "deepseek_r1": [EOS],
    "phi3": ["<|end|>", "<|endoftext|>"],
    "base": ["</s>"],
}
each_family = pytest.mark.parametrize("family", ORACLES)
each_example = pytest.mark.parametrize("case", EXAMPLES)


def reference(tokenizer: Any, oracle: str) -> Rendered:
    """The ids of an oracle's text, tokenised whole, and labels for those whose characters stand in brackets."""
    ids: list[int] = []
    labels: list[int] = []
    for piece in oracle.split("¦"):
        text, spans = "", []
        for part in re.split("(⟦.*?⟧)", piece, flags=re.DOTALL):
            if part.startswith("⟦"):
                spans.append(range(len(text), len(text) + len(part) - 2))
            text += part.strip("⟦⟧")
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids += encoded.input_ids
        for token, (start, end) in zip(encoded.input_ids, encoded.offset_mapping, strict=True):
            trained = any(start in span and end <= span.stop for span in spans)
            labels.append(token if trained else NOT_TRAINED)
    return Rendered(ids, labels, line=1)


def shown(tokenizer: Any, row: Rendered) -> list[tuple[str, bool]]:
    tokens = tokenizer.convert_ids_to_tokens(row.input_ids)
    return [(token, label != NOT_TRAINED) for token, label in zip(tokens, row.labels, strict=True)]


@each_example
@each_family
def test_what_is_trained_is_what_the_oracle_says(family: str, case: str) -> None:
    tokenizer = tokenizer_of(family)
    rows = render_example(tokenizer, EXAMPLES[case])
    expected = [reference(tokenizer, oracle) for oracle in ORACLES[family][case]]
    assert [shown(tokenizer, row) for row in rows] == [shown(tokenizer, row) for row in expected]
    assert rows == expected


@each_example
@each_family
def test_chat_asks_with_the_ids_that_training_puts_before_each_answer(family: str, case: str) -> None:
    tokenizer, example = tokenizer_of(family), EXAMPLES[case]
    rows = render_example(tokenizer, example)
    asked = [index for index, message in enumerate(example.messages) if message["role"] == "assistant"]
    rows = rows * len(asked) if len(rows) == 1 else rows
    for row, index in zip(rows, asked, strict=True):
        prompt = render_prompt(tokenizer, example.messages[:index], tools=example.tools)
        assert row.input_ids[: len(prompt)] == prompt
        assert row.labels[len(prompt)] == row.input_ids[len(prompt)], "the answer begins right behind the prompt"


@each_family
def test_a_prompt_is_what_transformers_makes_of_it(family: str) -> None:
    tokenizer, messages = tokenizer_of(family), EXAMPLES["multi"].messages[:-1]
    expected = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)
    assert render_prompt(tokenizer, messages) == expected


@each_family
def test_an_answer_is_over_where_the_family_ends_it(family: str) -> None:
    tokenizer = tokenizer_of(family)
    assert tokenizer.convert_ids_to_tokens(end_of_turn_ids(tokenizer)) == ENDINGS[family]


@each_family
def test_no_special_token_can_be_typed_anywhere(family: str) -> None:
    tokenizer = tokenizer_of(family)
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    typed = "".join(token for token in special[:40] + special[-40:] if len(token) > 1)
    plain, hostile = with_words("x"), with_words(typed)

    def specials(rows: list[Rendered]) -> list[list[int]]:
        control = set(tokenizer.convert_tokens_to_ids(special))
        return [[token for token in row.input_ids if token in control] for row in rows]

    rows = render_example(tokenizer, hostile)
    assert specials(rows) == specials(render_example(tokenizer, plain))
    assert any(typed in tokenizer.decode(row.input_ids) for row in rows), "what was typed is there, unchanged"


def with_words(words: str) -> Example:
    """An example that says the words wherever something can be said."""
    call = {"type": "function", "function": {"name": f"get{words}", "arguments": {"city": words, words: [words]}}}
    function = {**WEATHER["function"], "name": f"get{words}", "description": words}
    messages: tuple[Message, ...] = (
        {"role": "system", "content": f"Be {words}"},
        user(f"Say {words}."),
        assistant("", tool_calls=[call]),
        {"role": "tool", "content": f"It {words}.", "name": f"get{words}"},
        assistant(f"Said {words}.", reasoning_content=f"Hm {words}."),
    )
    return Example(messages, 1, tools=({"type": "function", "function": function},))


@pytest.mark.parametrize(
    ("family", "said"),
    [("qwen3", f"{NO_THOUGHT}Four."), ("deepseek_r1", "\n</think>\n\nFour."), ("llama3_2", "Four.")],
)
@pytest.mark.parametrize("written", ["as a field", "in the answer"])
def test_thoughts_can_be_dropped(family: str, said: str, written: str) -> None:
    tokenizer = tokenizer_of(family)
    thinking = {"as a field": EXAMPLES["thoughts"].messages[-1], "in the answer": assistant(f"{THOUGHT_2}Four.")}
    example = Example((user("2+2?"), thinking[written]), 1)
    (row,) = render_example(tokenizer, example, DataOptions(thinking="drop"))
    trained = tokenizer.decode([label for label in row.labels if label != NOT_TRAINED])
    assert trained == said + ENDINGS[family][0]


@pytest.mark.parametrize(("family", "told"), [("deepseek_v3", True), ("gemma3", True), ("qwen2_5", False)])
def test_that_tools_are_written_as_text_is_said(family: str, told: bool) -> None:
    rendered = render_all(tokenizer_of(family), [EXAMPLES["single"], EXAMPLES["tools"]])
    assert [(each.key, each.values["count"]) for each in rendered.problems] == [("M05_tools_in_words", 1)] * told


@pytest.mark.starter
@each_example
def test_the_starter_model_is_trained_as_the_oracle_says(starter_dir: Any, case: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(starter_dir)
    assert render_example(tokenizer, EXAMPLES[case]) == [reference(tokenizer, oracle) for oracle in SMOLLM2[case]]
