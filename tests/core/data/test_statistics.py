"""Tokens are counted as training makes them, and a maximum length takes what the table says it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.data.conversation import Example, Message
from core.data.options import DataOptions
from core.data.rendering import render_all, render_example
from core.data.statistics import TokenTable, measure
from core.data.turns import ChatView
from core.errors import WorkbenchError
from core.jobs import Cancelled
from tests.conftest import CHATML

THINKING_DROPPED = (
    "{% for message in messages %}{% set said = message['content'] %}"
    "{% if message['role'] == 'assistant' and not loop.last %}{% set said = said.split('</think>')[-1] %}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + said + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}" + CHATML
PLAIN = DataOptions()
LIMITS = (1, 12, 20, 35, 60, 90, 10_000)


def conversation(line: int, *contents: str, system: str = "", file: str = "") -> Example:
    turns = [Message(role=("user", "assistant")[at % 2], content=said) for at, said in enumerate(contents)]
    opening = [Message(role="system", content=system)] if system else []
    return Example((*opening, *turns), line, row=line, file=file)


CONVERSATIONS = (
    conversation(1, "Hello", "I am a tiny model."),
    conversation(3, "Hello, who are you? " * 8, "I am tiny."),
    conversation(7, "Who?", "A model.", "Hello " * 9, "Hello you! " * 6, "And?", "No.", system="Be brief."),
    conversation(9, "Who?", "<think>\nme?\n</think>\n\nA model.", "And?", "<think>\nhm\n</think>\n\nNo."),
    conversation(12, "你好", "我是小模型😀 " * 4, "Hello", "ok"),
)


def content_tokens(tokenizer: Any, *texts: str) -> int:
    return sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)


def test_a_tokenizer_is_asked_about_its_tokens_once_not_for_each_row(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    views: list[ChatView] = []
    monkeypatch.setattr(ChatView, "of", lambda tokenizer, of=ChatView.of: (views.append(of(tokenizer)), views[-1])[1])
    measure(tiny_tokenizer, CONVERSATIONS, PLAIN)
    assert len(views) == 1, "for Gemma's 6,000 added tokens that is 30 ms a row"


def test_every_training_row_is_counted_with_its_line_and_its_trained_tokens(tiny_tokenizer: Any) -> None:
    table = measure(tiny_tokenizer, iter(CONVERSATIONS), PLAIN)
    rows = [row for example in CONVERSATIONS for row in render_example(tiny_tokenizer, example)]
    assert table.lines.tolist() == table.rows.tolist() == [row.line for row in rows]
    assert table.tokens.tolist() == [len(row.input_ids) for row in rows]
    assert table.trained.tolist() == [row.trained_tokens for row in rows]
    assert table.total_tokens == sum(table.tokens.tolist())
    assert table.trained_tokens == sum(table.trained.tolist())
    assert table.turns.tolist() == [2, 2, 6, 4, 4]
    assert table.refused == 0


def test_a_template_that_rewrites_earlier_turns_gives_a_row_for_each_answer(tiny_tokenizer: Any) -> None:
    tiny_tokenizer.chat_template = THINKING_DROPPED
    table = measure(tiny_tokenizer, CONVERSATIONS, PLAIN)
    assert table.examples == len(CONVERSATIONS)
    assert table.lines.tolist().count(9) == 2


@pytest.mark.parametrize("template", [CHATML, THINKING_DROPPED], ids=["chatml", "thinking dropped"])
@pytest.mark.parametrize("long_rows", ["skip", "cut"])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_maximum_length_takes_what_rendering_takes(
    tiny_tokenizer: Any, template: str, long_rows: Any, limit: int
) -> None:
    tiny_tokenizer.chat_template = template
    table = measure(tiny_tokenizer, CONVERSATIONS, PLAIN)
    effect = table.at(limit, long_rows)
    try:
        rows = render_all(tiny_tokenizer, CONVERSATIONS, limit, long_rows).rows
    except WorkbenchError as error:
        assert error.key == "D30_all_too_long"
        rows = []
    assert effect.kept_rows == len(rows)
    assert effect.rows_lost == len(table.tokens) - len(rows)
    assert effect.tokens_lost == table.total_tokens - sum(len(row.input_ids) for row in rows)
    assert effect.trained_lost == table.trained_tokens - sum(row.trained_tokens for row in rows)
    assert effect.rows_over == sum(int(length) > limit for length in table.tokens)


def test_the_chosen_limits_show_every_case(tiny_tokenizer: Any) -> None:
    """The law above proves little if its limits cut nothing, or everything."""
    table = measure(tiny_tokenizer, CONVERSATIONS, PLAIN)
    cuts = [table.at(limit, "cut") for limit in LIMITS]
    assert {0, len(CONVERSATIONS)} < {effect.kept_rows for effect in cuts}
    assert any(0 < effect.rows_lost < effect.rows_over for effect in cuts)


def test_a_document_counts_whole_and_loses_nothing(tiny_tokenizer: Any) -> None:
    document = Example((), 4, text="Hello, who are you? " * 40)
    table = measure(tiny_tokenizer, [document, CONVERSATIONS[0]], PLAIN)
    (row,) = render_example(tiny_tokenizer, document)
    assert table.tokens[0] == table.trained[0] == len(row.input_ids)
    assert table.turns.tolist() == [0, 2]
    effect = table.at(len(row.input_ids) - 1, "cut")
    assert (effect.rows_over, effect.tokens_lost, effect.kept_rows) == (0, 0, 2)
    assert measure(tiny_tokenizer, [document], PLAIN).by_role == {}


def test_rows_that_the_template_refuses_are_counted_and_left_out(tiny_tokenizer: Any) -> None:
    tiny_tokenizer.chat_template = NO_SYSTEM
    table = measure(tiny_tokenizer, CONVERSATIONS, PLAIN)
    assert table.refused == 1
    assert table.lines.tolist() == [1, 3, 9, 12]


def test_a_model_without_a_template_is_an_error_not_a_refused_row(tiny_tokenizer: Any) -> None:
    tiny_tokenizer.chat_template = None
    with pytest.raises(WorkbenchError) as refused:
        measure(tiny_tokenizer, CONVERSATIONS, PLAIN)
    assert refused.value.key == "M05_no_chat_template"


def test_each_roles_words_are_counted_and_the_rest_is_the_templates(tiny_tokenizer: Any) -> None:
    table = measure(tiny_tokenizer, CONVERSATIONS[:3], PLAIN)
    assert table.by_role["system"].tolist() == [content_tokens(tiny_tokenizer, "Be brief.")]
    assert table.by_role["user"].tolist()[2] == content_tokens(tiny_tokenizer, "Who?", "Hello " * 9, "And?")
    assert table.by_role["assistant"].tolist()[0] == content_tokens(tiny_tokenizer, "I am a tiny model.")
    said = [sum(int(table.by_role[role][at]) for role in ("user", "assistant")) for at in (0, 1)]
    assert table.by_role["template"].tolist()[:2] == [int(table.tokens[at]) - said[at] for at in (0, 1)]
    assert table.by_role["template"].min() > 0
    assert "tool" not in table.by_role


def test_thoughts_are_the_assistants_words_where_they_are_kept(tiny_tokenizer: Any) -> None:
    thought = Message(role="assistant", content="ok", reasoning_content="Hello you " * 5)
    example = Example((Message(role="user", content="Hello"), thought), 1)
    kept = measure(tiny_tokenizer, [example], PLAIN).by_role["assistant"]
    dropped = measure(tiny_tokenizer, [example], DataOptions(thinking="drop")).by_role["assistant"]
    assert dropped.tolist() == [content_tokens(tiny_tokenizer, "ok")]
    assert kept.tolist() == [content_tokens(tiny_tokenizer, "ok", "Hello you " * 5)]


def test_half_characters_do_not_stop_the_count(tiny_tokenizer: Any) -> None:
    table = measure(tiny_tokenizer, [conversation(1, "Hello \ud83d", "ok")], PLAIN)
    assert table.by_role["user"].tolist() == [content_tokens(tiny_tokenizer, "Hello ?")]


def test_progress_is_reported_every_hundred_rows_and_cancelling_ends_the_count(tiny_tokenizer: Any) -> None:
    made = []

    def rows() -> Iterator[Example]:
        for number in range(250):
            made.append(number)
            yield CONVERSATIONS[0]

    reported: list[int] = []
    measure(tiny_tokenizer, rows(), PLAIN, reported.append)
    assert reported == [100, 200]

    def cancel(done: int) -> None:
        raise Cancelled

    made.clear()
    with pytest.raises(Cancelled):
        measure(tiny_tokenizer, rows(), PLAIN, cancel)
    assert len(made) == 100


def test_the_longest_rows_are_named_with_file_and_line(tiny_tokenizer: Any) -> None:
    examples = [replace(example, file=f"{at % 2}.jsonl") for at, example in enumerate(CONVERSATIONS)]
    first, second = measure(tiny_tokenizer, [*examples, examples[4]], PLAIN).longest(2)
    assert first == second
    assert (first.line, first.file) == (12, "0.jsonl")
    assert first.trained < first.tokens


def table_of(lengths: list[int]) -> TokenTable:
    """Rows of which the last fifth is trained."""
    tokens = np.array(lengths, dtype=np.int32)
    count = np.arange(len(lengths), dtype=np.int32)
    begins = tokens - tokens // 5
    return TokenTable(
        lines=count + 1,
        rows=count + 1,
        files=("",) if lengths else (),
        file_numbers=np.zeros_like(count),
        tokens=tokens,
        trained=tokens // 5,
        documents=np.zeros(len(lengths), dtype=np.bool_),
        spans=np.stack([begins, tokens], axis=1),
        span_rows=count,
        turns=np.full_like(count, 2),
        by_role={"user": begins, "assistant": tokens // 5},
    )


@pytest.mark.parametrize(("percent", "length"), [(50, 50), (90, 90), (99, 99), (100, 100)])
def test_a_percentile_is_the_length_of_a_row(percent: float, length: int) -> None:
    assert table_of(list(range(100, 0, -1))).percentile(percent) == length


@pytest.mark.parametrize("lengths", [[7], [40] * 50, list(range(1, 400)), [30] * 200 + [90_000], [100, 60_000]])
def test_a_histogram_holds_every_row_once_in_its_bin(lengths: list[int]) -> None:
    bins = table_of(lengths).histogram(40)
    assert len(bins.rows) <= 41
    assert (bins.rows.sum(), bins.tokens.sum()) == (len(lengths), sum(lengths))
    assert bins.trained.sum() == sum(length // 5 for length in lengths)
    for at, rows in enumerate(bins.rows[:-1].tolist()):
        assert rows == sum(at * bins.width <= length < (at + 1) * bins.width for length in lengths)
    assert bins.open_ended == (max(lengths) >= len(bins.rows) * bins.width)


def test_one_row_that_is_far_longer_does_not_hide_how_the_others_differ() -> None:
    bins = table_of([*range(20, 100), 90_000]).histogram(40)
    assert bins.open_ended
    assert bins.rows[-1] == 1
    assert np.count_nonzero(bins.rows) > 10


def test_a_set_without_rows_has_a_table_too(tiny_tokenizer: Any) -> None:
    table = measure(tiny_tokenizer, [], PLAIN)
    assert (table.total_tokens, table.trained_tokens, table.examples, table.percentile(50)) == (0, 0, 0, 0)
    assert table.longest(3) == []
    assert table.at(10, "cut").kept_rows == table.at(10, "skip").rows_over == 0
    assert table.histogram().rows.sum() == 0
