"""What a run will take: tried out on the tiny model, remembered, cancelled, and worked out from given figures."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from core.data.library import DataLibrary
from core.i18n import LANGUAGES
from core.training import dry_run
from core.training import forecasts as forecasts_module
from core.training.estimate import MicroBatch, verdict
from core.training.forecast import Forecast, Measurement, Setting, Timing, forecast, micro_batch_s, micro_batches
from core.training.forecasts import Forecasts, ForecastStatus, setting_of
from core.training.preparation import Planner
from core.workspace import Workspace
from tests.core.training.conftest import spec_of, write_rows
from webui.forecast_views import forecast_card

WAIT_S = 60.0
IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11]])


@pytest.fixture
def forecasts(place: Workspace) -> Forecasts:
    return make_forecasts(place)


def make_forecasts(place: Workspace, busy: bool = False) -> Forecasts:
    planner = Planner(place, DataLibrary(place))
    return Forecasts(place, lambda: planner, lambda: busy)


@pytest.fixture
def setting(place: Workspace, loaded: Any) -> Setting:
    """Of a small run, on a machine with a gigabyte free."""
    prepared = Planner(place, DataLibrary(place)).prepare(spec_of(), loaded)
    found = setting_of(prepared, loaded)
    return replace(found, machine=replace(found.machine, free_memory_gb=1.0))


def measured(setting: Setting, peak_gb: float) -> Measurement:
    """As a dry run would have found it: a second for 100 tokens, half of it whatever the tokens."""
    largest = forecast(setting, None).largest
    timings = (Timing(100, 1.0), Timing(300, 2.0))
    accumulated = setting.prepared.plan.gradient_accumulation_steps > 1
    return Measurement(largest, peak_gb, accumulated, 0.001, 0.002, timings, 0.1, Timing(100, 0.5), 2.0, 5.0)


@torch.no_grad()
def test_a_run_is_tried_out_once_and_leaves_no_trace(
    forecasts: Forecasts, place: Workspace, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = loaded.model(input_ids=IDS).logits.clone()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    spec = spec_of(training={"neftune_alpha": 5.0})
    status = forecasts.status(spec, loaded, WAIT_S)
    found = status.forecast
    assert (status.running, status.problem) == (False, None)
    assert found.measured == found.largest and found.verdict == "fits" and found.proposals == ()
    assert 0 < found.needed_gb < 0.5
    assert found.step_s and found.epoch_s and found.run_s and found.review_s
    assert found.run_s > found.epoch_s > found.step_s

    drawn = float(torch.rand(1)), random.random(), np.random.rand()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    assert drawn == (float(torch.rand(1)), random.random(), np.random.rand())
    assert torch.equal(loaded.model(input_ids=IDS).logits, logits)

    monkeypatch.setattr(dry_run, "measure", None)  # nobody measures again: not here, and not after the next start
    assert forecasts.status(spec, loaded).forecast.step_s == found.step_s
    other_rate = spec_of(training={"neftune_alpha": 5.0, "learning_rate": 1e-3})
    assert make_forecasts(place).status(other_rate, loaded).forecast.step_s == found.step_s


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"packing": True, "max_length": 128, "micro_batch_size": 1}},
        {"training": {"activation_checkpointing": True, "evaluations": 0}},
        {"method": {"method": "full"}},
    ],
    ids=["packed", "checkpointed", "full"],
)
def test_every_kind_of_run_can_be_tried_out(forecasts: Forecasts, loaded: Any, changes: dict[str, Any]) -> None:
    status = forecasts.status(spec_of(**changes), loaded, WAIT_S)
    assert status.problem is None and status.forecast.measured is not None


@pytest.mark.parametrize(("accumulation", "tried"), [(1, 5), (2, 6), (8, 6)])
def test_the_steps_that_are_tried_accumulate_where_those_of_the_run_do(
    place: Workspace, loaded: Any, accumulation: int, tried: int
) -> None:
    spec = spec_of(training={"gradient_accumulation_steps": accumulation})
    prepared = Planner(place, DataLibrary(place)).prepare(spec, loaded)
    found = dry_run.measure(prepared, loaded, lambda share: None)
    assert found.accumulated == (accumulation > 1)
    assert len(found.timings) == tried - 1  # of micro-batches; the first one warms up
    assert found.largest.tokens == max(timing.tokens for timing in found.timings)


def test_nothing_is_measured_beside_a_run(place: Workspace, loaded: Any) -> None:
    status = make_forecasts(place, busy=True).status(spec_of(), loaded, WAIT_S)
    assert (status.running, status.problem) == (False, "run_in_progress")
    assert status.forecast.measured is None and status.forecast.needed_gb > 0


def test_a_measurement_makes_way_at_once_for_a_run_or_another_form(
    forecasts: Forecasts, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, beside = threading.Event(), set(threading.enumerate())
    measure = dry_run.measure

    def slow(prepared: Any, model: Any, watch: Any, most_tokens: int | None) -> Measurement:
        def watched(share: float) -> None:
            began.set()
            while prepared.spec.training.epochs != 1.0:  # for ever, until it is cancelled
                watch(share)
            watch(share)

        return measure(prepared, model, watched, most_tokens)

    monkeypatch.setattr(dry_run, "measure", slow)
    endless = spec_of(method={"rank": 2})
    assert forecasts.status(endless, loaded).running and began.wait(WAIT_S)
    monkeypatch.setattr(forecasts_module, "ASKED_S", 0.0)  # nobody asks for it any more
    status = forecasts.status(spec_of(training={"epochs": 1.0}), loaded, WAIT_S)  # the newest wins
    assert status.forecast.measured is not None
    began.clear()
    assert forecasts.status(endless, loaded).running and began.wait(WAIT_S)
    forecasts.give_way()
    assert not [thread for thread in set(threading.enumerate()) - beside if thread.name == "forecast"]


def test_of_two_open_forms_each_gets_its_measurement(
    forecasts: Forecasts, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, go_on, tried = dry_run.measure, threading.Event(), []

    def held(prepared: Any, model: Any, watch: Any, most_tokens: int | None) -> Measurement:
        tried.append(prepared.spec.method.rank)
        watch(0.5)
        assert go_on.wait(WAIT_S)
        return measure(prepared, model, watch, most_tokens)

    monkeypatch.setattr(dry_run, "measure", held)
    monkeypatch.setattr(forecasts_module, "ASKED_S", 10 * WAIT_S)
    one, other = spec_of(method={"rank": 2}), spec_of(method={"rank": 8})
    for _ in range(3):
        assert forecasts.status(one, loaded).running
        waiting = forecasts.status(other, loaded)
        assert (waiting.running, waiting.share, waiting.forecast.measured) == (True, 0.0, None)
    go_on.set()
    assert forecasts.status(other, loaded, WAIT_S).running, "begins when the first has its measurement"
    assert forecasts.status(other, loaded, WAIT_S).forecast.measured is not None
    assert forecasts.status(one, loaded).forecast.measured is not None, "kept, whoever asked next"
    assert tried == [2, 8]


def test_a_model_is_let_go_by_a_measurement_that_made_way(
    forecasts: Forecasts, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = dry_run.measure

    def endless(prepared: Any, model: Any, watch: Any, most_tokens: int | None) -> Measurement:
        def watched(share: float) -> None:
            while True:
                watch(share)

        return measure(prepared, model, watched, most_tokens)

    monkeypatch.setattr(dry_run, "measure", endless)
    model = replace(loaded)
    alive = weakref.ref(model)
    assert forecasts.status(spec_of(), model).running
    forecasts.give_way()
    del model
    gc.collect()
    assert alive() is None


def test_a_dry_run_without_memory_means_that_the_run_does_not_fit(
    forecasts: Forecasts, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*args: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(dry_run, "measure", measure)
    found = forecasts.status(spec_of(), loaded, WAIT_S).forecast
    assert found.tried_in_vain and found.verdict == "does_not_fit" and found.proposals
    monkeypatch.setattr(dry_run, "measure", None)
    assert forecasts.status(spec_of(), loaded).forecast.tried_in_vain  # it is not tried again and again


def test_a_dry_run_that_breaks_costs_the_measurement_and_not_the_form(
    forecasts: Forecasts, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*args: Any) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(dry_run, "measure", measure)
    status = forecasts.status(spec_of(), loaded, WAIT_S)
    assert status.problem == "not_measured" and status.forecast.measured is None


def test_too_heavy_a_micro_batch_is_tried_with_fewer_tokens_and_scaled_up(place: Workspace, loaded: Any) -> None:
    prepared = Planner(place, DataLibrary(place)).prepare(spec_of(), loaded)
    setting = setting_of(prepared, loaded)
    tried = dry_run.measure(prepared, loaded, lambda share: None, most_tokens=20)
    assert tried.largest.tokens <= 20 < forecast(setting, None).largest.tokens
    scaled = forecast(setting, tried)
    rest_gb = tried.peak_gb - tried.trained_gb - tried.optimizer_gb
    assert scaled.measured == tried.largest
    assert scaled.needed_gb > tried.trained_gb + tried.optimizer_gb + 1.5 * rest_gb


def test_the_time_of_an_epoch_is_that_of_each_of_its_micro_batches(setting: Setting) -> None:
    plan = setting.prepared.plan
    batches = micro_batches(setting.lengths, plan, setting.training)
    passes_s = sum(0.5 + 0.005 * len(batch) * max(setting.lengths[row] for row in batch) for batch in batches)
    found = forecast(setting, measured(setting, 0.1))
    assert found.epoch_s == pytest.approx(passes_s + 0.1 * plan.steps_per_epoch)
    assert found.review_s == pytest.approx(plan.validation_tokens / 100 * 0.5 + 2.0)
    assert found.run_s == pytest.approx(2 * found.epoch_s + 2 * found.review_s + 2.0)


def test_time_follows_the_tokens_even_where_the_figures_are_noisy() -> None:
    line = [Timing(100, 1.0), Timing(300, 2.0), Timing(110, 1.0)]
    assert micro_batch_s(line, 200) == pytest.approx(1.5, abs=0.05)
    assert micro_batch_s([Timing(100, 2.0), Timing(300, 1.0), Timing(100, 2.0)], 200) == 4.0
    assert micro_batch_s([Timing(100, 2.0)], 50) == 1.0


def test_what_does_not_fit_is_offered_smaller_in_ways_that_do(setting: Setting) -> None:
    found = forecast(setting, measured(setting, 1.6))
    assert found.verdict == "does_not_fit"
    by_change = {tuple(proposal.changes): proposal for proposal in found.proposals}
    smaller = by_change["micro_batch_size", "gradient_accumulation_steps"]
    assert smaller.changes == {"micro_batch_size": 1, "gradient_accumulation_steps": 8} and smaller.verdict == "fits"
    assert smaller.needed_gb < 0.8 and smaller.epoch_s is not None
    assert all(proposal.verdict == "fits" for proposal in found.proposals)
    tight = forecast(setting, measured(setting, 0.85))
    shorter = next(proposal for proposal in tight.proposals if "max_length" in proposal.changes)
    assert tight.verdict == "tight" and shorter.rows_over and shorter.needed_gb < 0.8
    assert forecast(setting, measured(setting, 0.1)).proposals == ()


def test_the_parts_of_a_forecast_add_up_to_the_measured_peak(setting: Setting) -> None:
    accumulated = measured(setting, 0.5)
    found = forecast(setting, accumulated)
    assert found.needed_gb == pytest.approx(0.5)
    assert (found.memory.adapter_gb, found.memory.gradients_gb, found.memory.optimizer_gb) == (0.001, 0.001, 0.002)
    once = forecast(setting, replace(accumulated, accumulated=False))
    assert once.needed_gb == pytest.approx(0.5 + 0.001)  # gradients stay while the run's other micro-batches come


def test_a_verdict_leaves_room_for_other_programs() -> None:
    assert [verdict(needed, 10) for needed in (7.9, 8.1, 10.1)] == ["fits", "tight", "does_not_fit"]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_card_says_whether_it_fits_and_offers_what_does(setting: Setting, lang: Any) -> None:
    found = forecast(setting, measured(setting, 1.6))
    html = forecast_card(ForecastStatus(False, 1.0, found), lang)
    assert 'data-values="&#123;&quot;micro_batch_size&quot;: 1' in html
    assert html.count("wb-part-") >= 8 and "1.60 GB" in html
    running = forecast_card(ForecastStatus(True, 0.4, forecast(setting, None)), lang)
    assert "40" in running
    tiny: Forecast = replace(found, measured=MicroBatch(1, 5, 1), tried_in_vain=True, proposals=())
    assert len(forecast_card(ForecastStatus(False, 1.0, tiny, "not_measured"), lang)) > len(running)


def test_rows_of_one_length_and_a_single_row_can_be_forecast(place: Workspace, loaded: Any) -> None:
    write_rows(place, 1, "one.jsonl")
    spec = spec_of(dataset="one.jsonl", training={"validation_share": 0.0})
    status = make_forecasts(place).status(spec, loaded, WAIT_S)
    assert status.problem is None and status.forecast.epoch_s
