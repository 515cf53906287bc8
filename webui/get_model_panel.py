"""Getting a model: the starter, a repository of Hugging Face or ModelScope, a GGUF file, a local folder.

A download belongs to the server: this panel starts it, shows it and cancels it; a timer runs while one does. Nothing is
fetched from a hub before its size, licence and access have been shown: the first press of Download looks them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.i18n import Language
from core.workbench import Workbench
from webui import model_views
from webui.wiring import RAW, Wiring

TICK_S = 1.0


@dataclass(frozen=True)
class GetModelPanel:
    starter: gr.Button
    source: gr.Radio
    repo_id: gr.Textbox
    look_up: gr.Button
    remote: gr.HTML
    download: gr.Button
    gguf: gr.Dropdown
    convert: gr.Button
    progress: gr.HTML
    cancel: gr.Button


def build(wiring: Wiring) -> None:
    with wiring.say(gr.Accordion(open=False, elem_id="get-model"), label="model_tab.get.title"):
        progress = gr.HTML(elem_id="download-progress")
        cancel = wiring.say(gr.Button(visible=False, elem_id="cancel-download"), value="model_tab.get.cancel")
        with gr.Row(elem_classes="wb-columns"):
            with gr.Column(min_width=300):
                wiring.say(gr.Markdown(), value="model_tab.get.starter_text")
                starter = wiring.say(gr.Button(elem_id="get-starter"), value="model_tab.get.starter")
                wiring.say(gr.Markdown(), value="model_tab.get.gguf_text")
                gguf = gr.Dropdown([], elem_id="gguf-file")
                wiring.say(gguf, label="model_tab.get.gguf_label")
                convert = wiring.say(gr.Button(elem_id="convert-gguf"), value="model_tab.get.convert")
                wiring.say(gr.Markdown(), value="model_tab.get.folder_text")
            with gr.Column(min_width=300):
                wiring.say(gr.Markdown(), value="model_tab.get.hub_text")
                hubs = [("Hugging Face", "huggingface"), ("ModelScope", "modelscope")]
                source = gr.Radio(hubs, value="huggingface", elem_id="hub-source")
                wiring.say(source, label="model_tab.get.source")
                repo_id = gr.Textbox(elem_id="repo-id", max_length=200)
                wiring.say(repo_id, label="model_tab.get.repo_id", placeholder="model_tab.get.repo_id_example")
                with gr.Row():
                    look_up = wiring.say(gr.Button(elem_id="look-up"), value="model_tab.get.look_up")
                    download = wiring.say(gr.Button(elem_id="download"), value="model_tab.get.download")
                remote = gr.HTML(elem_id="remote-info")
    wiring.shared["get-model-panel"] = GetModelPanel(
        starter, source, repo_id, look_up, remote, download, gguf, convert, progress, cancel
    )


def connect(wiring: Wiring) -> tuple[gr.State, list[Any]]:
    """Wire the panel; returns the state that says whether a download runs, and what `show_download` fills.

    When the state changes, a model may have come.
    """
    panel: GetModelPanel = wiring.shared["get-model-panel"]
    timer = gr.Timer(TICK_S, active=False)
    running = gr.State(False)
    watched = [panel.progress, panel.cancel, timer, running]
    repository = [panel.source, panel.repo_id]
    seen = gr.State(None)  # the hub and id whose size, licence and access are shown
    asked = [panel.look_up.click, panel.repo_id.submit]
    wiring.on(asked, look_up, repository, [panel.remote, seen], show_progress="minimal", **RAW)
    wiring.on(panel.starter.click, start_starter, [], watched)
    wiring.on(panel.download.click, start_download, [*repository, seen], [panel.remote, seen, *watched], **RAW)
    wiring.on(panel.convert.click, start_gguf, [panel.gguf], watched, **RAW)
    wiring.on(panel.cancel.click, cancel_download, [], watched)
    wiring.on(timer.tick, show_download, [], watched, concurrency_limit=None)
    return running, watched


def show_gguf_files(workbench: Workbench, lang: Language) -> Any:
    names = [info.name for info in workbench.models() if info.gguf]
    return gr.update(choices=names, value=names[0] if names else None, interactive=bool(names))


def look_up(workbench: Workbench, lang: Language, source: str | None, repo_id: str | None) -> list[Any]:
    """What a repository holds and needs, and that it has been shown."""
    info = workbench.describe_remote(source or "", (repo_id or "").strip())
    return [model_views.remote_info(info, lang), (info.source, info.repo_id)]


def start_starter(workbench: Workbench, lang: Language) -> list[Any]:
    workbench.start_starter()
    return show_download(workbench, lang)


def start_download(
    workbench: Workbench, lang: Language, source: str | None, repo_id: str | None, seen: object
) -> list[Any]:
    """Fetch the repository that was `seen`; another one is looked up first, and the next press fetches it."""
    wish = (source or "", (repo_id or "").strip())
    if wish != seen:
        return [*look_up(workbench, lang, *wish), *show_download(workbench, lang)]
    workbench.start_download(*wish)
    return [gr.skip(), seen, *show_download(workbench, lang)]


def start_gguf(workbench: Workbench, lang: Language, name: str | None) -> list[Any]:
    workbench.start_gguf(name or "")
    return show_download(workbench, lang)


def cancel_download(workbench: Workbench, lang: Language) -> list[Any]:
    workbench.cancel_download()
    return show_download(workbench, lang)


def show_download(workbench: Workbench, lang: Language) -> list[Any]:
    """Progress, the Cancel button, the timer that keeps both fresh, and whether a download runs."""
    status = workbench.download_status()
    running = status is not None and status.state == "running"
    return [
        model_views.download_progress(status, lang),
        gr.update(visible=running),
        gr.Timer(active=running),
        running,
    ]
