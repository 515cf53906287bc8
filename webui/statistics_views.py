"""The tokens of a data set as figures and words: how long its rows are, and what a maximum length takes. Pure.

Counting is `core/data/statistics.py`'s affair, the look of figures `plotting`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.i18n import Language, text
from core.markup import Kind, card, details, facts, note, table
from core.plotting import ORANGE, SLATE, TEAL, layout

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from core.data.statistics import Histogram, LimitEffect, TokenTable
    from core.settings import LongRows

TRAINED, REST, MAXIMUM = TEAL, SLATE, ORANGE
HEIGHT = 320  # pixels
ROOM_ABOVE = 1.15  # for the words at the top
BAR = 0.94  # of a bin's width
LONGEST_SHOWN = 10
LENGTHS = {"median": 50, "most": 90, "longest": 100}  # percentiles


def figure(tokens: TokenTable, max_length: int, lang: Language) -> go.Figure:
    """How many rows are how long. Each bar is divided as the tokens of its rows are: trained below, the rest above."""
    import plotly.graph_objects as go

    bins = tokens.histogram()
    shares = [trained / max(1, total) for trained, total in zip(bins.trained, bins.tokens, strict=True)]
    learned = [float(rows * share) for rows, share in zip(bins.rows, shares, strict=True)]
    rest = [float(rows - part) for rows, part in zip(bins.rows, learned, strict=True)]
    hover = {"text": _bin_words(bins, shares, lang), "hovertemplate": "%{text}<extra></extra>", "textposition": "none"}
    drawn = go.Figure(layout=_layout("stack", lang, x="tokens", y="rows"))
    middles = [(at + 0.5) * bins.width for at in range(len(bins.rows))]
    for name, heights, colour in (("trained", learned, TRAINED), ("rest", rest, REST)):
        words = text(f"statistics.chart.{name}", lang)
        drawn.add_bar(x=middles, y=heights, width=BAR * bins.width, name=words, marker=_filled(colour), **hover)
    end = len(bins.rows) * bins.width
    drawn.update_xaxes(range=[0, end])
    drawn.update_yaxes(range=[0, max(1, int(bins.rows.max())) * ROOM_ABOVE])
    if bins.open_ended:
        drawn.add_annotation(
            x=middles[-1], y=int(bins.rows[-1]), text=f"≥ {end - bins.width:,}", showarrow=False, yshift=10
        )
    _draw_maximum(drawn, max_length, end, lang)
    return drawn


def role_figure(tokens: TokenTable, lang: Language) -> go.Figure:
    """Tokens per row by who says them: what half and what 90 % of the rows with that role do not exceed."""
    import plotly.graph_objects as go

    from core.data.statistics import percentile

    drawn = go.Figure(layout=_layout("group", lang, x="roles"))
    roles = [text(f"statistics.roles.{role}", lang) for role in tokens.by_role]
    for name, percent, colour in (("median", 50, TRAINED), ("most", 90, REST)):
        lengths = [percentile(counted, percent) for counted in tokens.by_role.values()]
        drawn.add_bar(
            y=roles,
            x=lengths,
            name=text(f"statistics.chart.{name}", lang),
            marker=_filled(colour),
            orientation="h",
            text=[f"{length:,}" for length in lengths],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    drawn.update_yaxes(autorange="reversed", showgrid=False)
    return drawn


def summary(tokens: TokenTable, max_length: int, long_rows: LongRows, lang: Language) -> str:
    """The figures of a data set in words, and what the maximum length takes from it."""
    effect = tokens.at(max_length, long_rows)
    kind: Kind = "bad" if not effect.kept_rows else "warning" if effect.rows_over else "good"
    notes = "".join(note(words, kind) for words in _effect(tokens, effect, max_length, long_rows, lang))
    if tokens.refused:
        notes += note(text("statistics.refused", lang, rows=f"{tokens.refused:,}"), "warning")
    return card(facts(_facts(tokens, lang)) + notes + _longest(tokens, lang), kind)


def _effect(tokens: TokenTable, effect: LimitEffect, max_length: int, long_rows: LongRows, lang: Language) -> list[str]:
    """What a maximum length does to the rows, in sentences."""
    if not len(tokens.tokens):
        return []
    limit = f"{max_length:,}"
    sentences = [_loss(tokens, effect, limit, long_rows, lang)] if effect.rows_over else []
    if (tokens.documents & (tokens.tokens > max_length)).any():
        sentences.append(text("statistics.documents", lang, limit=limit))
    if not effect.kept_rows:
        sentences.append(text("statistics.nothing_remains", lang, limit=limit))
    return sentences or [text("statistics.fits", lang, limit=limit)]


def _loss(tokens: TokenTable, effect: LimitEffect, limit: str, long_rows: LongRows, lang: Language) -> str:
    over = text(
        f"statistics.{long_rows}.{_number_of(effect.rows_over)}",
        lang,
        rows=f"{effect.rows_over:,}",
        limit=limit,
        tokens=f"{effect.tokens_lost:,}",
        trained=f"{effect.trained_lost:,}",
    )
    if long_rows == "skip":
        rest = text("statistics.remaining", lang, kept=f"{effect.kept_rows:,}", rows=f"{len(tokens.tokens):,}")
    else:
        rest = text(f"statistics.unlearned.{_number_of(effect.rows_lost)}", lang, rows=f"{effect.rows_lost:,}")
    return text("statistics.effect", lang, over=over, rest=rest)


def _number_of(count: int) -> str:
    """The key of the sentence for so many: languages have one for a single thing."""
    return {0: "none", 1: "one"}.get(count, "many")


def _facts(tokens: TokenTable, lang: Language) -> list[tuple[str, str]]:
    from core.data.statistics import percentile

    made = len(tokens.tokens)
    rows = f"{tokens.examples:,}"
    if made != tokens.examples:
        rows = text("statistics.rows_value", lang, rows=rows, made=f"{made:,}")
    turns = text(
        "statistics.turns_value",
        lang,
        turns=f"{tokens.turns.sum():,}",
        median=percentile(tokens.turns, 50),
        most=tokens.turns.max(initial=0),
    )
    share = f"{tokens.trained_tokens / max(1, tokens.total_tokens):.0%}"
    trained = text("statistics.trained_value", lang, tokens=f"{tokens.trained_tokens:,}", share=share)
    pairs = [
        ("rows", rows),
        *([("turns", turns)] if tokens.turns.any() else []),
        ("tokens", f"{tokens.total_tokens:,}"),
        ("trained", trained),
        *((name, _length(tokens.percentile(percent), lang)) for name, percent in LENGTHS.items()),
    ]
    return [(text(f"statistics.{name}", lang), value) for name, value in pairs]


def _length(tokens: int, lang: Language) -> str:
    return text("statistics.length", lang, tokens=f"{tokens:,}")


def _longest(tokens: TokenTable, lang: Language) -> str:
    """The longest rows with their lines, and their files where there are several."""
    columns = ["line", "tokens", "trained"] if tokens.files in ((), ("",)) else ["file", "line", "tokens", "trained"]
    rows = [
        [f"{value:,}" if isinstance(value, int) else value for value in (getattr(row, name) for name in columns)]
        for row in tokens.longest(LONGEST_SHOWN)
    ]
    headers = [text(f"statistics.longest_rows.{name}", lang) for name in columns]
    return details(text("statistics.longest_rows.title", lang), table(headers, rows)) if rows else ""


def _layout(barmode: str, lang: Language, x: str, y: str = "") -> dict[str, Any]:
    """What both figures share; `x` and `y` are keys of the axes' titles."""
    titles = [text(f"statistics.chart.{name}", lang) if name else "" for name in (x, y)]
    return {**layout(HEIGHT, *titles), "barmode": barmode, "bargap": 0.25}


