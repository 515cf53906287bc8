"""How the page looks: a theme without foreign fonts, and the few rules of CSS that gradio has no option for."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from core import markup
from core.evaluation.report_file import REPORT_STYLE
from core.i18n import LANGUAGES, text

SANS = [
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Noto Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Noto Sans CJK SC",
    "sans-serif",
]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Noto Sans Mono CJK SC", "monospace"]


def theme() -> gr.themes.Base:
    """Soft colours, the machine's own fonts: nothing is fetched."""
    soft = gr.themes.Soft(primary_hue="teal", secondary_hue="teal", neutral_hue="slate", font=SANS, font_mono=MONO)
    return soft.set(
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_padding="0",
        block_border_width="1px",
        block_shadow="none",
        input_border_width="1px",
        input_border_color="*border_color_primary",
        input_border_color_dark="*border_color_primary",
        input_shadow="none",
        button_secondary_border_color="*border_color_primary",
        button_border_width="1px",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
    )


CSS = """
.gradio-container { width: 100%; max-width: 1400px !important; margin: 0 auto; }
.gradio-container > .main { width: 100%; max-width: none; }
#header { align-items: center; justify-content: space-between; }
#header #title { flex: 1 1 auto; }
#header #language { flex: 0 0 auto; width: auto; min-width: 0; }
#title h1 { margin-bottom: 0; }
@media (max-width: 700px) {  /* all four tabs fit a telephone */
  #tabs .tab-container button { padding-left: 8px; padding-right: 8px; }
}
"""

TOASTS = ("error", "warning", "success")  # the kinds of notice that the page shows


def toast_titles() -> str:
    """What stands over a notice, in the page's language: gradio writes the name of its kind, in English."""
    rules = [".toast-title { font-size: 0 !important; } .toast-title * { font-size: var(--text-sm); }"]
    for lang in LANGUAGES:
        page = f'body:has(#language input[value="{lang}"]:checked)'
        for kind in TOASTS:
            words = text(f"page.toast.{kind}", lang)
            rules.append(f'{page} .toast-title.{kind}::before {{ content: "{words} "; font-size: var(--text-lg); }}')
    return "\n".join(rules)


STYLE_SHEETS = [markup.STYLE_SHEET, REPORT_STYLE, *sorted(Path(__file__).parent.glob("*.css"))]
