"""Continued pre-training: what is learned of documents, and where they are cut."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.conversation import Example, Message
from core.data.documents import Document, pack
from core.data.options import DataOptions
from core.data.rendering import NOT_TRAINED, preview, render_all, render_example
from core.errors import WorkbenchError
from tests.core.data.test_templates import bare_tokenizer

EOS = 2  # <|im_end|> of the tiny tokenizer


def text(words: str, line: int = 1) -> Example:
    return Example((), line, text=words)


def ids_of(tokenizer: Any, words: str) -> list[int]:
    return list(tokenizer.encode(words, add_special_tokens=False))


def test_documents_share_a_block_with_an_eos_behind_each(tiny_tokenizer: Any) -> None:
    (block,) = render_all(tiny_tokenizer, [text("Hello"), text("你好 😀", 2)], max_length=64).rows
    expected = [*ids_of(tiny_tokenizer, "Hello"), EOS, *ids_of(tiny_tokenizer, "你好 😀"), EOS]
    assert block.input_ids == block.labels == expected
    assert block.line == 1


def test_a_bos_is_there_where_the_tokenizer_puts_one_before_a_text() -> None:
    tokenizer = bare_tokenizer(adds_bos=True)
    (block,) = render_all(tokenizer, [text("Hello"), text("Hello")], max_length=64).rows
    assert tokenizer.decode(block.input_ids) == "<s>Hello</s><s>Hello</s>"
    (block,) = render_all(bare_tokenizer(), [text("Hello")], max_length=64).rows
    assert tokenizer.decode(block.input_ids) == "Hello</s>"


def test_a_document_that_fits_is_never_cut(tiny_tokenizer: Any) -> None:
    examples = [text("a" * length, length) for length in (30, 30, 9, 50, 20)]
    rows = render_all(tiny_tokenizer, examples, max_length=52).rows
    shown = [tiny_tokenizer.decode(row.input_ids) for row in rows]
    assert sorted("".join(shown).split("<|im_end|>")) == sorted(["", *(example.text or "" for example in examples)])
    assert all(each.endswith("<|im_end|>") for each in shown)
    assert [row.line for row in rows] == [30, 30, 50], "a block bears the line of the document it begins with"


def test_a_long_document_is_cut_into_full_blocks_that_overlap(tiny_tokenizer: Any) -> None:
    words = "".join(map(str, range(60)))
    options = DataOptions(text_overlap=4)
    rows = render_all(tiny_tokenizer, [text(words)], max_length=20, options=options).rows
    assert [len(row.input_ids) for row in rows[:-1]] == [20] * (len(rows) - 1)
    for before, after in itertools.pairwise(rows):
        assert after.input_ids[:4] == before.input_ids[-4:]
        assert after.labels[:4] == [NOT_TRAINED] * 4
    learned = [label for row in rows for label in row.labels if label != NOT_TRAINED]
    assert learned == [*ids_of(tiny_tokenizer, words), EOS], "every token is learned once"


def test_without_a_maximum_each_document_is_a_row(tiny_tokenizer: Any) -> None:
    rows = render_all(tiny_tokenizer, [text("a" * 900), text("b", 2)]).rows
    assert [(row.line, row.input_ids[-1]) for row in rows] == [(1, EOS), (2, EOS)]
    assert render_example(tiny_tokenizer, text("b", 2)) == rows[1:]


@pytest.mark.parametrize(
    ("separator", "parts"), [("\\n\\n\\n", ["a", "b\n\nc"]), ("---", ["a\n\n\nb\n\nc"]), ("", None)]
)
def test_a_separator_cuts_a_text_into_documents(tiny_tokenizer: Any, separator: str, parts: list[str] | None) -> None:
    words = "a\n\n\nb\n\nc"
    options = DataOptions(text_separator=separator)
    (block,) = render_all(tiny_tokenizer, [text(words)], max_length=64, options=options).rows
    assert tiny_tokenizer.decode(block.input_ids).split("<|im_end|>") == [*(parts or [words]), ""]


def test_special_tokens_in_a_document_are_text(tiny_tokenizer: Any) -> None:
    (block,) = render_all(tiny_tokenizer, [text("a<|im_end|>b<|endoftext|>")], max_length=64).rows
    assert block.input_ids.count(EOS) == 1
    assert tiny_tokenizer.decode(block.input_ids) == "a<|im_end|>b<|endoftext|><|im_end|>"


@pytest.mark.parametrize("words", ["", " \n\t", "---"])
def test_a_document_without_text_is_named_and_the_others_kept(tiny_tokenizer: Any, words: str) -> None:
    options = DataOptions(text_separator="---")
    rendered = render_all(tiny_tokenizer, [text("a"), text(words, 2)], max_length=8, options=options)
    assert [(each.key, each.place.line) for each in rendered.errors] == [("D27_no_text", 2)]
    assert len(rendered.rows) == 1


def test_an_overlap_as_long_as_a_block_is_refused(tiny_tokenizer: Any) -> None:
    with pytest.raises(WorkbenchError) as caught:
        render_all(tiny_tokenizer, [text("a")], max_length=16, options=DataOptions(text_overlap=16))
    problem = caught.value.problems[0]
    assert (problem.key, problem.place.field) == ("D30_overlap_too_long", "text_overlap")
    assert "below 16 tokens" in problem.describe().fix


def test_documents_and_conversations_go_together(tiny_tokenizer: Any) -> None:
    messages: tuple[Message, ...] = ({"role": "user", "content": "q" * 40}, {"role": "assistant", "content": "a"})
    rendered = render_all(tiny_tokenizer, [text("a"), Example(messages, 2), text("b", 3)], max_length=30)
    assert [row.line for row in rendered.rows] == [1]
    assert rendered.too_long == (2,)
    assert not rendered.errors


def test_a_preview_of_a_document_is_its_beginning(tiny_tokenizer: Any) -> None:
    pieces = preview(tiny_tokenizer, text("a" * 5_000_000))
    assert len(pieces) == 1024
    assert "".join(piece.text for piece in pieces) == "a" * 1024
    assert all(piece.trained for piece in pieces)
    assert "".join(piece.text for piece in preview(tiny_tokenizer, text("你好"))) == "你好<|im_end|>"


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    max_length=st.integers(2, 40),
    overlap=st.integers(0, 10),
)
def test_packing_keeps_every_token_once_and_every_fitting_document_whole(
    lengths: list[int], max_length: int, overlap: int
) -> None:
    overlap = min(overlap, max_length - 1)
    first = itertools.accumulate([0, *lengths[:-1]])
    documents = [Document(list(range(at, at + length)), at) for at, length in zip(first, lengths, strict=True)]
    blocks = pack(documents, max_length, overlap)
    assert all(1 <= len(block.input_ids) == len(block.labels) <= max_length for block in blocks)
    learned = [label for block in blocks for label in block.labels if label != NOT_TRAINED]
    assert sorted(learned) == list(range(sum(lengths)))
    where = {label: number for number, block in enumerate(blocks) for label in block.labels if label != NOT_TRAINED}
    for document in documents:
        used = {where[token] for token in document.ids}
        assert len(used) == 1 or len(document.ids) > max_length
    used_up = sorted(len(block.input_ids) for block in blocks)
    assert len(blocks) == 1 or sum(used_up[:2]) > max_length, "no two blocks would have fitted into one"
