from __future__ import annotations

import random

import pytest
import torch

from core.data.batching import epoch_order, pad_batch
from core.data.rendering import NOT_TRAINED, Rendered

PAD = 2
LENGTHS = random.Random(7).choices(range(5, 500), k=203)


def row(length: int) -> Rendered:
    """A row whose answer ends with the pad token, as where EOS and padding are one token."""
    return Rendered([9] * (length - 1) + [PAD], [NOT_TRAINED] * (length - 2) + [9, PAD], line=1)


def test_a_batch_is_padded_on_the_right_and_only_there_untrained() -> None:
    batch = pad_batch([row(3), row(5)], PAD)
    assert batch["input_ids"].tolist() == [[9, 9, PAD, PAD, PAD], [9, 9, 9, 9, PAD]]
    assert batch["labels"].tolist() == [[-100, 9, PAD, -100, -100], [-100, -100, -100, 9, PAD]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_a_batch_without_padding_has_no_attention_mask() -> None:
    assert set(pad_batch([row(4), row(4)], PAD)) == {"input_ids", "labels"}


def test_padding_changes_no_loss(tiny_model) -> None:  # type: ignore[no-untyped-def]
    rows = [Rendered(list(range(5, 5 + length)), list(range(5, 5 + length)), 1) for length in (4, 9, 30)]
    together = tiny_model(**{key: value for key, value in pad_batch(rows, PAD).items() if key != "labels"}).logits
    for index, one in enumerate(rows):
        alone = tiny_model(pad_batch([one], PAD)["input_ids"]).logits[0]
        torch.testing.assert_close(together[index, : len(alone)], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_rows", [1, 4, 8, 300])
@pytest.mark.parametrize("count", [0, 1, 7, 203])
def test_an_epoch_holds_every_row_once(count: int, batch_rows: int) -> None:
    assert sorted(epoch_order(LENGTHS[:count], batch_rows, seed=42, epoch=0)) == list(range(count))


def test_an_order_is_that_of_its_seed_and_epoch_and_moves_no_global_generator() -> None:
    before = random.getstate(), torch.random.get_rng_state()
    first = epoch_order(LENGTHS, 8, seed=42, epoch=0)
    assert first == epoch_order(LENGTHS, 8, seed=42, epoch=0)
    assert first != epoch_order(LENGTHS, 8, seed=42, epoch=1)
    assert first != epoch_order(LENGTHS, 8, seed=43, epoch=0)
    assert random.getstate() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])


@pytest.mark.parametrize("count", [54, 203])
def test_little_is_padded_also_where_rows_are_few(count: int) -> None:
    order = epoch_order(LENGTHS[:count], 8, seed=42, epoch=0)
    batches = [[LENGTHS[index] for index in order[at : at + 8]] for at in range(0, count, 8)]
    padded = sum(max(batch) * len(batch) for batch in batches)
    assert padded < 1.3 * sum(LENGTHS[:count])


def test_an_order_is_the_same_in_every_process() -> None:
    assert epoch_order([3, 1, 2, 5, 4, 9, 8, 7], 2, seed=42, epoch=3) == ORDER_OF_SEED_42_EPOCH_3


ORDER_OF_SEED_42_EPOCH_3 = [4, 0, 5, 6, 2, 1, 7, 3]


def test_rows_of_similar_length_share_a_batch() -> None:
    def padding(order: list[int]) -> int:
        batches = [[LENGTHS[index] for index in order[at : at + 8]] for at in range(0, len(order), 8)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    assert padding(epoch_order(LENGTHS, 8, seed=1, epoch=0)) < padding(list(range(len(LENGTHS)))) / 3
