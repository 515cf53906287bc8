"""How every figure looks, on the page and in a report: fonts, colours, grid, legend. Pure; those who draw say what.

Colours can be told apart on a light and on a dark page and by people with any colour vision; the text's own colour is
given by `markup.css`, where there is one for each theme.
"""

from __future__ import annotations

from typing import Any

TEAL = "#0d9488"
PALE_TEAL = "rgba(13, 148, 136, 0.4)"
ORANGE = "#ea580c"
SLATE = "#94a3b8"
VIOLET = "#8b5cf6"
WORDS = "#808b9b"
GRID = "rgba(128, 139, 155, 0.3)"
# Okabe and Ito's colours that both a light and a dark page carry, for things beside each other.
SERIES_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
FONTS = 'system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif'
FONT_SIZE = 13


def layout(height: int, x: str, y: str = "") -> dict[str, Any]:
    """What all figures share; `height` in pixels, `x` and `y` are the axes' titles. Nothing can be dragged away."""
    axis = {
        "fixedrange": True,
        "automargin": True,
        "gridcolor": GRID,
        "zeroline": False,
        "separatethousands": True,
        "ticklabelstandoff": 4,
    }
    fonts = {"family": FONTS, "size": FONT_SIZE}
    return {
        "template": "none",
        "height": height,
        "margin": {"l": 8, "r": 24, "t": 40, "b": 16},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "font": {**fonts, "color": WORDS},
        "hoverlabel": {"bgcolor": "#1e293b", "bordercolor": "#1e293b", "font": {**fonts, "color": "#f8fafc"}},
        "legend": {
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "traceorder": "normal",
            "itemclick": False,
            "itemdoubleclick": False,
        },
        "dragmode": False,
        "xaxis": {**axis, "title": _title(x)},
        "yaxis": {**axis, "title": _title(y) if y else None},
    }


def _title(words: str) -> dict[str, Any]:
    return {"text": words, "font": {"size": FONT_SIZE}, "standoff": 12}