def _filled(colour: str) -> dict[str, Any]:
    return {"color": colour, "line": {"width": 0}}


def _bin_words(bins: Histogram, shares: list[float], lang: Language) -> list[str]:
    """What is shown over each bar."""
    words = []
    for at, (rows, tokens, share) in enumerate(zip(bins.rows, bins.tokens, shares, strict=True)):
        first, last = at * bins.width, (at + 1) * bins.width - 1
        is_open = bins.open_ended and at == len(bins.rows) - 1
        where = text(f"statistics.chart.{'beyond' if is_open else 'range'}", lang, first=f"{first:,}", last=f"{last:,}")
        held = text("statistics.chart.held", lang, rows=f"{rows:,}", tokens=f"{tokens:,}", share=f"{share:.0%}")
        words.append(f"{where}<br>{held}")
    return words


def _draw_maximum(drawn: go.Figure, max_length: int, end: int, lang: Language) -> None:
    """A dashed line at the maximum length; where that is far behind all rows, its name at the edge."""
    words = text("statistics.chart.maximum", lang, tokens=f"{max_length:,}")
    if max_length > end:
        drawn.add_annotation(
            x=end, y=1, yref="paper", text=f"{words} →", showarrow=False, xanchor="right", yanchor="top"
        )
        return
    left = max_length > end / 2
    drawn.add_vline(
        x=max_length,
        line={"color": MAXIMUM, "dash": "dash", "width": 2},
        annotation_text=words,
        annotation_position="top left" if left else "top right",
    )
