"""What the body of a request for an answer means, and what is refused in it."""

from __future__ import annotations

from typing import Any

import pytest

from core.api.asked import MAX_ANSWERS, asked_chat, asked_text
from core.errors import WorkbenchError
from core.settings import SamplingSettings

HELLO = [{"role": "user", "content": "Hello"}]
DEFAULTS = SamplingSettings(do_sample=False, temperature=0.3, top_p=0.5, max_new_tokens=77)


def chat(**more: Any) -> Any:
    return asked_chat({"model": "tiny", "messages": HELLO, **more})


def refused(key: str, field: str, **more: Any) -> WorkbenchError:
    with pytest.raises(WorkbenchError) as error:
        chat(**more).settings(DEFAULTS)
    assert (error.value.key, error.value.problems[0].place.field) == (key, field)
    return error.value


def test_what_is_not_said_is_the_models_own() -> None:
    assert chat().settings(DEFAULTS) == DEFAULTS
    assert chat(temperature=None, stop=None, n=None, seed=None).settings(DEFAULTS) == DEFAULTS


def test_parameters_become_ours() -> None:
    asked = chat(temperature=0.9, top_p=0.8, max_completion_tokens=5, stop="END", seed=3, top_k=7, min_p=0.1)
    assert asked.settings(DEFAULTS) == SamplingSettings(
        do_sample=True, temperature=0.9, top_p=0.8, max_new_tokens=5, stop=("END",), seed=3, top_k=7, min_p=0.1
    )


@pytest.mark.parametrize("zero", [0, 0.0])
def test_a_temperature_of_zero_means_the_most_probable_token(zero: float) -> None:
    settings = chat(temperature=zero, top_p=0.9).settings(SamplingSettings())
    assert (settings.do_sample, settings.temperature) == (False, SamplingSettings().temperature)


@pytest.mark.parametrize(
    "nothing",
    [
        {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "response_format": {"type": "text"}},
        {"tools": [], "store": False, "service_tier": "auto", "metadata": {}, "user": "me", "modalities": ["text"]},
    ],
)
def test_what_asks_for_nothing_is_let_pass(nothing: dict[str, Any]) -> None:
    assert chat(**nothing).settings(DEFAULTS) == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frequency_penalty", 0.5),
        ("frequency_penalty", False),
        ("presence_penalty", -1),
        ("logit_bias", {"5": 100}),
        ("response_format", {"type": "json_object"}),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("store", True),
        ("reasoning_effort", "high"),
        ("web_search_options", {}),
    ],
)
def test_what_we_do_not_have_is_refused_by_its_name(name: str, value: object) -> None:
    refused("H01_not_offered", name, **{name: value})


@pytest.mark.parametrize(
    ("key", "field", "more"),
    [
        ("H01_not_a_parameter", "temprature", {"temprature": 1}),
        ("H01_not_a_parameter", "best_of", {"best_of": 1}),
        ("H01_out_of_range", "temperature", {"temperature": 9}),
        ("H01_out_of_range", "temperature", {"temperature": True}),
        ("H01_out_of_range", "temperature", {"temperature": "1"}),
        ("H01_out_of_range", "top_p", {"top_p": float("nan")}),
        ("H01_out_of_range", "max_tokens", {"max_tokens": 0}),
        ("H01_out_of_range", "max_completion_tokens", {"max_completion_tokens": 2**80}),
        ("H01_out_of_range", "seed", {"seed": -1}),
        ("H01_out_of_range", "n", {"n": MAX_ANSWERS + 1}),
        ("H01_wrong_type", "stream", {"stream": "yes"}),
        ("H01_wrong_type", "stop", {"stop": 5}),
        ("H01_too_many_stops", "stop", {"stop": ["x"] * 17}),
        ("H01_said_twice", "max_tokens", {"max_tokens": 5, "max_completion_tokens": 5}),
        ("H01_top_without_logprobs", "top_logprobs", {"top_logprobs": 3}),
        ("H01_out_of_range", "top_logprobs", {"logprobs": True, "top_logprobs": 21}),
        ("H01_unknown_setting", "stream_options.usage", {"stream_options": {"usage": True}}),
        ("H01_needed", "model", {"model": ""}),
        ("H01_needed", "model", {"model": 5}),
        ("H01_needed", "messages", {"messages": []}),
        ("H01_needed", "messages", {"messages": "Hello"}),
        ("D24_not_a_message", "messages[0]", {"messages": ["Hello"]}),
        ("D25_unknown_role", "messages[0].role", {"messages": [{"role": "root", "content": "x"}]}),
        ("D22_empty_text", "messages[0].content", {"messages": [{"role": "user", "content": None}]}),
        (
            "D23_part_not_text",
            "messages[0].content[0]",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        ),
    ],
)
def test_a_bad_parameter_is_refused_by_its_own_name(key: str, field: str, more: dict[str, Any]) -> None:
    error = refused(key, field, **more)
    assert "max_new_tokens" not in error.describe()
    assert error.problems[0].place.line is None


def test_messages_of_every_role_and_of_parts_are_read() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    asked = chat(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
            {"role": "tool", "tool_call_id": "1", "content": "2"},
        ]
    )
    assert [message["role"] for message in asked.messages] == ["system", "user", "assistant", "tool"]
    assert asked.messages[1]["content"] == "Hello"
    assert asked.messages[2]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"x": 1}}
    assert asked.own_system


def test_plain_text_is_as_short_as_openais_where_nobody_says_more() -> None:
    assert asked_text({"model": "m", "prompt": "x"}).settings(DEFAULTS).max_new_tokens == 16
    assert (
        asked_text({"model": "m", "prompt": ["x", "y"], "max_tokens": 5, "n": 2}).settings(DEFAULTS).max_new_tokens == 5
    )


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("H11_prompt_not_text", {"prompt": [1, 2, 3]}),
        ("H11_prompt_not_text", {"prompt": [[1, 2]]}),
        ("H01_needed", {"prompt": []}),
        ("H01_needed", {"prompt": None}),
        ("H11_too_many_answers", {"prompt": ["x"] * 9, "n": 2}),
        ("H01_not_offered", {"prompt": "x", "echo": True}),
        ("H01_not_offered", {"prompt": "x", "best_of": 4}),
        ("H01_not_whole", {"prompt": "x", "logprobs": True}),
    ],
)
def test_a_bad_completion_is_refused(key: str, more: dict[str, Any]) -> None:
    with pytest.raises(WorkbenchError) as error:
        asked_text({"model": "m", **more})
    assert error.value.key == key
