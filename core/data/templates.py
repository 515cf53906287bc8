"""Chat templates: rendering one to text, and the built-in choice where a model brings none.

The template of a model is untrusted code from a download: transformers runs it in an immutable sandbox, and a template
over 64 KB is refused. How tools and thoughts are put to a template is `template_forms.py`'s affair, what is done with
the text `turns.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import Place, excerpt, refusal

MAX_TEMPLATE_BYTES = 64 * 1024

BUILT_IN_TEMPLATES = {
    # https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md
    "chatml": (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    # For vocabularies without the ChatML tokens: words anyone reads, and the model's own EOS ends an answer.
    "plain": (
        "{% for message in messages %}"
        "{{ '### ' + message['role'] | capitalize + ':\n' + message['content'] }}"
        "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}"
    ),
}
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
GENERATION_TAG = re.compile(r"\{%-?\s*generation\s*-?%\}")


def ensure_template(tokenizer: Any) -> str | None:
    """Give a tokenizer without a chat template a built-in one; returns its name, or None where it has its own.

    ChatML where the vocabulary has its two tokens, else plain headings with the tokenizer's EOS. The built-in begins
    with the BOS where the tokenizer puts one before every text: the model has never seen a text without it.
    """
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if template:
        return None
    known = tokenizer.get_vocab()
    name = "chatml" if all(token in known for token in CHATML_TOKENS) else "plain"
    tokenizer.chat_template = ("{{ bos_token }}" if begins_with_bos(tokenizer) else "") + BUILT_IN_TEMPLATES[name]
    return name


def begins_with_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a BOS before every text: then the model has never seen a text without it."""
    return tokenizer.bos_token_id is not None and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]


def template_source(tokenizer: Any, tools: Sequence[dict[str, Any]] = ()) -> str:
    """The template that is used, of several the one for conversations with tools or without.

    Raises:
        WorkbenchError: M05 where there is none; M06 where it is too big to be one.
    """
    if not tokenizer.chat_template:
        raise refusal("M05_no_chat_template")
    source = str(tokenizer.get_chat_template(tools=list(tools) or None))
    if len(source.encode("utf-8", "replace")) > MAX_TEMPLATE_BYTES:
        raise refusal("M06_template_too_big", kilobytes=MAX_TEMPLATE_BYTES // 1024)
    return source


def render_text(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], prompt: bool, tools: Sequence[dict[str, Any]] = ()
) -> str:
    """The conversation as the template writes it; with `prompt`, an answer is opened at the end.

    Raises:
        WorkbenchError: D28 where the template refuses the messages or fails on them; D27 where there are none; M05 and
            M06 as `template_source`.
    """
    return render_marked(tokenizer, messages, prompt, tools)[0]


def render_marked(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], prompt: bool, tools: Sequence[dict[str, Any]] = ()
) -> tuple[str, list[tuple[int, int]]]:
    """The same, and the (start, end) of every part that the template marks with `{% generation %}` as an answer.

    Raises:
        WorkbenchError: as `render_text`.
    """
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    source = template_source(tokenizer, tools)
    if not messages:
        raise refusal("D27_answer_first")
    try:
        texts, marked = render_jinja_template(
            conversations=[list(messages)],
            tools=list(tools) or None,
            chat_template=source,
            return_assistant_tokens_mask=GENERATION_TAG.search(source) is not None,
            add_generation_prompt=prompt,
            **tokenizer.special_tokens_map,
        )
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise refusal("D28_template_refuses", Place(), reason=excerpt(error)) from error
    return str(texts[0]), list(marked[0]) if marked else []
