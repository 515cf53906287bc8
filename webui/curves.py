"""Curves before they are drawn: smoothed, thinned, moved to another axis, and the range that shows them well. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

MAX_POINTS = 800
OUTLIERS = 0.02  # this share of the noisy points, at either end, does not decide what range is shown
MARGIN = 0.06  # of the range, above and below

Points = Sequence[tuple[float, float]]


def smoothed(points: Points, past: float) -> list[tuple[float, float]]:
    """The exponentially weighted mean, corrected for its start; `past` (0 to 1) is the weight of what came before."""
    mean, weight, curve = 0.0, 0.0, []
    for at, value in points:
        mean = past * mean + (1 - past) * value
        weight = past * weight + (1 - past)
        curve.append((at, mean / weight))
    return curve


def thinned(points: Points, most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most that many of them: of each stretch the lowest and the highest, so that no spike is lost; both ends stay.

    `most` is even and at least 4.
    """
    if len(points) <= most:
        return list(points)
    inner, stretches = points[1:-1], (most - 2) // 2
    kept = [points[0]]
    for number in range(stretches):
        stretch = range(number * len(inner) // stretches, (number + 1) * len(inner) // stretches)
        extremes = {min(stretch, key=lambda at: inner[at][1]), max(stretch, key=lambda at: inner[at][1])}
        kept += [inner[at] for at in sorted(extremes)]
    return [*kept, points[-1]]


def rescaled(points: Points, unit: float) -> list[tuple[float, float]]:
    """The same points over units of so many steps."""
    return [(step / unit, value) for step, value in points]


def shown_range(noisy: Points, calm: Iterable[Points], log: bool) -> list[float] | None:
    """From where to where the value axis goes, as its logarithm where `log`; None where there is nothing to show.

    Every calm curve is seen whole; the few farthest points of the noisy one may lie outside.
    """
    ordered = sorted(value for _, value in noisy)
    cut = int(len(ordered) * OUTLIERS)
    values = ordered[cut : len(ordered) - cut] + [value for curve in calm for _, value in curve]
    values = [math.log10(value) for value in values if value > 0] if log else values
    if not values:
        return None
    low, high = min(values), max(values)
    margin = MARGIN * (high - low) or 0.05 * abs(high) or 0.05
    return [low - margin, high + margin]
