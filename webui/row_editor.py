"""Changing single rows in the page: rewriting the turns of one, leaving it out, taking the file's own again.

The file stays as it is; the changes are part of the recipe. What stands in the editor is the row as it was shown, which
comes back from the browser and is checked like any row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from core.data.checks.placeholders import with_values
from core.errors import excerpt
from core.i18n import Language, text
from core.markup import note
from core.workbench import Workbench
from webui.changes import Anew
from webui.data_view import DataView
from webui.incoming import checked_type
from webui.preview_panel import PREVIEW_ROWS, row_number
from webui.wiring import RAW, Wiring

if TYPE_CHECKING:
    from core.data.conversation import Example
    from core.data.options import DataOptions

MAX_TURNS = 8  # that have a field; those after them stay as they are


@dataclass(frozen=True)
class RowEditor:
    """The components. `row` is never shown: the row being edited, as JSON."""

    group: gr.Column
    title: gr.HTML
    row: gr.Textbox
    turns: tuple[gr.Textbox, ...]
    save: gr.Button
    close: gr.Button
    changed_group: gr.Row
    changed: gr.Dropdown
    restore: gr.Button

    @property
    def opened(self) -> list[Any]:
        """What `open_row` fills."""
        return [self.group, self.title, self.row, *self.turns]

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.changed_group, self.changed]


def build(wiring: Wiring) -> RowEditor:
    with gr.Column(visible=False, elem_id="row-editor", elem_classes="wb-part") as group:
        title = gr.HTML(elem_id="row-editor-title")
        row = gr.Textbox(visible=False, elem_id="row-editor-row")
        turns = tuple(
            gr.Textbox(visible=False, lines=2, max_lines=12, elem_id=f"row-turn-{number}", text_align="left")
            for number in range(MAX_TURNS)
        )
        with gr.Row(elem_classes="wb-buttons"):
            save = wiring.say(gr.Button(variant="primary", elem_id="row-save"), value="data_tab.editor.save")
            close = wiring.say(gr.Button(elem_id="row-close"), value="data_tab.editor.close")
    with gr.Row(visible=False, elem_classes="wb-pager", elem_id="changed-rows-group") as changed_group:
        changed = gr.Dropdown([], value=None, elem_id="changed-rows", min_width=260, interactive=True)
        wiring.say(changed, label="data_tab.editor.changed", info="data_tab.editor.changed_info")
        restore = wiring.say(gr.Button(size="sm", elem_id="row-restore"), value="data_tab.editor.restore")
    return RowEditor(group, title, row, turns, save, close, changed_group, changed, restore)


def connect(wiring: Wiring, editor: RowEditor, rows: gr.HTML, name: gr.Dropdown, page: gr.Number) -> list[Any]:
    """Wire the editor; returns the events after which the data is another."""
    chosen = wiring.on(rows.click, open_or_leave_out, [name, page], editor.opened, **RAW)
    saved = wiring.on(editor.save.click, save_row, [name, editor.row, *editor.turns], editor.group, **RAW)
    wiring.on(editor.close.click, close, [], editor.group, **RAW)
    restored = wiring.on(editor.restore.click, restore_row, [name, editor.changed], None, **RAW)
    return [chosen.success, saved.success, restored.success]


def draw(view: DataView) -> list[Any]:
    """The rows that were changed, as `RowEditor.shown`."""
    choices = [
        (
            text(
                f"data_tab.editor.{'left_out' if edit.messages is None else 'edited'}", view.lang, row=f"{edit.row:,}"
            ),
            edit.row,
        )
        for edit in view.recipe.edits
    ]
    first = choices[0][1] if choices else None
    return [gr.update(visible=bool(choices)), Anew(gr.update(choices=choices, value=first)) if choices else gr.skip()]


def open_or_leave_out(
    workbench: Workbench, lang: Language, event: gr.EventData, name: str | None, page: float | None
) -> list[Any]:
    """What a button of a row in the preview asks for."""
    number, way = getattr(event, "row", None), getattr(event, "do", None)
    if not name or not isinstance(number, str) or not number.isdecimal():
        return [gr.skip()] * (3 + MAX_TURNS)
    row = row_number(float(number[:10]))
    if way == "leave_out":
        workbench.data.edit_row(name, row, None)
        return _closed()
    found = [each.example for each in workbench.preview(name, row_number(page) - 1, PREVIEW_ROWS) if each.row == row]
    return _opened(name, found[0], workbench.data.recipe(name), lang) if found else _closed()


def _closed() -> list[Any]:
    return [gr.update(visible=False), "", "", *[gr.update(visible=False)] * MAX_TURNS]


def _opened(name: str, example: Example, recipe: DataOptions, lang: Language) -> list[Any]:
    messages = own_messages(example, recipe)
    title = text("data_tab.editor.title", lang, line=f"{example.line:,}")
    further = len(messages) - MAX_TURNS
    words = note(title) + (note(text("data_tab.editor.further", lang, count=further)) if further > 0 else "")
    fields = [
        gr.update(
            visible=True,
            label=text(f"data_tab.roles.{messages[number]['role']}", lang),
            value=messages[number]["content"],
        )
        if number < len(messages)
        else gr.update(visible=False, value="")
        for number in range(MAX_TURNS)
    ]
    kept = json.dumps({"dataset": name, "row": example.row, "messages": messages}, ensure_ascii=False)
    return [gr.update(visible=True), words, kept, *fields]


def own_messages(example: Example, recipe: DataOptions) -> list[dict[str, Any]]:
    """The messages without the system prompt that the recipe adds, which would else become the row's own."""
    messages = [dict(message) for message in example.messages]
    added = with_values(recipe.system_prompt, recipe.placeholders)
    return messages[1:] if added and example.system_prompt == added else messages


def rewritten(messages: Sequence[Mapping[str, Any]], contents: Sequence[str]) -> list[dict[str, Any]]:
    """The messages with these contents; a turn that was emptied is taken out, turns beyond stay as they are."""
    turns = []
    for number, message in enumerate(messages):
        content = contents[number] if number < len(contents) else message["content"]
        emptied = not content.strip() and message["content"].strip()
        if not emptied:
            turns.append({**message, "content": content})
    return turns


def save_row(workbench: Workbench, lang: Language, name: str | None, kept: str | None, *contents: Any) -> Any:
    """Keep the row with what stands in the fields, in its own data set: another may be chosen meanwhile."""
    if not kept:
        return gr.skip()
    dataset, row, messages = _row(kept)
    written = [checked_type(content, "turn") or "" for content in contents]
    workbench.data.edit_row(dataset, row, rewritten(messages, written))
    return gr.update(visible=False)


def _row(kept: str) -> tuple[str, int, list[dict[str, Any]]]:
    """The row that was opened, as it comes back from the browser."""
    try:
        values = json.loads(kept)
        messages = [{**message, "content": str(message["content"] or "")} for message in values["messages"]]
        return checked_type(values["dataset"], "row", (str,)), row_number(values["row"]), messages
    except (ValueError, TypeError, KeyError, RecursionError):
        checked_type(excerpt(kept), "row", (dict,))
        raise


def close(workbench: Workbench, lang: Language) -> Any:
    return gr.update(visible=False)


def restore_row(workbench: Workbench, lang: Language, name: str | None, row: float | None) -> None:
    """Take the file's own row again."""
    if name and row:
        workbench.data.restore_row(name, row_number(row))
