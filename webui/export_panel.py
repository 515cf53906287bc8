"""Taking the chosen adapter elsewhere: as a zip, as a merged model, as GGUF; with sizes first, progress and cancel.

An export belongs to the server: this panel starts it, shows it and cancels it; a timer runs while one does. What
becomes a download lies in a folder whose name nobody can guess, and goes when the next export begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import gradio as gr

from core.adapters.store import AdapterInfo
from core.exports.plan import Dtype, ExportWish, GgufType, Result
from core.i18n import Language, text
from core.workbench import Workbench
from webui import export_views
from webui.background import awaited
from webui.changes import HIDDEN
from webui.outgoing import outbox
from webui.views import size
from webui.wiring import RAW, Wiring

TICK_S = 1.0


@dataclass(frozen=True)
class ExportPanel:
    """The components. `wished` are those that say what is to be made."""

    zip: gr.Button
    zip_file: gr.DownloadButton
    result: gr.Radio
    name: gr.Textbox
    dtype: gr.Dropdown
    gguf_type: gr.Dropdown
    look: gr.Button
    plan: gr.HTML
    start: gr.Button
    progress: gr.HTML
    file: gr.DownloadButton
    cancel: gr.Button

    @property
    def wished(self) -> list[Any]:
        return [self.result, self.name, self.dtype, self.gguf_type]


def build(wiring: Wiring) -> None:
    with wiring.say(gr.Accordion(open=False, elem_id="export-adapter"), label="export_panel.title"):
        progress = gr.HTML(elem_id="export-progress")
        with gr.Row(elem_classes="wb-buttons"):
            file = gr.DownloadButton(visible=False, variant="primary", elem_id="export-file")
            cancel = wiring.say(gr.Button(visible=False, elem_id="export-cancel"), value="export_panel.cancel")
        wiring.say(gr.Markdown(), value="export_panel.zip_text")
        with gr.Row(elem_classes="wb-buttons"):
            pack = wiring.say(gr.Button(elem_id="export-zip"), value="export_panel.zip")
            zip_file = gr.DownloadButton(visible=False, variant="primary", elem_id="export-zip-file")
        wiring.say(gr.Markdown(), value="export_panel.more_text")
        result = gr.Radio(["model"], value="model", elem_id="export-result")
        wiring.say_with(result, _results)
        with gr.Row(elem_classes="wb-columns"):
            name = wiring.say(
                gr.Textbox(elem_id="export-name", max_length=200, min_width=200),
                label="export_panel.name",
                placeholder="export_panel.name_free",
            )
            dtype = gr.Dropdown([""], value="", elem_id="export-dtype", min_width=140)
            wiring.say_with(dtype, _dtypes)
            types = list(get_args(GgufType))
            gguf_type = gr.Dropdown(types, value=types[0], visible=False, elem_id="export-gguf-type", min_width=140)
            wiring.say(gguf_type, label="export_panel.gguf_type", info="export_panel.gguf_info")
        with gr.Row(elem_classes="wb-buttons"):
            look = wiring.say(gr.Button(elem_id="export-look"), value="export_panel.look")
            start = wiring.say(gr.Button(variant="primary", elem_id="export-start"), value="export_panel.start")
        plan = gr.HTML(elem_id="export-plan")
    wiring.shared["export-panel"] = ExportPanel(
        pack, zip_file, result, name, dtype, gguf_type, look, plan, start, progress, file, cancel
    )


def connect(wiring: Wiring, adapter: gr.Dropdown) -> tuple[gr.State, list[Any]]:
    """Wire the panel; returns the state that says whether an export runs, and what `show_export` fills.

    When the state changes, a model may have come.
    """
    panel: ExportPanel = wiring.shared["export-panel"]
    timer = gr.Timer(TICK_S, active=False)
    running = gr.State(False)
    watched = [panel.progress, panel.cancel, panel.file, timer, running]
    wished = [adapter, *panel.wished]
    wiring.on(panel.zip.click, write_zip, [adapter], [panel.zip, panel.zip_file], concurrency_limit=2, **RAW)
    shown = [panel.name, panel.dtype, panel.gguf_type, panel.plan]
    wiring.on(panel.result.input, choose_result, [panel.result], shown, **RAW)
    wiring.on(panel.look.click, look, wished, [panel.plan], **RAW)
    wiring.on(panel.start.click, start, wished, [panel.plan, *watched], **RAW)
    wiring.on(panel.cancel.click, cancel, [], watched)
    wiring.on(timer.tick, show_export, [], watched, concurrency_limit=None)
    return running, watched


def write_zip(workbench: Workbench, lang: Language, adapter: str | None) -> Iterator[list[Any]]:
    """Write an adapter into one zip and offer it."""
    for file in awaited(partial(workbench.exports.zip_adapter, adapter or "", outbox()), "zip-adapter"):
        if file is None:
            yield [gr.update(interactive=False), HIDDEN]
        else:
            label = text("export_panel.download", lang, name=file.name, size=size(file.stat().st_size))
            yield [gr.update(interactive=True), gr.update(visible=True, value=str(file), label=label)]


def choose_result(workbench: Workbench, lang: Language, result: str | None) -> list[Any]:
    """The fields that count for a result; what was said about another one goes."""
    merges, is_gguf = result != "adapter_gguf", result in ("gguf", "adapter_gguf")
    visible = (result == "model", merges, is_gguf)
    return [*(gr.update(visible=shown) for shown in visible), ""]


def said(wiring: Wiring) -> list[Any]:
    """What is said and made of one adapter."""
    panel: ExportPanel = wiring.shared["export-panel"]
    return [panel.zip, panel.plan, panel.zip_file]


def forget(info: AdapterInfo | None, lang: Language) -> list[Any]:
    """As `said`, once another adapter is chosen; its zip's size is shown before it is made."""
    words = text("export_panel.zip_sized", lang, size=size(info.bytes)) if info else text("export_panel.zip", lang)
    return [gr.update(value=words), "", HIDDEN]


