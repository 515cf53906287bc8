"""A run before, while and after it goes, as HTML and tables: the plan card, progress, log, sample answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.errors import Problem, WorkbenchError
from core.i18n import Language, has_text, text
from core.training.log import LogLine
from core.training.progress import Sample, Snapshot, Status
from webui.views import (
    Kind,
    badge,
    card,
    details,
    duration,
    escape,
    facts,
    gigabytes,
    heading,
    note,
    number,
    problem_list,
    progress_bar,
    table,
)

if TYPE_CHECKING:
    from core.training.history import RunSummary
    from core.training.plan import Plan
    from core.training.spec import RunSpec

STATUS_KINDS: dict[Status, Kind] = {
    Status.QUEUED: "quiet",
    Status.PREPARING: "info",
    Status.RUNNING: "info",
    Status.STOPPING: "warning",
    Status.STOPPED: "warning",
    Status.FINISHED: "good",
    Status.FAILED: "bad",
    Status.INTERRUPTED: "warning",
}
SHOWN_PROMPT_CHARACTERS = 300


def plan_missing(missing: str, lang: Language) -> str:
    """The plan card while something has still to be chosen; `missing` is a key under `training_tab.missing`."""
    head = heading(text("training_tab.plan.title", lang), badge(text("training_tab.plan.not_ready", lang)))
    return card(head + note(text(f"training_tab.missing.{missing}_hint", lang)))


def plan_refused(error: WorkbenchError, lang: Language) -> str:
    """The plan card where the settings or the data make no run."""
    head = heading(text("training_tab.plan.title", lang), badge(text("training_tab.plan.not_ready", lang), "bad"))
    return card(head + problem_list(error.problems, lang, error.total), "bad")


def plan_card(plan: Plan, spec: RunSpec, lang: Language) -> str:
    """What Start will do: steps, batch, tokens, memory, and every automatic value with its reason."""
    kind: Kind = "warning" if plan.warnings else "good"
    head = heading(
        text("training_tab.plan.title", lang),
        badge(text(f"training_tab.plan.{'look' if plan.warnings else 'ready'}", lang), kind),
    )
    body = facts(_plan_facts(plan, spec, lang)) + _reasons(plan, lang) + problem_list(plan.warnings, lang)
    return card(head + body, kind)


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
        ("rows", rows),
        *([("left_out", left_out)] if plan.rows_left_out else []),
        *([("cut", cut)] if plan.rows_cut else []),
        ("steps", steps),
        ("batch", batch),
        ("tokens", tokens),
        ("length", text("training_tab.plan.length_value", lang, tokens=f"{plan.max_length:,}")),
        ("memory", gigabytes(plan.estimate.total_gb)),
    ]
    return [(text(f"training_tab.plan.{name}", lang), value) for name, value in pairs]


def _reasons(plan: Plan, lang: Language) -> str:
    rows = [(setting_words(reason.field, lang), text(reason.key, lang, **reason.values)) for reason in plan.reasons]
    headers = (text("training_tab.plan.setting", lang), text("training_tab.plan.why", lang))
    title = text("training_tab.plan.automatic", lang, count=len(rows))
    return details(title, table(headers, rows)) if rows else ""


def setting_words(name: str, lang: Language) -> str:
    """The label of a training or method setting."""
    for model in ("TrainingSettings", "MethodSettings"):
        if has_text(f"settings.{model}.{name}.label"):
            return text(f"settings.{model}.{name}.label", lang)
    return name


def run_progress(snapshot: Snapshot, lang: Language) -> str:
    """The head of a run: status, bar with phase and time left, numbers; then its problems."""
    status = text(f"training.status.{snapshot.status}", lang)
    kind = STATUS_KINDS[snapshot.status]
    head = heading(snapshot.name or snapshot.run_id, badge(status, kind))
    bar = progress_bar(snapshot.fraction if snapshot.steps else None, _bar_words(snapshot, lang))
    if not snapshot.status.active and not snapshot.steps:
        bar = ""
    problems = problem_list(snapshot.problems, lang) + _reference(snapshot, lang)
    return card(head + bar + facts(_run_facts(snapshot, lang)) + problems, kind)


def _bar_words(snapshot: Snapshot, lang: Language) -> str:
    parts = []
    if snapshot.phase:
        parts.append(text(f"training.phase.{snapshot.phase}", lang))
    if snapshot.steps:
        parts.append(text("training_tab.live.step_of", lang, step=snapshot.step, steps=snapshot.steps))
        parts.append(
            text("training_tab.live.epoch_of", lang, epoch=f"{snapshot.epoch:.2f}", epochs=f"{snapshot.epochs:g}")
        )
    if snapshot.eta_s is not None:
        parts.append(text("training_tab.live.time_left", lang, time=duration(snapshot.eta_s, lang)))
    return " · ".join(parts)


def _run_facts(snapshot: Snapshot, lang: Language) -> list[tuple[str, str]]:
    loss = snapshot.losses[-1][1] if snapshot.losses else None
    validation = snapshot.evals[-1][1] if snapshot.evals else None
    speed = None if snapshot.tokens_per_s is None else f"{snapshot.tokens_per_s:,.0f}"
    memory = None if snapshot.memory_gb is None else gigabytes(snapshot.memory_gb)
    pairs = [
        ("loss", number(loss)),
        ("validation_loss", number(validation)),
        ("tokens_per_s", speed or "–"),
        ("memory", memory or "–"),
        ("elapsed", duration(snapshot.elapsed_s, lang)),
        ("base", snapshot.base or "–"),
        ("dataset", snapshot.dataset or "–"),
        ("started_by", started_by_words(snapshot.started_by, lang)),
    ]
    return [(text(f"training_tab.live.{name}", lang), value) for name, value in pairs]


def started_by_words(started_by: str, lang: Language) -> str:
    """Where a run was started from; what is no key of ours (a name) is shown as it is."""
    key = f"training_tab.started_by.{started_by}"
    return text(key, lang) if has_text(key) else started_by or "–"


def _reference(snapshot: Snapshot, lang: Language) -> str:
    if snapshot.status != Status.FAILED or snapshot.problems:
        return ""
    return note(text("training_tab.live.bug", lang, reference=snapshot.reference), "bad")


def run_result(snapshot: Snapshot, folders: Sequence[tuple[str, str]], lang: Language) -> str:
    """What a run that ended left behind: the adapter, its losses, its files; empty while it goes on.

    `folders` are (key under `training_tab.result`, path) pairs.
    """
    if snapshot.status.active:
        return ""
    words = [note(text(f"training_tab.result.{snapshot.status}", lang, step=snapshot.step, steps=snapshot.steps))]
    if snapshot.stop_reason:
        words.append(note(text(f"training.stop_reason.{snapshot.stop_reason}", lang)))
    pairs = []
    if snapshot.adapter:
        kept = text("training_tab.result.adapter_value", lang, name=snapshot.adapter, step=snapshot.kept_step or "–")
        pairs.append((text("training_tab.result.adapter", lang), kept))
    if snapshot.best_step is not None:
        best = text("training_tab.result.best_value", lang, loss=number(snapshot.best_loss), step=snapshot.best_step)
        pairs.append((text("training_tab.result.best", lang), best))
    pairs += [(text(f"training_tab.result.{key}", lang), path) for key, path in folders]
    return card(heading(text("training_tab.result.title", lang)) + "".join(words) + facts(pairs))


def samples_table(samples: Sequence[Sample], lang: Language) -> str:
    """Sample answers: one row a prompt, a column for the base model and for each step that was reviewed."""
    if not samples:
        return note(text("training_tab.samples.none", lang))
    steps = sorted({sample.step for sample in samples})
    answers = {(sample.prompt, sample.step): sample.answer for sample in samples}
    prompts = list(dict.fromkeys(sample.prompt for sample in samples))
    headers = [text("training_tab.samples.prompt", lang)]
    headers += [
        text("training_tab.samples.step", lang, step=step) if step else text("training_tab.samples.base", lang)
        for step in steps
    ]
    rows = [[_short(prompt), *(answers.get((prompt, step), "–") for step in steps)] for prompt in prompts]
    return table(headers, rows, text("training_tab.samples.caption", lang))


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= SHOWN_PROMPT_CHARACTERS else prompt[:SHOWN_PROMPT_CHARACTERS] + "…"


def log_lines(lines: Sequence[LogLine], lang: Language) -> str:
    """A run's log, oldest first, each line with the time since the run's start."""
    words = (f"{duration(line.elapsed_s, lang):>12}  {_log_words(line, lang)}" for line in lines)
    return f'<pre class="wb-log">{escape(chr(10).join(words))}</pre>'


def _log_words(line: LogLine, lang: Language) -> str:
    return text(line.key, lang, **line.values) if has_text(line.key) else line.key


def run_choices(runs: Sequence[RunSummary], lang: Language) -> list[tuple[str, str]]:
    """(words, run id) of every run, in the order given; what a run in progress is doing is said beside its bar."""
    return [(" · ".join(part for part in _run_words(run, lang) if part), run.run_id) for run in runs]


def _run_words(run: RunSummary, lang: Language) -> tuple[str, str, str]:
    key = "training_tab.live.in_progress" if run.status.active else f"training.status.{run.status}"
    return run.name, text(key, lang), run.started_at[:16].replace("T", " ")


def name_check(problem: Problem | None, name: str, lang: Language) -> str:
    """Whether an adapter name can be used, said while it is typed."""
    if not name.strip():
        return note(text("training_tab.run.name_hint", lang))
    if problem is None:
        return note(text("training_tab.run.name_free", lang, name=name), "good")
    words = problem.describe(lang)
    return note(f"{words.code} · {words.what} {words.fix}", "bad")


def no_run(lang: Language) -> str:
    return card(heading(text("training_tab.live.none", lang)) + note(text("training_tab.live.none_hint", lang)))
