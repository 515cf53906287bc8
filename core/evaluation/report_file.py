"""A result as one HTML file that shows itself anywhere, without this workbench and without a network.

Owns the document around the parts of `report_views` and the figures of `report_figures`: its style, plotly's script
inside it, and a policy that forbids it to ask anyone for anything. Prints on paper as it stands.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.evaluation.report_figures import figures
from core.evaluation.report_views import PARTS
from core.evaluation.report_words import word
from core.evaluation.results import EvaluationResult
from core.i18n import Language
from core.markup import STYLE_SHEET, escape

if TYPE_CHECKING:
    import plotly.graph_objects as go

REPORT_STYLE = Path(__file__).with_name("report.css")  # of the parts, here as on the page
FILE_STYLE = Path(__file__).with_name("report_file.css")  # what gradio gives the page
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
LANGUAGES = {"en": "en", "zh": "zh-Hans"}
CONFIG = {"displayModeBar": False, "responsive": True}


def report_html(result: EvaluationResult, lang: Language) -> str:
    """The whole report, about 5 MB where it has figures: the most of it is plotly's script."""
    drawn = {part: figures(result, part, lang) for part in PARTS}
    body = "".join(draw(result, lang) + "".join(_figures(part, drawn[part])) for part, draw in PARTS.items())
    title = escape(word("title_of", lang, name=result.spec.name))
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{title}</title>'
        f"<style>{''.join(_style())}</style>{_script() if any(drawn.values()) else ''}"
    )
    return (
        f'<!doctype html><html lang="{LANGUAGES[lang]}"><head>{head}</head><body><h1>{title}</h1>{body}</body></html>'
    )


def _figures(part: str, drawn: list[tuple[str, go.Figure]]) -> list[str]:
    from plotly.io import to_html

    written = partial(to_html, config=CONFIG, include_plotlyjs=False, full_html=False)
    return [
        f'<figure class="wb-figure">{f"<figcaption>{escape(title)}</figcaption>" if title else ""}'
        f"{written(figure, default_height=f'{figure.layout.height}px', div_id=f'{part}-{number}')}</figure>"
        for number, (title, figure) in enumerate(drawn)
    ]


def _style() -> list[str]:
    return [sheet.read_text(encoding="utf-8") for sheet in (FILE_STYLE, STYLE_SHEET, REPORT_STYLE)]


def _script() -> str:
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"
