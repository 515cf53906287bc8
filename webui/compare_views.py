"""Runs beside each other as HTML: how they ended, settings that differ, answers to the same prompts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.i18n import Language, text
from core.markup import duration, note, number, table
from webui import setting_words
from webui.run_views import method_words

if TYPE_CHECKING:
    from core.training.comparison import Answers, Comparison, Setting
    from core.training.history import RunSummary
    from core.training.progress import Sample


def too_few(lang: Language) -> str:
    return note(text("runs_tab.compare.too_few", lang))


def comparison(compared: Comparison, lang: Language) -> str:
    """Three tables with one column a run."""
    return _ends(compared, lang) + _settings(compared, lang) + _answers(compared, lang)


def _ends(compared: Comparison, lang: Language) -> str:
    """How each run ended: one row a figure."""
    ends = [_end(run, lang) for run in compared.runs]
    rows = [[text(f"runs_tab.compare.end.{name}", lang), *(end[name] for end in ends)] for name in ends[0]]
    return table(_headers(compared, lang), rows, text("runs_tab.compare.ends", lang))


def _end(run: RunSummary, lang: Language) -> dict[str, str]:
    return {
        "status": text(f"training.status.{run.status}", lang),
        "train_loss": number(run.train_loss),
        "eval_loss": number(run.eval_loss),
        "best_step": "–" if run.best_step is None else f"{run.best_step:,}",
        "steps": f"{run.step:,} / {run.steps:,}",
        "duration": duration(run.elapsed_s, lang),
        "method": method_words(run.method, lang),
        "dataset": run.dataset,
    }


def _headers(compared: Comparison, lang: Language) -> list[str]:
    return [text("runs_tab.compare.run", lang), *(run.name for run in compared.runs)]


def _settings(compared: Comparison, lang: Language) -> str:
    if not compared.settings:
        return note(text("runs_tab.compare.same_settings", lang))
    rows = [[_label(setting, lang), *_values(setting, lang)] for setting in compared.settings]
    return table(_headers(compared, lang), rows, text("runs_tab.compare.settings", lang))


def _label(setting: Setting, lang: Language) -> str:
    return text(setting.label_key, lang) if setting.label_key else setting.field


def _values(setting: Setting, lang: Language) -> list[str]:
    name = setting.field.rpartition(".")[2]
    return [setting_words.value_text(name, value, lang) for value in setting.values]


def _answers(compared: Comparison, lang: Language) -> str:
    if not compared.answers:
        return note(text("runs_tab.compare.no_answers", lang))
    with_base = any(each.base for each in compared.answers)
    base = [text("training_tab.samples.base", lang)] if with_base else []
    headers = [text("training_tab.samples.prompt", lang), *base, *(run.name for run in compared.runs)]
    rows = [_answer_row(each, with_base) for each in compared.answers]
    return table(headers, rows, text("runs_tab.compare.answers", lang))


def _answer_row(asked: Answers, with_base: bool) -> list[Any]:
    answers = [asked.base] if with_base else []
    return [asked.prompt, *(_answer(each) for each in (*answers, *asked.answers))]


def _answer(sample: Sample | None) -> str:
    return sample.answer if sample else "–"
