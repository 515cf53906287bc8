"""The curves of one run or of several as plotly figures: loss, learning rate, gradient norm. Pure.

Owns what is drawn and in which colour; smoothing and thinning are `curves`' affair, fonts and grid `plotting`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

from core.i18n import Language, text
from core.markup import escape, number
from core.plotting import ORANGE, PALE_TEAL, SERIES_COLOURS, TEAL, VIOLET, WORDS, layout
from webui.curves import Points, rescaled, shown_range, smoothed, thinned

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from core.training.comparison import Curve
    from core.training.progress import Snapshot

Axis = Literal["step", "epoch"]
SMOOTHING = 0.85
LOSS_HEIGHT, SMALL_HEIGHT = 380, 190
# Told apart without colour, too.
RUN_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  # one less than colours: no two of 30 runs look alike


@dataclass(frozen=True)
class ChartView:
    """How a person wants to see curves; `smoothing` (0 to 1) is the weight of the past, 0 draws no smoothed curve."""

    axis: Axis = "step"
    log: bool = False
    smoothing: float = SMOOTHING

    @classmethod
    def of(cls, axis: object, log: object, smoothing: object) -> ChartView:
        """From what a browser sent; what makes no sense becomes the default."""
        number = smoothing if isinstance(smoothing, int | float) and not isinstance(smoothing, bool) else SMOOTHING
        good = 0 <= number < 1
        return cls("epoch" if axis == "epoch" else "step", log is True, float(number) if good else SMOOTHING)


def loss_figure(run: Snapshot, view: ChartView, lang: Language) -> go.Figure:
    """Training loss (raw and smoothed), validation loss, and the best evaluated step, which is marked."""
    view = _possible(run, view)
    noisy, validation = rescaled(run.losses, _unit(run, view)), rescaled(run.evals, _unit(run, view))
    calm = smoothed(noisy, view.smoothing) if view.smoothing else []
    drawn = _figure(LOSS_HEIGHT, view, lang, "loss")
    if calm:
        _add_curve(drawn, noisy, _words("raw", lang), {"color": PALE_TEAL, "width": 1.2})
    main = _words("smoothed" if calm else "raw", lang)
    _add_curve(drawn, calm or noisy, main, {"color": TEAL, "width": 2.4})
    _add_curve(drawn, validation, _words("validation", lang), {"color": ORANGE, "width": 2.4}, symbol="circle")
    _mark_best(drawn, run, view, lang)
    drawn.update_xaxes(range=[0, max(1, run.steps) / _unit(run, view)])
    _limit_values(drawn, shown_range(noisy, [calm, validation], view.log), view.log)
    return drawn


def learning_rate_figure(run: Snapshot, view: ChartView, lang: Language) -> go.Figure:
    return _small(run, run.learning_rates, "learning_rate", WORDS, view, lang)


def grad_norm_figure(run: Snapshot, view: ChartView, lang: Language) -> go.Figure:
    return _small(run, run.grad_norms, "grad_norm", VIOLET, view, lang)


def comparison_figure(curves: Sequence[Curve], view: ChartView, lang: Language) -> go.Figure:
    """The training loss of several runs, smoothed, as lines; their validation losses as points of the same colour."""
    if not all(curve.steps_per_epoch for curve in curves):
        view = replace(view, axis="step")
    drawn = _figure(LOSS_HEIGHT, view, lang, "loss")
    calm: list[Points] = []
    for curve, colour, dash in zip(curves, cycle(SERIES_COLOURS), cycle(RUN_DASHES), strict=False):
        unit = curve.steps_per_epoch if view.axis == "epoch" and curve.steps_per_epoch else 1
        train, validation = smoothed(rescaled(curve.train, unit), view.smoothing), rescaled(curve.evals, unit)
        name = escape(curve.name)
        _add_curve(drawn, train, name, {"color": colour, "width": 2.2, "dash": dash})
        words = text("runs_tab.chart.validation_of", lang, name=name)
        _add_curve(drawn, validation, words, {"color": colour, "width": 1}, symbol="circle")
        calm += [train, validation]
    _limit_values(drawn, shown_range([], calm, view.log), view.log)
    drawn.update_layout(legend={"y": -0.25, "yanchor": "top"}, margin={"t": 16})
    return drawn


def _small(run: Snapshot, points: Points, name: str, colour: str, view: ChartView, lang: Language) -> go.Figure:
    view = replace(_possible(run, view), log=view.log and name == "grad_norm")
    placed = rescaled(points, _unit(run, view))
    drawn = _figure(SMALL_HEIGHT, view, lang, name)
    _add_curve(drawn, placed, _words(name, lang), {"color": colour, "width": 1.8})
    drawn.update_xaxes(range=[0, max(1, run.steps) / _unit(run, view)])
    if name == "grad_norm":
        _limit_values(drawn, shown_range(placed, [], view.log), view.log)
    drawn.update_layout(showlegend=False, margin={"t": 12}, yaxis={"exponentformat": "e"})
    return drawn


def _possible(run: Snapshot, view: ChartView) -> ChartView:
    """Over steps where it is not known yet how many an epoch has."""
    return view if run.plan else replace(view, axis="step")


def _unit(run: Snapshot, view: ChartView) -> int:
    """How many steps one unit of the axis is."""
    return run.plan.steps_per_epoch if run.plan and view.axis == "epoch" else 1


def _figure(height: int, view: ChartView, lang: Language, name: str) -> go.Figure:
    import plotly.graph_objects as go

    drawn = go.Figure(layout=layout(height, _words(view.axis, lang), _words(name, lang)))
    drawn.update_layout(hovermode="x unified", showlegend=True)
    return drawn


def _add_curve(drawn: go.Figure, points: Points, name: str, line: dict[str, Any], symbol: str = "") -> None:
    """A curve as arrays of small numbers, which are sent as bytes and not digit by digit."""
    import numpy as np

    thin = thinned(points)
    drawn.add_scatter(
        x=np.array([at for at, _ in thin], np.float32),
        y=np.array([value for _, value in thin], np.float32),
        name=name,
        line=line,
        mode="lines+markers" if symbol else "lines",
        marker={"symbol": symbol or "circle", "size": 7},
        cliponaxis=not symbol,
        hovertemplate="%{y:.4g}",
    )


def _mark_best(drawn: go.Figure, run: Snapshot, view: ChartView, lang: Language) -> None:
    """A star at the best evaluated step, with its step in words."""
    losses = dict(run.evals)
    if run.best_step not in losses:
        return
    best = losses[run.best_step]
    words = text("runs_tab.chart.best", lang, loss=number(best), step=f"{run.best_step:,}")
    drawn.add_scatter(
        x=[run.best_step / _unit(run, view)],
        y=[best],
        name=words,
        mode="markers",
        marker={"symbol": "star", "size": 15, "color": ORANGE, "line": {"color": "#ffffff", "width": 1}},
        cliponaxis=False,
        hoverinfo="skip",
    )


def _limit_values(drawn: go.Figure, limits: list[float] | None, log: bool) -> None:
    kind = {"type": "log", "dtick": "D2"} if log and limits and limits[1] - limits[0] < 2 else {"type": "log"}
    drawn.update_yaxes(range=limits, **(kind if log else {}))


def _words(name: str, lang: Language) -> str:
    return text(f"runs_tab.chart.{name}", lang)
