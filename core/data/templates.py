"""Chat templates: rendering one to text, and the built-in choice where a model brings none.

The template of a model is untrusted code from a download: transformers runs it in an immutable sandbox, and a template
over 64 KB is refused. What is done with the text is `rendering.py`'s affair.
"""

from __future__ import annotations

from typing import Any

from core.data.conversation import Message
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
    begins_with_bos = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    tokenizer.chat_template = ("{{ bos_token }}" if begins_with_bos else "") + BUILT_IN_TEMPLATES[name]
    return name


def render_text(tokenizer: Any, messages: list[Message], prompt: bool) -> str:
    """The conversation as the template writes it; with `prompt`, an answer is opened at the end.

    Raises:
        WorkbenchError: D28 where the template refuses the messages or fails on them; M05 where there is none.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise refusal("M05_no_chat_template")
    template = tokenizer.get_chat_template()
    if len(template.encode("utf-8", "replace")) > MAX_TEMPLATE_BYTES:
        raise refusal("M06_template_too_big", kilobytes=MAX_TEMPLATE_BYTES // 1024)
    if not messages:
        raise refusal("D27_answer_first")
    try:
        return str(tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, tokenize=False))
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise refusal("D28_template_refuses", Place(), reason=excerpt(error)) from error
