from __future__ import annotations

from typing import Any

import pytest

from core.data.conversation import Example, Message
from core.data.rendering import NOT_TRAINED, end_of_turn_ids, ensure_template, render_example, render_prompt
from core.data.template_forms import CallForm, call_form, without_thoughts
from core.errors import WorkbenchError

ASKED = (Message(role="user", content="Hello"),)
ANSWERED = Example((*ASKED, Message(role="assistant", content="Yes")), 1)


def test_a_model_with_a_template_keeps_it(tiny_tokenizer: Any) -> None:
    own = tiny_tokenizer.chat_template
    assert ensure_template(tiny_tokenizer) is None
    assert tiny_tokenizer.chat_template == own


def test_a_base_model_with_the_chatml_tokens_gets_chatml_by_name(tiny_tokenizer: Any) -> None:
    expected = render_prompt(tiny_tokenizer, ASKED)
    tiny_tokenizer.chat_template = None
    assert ensure_template(tiny_tokenizer) == "chatml"
    assert render_prompt(tiny_tokenizer, ASKED) == expected


def test_a_base_model_without_the_chatml_tokens_gets_headings_and_ends_with_its_eos() -> None:
    tokenizer = bare_tokenizer()
    assert ensure_template(tokenizer) == "plain"
    (row,) = render_example(tokenizer, ANSWERED)
    assert tokenizer.decode(row.input_ids) == "### User:\nHello\n\n### Assistant:\nYes</s>"
    assert end_of_turn_ids(tokenizer) == [tokenizer.eos_token_id]


