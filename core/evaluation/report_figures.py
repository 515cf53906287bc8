"""The figures of a report: rows from the best to the worst, fields against guessing, what was answered instead. Pure.

The page shows them through gradio, the file through plotly's own script; how they look is `core.plotting`'s affair.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

from core.evaluation.report_words import column_name, percent, reference_name, word
from core.evaluation.results import EvaluationResult, FieldResult
from core.evaluation.verdicts import gains
from core.i18n import Language
from core.markup import escape
from core.plotting import SERIES_COLOURS, TEAL, WORDS, layout

if TYPE_CHECKING:
    import plotly.graph_objects as go

HEIGHT, MATRIX_HEIGHT = 300, 320
MATRICES_A_ROW = 2
NAMED_CLASSES = 14  # with more, counts are shown only under the pointer
LONGEST_NAME = 18
SHADES = [[0.0, "rgba(13, 148, 136, 0.06)"], [1.0, TEAL]]


def rows_figure(result: EvaluationResult, lang: Language) -> go.Figure | None:
    """By how much each column is better (above the line) or worse on its rows, ordered; None where none compares."""
    compared = [(column, *gains(result, at)) for at, column in enumerate(result.columns) if at]
    compared = [each for each in compared if each[2]]
    if not compared:
        return None
    yardstick = word(f"yardstick.{compared[0][1]}", lang)
    title = word("chart.gain", lang, reference=escape(reference_name(result, lang)), yardstick=yardstick)
    drawn = _figure(HEIGHT, word("chart.rows", lang))
    drawn.add_annotation(x=0, y=1.02, xref="paper", yref="paper", text=title, showarrow=False, yanchor="bottom")
    for (column, _, differences), colour in zip(compared, cycle(SERIES_COLOURS), strict=False):
        ordered = sorted(differences, reverse=True)
        drawn.add_scatter(
            x=list(range(1, len(ordered) + 1)),
            y=ordered,
            name=_name(column.column, lang),
            mode="lines+markers",
            line={"color": colour, "shape": "hvh", "width": 2},
            marker={"size": 5},
            fill="tozeroy" if len(compared) == 1 else "none",
            fillcolor="rgba(0, 114, 178, 0.15)",
            hovertemplate="%{y:+.3g}",
        )
    drawn.add_hline(y=0, line={"color": WORDS, "width": 1})
    drawn.update_layout(showlegend=len(compared) > 1, legend={"y": -0.25, "yanchor": "top"}, margin={"t": 44})
    drawn.update_xaxes(showgrid=False)
    return drawn


def fields_figure(result: EvaluationResult, lang: Language) -> go.Figure | None:
    """How many rows have each field right: a bar a column, and a line where guessing is; None without fields."""
    measured = [column for column in result.columns if column.fields]
    if not measured:
        return None
    labels = [_name(field.label, lang) for field in measured[0].fields]
    places = list(range(len(labels)))
    drawn = _figure(HEIGHT, "", word("chart.accuracy", lang))
    for column, colour in zip(measured, cycle(SERIES_COLOURS), strict=False):
        shares = [field.accuracy for field in column.fields]
        drawn.add_bar(
            x=places[: len(shares)],
            y=shares,
            name=_name(column.column, lang),
            marker={"color": colour, "line": {"width": 0}},
            text=[percent(round(share, 2)) for share in shares],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y:.1%}",
        )
    drawn.add_scatter(
        x=places,
        y=[field.most_frequent for field in measured[0].fields],
        name=word("chart.frequent", lang),
        mode="markers",
        marker={"symbol": "line-ew", "size": 46, "line": {"width": 3, "color": WORDS}},
        hovertemplate="%{y:.1%}",
    )
    drawn.update_yaxes(range=[0, 1.12], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    drawn.update_xaxes(tickvals=places, ticktext=labels, showgrid=False)
    drawn.update_layout(barmode="group", bargap=0.3, legend={"y": -0.2, "yanchor": "top"}, margin={"t": 16})
    return drawn


def confusion_figure(result: EvaluationResult, field: int, lang: Language) -> go.Figure | None:
    """What each column answered where the reference has what; None where there is no such field.

    A cell's shade is its share of the rows with that reference, its number how many rows they are.
    """
    from plotly.subplots import make_subplots

    measured = [column for column in result.columns if field < len(column.fields)]
    if not measured or field < 0:
        return None
    across = min(len(measured), MATRICES_A_ROW)
    down = -(-len(measured) // across)
    names = [_name(column.column, lang) for column in measured]
    drawn = make_subplots(down, across, subplot_titles=names, horizontal_spacing=0.1, vertical_spacing=0.28 / down)
    drawn.update_layout({**_plain_layout(MATRIX_HEIGHT * down), "margin": {"l": 8, "r": 8, "t": 40, "b": 16}})
    for at, column in enumerate(measured):
        row, col = divmod(at, across)
        _add_matrix(drawn, column.fields[field], row + 1, col + 1, lang)
    return drawn


def figures(result: EvaluationResult, part: str, lang: Language) -> list[tuple[str, go.Figure]]:
    """All figures of a part of the report, each with its title as plain words ("" for none)."""
    if part == "rows":
        found = [("", rows_figure(result, lang))]
    elif part == "fields":
        fields = field_labels(result)
        titles = [word("fields.confusion", lang, field=label) for label in fields]
        matrices = [(title, confusion_figure(result, at, lang)) for at, title in enumerate(titles)]
        found = [("", fields_figure(result, lang)), *matrices]
    else:
        found = []
    return [(title, figure) for title, figure in found if figure is not None]


def field_labels(result: EvaluationResult) -> list[str]:
    """The fields that have a confusion matrix, in their order."""
    return next(([field.label for field in column.fields] for column in result.columns if column.fields), [])


def _add_matrix(drawn: go.Figure, found: FieldResult, row: int, col: int, lang: Language) -> None:
    across = [*map(_short, found.classes), word("chart.not_parsed", lang)]
    down = [_short(name) for name in found.classes]
    counts = [list(line) for line in found.confusion]
    shares = [[count / max(1, sum(line)) for count in line] for line in counts]
    few = len(found.classes) <= NAMED_CLASSES
    drawn.add_heatmap(
        z=shares,
        text=[[f"{count:,}" if count else "" for count in line] for line in counts],
        customdata=[[word("chart.hover", lang, count=f"{count:,}") for count in line] for line in counts],
        texttemplate="%{text}" if few else None,
        hovertemplate="%{customdata}<extra></extra>",
        colorscale=SHADES,
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=1,
        ygap=1,
        row=row,
        col=col,
    )
    shared = {
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
        "automargin": True,
        "title_standoff": 4,
        "title_font_size": 13,
    }
    drawn.update_xaxes(
        tickvals=list(range(len(across))),
        ticktext=across,
        title_text=word("chart.answer", lang),
        row=row,
        col=col,
        **shared,
    )
    drawn.update_yaxes(
        tickvals=list(range(len(down))),
        ticktext=down,
        title_text=word("chart.reference", lang) if col == 1 else "",
        autorange="reversed",
        row=row,
        col=col,
        **shared,
    )


def _figure(height: int, x: str, y: str = "") -> go.Figure:
    import plotly.graph_objects as go

    return go.Figure(layout={**layout(height, x, y), "hovermode": "x unified"})


def _plain_layout(height: int) -> dict[str, Any]:
    """What all figures share but for the axes, of which here are several."""
    return {name: value for name, value in layout(height, "").items() if name not in ("xaxis", "yaxis")}


def _name(column: str, lang: Language) -> str:
    """A name inside a figure: plotly reads its texts as a kind of HTML."""
    return escape(column_name(column, lang))


def _short(name: str) -> str:
    return escape(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")
