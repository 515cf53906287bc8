"""The page: title, language switch and the four tabs in one Blocks.

Owns the frame and the language; what a tab shows is in its own module. The browser decides which one it opens with: the
switch's saved choice, else the start-up default, else the first of its own languages that the page speaks.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from core.api.access import State
from core.i18n import LANGUAGES, Language, text
from core.workbench import Workbench
from webui import chat_tab, model_tab, parameters_tab, training_tab
from webui.incoming import refuse_addresses
from webui.notices import language_of, not_understood
from webui.wiring import Wiring

LANGUAGE_NAMES = [("English", "en"), ("简体中文", "zh")]
TABS = (("model", model_tab), ("training", training_tab), ("parameters", parameters_tab), ("chat", chat_tab))


class Page(gr.Blocks):
    """A page that answers what it would not send itself with the error contract, not with gradio's bare "Error"."""

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> list[Any]:
        try:
            _require_function(block_fn)
            refuse_addresses(inputs)
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)  # type: ignore[no-any-return]
        except Exception as error:
            raise not_understood(error, inputs) from error


def _require_function(block_fn: Any) -> None:
    if block_fn.fn is None:
        raise LookupError("this function runs in the browser only")


def build_page(workbench: Workbench, start_language: Language | None = None, api_state: State = "open") -> gr.Blocks:
    """The whole page over a workbench. `start_language` None follows the browser; `api_state` as in `Access`."""
    first = start_language or "en"
    with Page(title=text("page.title", first), delete_cache=(3600, 86_400), analytics_enabled=False) as page:
        with gr.Row(elem_id="header"):
            title = gr.Markdown(elem_id="title")
            language = gr.Radio(LANGUAGE_NAMES, value=first, show_label=False, container=False, elem_id="language")
        wiring = Wiring(workbench, page, first, language)
        wiring.shared["api-state"] = api_state
        wiring.say_with(title, lambda lang: {"value": f"# {text('page.title', lang)}\n{text('page.subtitle', lang)}"})
        with gr.Tabs(elem_id="tabs") as tabs:
            wiring.shared["tabs"] = tabs
            for name, module in TABS:
                tab = wiring.say(gr.Tab(id=name, elem_id=f"tab-{name}"), label=f"page.tab.{name}")
                wiring.shared[f"tab-{name}"] = tab
                with tab:
                    module.build(wiring)
        _wire_language(wiring, start_language)
        for _, module in TABS:
            module.connect(wiring)
    return page


def _wire_language(wiring: Wiring, start_language: Language | None) -> None:
    # The secret keeps the entry readable after a restart; a language is no secret.
    saved = gr.BrowserState(None, storage_key="workbench.language", secret="language")  # noqa: S106

    # In the browser, at once: an answer from the server would undo a choice made meanwhile. A tab that is drawn after
    # this event is drawn once, in the right language.
    wiring.shared["loaded"] = wiring.page.load(
        None, [saved], [wiring.language], js=_preferred_language(start_language), api_visibility="private"
    )
    wiring.language.change(
        lambda lang: wiring.switch_language(language_of(lang)),
        [wiring.language],
        wiring.spoken,
        api_visibility="private",
        show_progress="hidden",
        show_progress_on=[wiring.language],  # as in `Wiring.on`
        preprocess=False,
    )
    wiring.language.input(None, [wiring.language], [saved], js="(language) => language", api_visibility="private")


def _preferred_language(start_language: Language | None) -> str:
    """For the browser: the saved choice, else the start-up default, else its first language that is one of ours."""
    known, default = json.dumps(list(LANGUAGES)), json.dumps(start_language)
    return f"""(saved) => {{
        const known = {known};
        const spoken = navigator.languages.map((code) => code.slice(0, 2).toLowerCase());
        const wishes = [saved, {default}, ...spoken];
        return wishes.find((code) => known.includes(code)) ?? "en";
    }}"""