def test_a_built_in_template_begins_with_the_bos_where_the_model_is_used_to_one() -> None:
    tokenizer = bare_tokenizer(adds_bos=True)
    ensure_template(tokenizer)
    ids = render_prompt(tokenizer, ASKED)
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(
    ("template", "key"),
    [
        (None, "M05_no_chat_template"),
        ("{# " + "x" * 70_000 + " #}", "M06_template_too_big"),
        ("{{ messages[99]['content']['x'] }}", "D28_template_refuses"),
        ("{% for %}", "D28_template_refuses"),
        ("{{ messages.__class__.__mro__ }}", "D28_template_refuses"),
        ("{{ 1 // 0 }}", "D28_template_refuses"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_not_crashed_on(
    tiny_tokenizer: Any, template: str | None, key: str
) -> None:
    tiny_tokenizer.chat_template = template
    with pytest.raises(WorkbenchError) as caught:
        render_example(tiny_tokenizer, ANSWERED)
    assert caught.value.key == key


OBJECT = "{{ call.function.arguments | tojson }}"
TEXT = "{{ call.function.name + call.function.arguments }}"
PYTHON = "{{ call.function.arguments }}"
NO_CONTENT = "{% if message.content is not none %}{{ raise_exception('A call has no content') }}{% endif %}" + OBJECT
NINE_LETTERS = "{% if call.id | length != 9 %}{{ raise_exception('Ids have 9 letters') }}{% endif %}" + OBJECT
LISTED = "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}"


def calling(written: str, listed: str = LISTED) -> str:
    """A template that writes a call's arguments so."""
    return (
        f"{listed}{{% for message in messages %}}{{{{ '<|im_start|>' + message.role + '\n' }}}}"
        "{% if message.tool_calls %}{% for call in message.tool_calls %}"
        f"{{{{ call.function.name + ' ' }}}}{written}{{% endfor %}}"
        "{% else %}{{ message.content }}{% endif %}{{ '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


TOOL = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}
CALLS = [{"id": f"call_{name}", "function": {"name": "look", "arguments": {"at": name}}} for name in ("sky", "海")]
CALLED: tuple[Message, ...] = (
    *ASKED,
    {"role": "assistant", "content": "", "tool_calls": CALLS},
    {"role": "tool", "content": "blue", "tool_call_id": "call_海"},
    {"role": "tool", "content": "grey", "tool_call_id": "call_sky"},
    {"role": "assistant", "content": "Fine."},
)


@pytest.mark.parametrize(
    ("template", "form"),
    [
        (calling(OBJECT), CallForm(new_ids=False, no_content=False, arguments_as_text=False)),
        (calling(TEXT), CallForm(new_ids=False, no_content=False, arguments_as_text=True)),
        (calling(PYTHON), CallForm(new_ids=False, no_content=False, arguments_as_text=True)),
        (calling(NO_CONTENT), CallForm(new_ids=False, no_content=True, arguments_as_text=False)),
        (calling(NINE_LETTERS), CallForm(new_ids=True, no_content=False, arguments_as_text=False)),
        (calling(OBJECT, listed=""), None),
        (calling("{{ '' }}"), None),
    ],
    ids=["object", "text", "text where an object is printed as Python", "no content", "ids", "unlisted", "unwritten"],
)
def test_calls_are_put_to_a_template_as_it_takes_them(tiny_tokenizer: Any, template: str, form: Any) -> None:
    tiny_tokenizer.chat_template = template
    assert call_form(tiny_tokenizer) == form
    (row,) = render_example(tiny_tokenizer, Example(CALLED, 1, tools=(TOOL,)))
    trained = tiny_tokenizer.decode([label for label in row.labels if label != NOT_TRAINED])
    assert trained.count('{"at": "sky"}') == trained.count('{"at": "海"}') == 1
    assert trained.count("<|im_end|>") == 2
    assert "Looks." in tiny_tokenizer.decode(row.input_ids)
    assert "Looks." not in trained
    assert "grey" not in trained


def test_new_ids_bind_each_result_to_its_call(tiny_tokenizer: Any) -> None:
    tiny_tokenizer.chat_template = calling(NINE_LETTERS + "{{ call.id }}").replace(
        "{{ message.content }}", "{{ message.content ~ message.tool_call_id }}"
    )
    (row,) = render_example(tiny_tokenizer, Example(CALLED, 1, tools=(TOOL,)))
    text = tiny_tokenizer.decode(row.input_ids)
    for expected in ('{"at": "sky"}call00000', '{"at": "海"}call00001', "bluecall00001", "greycall00000"):
        assert expected in text
    without = tuple({k: v for k, v in message.items() if k != "tool_call_id"} for message in CALLED)
    (row,) = render_example(tiny_tokenizer, Example(without, 1, tools=(TOOL,)))  # type: ignore[arg-type]
    assert "bluecall00000" in tiny_tokenizer.decode(row.input_ids), "without ids results are in the order of the calls"


def test_tools_that_a_template_does_not_know_are_written_as_text(tiny_tokenizer: Any) -> None:
    said: tuple[Message, ...] = ({"role": "system", "content": "Be brief."}, *CALLED)
    (row,) = render_example(tiny_tokenizer, Example(said, 1, tools=(TOOL,)))
    text = tiny_tokenizer.decode(row.input_ids)
    assert text.startswith("<|im_start|>system\nBe brief.\n\n# Tools\n")
    assert (
        '<|im_start|>assistant\n<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "look", "arguments": {"at": "海"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\nblue\n</tool_response>\n<tool_response>\ngrey\n</tool_response><|im_end|>\n"
    ) in text


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("<think>\nhm\n</think>\n\nYes. ", "Yes. "),
        ("\n<think></think>Yes", "Yes"),
        ("hm\n</think>\n\nYes", "Yes"),  # the prompt had opened the thought
        ("Well <think>hm</think> yes <think>so</think>\nit is", "Well yes it is"),
        ("<think>never closed", "<think>never closed"),
        (" No thought\n", " No thought\n"),
    ],
)
def test_thoughts_are_taken_out_of_an_answer_and_nothing_else(said: str, left: str) -> None:
    message: Message = {"role": "assistant", "content": said}
    assert without_thoughts(message) == {"role": "assistant", "content": left}
    assert without_thoughts({**message, "reasoning_content": "hm"}) == {"role": "assistant", "content": left}
    asked: Message = {"role": "user", "content": said}
    assert without_thoughts(asked) is asked


def bare_tokenizer(adds_bos: bool = False) -> Any:
    """A base model's tokenizer: BOS and EOS, no chat tokens, no template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["Hello"], trainer)
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
