"""Curves and the figures made of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.i18n import LANGUAGES, Language
from core.plotting import ORANGE, SERIES_COLOURS, TEAL, VIOLET
from core.training.comparison import Curve
from tests.webui.test_statistics_views import PAGES, luminance
from tests.webui.test_views import HOSTILE, SNAPSHOT
from webui import charts, curves
from webui.charts import ChartView
from webui.sparkline import sparkline

LONG = tuple((step, 3 * math.exp(-step / 500) + (5.0 if step == 777 else 0.0)) for step in range(1, 20_001))


def names(figure: Any) -> list[str]:
    return [trace.name for trace in figure.data]


def test_smoothing_starts_at_the_first_value_and_follows_slowly() -> None:
    curve = curves.smoothed([(1, 4.0), (2, 4.0), (3, 0.0)], 0.85)
    assert [round(value, 6) for _, value in curve[:2]] == [4.0, 4.0]
    assert 2.0 < curve[2][1] < 4.0
    assert curves.smoothed([(1, 4.0), (2, 0.0)], 0.0) == [(1, 4.0), (2, 0.0)]


def test_a_long_curve_is_thinned_but_keeps_its_ends_and_its_spikes() -> None:
    thin = curves.thinned(LONG)
    assert len(thin) <= curves.MAX_POINTS
    assert (thin[0], thin[-1]) == (LONG[0], LONG[-1])
    assert LONG[776] in thin
    assert [step for step, _ in thin] == sorted({step for step, _ in thin})
    assert curves.thinned(LONG[: curves.MAX_POINTS]) == list(LONG[: curves.MAX_POINTS])


def test_an_outlier_does_not_decide_what_is_shown_but_a_calm_curve_does() -> None:
    noisy = [(step, 1.0 + step / 100) for step in range(100)] + [(100, 50.0)]
    low, high = curves.shown_range(noisy, [[(1, 3.0)]], log=False) or []
    assert 0 < low < 1.1 and 3.0 < high < 4.0
    assert curves.shown_range(noisy, [], log=True) != curves.shown_range(noisy, [], log=False)
    assert curves.shown_range([], [[]], log=False) is None


def test_the_loss_chart_has_raw_smoothed_and_validation_curves_and_marks_the_best() -> None:
    figure = charts.loss_figure(SNAPSHOT, ChartView(), "en")
    assert names(figure) == ["Training", "Training, smoothed", "Validation", "Best step 11: loss 1.5"]
    assert tuple(figure.layout.xaxis.range) == (0, 44)
    assert (figure.data[3].x[0], figure.data[3].y[0]) == (11, 1.5)
    assert names(charts.loss_figure(SNAPSHOT, ChartView(smoothing=0), "en"))[0] == "Training"
    unevaluated = replace(SNAPSHOT, evals=(), best_step=None)
    assert names(charts.loss_figure(unevaluated, ChartView(), "en")) == ["Training", "Training, smoothed", "Validation"]


def test_epochs_and_logarithms_are_drawn_as_wished() -> None:
    figure = charts.loss_figure(SNAPSHOT, ChartView("epoch", log=True), "zh")
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.type) == ("轮次", "log")
    assert tuple(figure.layout.xaxis.range) == (0, 4)
    assert figure.data[3].x[0] == 1.0
    unplanned = replace(SNAPSHOT, plan=None)
    assert charts.loss_figure(unplanned, ChartView("epoch"), "en").layout.xaxis.title.text == "Step"


def test_a_long_run_is_sent_as_little() -> None:
    run = replace(SNAPSHOT, losses=LONG, learning_rates=LONG, grad_norms=LONG, steps=20_000)
    drawing = (charts.loss_figure, charts.learning_rate_figure, charts.grad_norm_figure)
    sizes = [len(drawn(run, ChartView(), "en").to_json()) for drawn in drawing]
    assert sum(sizes) < 60_000
    assert charts.loss_figure(run, ChartView(), "en").data[0].y.dtype == np.float32


def test_the_rate_is_never_logarithmic_and_the_norm_is_where_wished() -> None:
    view = ChartView(log=True)
    assert charts.learning_rate_figure(SNAPSHOT, view, "en").layout.yaxis.type != "log"
    norms = replace(SNAPSHOT, grad_norms=((1, 0.5), (2, 3.0)))
    assert charts.grad_norm_figure(norms, view, "en").layout.yaxis.type == "log"


def test_runs_are_overlaid_in_colours_and_dashes_of_their_own() -> None:
    runs = [Curve(str(n), f"run {n} {HOSTILE}", ((1, 2.0), (2, 1.0)), ((2, 1.5),), 2, 1) for n in range(8)]
    figure = charts.comparison_figure(runs, ChartView("epoch"), "en")
    train = figure.data[::2]
    assert len(train) == 8 == len({(trace.line.color, trace.line.dash) for trace in train})
    assert train[0].line.color == figure.data[1].line.color
    assert not [name for name in names(figure) if "<" in name]
    unplanned = [replace(runs[0], steps_per_epoch=None), runs[1]]
    assert charts.comparison_figure(unplanned, ChartView("epoch"), "en").layout.xaxis.title.text == "Step"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("colour", [TEAL, ORANGE, VIOLET, *SERIES_COLOURS])
def test_the_colours_of_curves_stand_out_from_a_light_and_a_dark_page(colour: str, page: str) -> None:
    lighter, darker = sorted((luminance(colour), luminance(page)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) > 2.1


@pytest.mark.parametrize("lang", LANGUAGES)
def test_an_empty_run_has_empty_figures(lang: Language) -> None:
    empty = replace(SNAPSHOT, losses=(), evals=(), learning_rates=(), grad_norms=(), best_step=None, plan=None, steps=0)
    for drawn in (charts.loss_figure, charts.learning_rate_figure, charts.grad_norm_figure):
        assert drawn(empty, ChartView(log=True), lang).to_json()


def test_a_sparkline_falls_with_the_loss_and_is_said_in_words() -> None:
    drawn = sparkline([(1, 4.0), (2, 2.0), (3, 1.0)], HOSTILE)
    assert 'points="3.0,3.0 60.0,17.7 117.0,25.0"' in drawn
    assert "<img" not in drawn
    assert sparkline([(1, 4.0)], "") == ""
    assert "nan" not in sparkline([(5, 4.0), (5, 4.0)], "")
