"""The loss: exactly the trained tokens, each once, however rows are put together (law 7)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from core.data.batching import epoch_order, pack_rows, packed_batch, pad_batch
from core.data.rendering import Rendered
from core.training.loss import count_trained, output_layer, summed_loss, summed_loss_and_hits


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


def batches(rows: list[Rendered], way: str) -> list[dict[str, torch.Tensor]]:
    """The rows as the trainer would batch them."""
    lengths = [len(each.input_ids) for each in rows]
    if way == "packed":
        return [packed_batch([rows[index] for index in block]) for block in pack_rows(lengths, 64, seed=1)]
    order = epoch_order(lengths, 3, seed=1, epoch=0, grouped=way == "grouped")
    return [pad_batch([rows[index] for index in order[at : at + 3]], pad_id=2) for at in range(0, len(order), 3)]


def token_mean(model: Any, rows: list[Rendered], way: str) -> float:
    made = batches(rows, way)
    total = sum(float(summed_loss(model, batch, output_layer(model))) for batch in made)
    return total / sum(count_trained(batch["labels"]) for batch in made)


@torch.no_grad()
def test_padded_grouped_and_packed_rows_have_the_same_token_mean(tiny_model: Any) -> None:
    """Law 7; the model's cache is on, as it is in chat."""
    assert tiny_model.config.use_cache
    rows = [row(3 + 5 * number, number) for number in range(11)]
    total, count = full_logits_loss(tiny_model, rows)
    for way in ("padded", "grouped", "packed"):
        assert token_mean(tiny_model, rows, way) == pytest.approx(total / count, rel=1e-5), way
    assert any(batch["position_ids"].size(1) > 60 for batch in batches(rows, "packed"))


@pytest.mark.starter
@torch.no_grad()
def test_padded_grouped_and_packed_rows_have_the_same_token_mean_on_the_starter(starter_dir: Any) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(starter_dir, dtype="float32").eval()
    rows = [row(4 + 7 * number, number) for number in range(8)]
    plain = token_mean(model, rows, "padded")
    for way in ("grouped", "packed"):
        assert token_mean(model, rows, way) == pytest.approx(plain, rel=1e-5), way


@torch.no_grad()
def test_smoothing_gives_every_token_its_share(tiny_model: Any) -> None:
    batch = pad_batch(ROWS, pad_id=2)
    chosen = batch["labels"][:, 1:] != -100
    logits = tiny_model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits[:, :-1][chosen]
    logs = logits.float().log_softmax(-1)
    plain = -logs.gather(1, batch["labels"][:, 1:][chosen][:, None]).sum()
    expected = 0.8 * plain - 0.2 * logs.mean(-1).sum()
    smooth = summed_loss(tiny_model, batch, output_layer(tiny_model), smoothing=0.2)
    assert float(smooth) == pytest.approx(float(expected), rel=1e-5)


@torch.no_grad()
def test_hits_are_the_trained_tokens_that_the_model_would_choose(tiny_model: Any) -> None:
    ids = ROWS[4].input_ids
    chosen = tiny_model(input_ids=torch.tensor([ids])).logits[0, :-1].argmax(-1).tolist()
    labels = [-100, *chosen[:9], *ids[10:]]  # what it would choose itself, then what it is to learn
    batch = pad_batch([Rendered(ids, labels, 1)], pad_id=2)
    loss, hits = summed_loss_and_hits(tiny_model, batch, output_layer(tiny_model))
    assert int(hits) == 9 + sum(a == b for a, b in zip(chosen[9:], ids[10:], strict=True))
    assert float(loss) == float(summed_loss(tiny_model, batch, output_layer(tiny_model)))


def test_gradients_are_those_of_all_logits(tiny_model: Any) -> None:
    def gradient(head: Any) -> torch.Tensor:
        tiny_model.zero_grad()
        summed_loss(tiny_model, pad_batch(ROWS, pad_id=2), head).backward()
        found: torch.Tensor = tiny_model.model.layers[0].self_attn.q_proj.weight.grad.clone()
        return found

    torch.testing.assert_close(gradient(output_layer(tiny_model)), gradient(None), rtol=1e-4, atol=1e-6)
