from __future__ import annotations

import random

import pytest
import torch

from core.data import batching
from core.data.batching import epoch_order, pack_rows, packed_batch, pad_batch
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


def test_rows_that_are_not_grouped_come_in_plain_random_order() -> None:
    order = epoch_order(LENGTHS, 8, seed=1, epoch=0, grouped=False)
    assert sorted(order) == list(range(len(LENGTHS)))
    assert order == epoch_order(LENGTHS, 4, seed=1, epoch=0, grouped=False)
    assert order != epoch_order(LENGTHS, 8, seed=1, epoch=1, grouped=False)


@pytest.mark.parametrize("limit", [1, 500, 700, 100_000])
@pytest.mark.parametrize("count", [0, 1, 203])
def test_packed_blocks_hold_every_row_once_and_at_most_so_many_tokens(count: int, limit: int) -> None:
    blocks = pack_rows(LENGTHS[:count], limit, seed=42)
    assert sorted(index for block in blocks for index in block) == list(range(count))
    most = max(min(limit, batching.LONGEST_PACK), max(LENGTHS[:count], default=0))
    assert all(sum(LENGTHS[index] for index in block) <= most for block in blocks)
    assert all(blocks)


def test_packing_leaves_little_room_empty() -> None:
    blocks = pack_rows(LENGTHS, 1000, seed=42)
    assert len(blocks) <= 1.05 * sum(LENGTHS) / 1000 + 1


def test_rows_of_one_length_are_packed_differently_with_another_seed_alone() -> None:
    assert pack_rows([10] * 50, 40, seed=1) == pack_rows([10] * 50, 40, seed=1)
    assert pack_rows([10] * 50, 40, seed=1) != pack_rows([10] * 50, 40, seed=2)


def test_many_rows_are_packed_with_few_blocks_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "OPEN_BLOCKS", 3)
    blocks = pack_rows(LENGTHS, 1000, seed=42)
    assert sorted(index for block in blocks for index in block) == list(range(len(LENGTHS)))


def test_a_packed_block_starts_positions_anew_and_trains_no_first_token() -> None:
    documents = [Rendered([5, 6, 7], [5, 6, 7], 1), Rendered([8, 9], [NOT_TRAINED, 9], 2), Rendered([4], [4], 3)]
    batch = packed_batch(documents)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 4]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, 9, -100]]
    assert set(batch) == {"input_ids", "labels", "position_ids"}


def test_packed_rows_have_the_logits_they_have_alone(tiny_model) -> None:  # type: ignore[no-untyped-def]
    rows = [Rendered(list(range(5, 5 + length)), list(range(5, 5 + length)), 1) for length in (4, 1, 30, 9)]
    batch = packed_batch(rows)
    together = tiny_model(batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0]
    at = 0
    for one in rows:
        alone = tiny_model(pad_batch([one], PAD)["input_ids"]).logits[0]
        torch.testing.assert_close(together[at : at + len(alone)], alone, rtol=0, atol=1e-5)
        at += len(alone)
