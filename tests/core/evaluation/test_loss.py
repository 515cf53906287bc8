"""The loss of rows: equal to a plain computation, under every kind of adapter; each token of a document once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from core.data.conversation import Example
from core.data.options import DataOptions
from core.data.rendering import Rendered, render_example
from core.errors import WorkbenchError
from core.evaluation import loss
from core.evaluation.loss import Column, MeasuredRow, measured_rows, perplexity, row_losses
from core.jobs import Cancelled
from core.models.loader import LoadedModel
from core.models.twin import make_twin, put_in
from tests.core.adapters.building import ALL_TYPES, changed_weights, random_adapter_of, save_random_adapter_of

pytestmark = pytest.mark.filterwarnings("ignore:.*lora_bias.*", "ignore:.*rank_pattern keys did not match.*")
TOLERANCE = 1e-5
LIMIT = 200


def talk(*words: str) -> Example:
    """A conversation in which user and assistant say these words in turn."""
    turns: Any = [{"role": ("user", "assistant")[i % 2], "content": said} for i, said in enumerate(words)]
    return Example(tuple(turns), line=1)


def document(characters: int) -> Example:
    words = " ".join(f"number {n * 7919 % 1000}" for n in range(characters))[:characters]
    return Example((), line=1, text=words)


TALKS = [
    talk("Who?", "Me."),
    talk("Which color has number 7? " * 3, "Number 7 is red.", "Sure?", "Yes, I am very sure of that."),
    talk("Hello", "Hello, who are you? I am a tiny model. " * 30),  # longer than LIMIT
    talk("Hi", "A tiny model."),
]


def logprobs(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """(T, vocabulary) in fp64, of one row alone; virtual tokens are passed over."""
    with torch.no_grad():
        output = model(input_ids=torch.tensor([list(ids)])).logits[0, -len(ids) :]
    return output.double().log_softmax(-1)


def plain_loss(model: Any, row: Rendered) -> tuple[float, int]:
    """The sum of −log p over trained tokens, token by token."""
    found = logprobs(model, row.input_ids)
    trained = [at for at in range(1, len(row.labels)) if row.labels[at] != -100]
    return -sum(float(found[at - 1, row.input_ids[at]]) for at in trained), len(trained)


def plain_model(loaded: LoadedModel, kind: str) -> Any:
    """What `save_random_adapter_of` saves, as peft itself runs it."""
    if kind != "TRAINED_WEIGHTS":
        return random_adapter_of(loaded.model, kind)
    twin = make_twin(loaded.model)
    put_in(twin, changed_weights(twin, ("model.layers.1.", "model.norm.")))
    return twin


@pytest.mark.parametrize("kind", [None, *ALL_TYPES])
def test_the_loss_of_each_row_equals_a_plain_computation(loaded: LoadedModel, kind: str | None, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in loaded.model.named_parameters()}
    generator = torch.get_rng_state()
    folder = save_random_adapter_of(loaded.model, kind, tmp_path / "one", loaded.fingerprint) if kind else None
    torch.set_rng_state(generator)
    column = Column.of(loaded, "one", folder)
    rows = measured_rows(loaded.tokenizer, TALKS, DataOptions(), LIMIT)
    found = row_losses(column, rows, loaded.pad_id)
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        model = plain_model(loaded, kind) if kind else loaded.model
    for example, row, summed in zip(TALKS, rows, found, strict=True):
        (whole,) = render_example(loaded.tokenizer, example)
        cut = Rendered(whole.input_ids[:LIMIT], whole.labels[:LIMIT], 1)
        total, tokens = plain_loss(model, cut)
        assert (summed.tokens, row.tokens, row.cut) == (tokens, tokens, len(whole.input_ids) > LIMIT)
        assert summed.total == pytest.approx(total, rel=TOLERANCE)
    assert [row.cut for row in rows] == [False, False, True, False]
    assert torch.get_rng_state().equal(generator), "nothing is drawn"
    assert all(tensor.equal(state[name]) for name, tensor in loaded.model.named_parameters())
    assert not any("lora" in name for name, _ in loaded.model.named_modules()), "the pristine tree is never wrapped"


def test_how_rows_are_batched_changes_nothing(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = measured_rows(loaded.tokenizer, TALKS, DataOptions(), LIMIT)
    column = Column.of(loaded, "", None)
    read: list[int] = []
    together = row_losses(column, rows, loaded.pad_id, read.append)
    assert read == [sum(len(piece.input_ids) for row in rows for piece in row.pieces)], "one batch"
    monkeypatch.setattr(loss, "BATCH_TOKENS", 80)
    alone = row_losses(column, rows, loaded.pad_id, read.append)
    assert len(read) > 3 and sum(read[1:]) == read[0]
    for one, other in zip(together, alone, strict=True):
        assert one.total == pytest.approx(other.total, rel=TOLERANCE)


@pytest.mark.parametrize("stride", [None, 1, 10, 39, 40, 1000])
def test_each_token_of_a_document_is_scored_once_in_the_first_window_that_has_it(
    loaded: LoadedModel, stride: int | None
) -> None:
    window = 40
    (whole,) = render_example(loaded.tokenizer, document(200))
    ids, step = whole.input_ids, min(stride or window, window - 1)
    assert len(ids) > 2 * window
    expected = 0.0
    for at in range(1, len(ids)):
        begin = next(start for start in range(0, len(ids), step) if start <= at - 1 and at < start + window)
        expected -= float(logprobs(loaded.model, ids[begin:at])[-1, ids[at]])
    rows = measured_rows(loaded.tokenizer, [document(200)], DataOptions(), 512, window, stride)
    (summed,) = row_losses(Column.of(loaded, "", None), rows, loaded.pad_id)
    assert summed.tokens == len(ids) - 1
    assert summed.total == pytest.approx(expected, rel=TOLERANCE)


def test_a_short_context_makes_short_windows(loaded: LoadedModel) -> None:
    (row,) = measured_rows(loaded.tokenizer, [document(200)], DataOptions(), 16)
    assert max(len(piece.input_ids) for piece in row.pieces) == row.window_tokens == 16 and not row.cut


def test_a_row_of_which_the_cut_leaves_nothing_to_learn_has_no_loss(loaded: LoadedModel) -> None:
    rows = measured_rows(loaded.tokenizer, [talk("Hello " * 50, "Me.")], DataOptions(), 20)
    (summed,) = row_losses(Column.of(loaded, "", None), rows, loaded.pad_id)
    assert (summed.tokens, summed.mean, rows[0].cut) == (0, None, True)


def test_rows_that_cannot_be_rendered_are_refused_or_skipped_as_the_recipe_says(loaded: LoadedModel) -> None:
    examples = [talk("Who?"), talk("Who?", "Me."), talk("What?")]
    with pytest.raises(WorkbenchError) as caught:
        measured_rows(loaded.tokenizer, examples, DataOptions(), LIMIT)
    assert [problem.code for problem in caught.value.problems] == ["D27", "D27"]
    rows = measured_rows(loaded.tokenizer, examples, DataOptions(skip_bad_rows=True), LIMIT)
    found = row_losses(Column.of(loaded, "", None), rows, loaded.pad_id)
    assert [summed.tokens > 0 for summed in found] == [False, True, False]


def test_a_forward_is_left_between_two_layers_once_it_is_cancelled(loaded: LoadedModel) -> None:
    column, asked, cancelled = Column.of(loaded, "", None), 0, threading.Event()

    def is_cancelled() -> bool:
        nonlocal asked
        asked += 1
        return cancelled.is_set() or asked == 2

    rows = [MeasuredRow((Rendered([1, 5, 6, 7], [-100, -100, 6, 7], 1),))]
    with pytest.raises(Cancelled):
        row_losses(column, rows, loaded.pad_id, cancelled=is_cancelled)
    assert asked == 2, "before each of the two layers"
    (summed,) = row_losses(column, rows, loaded.pad_id)
    assert (summed.tokens, asked) == (2, 2)


def test_a_loss_that_is_no_number_is_none() -> None:
    assert loss.SummedLoss(float("nan"), 3).mean is None
    assert perplexity(1e9) == perplexity(701.0) < float("inf")
