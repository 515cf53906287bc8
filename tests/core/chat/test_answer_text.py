from __future__ import annotations

from typing import Any

import pytest

from core.chat.answer_text import AnswerText


def stream(tokenizer: Any, text: str, stop: tuple[str, ...] = (), reply_start: str = "") -> tuple[list[str], bool]:
    """Every state that was shown while the text came token by token, and whether a stop string ended it."""
    answer = AnswerText(tokenizer, stop, reply_start)
    shown: list[str] = []
    for token_id in tokenizer(text, add_special_tokens=False).input_ids:
        stopped = answer.add(token_id)
        shown.append(answer.text)
        if stopped:
            return shown, True
    answer.finish()
    return [*shown, answer.text], False


@pytest.mark.parametrize(
    "text",
    [
        "Hello, who are you?",
        "你好，世界！我是一个小模型。",
        "👩‍👩‍👧‍👦 family 🇨🇳 ok 🤖",
        "a\n\n  b\tc",
        "naïve café",
        "𠮷野家",
        "x\ufffdy",
    ],
)
def test_text_grows_by_whole_characters_and_ends_complete(tiny_tokenizer: Any, text: str) -> None:
    shown, _ = stream(tiny_tokenizer, text)
    assert shown[-1] == text
    for state in shown:
        assert text.startswith(state)


def test_an_unfinished_character_at_the_end_is_left_out(tiny_tokenizer: Any) -> None:
    ids = tiny_tokenizer("好", add_special_tokens=False).input_ids
    assert len(ids) == 3
    answer = AnswerText(tiny_tokenizer)
    for token_id in [*tiny_tokenizer("ok ", add_special_tokens=False).input_ids, *ids[:2]]:
        answer.add(token_id)
    answer.finish()
    assert answer.text == "ok "


def test_bytes_that_never_become_a_character_do_not_hold_the_answer_back(tiny_tokenizer: Any) -> None:
    first_byte = tiny_tokenizer("好", add_special_tokens=False).input_ids[0]
    answer = AnswerText(tiny_tokenizer)
    for _ in range(100):
        answer.add(first_byte)
    assert len(answer.text) >= 80


@pytest.mark.parametrize(
    ("text", "stop", "end"),
    [
        ("one END two", ("END",), "one "),
        ("one\n\nUser: two", ("\nUser:", "\nAI:"), "one\n"),
        ("a STOP b", ("STO", "OP"), "a "),
        ("停在这里吧", ("这里",), "停在"),
        ("ENEND", ("END",), "EN"),
        ("START", ("START",), ""),
    ],
)
def test_the_text_ends_before_a_stop_string_and_no_part_of_it_is_shown(
    tiny_tokenizer: Any, text: str, stop: tuple[str, ...], end: str
) -> None:
    shown, stopped = stream(tiny_tokenizer, text, stop)
    assert stopped
    assert shown[-1] == end
    for state in shown:
        assert end.startswith(state)


def test_the_beginning_of_a_stop_string_that_does_not_come_is_shown_in_the_end(tiny_tokenizer: Any) -> None:
    shown, stopped = stream(tiny_tokenizer, "the EN", ("END", ""))
    assert not stopped
    assert shown[-2:] == ["the ", "the EN"]


def test_a_started_reply_is_part_of_the_text_and_ends_nothing(tiny_tokenizer: Any) -> None:
    shown, stopped = stream(tiny_tokenizer, " two", ("one",), reply_start="one")
    assert not stopped
    assert shown[-1] == "one two"


def sentencepiece_tokenizer() -> Any:
    """A tokenizer that marks spaces on words, drops the first when it decodes, and falls back to bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = {token: i for i, token in enumerate(["<unk>", "</s>", *byte_tokens, "▁", "▁one", "▁two", "x"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def test_a_space_that_decoding_drops_at_the_beginning_stays_after_a_started_reply() -> None:
    tokenizer = sentencepiece_tokenizer()
    one, two = tokenizer.convert_tokens_to_ids(["▁one", "▁two"])
    answer = AnswerText(tokenizer, reply_start="one", before=[one])
    answer.add(two)
    answer.add(two)
    assert answer.text == "one two two"
    fresh = AnswerText(tokenizer)
    fresh.add(one)
    assert fresh.text == "one"


def test_neighbouring_characters_made_of_byte_tokens_do_not_flicker() -> None:
    tokenizer = sentencepiece_tokenizer()
    answer = AnswerText(tokenizer)
    shown = []
    for byte in "你好x".encode():
        answer.add(tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>"))
        shown.append(answer.text)
    answer.finish()
    assert answer.text == "你好x"
    assert all("你好x".startswith(state) for state in shown)
