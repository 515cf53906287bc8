from __future__ import annotations

from typing import Any

import pytest

from core.data.conversation import Example, Message
from core.data.rendering import end_of_turn_ids, ensure_template, render_example, render_prompt
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
