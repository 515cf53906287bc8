"""Making a set: which rows are taken, what is mixed in, what is learned from them; export, and saving as a new set.

Owns these components of the data form and what is done with the set as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from core.data.options import DataOptions
from core.i18n import Language, text
from core.markup import note
from core.workbench import Workbench
from webui.background import awaited
from webui.changes import Anew
from webui.data_recipe import LEARNING, MAKING, MAX_MIXED
from webui.data_view import DataView, Properties
from webui.fields import build_fields
from webui.outgoing import outbox
from webui.views import size
from webui.wiring import RAW, Wiring


@dataclass(frozen=True)
class MakingPanel:
    """The components beside those of the form."""

    export: gr.Button
    download: gr.DownloadButton
    new_name: gr.Textbox
    save_as: gr.Button
    note: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.download, self.note]


def build_learning(wiring: Wiring) -> None:
    """What of each row is learned; stands with the preview, which shows it at once."""
    form = wiring.shared["data-form"]
    with (
        wiring.say(gr.Accordion(open=False, elem_id="learning-part"), label="data_tab.learning.title"),
        gr.Row(elem_classes="wb-fields"),
    ):
        form |= build_fields(wiring, DataOptions, LEARNING, "data-")
        form["text_separator"] = gr.Textbox(elem_id="data-text_separator", max_length=100)
        words = "settings.DataOptions.text_separator"
        wiring.say(form["text_separator"], label=f"{words}.label", info=f"{words}.help")


def build(wiring: Wiring) -> MakingPanel:
    form = wiring.shared["data-form"]
    with wiring.say(gr.Accordion(open=False, elem_id="making-part"), label="data_tab.making.title"):
        with gr.Row(elem_classes="wb-fields"):
            form |= build_fields(wiring, DataOptions, MAKING, "data-")
        _build_others(wiring)
        with gr.Row(elem_classes="wb-columns"):
            with gr.Column(min_width=300):
                export = wiring.say(gr.Button(elem_id="data-export"), value="data_tab.making.export")
                download = gr.DownloadButton(visible=False, variant="primary", elem_id="data-download")
            with gr.Column(min_width=300):
                new_name = gr.Textbox(elem_id="data-new-name", max_length=200, max_lines=1)
                wiring.say(new_name, label="data_tab.making.new_name", placeholder="data_tab.making.new_name_example")
                save_as = wiring.say(gr.Button(elem_id="data-save-as"), value="data_tab.making.save_as")
        words = gr.HTML(elem_id="data-made")
    return MakingPanel(export, download, new_name, save_as, words)


def _build_others(wiring: Wiring) -> None:
    form = wiring.shared["data-form"]
    wiring.say(gr.Markdown(), value="data_tab.making.mix_text")
    for number in range(MAX_MIXED):
        with gr.Row():
            other = gr.Dropdown([("", "")], value="", elem_id=f"data-mix-dataset-{number}", interactive=True, scale=3)
            form[f"mix-dataset-{number}"] = wiring.say(other, label="data_tab.making.mix")
            share = gr.Number(None, elem_id=f"data-mix-percent-{number}", interactive=True, min_width=140)
            wiring.say(share, label="data_tab.making.percent", placeholder="data_tab.making.all_rows")
            form[f"mix-percent-{number}"] = share
    validation = gr.Dropdown([("", "")], value="", elem_id="data-validation", interactive=True)
    wiring.say(validation, label="data_tab.making.validation", info="data_tab.making.validation_info")
    form["validation_dataset"] = validation


def connect(wiring: Wiring, panel: MakingPanel, name: gr.Dropdown) -> Any:
    """Wire the buttons; returns the event after which a new data set is chosen."""
    outputs = [panel.export, panel.download, panel.note]
    wiring.on(panel.export.click, export, [name], outputs, concurrency_limit=2, **RAW)
    made = [name, panel.new_name, panel.note]
    return wiring.on(panel.save_as.click, save_as, [name, panel.new_name], made, concurrency_limit=2, **RAW).success


def properties(view: DataView) -> Properties:
    """The other data sets to choose from; those that the recipe names and that are gone say so."""
    none = text("data_tab.making.none", view.lang)
    gone = [name for name in view.recipe.other_datasets if name not in view.others]
    choices = [(none, ""), *((name, name) for name in view.others)]
    choices += [(text("data_tab.making.gone", view.lang, name=name), name) for name in gone]
    fields = [*(f"mix-dataset-{number}" for number in range(MAX_MIXED)), "validation_dataset"]
    return {field: {"choices": choices} for field in fields}


def draw(view: DataView) -> list[Any]:
    """What was made of another data set, or of this one before, is no longer offered; as `MakingPanel.shown`."""
    return [Anew(gr.update(visible=False)), Anew("")] if view.fresh else [gr.skip(), gr.skip()]


def export(workbench: Workbench, lang: Language, name: str | None) -> Iterator[list[Any]]:
    """Write the set as it stands into a file and offer it."""
    if not name:
        return
    for file in awaited(partial(workbench.data.export, name, outbox()), "export"):
        if file is None:
            busy = note(text("data_tab.making.exporting", lang))
            yield [gr.update(interactive=False), gr.update(visible=False), busy]
        else:
            label = text("data_tab.making.download", lang, name=file.name, size=size(file.stat().st_size))
            yield [gr.update(interactive=True), gr.update(visible=True, value=str(file), label=label), ""]


def save_as(workbench: Workbench, lang: Language, name: str | None, new_name: str | None) -> Iterator[list[Any]]:
    """Keep the set as it stands as a data set of its own, and choose that."""
    if not name:
        return
    for info in awaited(partial(workbench.data.save_as, name, new_name or ""), "save-as"):
        if info is None:
            yield [gr.skip(), gr.skip(), note(text("data_tab.making.saving", lang))]
        else:
            names = [each.name for each in workbench.data.list()]
            done = note(text("data_tab.making.saved", lang, name=info.name), "good")
            yield [gr.update(choices=names, value=info.name), "", done]
