"""Curves of a run as frames for `gr.LinePlot`: thinned, smoothed, one row a point. Pure.

Every frame has the columns `step`, `value` and `series`; the series' names are words of the page's language, so the
colours that belong to them are made here too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.i18n import Language, text

if TYPE_CHECKING:
    import pandas as pd

MAX_POINTS = 800
SMOOTHING = 0.15  # weight of the newest loss in the running mean
# Teal, slate and orange are told apart by people with any colour vision; the legend names them.
COLOURS = {"raw": "#a8c9c6", "smoothed": "#0f766e", "validation": "#c2410c", "learning_rate": "#475569"}

Points = Sequence[tuple[float, float | None]]


def loss_chart(train: Points, validation: Points, steps: int, lang: Language) -> dict[str, Any]:
    """Training loss (raw and smoothed) and validation loss over the run's steps, as properties of a LinePlot.

    Without a point there is no frame: a plot that began empty never finds its scales again.
    """
    known = [(step, loss) for step, loss in train if loss is not None]
    series = {"raw": thinned(known), "smoothed": thinned(smoothed(known)), "validation": _dashed(validation, steps)}
    return _chart(series, steps, lang, "loss")


def learning_rate_chart(rates: Points, steps: int, lang: Language) -> dict[str, Any]:
    return _chart({"learning_rate": thinned(list(rates))}, steps, lang, "learning_rate")


def smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The exponentially weighted mean, corrected for its start."""
    mean, weight, curve = 0.0, 0.0, []
    for step, value in points:
        mean = (1 - SMOOTHING) * mean + SMOOTHING * value
        weight = (1 - SMOOTHING) * weight + SMOOTHING
        curve.append((step, mean / weight))
    return curve


def _dashed(points: Points, steps: int) -> list[tuple[float, float | None]]:
    """The points; a single one, which no line can show, becomes a short dash."""
    if len(points) != 1:
        return list(points)
    step, value = points[0]
    return [(step - max(0.5, steps / 100), value), (step, value)]


def thinned(points: Sequence[tuple[float, Any]]) -> list[tuple[float, Any]]:
    """At most `MAX_POINTS` of them, evenly chosen; the first and the last stay."""
    if len(points) <= MAX_POINTS:
        return list(points)
    last = len(points) - 1
    return [points[round(index * last / (MAX_POINTS - 1))] for index in range(MAX_POINTS)]


def _chart(series: dict[str, list[tuple[float, Any]]], steps: int, lang: Language, name: str) -> dict[str, Any]:
    words = {key: text(f"training_tab.chart.{key}", lang) for key in series}
    points = [(step, value, words[key]) for key, curve in series.items() for step, value in curve if value is not None]
    # A curve that begins later must be known from the start: a point that is not there (NaN) stands for it.
    waiting = [(0.0, math.nan, words[key]) for key, curve in series.items() if not curve]
    return {
        "value": _frame([*points, *waiting]) if points else None,
        "x_title": text("training_tab.chart.step", lang),
        "y_title": text(f"training_tab.chart.{name}", lang),
        "color_map": {words[key]: COLOURS[key] for key in series},
        "x_lim": [0, max(1, steps)],
    }


def _frame(rows: list[tuple[float, float, str]]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=["step", "value", "series"])
    return frame.astype({"step": float, "value": float, "series": str})
