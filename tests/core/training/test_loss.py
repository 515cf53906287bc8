"""The loss: exactly the trained tokens, each once, however rows are put together (law 7)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from core.data.batching import pad_batch
from core.data.rendering import Rendered
from core.training.loss import count_trained, output_layer, summed_loss


def row(length: int, trained_from: int, line: int = 1) -> Rendered:
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(3, 500, (length,), generator=generator).tolist()
    return Rendered(ids, [-100] * trained_from + ids[trained_from:], line)


ROWS = [row(12, 5), row(30, 29), row(7, 0), row(21, 10), row(30, 3)]


def full_logits_loss(model: Any, rows: list[Rendered]) -> tuple[float, int]:
    """The plain way: one row at a time, all logits, no padding."""
    total, count = 0.0, 0
    for each in rows:
        labels = torch.tensor(each.labels[1:])
        logits = model(input_ids=torch.tensor([each.input_ids])).logits[0, :-1]
        total += float(cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
        count += int((labels != -100).sum())
    return total, count


@torch.no_grad()
def test_a_padded_batch_has_the_loss_of_its_rows_alone(tiny_model: Any) -> None:
    batch = pad_batch(ROWS, pad_id=2)
    total, count = full_logits_loss(tiny_model, ROWS)
    assert count_trained(batch["labels"]) == count
    mean = float(summed_loss(tiny_model, batch, output_layer(tiny_model))) / count
    assert mean == pytest.approx(total / count, rel=1e-5)


@torch.no_grad()
def test_a_model_without_an_output_layer_of_its_own_gives_the_same(tiny_model: Any) -> None:
    batch = pad_batch(ROWS, pad_id=2)
    picked = summed_loss(tiny_model, batch, output_layer(tiny_model))
    assert float(summed_loss(tiny_model, batch, None)) == pytest.approx(float(picked), rel=1e-6)


@torch.no_grad()
def test_the_output_layer_sees_trained_positions_only_and_is_left_as_it_was(tiny_model: Any) -> None:
    seen: list[tuple[int, ...]] = []
    handle = tiny_model.lm_head.register_forward_hook(lambda module, args, output: seen.append(tuple(args[0].shape)))
    batch = pad_batch(ROWS, pad_id=2)
    summed_loss(tiny_model, batch, output_layer(tiny_model))
    handle.remove()
    assert seen == [(1, count_trained(batch["labels"]), 64)]
    assert tiny_model(input_ids=batch["input_ids"]).logits.shape[:2] == batch["input_ids"].shape


@torch.no_grad()
def test_an_end_token_that_is_also_the_pad_token_counts_in_the_answer_only(tiny_model: Any) -> None:
    ends = Rendered([5, 6, 7, 2], [-100, -100, 7, 2], 1)
    batch = pad_batch([ends, row(20, 10)], pad_id=2)
    assert count_trained(batch["labels"][:1]) == 2


def test_gradients_are_those_of_all_logits(tiny_model: Any) -> None:
    def gradient(head: Any) -> torch.Tensor:
        tiny_model.zero_grad()
        summed_loss(tiny_model, pad_batch(ROWS, pad_id=2), head).backward()
        found: torch.Tensor = tiny_model.model.layers[0].self_attn.q_proj.weight.grad.clone()
        return found

    torch.testing.assert_close(gradient(output_layer(tiny_model)), gradient(None), rtol=1e-4, atol=1e-6)
