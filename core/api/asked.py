"""The body of a request for an answer, read: OpenAI's parameters in our terms.

Owns which parameters there are. Each is used, or refused where it would change the answer and we do not have it; one
that asks for what happens anyway (`frequency_penalty: 0`) or only labels the request (`user`) is let pass. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from core.data.conversation import Message
from core.data.formats.row_reader import read_messages
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.settings import SamplingSettings, Settings

MAX_ANSWERS = 16  # what the engine makes together
MAX_STOPS = 16
MAX_TOP = 20
USUAL_COMPLETION_TOKENS = 16  # OpenAI's, of plain text
LABELS = ("user", "safety_identifier", "prompt_cache_key")
# Where OpenAI has another name than we, or several.
_OUR_NAMES = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens"}
_SAMPLING = ("temperature", "top_p", "seed", "stop", *_OUR_NAMES)
_OWN = ("top_k", "min_p", "repetition_penalty", "no_repeat_ngram_size", "num_beams")
# What OpenAI offers and we do not, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "metadata": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "prediction": (),
    "audio": (),
    "web_search_options": (),
    "moderation": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": ("in_memory",),
}
_NEUTRAL_TEXT: dict[str, tuple[Any, ...]] = {
    **{name: _NEUTRAL[name] for name in ("frequency_penalty", "presence_penalty", "logit_bias")},
    "echo": (False,),
    "suffix": ("",),
    "best_of": (1,),
}


class StreamOptions(Settings):
    include_usage: bool = False
    include_obfuscation: bool = False


class ChatControls(Settings):
    """How a chat answer is sent."""

    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: Annotated[int, Field(ge=1, le=MAX_ANSWERS)] = 1
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP)] = 0


class TextControls(Settings):
    """How a completion of plain text is sent."""

    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: Annotated[int, Field(ge=1, le=MAX_ANSWERS)] = 1
    logprobs: Annotated[int | None, Field(ge=0, le=MAX_TOP)] = None


@dataclass(frozen=True)
class Asked:
    """What is to be answered: one conversation, or the texts of `prompts`; each `n` times.

    `own_system` says that the conversation brings a system message, be it an empty one. `sampling` are the values that
    were named, by our names, `sent_as` their names in the request. `logprobs` as in `ChatRequest`.
    """

    model: str
    messages: tuple[Message, ...]
    own_system: bool
    prompts: tuple[str, ...]
    sampling: dict[str, Any]
    sent_as: dict[str, str]
    n: int
    logprobs: int | None
    stream: bool
    include_usage: bool

    def settings(self, defaults: SamplingSettings) -> SamplingSettings:
        """The sampling settings: what was named over the model's own.

        Raises:
            WorkbenchError: H01 for each value that is not allowed, under the name it was sent with.
        """
        try:
            return SamplingSettings.checked({**defaults.model_dump(), **self.sampling})
        except WorkbenchError as error:
            raise WorkbenchError([_renamed(problem, self.sent_as) for problem in error.problems]) from error


def asked_chat(body: Mapping[str, Any]) -> Asked:
    """The body of `/v1/chat/completions`.

    Raises:
        WorkbenchError: H01 for parameters that are missing, unknown, not offered or wrong; D22 to D25 for messages that
            cannot be read, pictures among them.
    """
    given, model = _given(body, ("messages", *ChatControls.model_fields), _NEUTRAL)
    controls = ChatControls.checked({name: given[name] for name in ChatControls.model_fields if name in given})
    if controls.top_logprobs and not controls.logprobs:
        raise refusal("H01_top_without_logprobs", Place(field="top_logprobs"))
    said = given.get("messages")
    if not isinstance(said, list) or not said:
        raise refusal("H01_needed", Place(field="messages"), field="messages")
    sampling, sent_as = _sampling(given)
    return Asked(
        model=model,
        messages=_messages(said),
        own_system=any(isinstance(each, dict) and each.get("role") in ("system", "developer") for each in said),
        prompts=(),
        sampling=sampling,
        sent_as=sent_as,
        n=controls.n,
        logprobs=controls.top_logprobs if controls.logprobs else None,
        stream=controls.stream,
        include_usage=controls.stream_options.include_usage,
    )


def asked_text(body: Mapping[str, Any]) -> Asked:
    """The body of `/v1/completions`.

    Raises:
        WorkbenchError: H01 as `asked_chat`.
    """
    given, model = _given(body, ("prompt", *TextControls.model_fields), _NEUTRAL_TEXT)
    controls = TextControls.checked({name: given[name] for name in TextControls.model_fields if name in given})
    sampling, sent_as = _sampling(given)
    prompts = _prompts(given.get("prompt"))
    if len(prompts) * controls.n > MAX_ANSWERS:
        raise refusal("H11_too_many_answers", Place(field="n"), count=len(prompts) * controls.n, limit=MAX_ANSWERS)
    return Asked(
        model=model,
        messages=(),
        own_system=False,
        prompts=prompts,
        sampling={"max_new_tokens": USUAL_COMPLETION_TOKENS, **sampling},
        sent_as=sent_as,
        n=controls.n,
        logprobs=controls.logprobs,
        stream=controls.stream,
        include_usage=controls.stream_options.include_usage,
    )


def _given(
    body: Mapping[str, Any], own: Iterable[str], neutral: Mapping[str, tuple[Any, ...]]
) -> tuple[dict[str, Any], str]:
    """The parameters that say something (null says nothing), and the model; every other one is refused."""
    given = {name: value for name, value in body.items() if value is not None}
    known = ("model", *own, *_SAMPLING, *_OWN, *LABELS)
    problems = [
        _unknown(name, value, (*known, *neutral))
        for name, value in given.items()
        if name not in known and not any(_is_same(value, each) for each in neutral.get(name, ()))
    ]
    if problems:
        raise WorkbenchError(problems)
    model = given.get("model")
    if not isinstance(model, str) or not model:
        raise refusal("H01_needed", Place(field="model"), field="model")
    return given, model


def _is_same(value: object, other: object) -> bool:
    """Equality that tells `false` from 0."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _unknown(name: str, value: object, known: tuple[str, ...]) -> Problem:
    shown = Place(field=excerpt(name), excerpt=excerpt(repr(value)))
    if name in known:
        return Problem("H01_not_offered", shown, {"field": name})
    return Problem("H01_not_a_parameter", shown, {"field": excerpt(name), "known": ", ".join(sorted(known))})


