"""Continued pre-training: documents become blocks of tokens, all of which are trained.

A document is the BOS where the tokenizer puts one before a text, its tokens, and the EOS. Documents share blocks, and
one that fits into a block is never cut. A longer one is cut into full blocks and a rest; with an overlap each part
repeats the last tokens of the part before it, which are context there and not trained a second time.

Special tokens typed into a document are text, as everywhere. Nothing here is about conversations.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from core.data.conversation import Example
from core.data.templates import begins_with_bos
from core.data.turns import NOT_TRAINED, ChatView, Rendered, broken
from core.errors import Place, refusal

OPEN_BLOCKS = 64  # blocks with room that wait for a document; more would mix distant rows for little gain


@dataclass(frozen=True)
class Document:
    """The ids of a document, from BOS to EOS."""

    ids: list[int]
    line: int


def documents(view: ChatView, example: Example, separator: str = "") -> list[Document]:
    """The documents in an example's text: one, or what stands between the separators (`\\n` and `\\t` may be typed).

    Raises:
        WorkbenchError: D27 where there is no text.
    """
    tokenizer, mark = view.tokenizer, separator.replace("\\n", "\n").replace("\\t", "\t")
    text = str(example.text)
    texts = [each for each in (text.split(mark) if mark else [text]) if each.strip()]
    if not texts:
        raise refusal("D27_no_text", Place(file=example.file, line=example.line))
    begins = [int(tokenizer.bos_token_id)] if begins_with_bos(tokenizer) else []
    ends = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    encoded = (view.encode([(broken(each, view.special), True)])[0] for each in texts)
    return [Document([*begins, *ids, *ends], example.line) for ids in encoded]


def pack(documents: Sequence[Document], max_length: int | None = None, overlap: int = 0) -> list[Rendered]:
    """Blocks of at most `max_length` tokens, in the order in which they were begun; without a maximum each is one.

    The line of a block is that of the document it begins with.

    Raises:
        WorkbenchError: D30 where the overlap leaves no room for new tokens.
    """
    if max_length is None:
        return [Rendered(each.ids, list(each.ids), each.line) for each in documents]
    if overlap >= max_length:
        raise refusal("D30_overlap_too_long", Place(field="text_overlap"), overlap=overlap, limit=max_length)
    blocks: list[Rendered] = []
    open_blocks: list[tuple[int, int]] = []  # (room, number of the block), least room first
    for document in documents:
        for part in _parts(document, max_length, overlap):
            at = bisect_left(open_blocks, (len(part.input_ids), 0))
            if at < len(open_blocks):
                number = open_blocks.pop(at)[1]
                blocks[number].input_ids.extend(part.input_ids)
                blocks[number].labels.extend(part.labels)
            else:
                number = len(blocks)
                blocks.append(part)
            insort(open_blocks, (max_length - len(blocks[number].input_ids), number))
            if len(open_blocks) > OPEN_BLOCKS or open_blocks[0][0] == 0:
                open_blocks.pop(0)
    return blocks


def _parts(document: Document, max_length: int, overlap: int) -> list[Rendered]:
    """The document, or where it is too long full blocks of it and a rest."""
    parts = []
    for start in range(0, max(len(document.ids) - overlap, 1), max_length - overlap):
        ids = document.ids[start : start + max_length]
        repeated = overlap if start else 0
        parts.append(Rendered(ids, [NOT_TRAINED] * repeated + ids[repeated:], document.line))
    return parts
