"""A run while and after it goes, as HTML and tables: progress, result, log, sample answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.i18n import Language, has_text, text
from core.markup import Kind, badge, card, duration, escape, facts, heading, note, number, table
from core.training.log import LogLine
from core.training.progress import Sample, Snapshot, Status
from webui.forecast_views import offered
from webui.views import gigabytes, problem_list, progress_bar

if TYPE_CHECKING:
    from core.training.history import RunSummary

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


def run_progress(snapshot: Snapshot, lang: Language) -> str:
    """The head of a run: status, bar with phase and time left, numbers; then its problems with what can be done."""
    status = text(f"training.status.{snapshot.status}", lang)
    kind = STATUS_KINDS[snapshot.status]
    head = heading(snapshot.name or snapshot.run_id, badge(status, kind))
    bar = progress_bar(snapshot.fraction if snapshot.steps else None, _bar_words(snapshot, lang))
    if not snapshot.status.active and not snapshot.steps:
        bar = ""
    problems = problem_list(snapshot.problems, lang, action=lambda problem: offered(problem, lang))
    return card(head + bar + facts(_run_facts(snapshot, lang)) + problems + _reference(snapshot, lang), kind)


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
        ("method", method_words(snapshot.method, lang) or "–"),
        *([("further", snapshot.lineage[0].adapter)] if snapshot.lineage else []),
        ("started_by", started_by_words(snapshot.started_by, lang)),
    ]
    return [(text(f"training_tab.live.{name}", lang), value) for name, value in pairs]


def method_words(method: str, lang: Language) -> str:
    """The name of a method; of one that this version does not know, what stands there."""
    key = f"methods.{method}.name"
    return text(key, lang) if has_text(key) else method


def started_by_words(started_by: str, lang: Language) -> str:
    """Where a run was started from; what is no key of ours (a name) is shown as it is."""
    key = f"training_tab.started_by.{started_by}"
    return text(key, lang) if has_text(key) else started_by or "–"


def _reference(snapshot: Snapshot, lang: Language) -> str:
    if snapshot.status != Status.FAILED or snapshot.problems:
        return ""
    return note(text("training_tab.live.bug", lang, reference=snapshot.reference), "bad")


def run_result(snapshot: Snapshot, folders: Sequence[tuple[str, str]], lang: Language) -> str:
    """What a run that ended left behind: the adapter or model, its losses, its files; empty while it goes on.

    `folders` are (key under `training_tab.result`, path) pairs.
    """
    if snapshot.status.active:
        return ""
    words = [text(f"training_tab.result.{_ending(snapshot)}", lang, step=snapshot.step, steps=snapshot.steps)]
    if snapshot.stop_reason:
        words.append(text(f"training.stop_reason.{snapshot.stop_reason}", lang))
    if _ending(snapshot) == "finished_early":
        words.append(text(f"training.finish_reason.{snapshot.finish_reason}", lang))
    if snapshot.adapter and snapshot.makes == "model":
        words.append(text("training_tab.result.model_next", lang, name=snapshot.adapter))
    pairs = []
    if snapshot.adapter:
        kept = text("training_tab.result.adapter_value", lang, name=snapshot.adapter, step=snapshot.kept_step or "–")
        pairs.append((text(f"training_tab.result.{snapshot.makes}", lang), kept))
    if snapshot.best_step is not None:
        key = f"training_tab.result.best_by_{snapshot.best_by}"
        best = {"loss": number(snapshot.best_loss), "percent": percent(snapshot.best_accuracy)}
        pairs.append((text(key, lang), text(f"{key}_value", lang, step=snapshot.best_step, **best)))
    pairs += [(text(f"training_tab.result.{key}", lang), path) for key, path in folders]
    return card(heading(text("training_tab.result.title", lang)) + "".join(map(note, words)) + facts(pairs))


def percent(share: float | None) -> str:
    """A measured share to a tenth of a percent; “–” where there is none."""
    return "–" if share is None else f"{100 * share:.1f}"


def _ending(snapshot: Snapshot) -> str:
    early = snapshot.status == Status.FINISHED and snapshot.finish_reason not in (None, "all_steps")
    return "finished_early" if early else snapshot.status


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


def no_run(lang: Language) -> str:
    return card(heading(text("training_tab.live.none", lang)) + note(text("training_tab.live.none_hint", lang)))
