"""Bytes of tokens: put together they are the text, in both ways of writing bytes in a vocabulary."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from core.chat.token_bytes import TokenBytes

TEXT = "Hello, 世界! Ünïcode and 👍\n  spaces"


@pytest.fixture
def sentencepiece() -> Any:
    """A vocabulary in the manner of Llama 2: `▁` for spaces, bytes for what it has no word for."""
    words = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁Hello", "l", "o", "世"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("family", ["byte-level", "sentencepiece"])
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(
    family: str, tiny_tokenizer: Any, sentencepiece: Any
) -> None:
    tokenizer = tiny_tokenizer if family == "byte-level" else sentencepiece
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    spell = TokenBytes(tokenizer)
    assert b"".join(map(spell, ids)).decode().strip(" ") == TEXT
    assert any(len(spell(token_id)) == 1 and spell(token_id)[0] > 127 for token_id in ids), "a part of a character"
    assert spell(tokenizer.eos_token_id) == tokenizer.eos_token.encode()
    assert spell(len(tokenizer) + 5) == b""
