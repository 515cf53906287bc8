"""What Start would do, as HTML: ready or not and why, numbers, what differs from the defaults, advice. Pure.

A suggestion is a button inside the HTML: `data-values` holds the settings that it would set, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from core.errors import Problem, WorkbenchError
from core.i18n import Language, text
from core.markup import Kind, badge, card, details, escape, facts, heading, note, table
from core.settings import fields_of
from webui.run_form import METHOD, SETTINGS, owner
from webui.setting_words import label, short_number, value_text
from webui.views import problem_list

if TYPE_CHECKING:
    from core.adapters.method_facts import Makes
    from core.training.plan import Plan
    from core.training.spec import RunSpec

SUGGESTED = "suggested"  # the value of a problem's field that would mend it


def plan_missing(missing: str, lang: Language) -> str:
    """The plan card while something has still to be chosen; `missing` is a key under `training_tab.missing`."""
    head = heading(text("training_tab.plan.title", lang), badge(text("training_tab.plan.not_ready", lang)))
    return card(head + note(text(f"training_tab.missing.{missing}_hint", lang)))


def plan_refused(error: WorkbenchError, lang: Language) -> str:
    """The plan card where the settings or the data make no run, with what would mend it."""
    head = heading(text("training_tab.plan.title", lang), badge(text("training_tab.plan.not_ready", lang), "bad"))
    problems = problem_list(error.problems, lang, error.total, lambda problem: _advice(problem, lang))
    return card(head + problems, "bad")


def plan_card(plan: Plan, spec: RunSpec, lang: Language) -> str:
    """What Start will do: steps, batch, tokens, what was changed, and each automatic value with its reason."""
    kind: Kind = "warning" if plan.warnings else "good"
    head = heading(
        text("training_tab.plan.title", lang),
        badge(text(f"training_tab.plan.{'look' if plan.warnings else 'ready'}", lang), kind),
    )
    warnings = problem_list(plan.warnings, lang, action=lambda problem: _advice(problem, lang))
    return card(
        head + facts(_plan_facts(plan, spec, lang)) + warnings + _changed(spec, lang) + _reasons(plan, lang), kind
    )


def _plan_facts(plan: Plan, spec: RunSpec, lang: Language) -> list[tuple[str, str]]:
    micro, accumulation = plan.micro_batch_size, plan.gradient_accumulation_steps
    rows = text("training_tab.plan.rows_value", lang, train=plan.rows_train, validation=plan.rows_validation)
    steps = text("training_tab.plan.steps_value", lang, steps=plan.steps, epochs=f"{plan.epochs:g}")
    batch = text("training_tab.plan.batch_value", lang, micro=micro, accumulation=accumulation, batch=plan.batch_size)
    tokens = text(
        "training_tab.plan.tokens_value",
        lang,
        tokens=f"{plan.tokens_per_epoch:,}",
        trained=f"{plan.trained_tokens_per_epoch:,}",
    )
    left_out = text("training_tab.plan.left_out_value", lang, rows=plan.rows_left_out)
    cut = text("training_tab.plan.cut_value", lang, rows=plan.rows_cut)
    pairs = [
        ("base", spec.base),
        ("method", text(f"methods.{spec.method.method}.name", lang)),
        ("rows", rows),
        *([("left_out", left_out)] if plan.rows_left_out else []),
        *([("cut", cut)] if plan.rows_cut else []),
        ("steps", steps),
        ("batch", batch),
        ("learning_rate", short_number(plan.learning_rate)),
        ("tokens", tokens),
        ("length", text("training_tab.plan.length_value", lang, tokens=f"{plan.max_length:,}")),
    ]
    return [(text(f"training_tab.plan.{name}", lang), value) for name, value in pairs]


def _changed(spec: RunSpec, lang: Language) -> str:
    """The settings that are not as they are on a fresh page, each beside its default."""
    rows = []
    for name in SETTINGS:
        settings = spec.method if name in METHOD else spec.training
        value, default = getattr(settings, name), fields_of(owner(name))[name].default
        if value != default:
            rows.append((label(name, lang), value_text(name, value, lang), value_text(name, default, lang)))
    headers = [text(f"training_tab.plan.{key}", lang) for key in ("setting", "value", "default")]
    return details(text("training_tab.plan.changed", lang, count=len(rows)), table(headers, rows)) if rows else ""


def _reasons(plan: Plan, lang: Language) -> str:
    rows = [(label(reason.field, lang), text(reason.key, lang, **reason.values)) for reason in plan.reasons]
    headers = (text("training_tab.plan.setting", lang), text("training_tab.plan.why", lang))
    title = text("training_tab.plan.automatic", lang, count=len(rows))
    return details(title, table(headers, rows)) if rows else ""


def _advice(problem: Problem, lang: Language) -> str:
    """The button that sets what a problem suggests; nothing where it suggests nothing."""
    name = problem.place.field.rpartition(".")[2]
    if SUGGESTED not in problem.values or name not in SETTINGS:
        return ""
    value = problem.values[SUGGESTED]
    words = text("run_form.use_value", lang, setting=label(name, lang), value=value_text(name, value, lang))
    return use_button({name: value}, words)


def use_button(values: Mapping[str, Any], words: str) -> str:
    """A button that puts these settings into the form."""
    data = escape(json.dumps(dict(values)))
    return f'<button type="button" class="wb-use" data-do="use" data-values="{data}">{escape(words)}</button>'


def name_check(problem: Problem | None, name: str, makes: Makes, lang: Language) -> str:
    """Whether the name of an adapter or a model can be used, said while it is typed."""
    if not name.strip():
        return note(text(f"training_tab.run.name_hint_{makes}", lang))
    if problem is None:
        return note(text("training_tab.run.name_free", lang, name=name), "good")
    words = problem.describe(lang)
    return note(f"{words.code} · {words.what} {words.fix}", "bad")
