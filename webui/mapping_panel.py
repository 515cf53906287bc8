"""The mapping form: which column of the file is what, chosen in the header of a table of sample values.

Seen where the format of a file is not known, or where it is read by its mapping. Apply keeps it in the recipe.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from core.data.options import COLUMN_ROLES
from core.i18n import Language, text
from core.markup import escape, note
from core.workbench import Workbench
from webui.changes import Anew
from webui.data_recipe import mapped
from webui.data_view import DataView
from webui.incoming import checked_type
from webui.wiring import Wiring

if TYPE_CHECKING:
    from core.data.formats.detection import Column

MAX_COLUMNS = 12
SHOWN_SAMPLES = 3


@dataclass(frozen=True)
class MappingPanel:
    """The components. `paths` is never shown: the columns of the drop-downs, as JSON."""

    group: gr.Column
    paths: gr.Textbox
    columns: tuple[gr.Column, ...]
    roles: tuple[gr.Dropdown, ...]
    samples: tuple[gr.HTML, ...]
    more: gr.HTML
    apply: gr.Button

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.group, self.paths, self.more, *self.columns, *self.roles, *self.samples]

    @property
    def inputs(self) -> list[Any]:
        return [self.paths, *self.roles]


def build(wiring: Wiring) -> MappingPanel:
    with gr.Column(visible=False, elem_id="mapping", elem_classes="wb-part") as group:
        wiring.say(gr.Markdown(), value="data_tab.mapping.text")
        paths = gr.Textbox(visible=False, elem_id="mapping-paths")
        columns, roles, samples = [], [], []
        with gr.Row(elem_classes="wb-mapping"):
            for number in range(MAX_COLUMNS):
                with gr.Column(visible=False, min_width=170, elem_id=f"mapping-column-{number}") as column:
                    role = gr.Dropdown([("", "")], value="", elem_id=f"mapping-role-{number}", interactive=True)
                    roles.append(wiring.say_with(role, lambda lang: {"choices": role_choices(lang)}))
                    samples.append(gr.HTML(elem_id=f"mapping-samples-{number}"))
                columns.append(column)
        more = gr.HTML(elem_id="mapping-more")
        with gr.Row(elem_classes="wb-buttons"):
            apply = wiring.say(gr.Button(variant="primary", elem_id="mapping-apply"), value="data_tab.mapping.apply")
    return MappingPanel(group, paths, tuple(columns), tuple(roles), tuple(samples), more, apply)


def role_choices(lang: Language) -> list[tuple[str, str]]:
    return [(text(f"data_tab.mapping.roles.{role or 'none'}", lang), role) for role in ("", *COLUMN_ROLES)]


def draw(view: DataView) -> list[Any]:
    """As `MappingPanel.shown`."""
    report = view.report
    if report is None and not view.fresh:
        return [gr.skip()] * (3 + 3 * MAX_COLUMNS)
    needed = report is not None and (report.format is None or report.format == "mapped")
    every = list(report.columns) if report and needed else []
    columns = offered(every)
    slots: list[Column | None] = [*columns, *[None] * (MAX_COLUMNS - len(columns))]
    left = len(every) - len(columns)
    return [
        gr.update(visible=bool(columns)),
        json.dumps([column.path for column in columns]),
        note(text("data_tab.mapping.more", view.lang, count=left)) if left else "",
        *(gr.update(visible=column is not None) for column in slots),
        *(_role(column, view) for column in slots),
        *(_samples(column) for column in slots),
    ]


def offered(columns: Sequence[Column]) -> list[Column]:
    """The columns that have a drop-down, in the file's order: those with a guessed role are always among them."""
    guessed = [column for column in columns if column.guess]
    others = [column for column in columns if not column.guess]
    chosen = [*guessed, *others][:MAX_COLUMNS]
    return [column for column in columns if column in chosen]


def _role(column: Column | None, view: DataView) -> Any:
    if column is None:
        return gr.skip()
    mapping = view.recipe.mapping
    role = mapping.get(column.path, "") if mapping else column.guess or ""
    return Anew(role, {"label": column.path})


def _samples(column: Column | None) -> Any:
    if column is None:
        return gr.skip()
    shown = "".join(f'<li dir="auto">{escape(sample)}</li>' for sample in column.samples[:SHOWN_SAMPLES])
    return f'<ul class="wb-samples">{shown}</ul>'


def apply(workbench: Workbench, lang: Language, name: str | None, paths: str | None, *roles: Any) -> None:
    """Keep the chosen roles in the recipe."""
    if name:
        columns = _columns(paths)
        workbench.data.change_recipe(name, lambda recipe: mapped(recipe, columns, roles))


def _columns(paths: str | None) -> list[str]:
    try:
        columns = json.loads(paths or "[]")
    except (ValueError, RecursionError):
        columns = None
    return [checked_type(path, "mapping", (str,)) for path in checked_type(columns, "mapping", (list,))]
