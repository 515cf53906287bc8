"""What happens on the events of the data set's panel, and the one way in which a data set is drawn.

`show` gives every output of `DatasetPanel.shown`; the parts draw themselves from one `DataView`. The recipe is the
server's: choosing fills the form from it (`fill`), and each change of the form is saved before anything is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from core.errors import Place, Problem, WorkbenchError, refusal
from core.i18n import Language, text
from core.markup import note
from core.workbench import Workbench
from webui import (
    dataset_views,
    findings_panel,
    fixes_panel,
    making_panel,
    mapping_panel,
    preview_panel,
    reading_panel,
    row_editor,
)
from webui.background import PATIENCE_S
from webui.changes import Anew, only_new
from webui.data_recipe import FORM, PLACEHOLDERS, form_values, recipe_from
from webui.data_view import DataView
from webui.incoming import checked_type
from webui.views import problem_list

if TYPE_CHECKING:
    from core.data.library import CheckStatus

TICK_S = 0.7
CANCELLED = "D18_check_cancelled"


@dataclass(frozen=True)
class Wish:
    """How a data set is drawn: from which row on, and what the page shows already (`seen`, of `changes.only_new`).

    With `fill` the form takes the recipe's values; without, it keeps what is being typed and chosen there, except for
    blanks that are not those in `blanks` (a name a line). `wait_s` is so long a check may take to be answered at once;
    without `again`, one that was cancelled stays so.
    """

    seen: str | None
    page: float | None = 1
    fill: bool = True
    blanks: str | None = None
    wait_s: float = PATIENCE_S
    again: bool = True


def show_datasets(workbench: Workbench, lang: Language, name: str | None) -> Any:
    """The data sets to choose from; a choice that is gone is taken back."""
    names = [info.name for info in workbench.data.list()]
    return gr.update(choices=names) if not name or name in names else gr.update(choices=names, value=None)


def choose(workbench: Workbench, lang: Language, name: str | None, seen: str | None) -> list[Any]:
    """Another data set: its recipe fills the form, and its check begins."""
    return show(workbench, lang, name, Wish(seen))


def show_again(
    workbench: Workbench, lang: Language, name: str | None, seen: str | None, page: float | None
) -> list[Any]:
    """The same data set under a recipe that was changed beside the form."""
    return show(workbench, lang, name, Wish(seen, page))


def save(
    workbench: Workbench, lang: Language, name: str | None, seen: str | None, *values: Any, unit: Sequence[str]
) -> list[Any]:
    """Keep what was changed in the form, and draw what comes of it.

    `values` are the page of the preview, the data set that the form was filled for, the names of the blanks, and those
    of the fields in `unit`. A form that was filled for another data set is not saved: what it held is gone.
    """
    page, filled, blanks, *changed = values
    if name and filled == name:
        fields, patterns = dict(zip(unit, changed, strict=True)), workbench.data.patterns()
        workbench.data.change_recipe(name, lambda kept: recipe_from(kept, fields, patterns))
    return show(workbench, lang, name, Wish(seen, page, fill=False, blanks=blanks))


def show_progress(
    workbench: Workbench, lang: Language, name: str | None, seen: str | None, page: float | None, blanks: str | None
) -> list[Any]:
    """How far the check is; everything when it has ended."""
    return show(workbench, lang, name, Wish(seen, page, fill=False, blanks=blanks, wait_s=0.0, again=False))


def cancel(workbench: Workbench, lang: Language, name: str | None) -> list[Any]:
    """End the check; it begins again when someone asks for it."""
    if name:
        workbench.data.cancel(name)
    words = dataset_views.dataset_refused(refusal(CANCELLED, Place(file=name or "")), lang)
    return [words, gr.update(visible=False), gr.update(visible=True), gr.Timer(active=False)]


def add_datasets(workbench: Workbench, lang: Language, files: Any) -> list[Any]:
    """Take uploaded files into the workspace and choose the last; what is refused is said and holds up no other."""
    paths = [files] if isinstance(files, str) else checked_type(files, "files", (list, type(None))) or []
    added: list[str] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            source = Path(checked_type(path, "files", (str,)))
            added.append(workbench.data.add(source, source.name).name)
        except WorkbenchError as error:
            problems += error.problems
    names = [info.name for info in workbench.data.list()]
    choice = gr.update(choices=names, **({"value": added[-1]} if added else {}))
    return [choice, None, _upload_words(added, problems, lang)]


def _upload_words(added: Sequence[str], problems: Sequence[Problem], lang: Language) -> str:
    several = note(text("data_tab.choose.added", lang, names=", ".join(added)), "good") if len(added) > 1 else ""
    return several + problem_list(problems, lang)


def ask_to_delete(workbench: Workbench, lang: Language, name: str | None) -> list[Any]:
    """The question, and the data set that it names."""
    question = text("data_tab.choose.delete_question", lang, name=name or "")
    return [gr.update(visible=bool(name)), note(question), name or ""]


def delete_dataset(workbench: Workbench, lang: Language, asked: str | None, name: str | None) -> list[Any]:
    """Remove the data set that the question named; another one that was chosen meanwhile stays chosen."""
    if asked:
        workbench.delete_dataset(asked)
    names = [info.name for info in workbench.data.list()]
    return [gr.update(choices=names, value=name if name in names else None), gr.update(visible=False)]


def show(workbench: Workbench, lang: Language, name: str | None, wish: Wish) -> list[Any]:
    """Every output of `DatasetPanel.shown`: what is new, and the marks of all."""
    status, view = _look(workbench, lang, name, wish)
    findings = status.findings if status else ()
    running = status is not None and status.running
    updates = [
        *_head(workbench, view, status),
        *_form(view, wish),
        *reading_panel.draw(view),
        *findings_panel.draw(view, findings, running),
        *mapping_panel.draw(view),
        *fixes_panel.draw(view),
        *preview_panel.draw(workbench, view, wish.page),
        *row_editor.draw(view),
        *making_panel.draw(view),
    ]
    new, seen = only_new(updates, checked_type(wish.seen, "seen"))
    return [*new, seen]


def _look(workbench: Workbench, lang: Language, name: str | None, wish: Wish) -> tuple[CheckStatus | None, DataView]:
    """The state of the check, and what is to be drawn of it."""
    if not name:
        return None, DataView(None, lang)
    try:
        recipe = workbench.data.recipe(name)
    except WorkbenchError as error:
        return None, DataView(name, lang, error=error, kept=False)
    others = [info.name for info in workbench.data.list() if info.name != name]
    view = DataView(name, lang, recipe, others=others, patterns=workbench.data.patterns())
    try:
        status = workbench.data.check(name, wish.wait_s, again=wish.again)
    except WorkbenchError as error:  # another set that the recipe names is gone: the form must let it go
        return None, replace(view, error=error)
    fresh = wish.fill or status.error is not None
    return status, replace(view, report=status.report, error=status.error, fresh=fresh)


def _head(workbench: Workbench, view: DataView, status: CheckStatus | None) -> list[Any]:
    """The card, the buttons under it, the timer, and the state of the data that the plan follows."""
    running = status is not None and status.running
    cancelled = view.error is not None and view.error.key == CANCELLED
    model = workbench.model_status()
    state = (view.lang, view.name, id(view.report), view.recipe.model_dump_json(), model.name if model else "")
    answer = [
        _card(workbench, view, status),
        gr.update(visible=running),
        gr.update(visible=cancelled),
        gr.Timer(TICK_S, active=running),
        gr.skip() if running or cancelled else " ".join(map(str, state)),
        view.name or "" if view.kept else gr.skip(),
    ]
    return [Anew(update) for update in answer]


def _card(workbench: Workbench, view: DataView, status: CheckStatus | None) -> str:
    if view.name is None:
        return note(text("data_tab.choose.none", view.lang))
    if view.error:
        return dataset_views.dataset_refused(view.error, view.lang)
    if view.report is None:
        return dataset_views.check_progress(status, view.lang) if status else ""
    return dataset_views.dataset_report(view.report, workbench.data.card(view.name), view.lang)


def _form(view: DataView, wish: Wish) -> list[Any]:
    """The form's components: what depends on the data set, and the recipe's values where they are to be filled in."""
    properties = {
        **reading_panel.properties(view),
        **fixes_panel.properties(view),
        **making_panel.properties(view),
    }
    values = form_values(view.recipe, view.placeholders, view.patterns)
    if not wish.fill:  # which blanks a file has is known only when it was read
        new = view.report is not None and wish.blanks != values["placeholder-names"]
        values = {name: values[name] for name in ("placeholder-names", *PLACEHOLDERS)} if new else {}
    return [Anew(values.get(name, gr.skip()), properties.get(name, {})) for name in FORM]
