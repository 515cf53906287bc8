"""The bytes that a token of the vocabulary stands for.

Decoding a single token loses what is no whole character (half a Chinese one); clients that are given probabilities put
the bytes of tokens together themselves. Owns the two ways in which vocabularies write bytes: byte-level (each byte a
visible character, as GPT-2 began) and SentencePiece (`▁` for a space, `<0xE4>` for a byte).
"""

from __future__ import annotations

import json
import re
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenBytes:
    """Looks tokens of one tokenizer up."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
        self._bytes_of = _byte_level_characters() if _is_byte_level(tokenizer) else None

    def __call__(self, token_id: int) -> bytes:
        token = self._tokenizer.convert_ids_to_tokens(token_id)
        if token is None:  # the output layer may be larger than the vocabulary
            return b""
        token = str(token)
        if token in self._special:
            return token.encode()
        if self._bytes_of is not None and all(character in self._bytes_of for character in token):
            return bytes(self._bytes_of[character] for character in token)
        found = _BYTE.fullmatch(token)
        return bytes([int(found[1], 16)]) if found else token.replace("▁", " ").encode()


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = backend.decoder if backend else None
    return decoder is not None and "ByteLevel" in json.dumps(json.loads(decoder.__getstate__()))


def _byte_level_characters() -> dict[str, int]:
    """The character that GPT-2's tokenizer writes for each byte: itself where it is visible, else one from 256 on.

    https://github.com/openai/gpt-2/blob/master/src/encoder.py (`bytes_to_unicode`).
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + place): byte for place, byte in enumerate(others)}