def look(workbench: Workbench, lang: Language, adapter: str | None, *wished: object) -> str:
    """What an export takes and gives; without llama.cpp's converter, what to type instead."""
    return _described(workbench, lang, wish_of(workbench, adapter, wished))


def start(workbench: Workbench, lang: Language, adapter: str | None, *wished: object) -> list[Any]:
    """Begin an export; what cannot be done is told beside what it would take."""
    wish = wish_of(workbench, adapter, wished)
    described = _described(workbench, lang, wish)
    if wish.result in ("gguf", "adapter_gguf") and not workbench.exports.has_converter(wish):
        return [described, *show_export(workbench, lang)]
    workbench.exports.start(wish, outbox())
    return [described, *show_export(workbench, lang)]


def cancel(workbench: Workbench, lang: Language) -> list[Any]:
    workbench.exports.cancel()
    return show_export(workbench, lang)


def show_export(workbench: Workbench, lang: Language) -> list[Any]:
    """Progress, the Cancel button, the download, the timer that keeps them fresh, and whether an export runs."""
    status = workbench.exports.status()
    running = status is not None and status.state == "running"
    file = status.done.file if status and status.done else None
    offered: Any = HIDDEN
    if file and file.is_file():
        label = text("export_panel.download", lang, name=file.name, size=size(file.stat().st_size))
        offered = gr.update(visible=True, value=str(file), label=label)
    return [
        export_views.export_status(status, lang),
        gr.update(visible=running),
        offered,
        gr.Timer(active=running),
        running,
    ]


def wish_of(workbench: Workbench, adapter: str | None, wished: tuple[object, ...]) -> ExportWish:
    """What the fields ask for; an empty name becomes a free one.

    Raises:
        WorkbenchError: H01 for what no page sends.
    """
    result, name, dtype, gguf_type = wished
    named = name.strip() if isinstance(name, str) else name
    if result == "model" and not named:
        named = workbench.exports.free_model_name(adapter or "")
    values = {"adapter": adapter or "", "result": result, "name": named or "", "dtype": dtype or None}
    return ExportWish.checked({**values, "gguf_type": gguf_type})


def _described(workbench: Workbench, lang: Language, wish: ExportWish) -> str:
    desk = workbench.exports
    by_hand = wish.result in ("gguf", "adapter_gguf") and not desk.has_converter(wish)
    return export_views.export_plan(desk.plan(wish), wish, desk.gguf_command(wish) if by_hand else "", lang)


def _results(lang: Language) -> dict[str, Any]:
    choices = [(text(f"export_panel.result.{result}", lang), result) for result in get_args(Result)]
    return {"label": text("export_panel.make", lang), "choices": choices}


def _dtypes(lang: Language) -> dict[str, Any]:
    as_base = (text("export_panel.dtype_base", lang), "")
    choices = [as_base, *((dtype, dtype) for dtype in get_args(Dtype))]
    return {"label": text("export_panel.dtype", lang), "choices": choices}
