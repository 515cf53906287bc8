"""A curve as a small inline picture, for a line of a list. Pure."""

from __future__ import annotations

from core.markup import escape
from webui.curves import Points

WIDTH, HEIGHT, EDGE = 120, 28, 3  # in the picture's own units; the edge leaves room for the line's width


def sparkline(points: Points, words: str) -> str:
    """The course of a curve as an SVG whose last point is marked; `words` say it to those who do not see it.

    Nothing where there are fewer than two points.
    """
    if len(points) < 2:
        return ""
    first, last = points[0][0], points[-1][0]
    low, high = min(value for _, value in points), max(value for _, value in points)
    across, down = (WIDTH - 2 * EDGE) / ((last - first) or 1), (HEIGHT - 2 * EDGE) / ((high - low) or 1)
    placed = [(EDGE + (at - first) * across, EDGE + (high - value) * down) for at, value in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    x, y = placed[-1]
    return (
        f'<svg class="wb-spark" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">'
        f'<polyline points="{line}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/></svg>'
    )
