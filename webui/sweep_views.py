"""The runs of a sweep as HTML: before they are queued, after, and why there are none. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from core.errors import Problem, WorkbenchError
from core.i18n import Language, text
from core.markup import card, note, table
from core.training.sweep import sweepable
from webui.setting_words import label, value_text
from webui.views import problem_list

if TYPE_CHECKING:
    from core.training.spec import RunSpec


def sweep_table(specs: Sequence[RunSpec], paths: Sequence[str], lang: Language) -> str:
    """A row for each run: its name and the values in which it differs; `paths` as `method.rank`."""
    names = [path.partition(".") for path in paths]
    headers = [text("run_form.sweep.run", lang), *(label(name, lang) for _, _, name in names)]
    rows = [
        [spec.name, *(value_text(name, getattr(getattr(spec, group), name), lang) for group, _, name in names)]
        for spec in specs
    ]
    return note(text("run_form.sweep.count", lang, count=len(specs))) + table(headers, rows)


def sweep_added(specs: Sequence[RunSpec], lang: Language) -> str:
    return note(text("run_form.sweep.added", lang, count=len(specs)), "good")


def sweep_missing(missing: str, lang: Language) -> str:
    """What has to be chosen first, as Start says it; `missing` is a key under `training_tab.start`."""
    return note(text(f"training_tab.start.{missing}", lang), "warning")


def sweep_refused(error: WorkbenchError, lang: Language) -> str:
    """Why the values make no runs, with the settings called as the form calls them."""
    return card(problem_list([_in_form_words(each, lang) for each in error.problems], lang, error.total), "bad")


def _in_form_words(problem: Problem, lang: Language) -> Problem:
    paths = {path: label(path.partition(".")[2], lang) for path in sweepable()}
    labels = paths | {path.partition(".")[2]: words for path, words in paths.items()}
    values = dict(problem.values)
    if "field" in values:
        values["field"] = labels.get(values["field"], values["field"])
    if problem.key == "H01_swept_unused":
        values["method"] = value_text("method", values["method"], lang)
        values["known"] = ", ".join(labels.get(path, path) for path in values["known"].split(", "))
    place = replace(problem.place, field=labels.get(problem.place.field, problem.place.field))
    return replace(problem, place=place, values=values)