def _sampling(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The sampling settings that were named, by our names, and the names they were sent with.

    A temperature of 0 means the most probable token; any other one, or a filter, means drawing.
    """
    if "max_tokens" in given and "max_completion_tokens" in given:
        raise refusal("H01_said_twice", Place(field="max_tokens"), field="max_tokens", other="max_completion_tokens")
    sent_as = {_OUR_NAMES.get(name, name): name for name in (*_SAMPLING, *_OWN) if name in given}
    chosen = {ours: given[theirs] for ours, theirs in sent_as.items()}
    if "stop" in chosen:
        chosen["stop"] = _stops(chosen["stop"])
    if _is_zero(chosen.get("temperature")):
        return {**{name: value for name, value in chosen.items() if name != "temperature"}, "do_sample": False}, sent_as
    if chosen.keys() & {"temperature", "top_p", "top_k", "min_p"}:
        chosen["do_sample"] = True
    return chosen, sent_as


def _is_zero(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def _stops(value: object) -> object:
    listed = [value] if isinstance(value, str) else value
    if isinstance(listed, list) and len(listed) > MAX_STOPS:
        raise refusal("H01_too_many_stops", Place(field="stop"), count=len(listed), limit=MAX_STOPS)
    return listed


def _messages(said: list[Any]) -> tuple[Message, ...]:
    """The messages as a data file's would be read, without the line that they do not have."""
    try:
        return read_messages(said, 0)
    except WorkbenchError as error:
        without = [replace(problem, place=replace(problem.place, line=None)) for problem in error.problems]
        raise WorkbenchError(without, error.total) from error


def _prompts(value: object) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed:
        raise refusal("H01_needed", Place(field="prompt"), field="prompt")
    if not all(isinstance(each, str) for each in listed):
        raise refusal("H11_prompt_not_text", Place(field="prompt", excerpt=excerpt(repr(listed))))
    return tuple(listed)


def _renamed(problem: Problem, sent_as: Mapping[str, str]) -> Problem:
    """A problem under the name by which the setting was sent."""
    ours = problem.place.field
    theirs = sent_as.get(ours, ours)
    values = dict(problem.values)
    for name in {"field", "allowed"} & values.keys():
        values[name] = values[name].replace(ours, theirs)
    return replace(problem, place=replace(problem.place, field=theirs), values=values)
