"""Models, adapters and downloads as tables and HTML. Pure: the façade's dataclasses in, what a component shows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.chat.desk import combination_name
from core.i18n import Language, has_text, text
from core.markup import badge, card, details, duration, facts, heading, note, number, table, visible
from webui.views import count, gigabytes, problem_list, progress_bar, size

if TYPE_CHECKING:
    from core.adapters.store import AdapterInfo
    from core.models.catalog import ModelInfo
    from core.models.downloads import DownloadStatus
    from core.models.hub import RemoteInfo
    from core.models.precision import PrecisionChoice
    from core.workbench import ModelStatus

MODEL_COLUMNS = ("name", "architecture", "parameters", "bytes", "dtype", "template", "dangers")
ADAPTER_COLUMNS = ("name", "applied", "base", "method", "rank", "dataset", "created", "train_loss", "eval_loss")

Table = dict[str, Any]


def models_table(models: Sequence[ModelInfo], loaded: str | None, lang: Language) -> Table:
    """The models that are folders, one row each; the loaded one is marked."""
    rows = [_model_row(info, loaded, lang) for info in models if not info.gguf]
    return {"headers": _headers("models", MODEL_COLUMNS, lang), "data": rows}


def _model_row(info: ModelInfo, loaded: str | None, lang: Language) -> list[str]:
    template = text(f"model_tab.models.template_{'own' if info.template else 'none'}", lang)
    return [
        visible(f"● {info.name}" if info.name == loaded else info.name),
        visible(info.architecture) or "–",
        count(info.parameters) if info.parameters else "–",
        size(info.bytes) if info.bytes else "–",
        visible(info.dtype) or "–",
        template if info.architecture else "–",
        "; ".join(f"{problem.code} {problem.describe(lang).what}" for problem in info.problems[:3]) or "–",
    ]


def model_problems(info: ModelInfo | None, lang: Language) -> str:
    """What is wrong with or dangerous about the chosen model, and where it comes from if it was made here."""
    if info is None:
        return ""
    origin = info.origin
    if origin is None:
        return problem_list(info.problems, lang)
    values = {"base": origin.base, "dataset": origin.dataset or "–", "date": date(origin.created)}
    key, more = ("merged", {"adapter": origin.adapter}) if origin.adapter else ("origin", {"run": origin.run_id})
    return note(text(f"model_tab.models.{key}", lang, **values, **more)) + problem_list(info.problems, lang)


def model_status(status: ModelStatus | None, lang: Language) -> str:
    """The line that says what is loaded, how, and what it took."""
    if status is None:
        return card(heading(text("model_tab.status.none", lang)) + note(text("model_tab.status.none_hint", lang)))
    template = text("model_tab.status.template_own", lang)
    if status.template:
        template = text("model_tab.status.template_built_in", lang, name=status.template)
    precision = status.precision
    shown = facts(
        [
            (text("model_tab.status.precision", lang), f"{precision.precision} · {precision.device}"),
            (text("model_tab.status.memory", lang), _memory_step(status, lang)),
            (text("model_tab.status.template", lang), template),
            (text("model_tab.status.max_length", lang), f"{status.max_length:,}" if status.max_length else "–"),
            (text("model_tab.status.load_time", lang), duration(status.load_s, lang)),
        ]
    )
    head = heading(status.name, badge(text("model_tab.status.loaded", lang), "good"))
    return card(head + shown + note(precision.describe(lang)) + problem_list(status.problems, lang), "good")


def _memory_step(status: ModelStatus, lang: Language) -> str:
    before, after = gigabytes(status.memory_before_gb), gigabytes(status.memory_after_gb)
    return text("model_tab.status.memory_step", lang, before=before, after=after)


def precision_note(choice: PrecisionChoice, lang: Language) -> str:
    """What a precision becomes here, why, and what it costs."""
    head = heading(text("model_tab.choose.becomes", lang, precision=choice.precision, device=choice.device))
    return card(head + note(choice.describe(lang)))


def load_progress(phase: str, share: float | None, lang: Language) -> str:
    """The bar of a model on its way into memory."""
    return progress_bar(share, phase_words(phase, lang))


def phase_words(phase: str, lang: Language) -> str:
    key = f"models.phase.{phase}"
    return text(key if has_text(key) else "model_tab.get.working", lang)


def adapters_table(
    adapters: Sequence[AdapterInfo], strengths: Mapping[str, float], lang: Language, without_files: Sequence[str] = ()
) -> Table:
    """The adapters of `loras/`, one row each; broken ones name their first problem in place of a method.

    `strengths` are those of the applied ones, by name; `without_files` those of them that are not in `loras/`.
    """
    rows = [_adapter_row(info, strengths.get(info.name), lang) for info in adapters]
    rows += [_row_without_files(name, strengths.get(name), lang) for name in without_files]
    return {"headers": _headers("adapters", ADAPTER_COLUMNS, lang), "data": rows}


def _adapter_row(info: AdapterInfo, strength: float | None, lang: Language) -> list[str]:
    broken = next((problem for problem in info.problems if problem.severity == "error"), None)
    method = f"{broken.code} {broken.describe(lang).what}" if broken else _method_words(info, lang)
    return [
        visible(info.name),
        _applied_words(strength, lang),
        visible(info.base_name or "–"),
        method,
        _size_words(info, lang),
        visible(info.dataset or "–"),
        date(info.created),
        number(info.train_loss),
        number(info.eval_loss),
    ]


def _row_without_files(name: str, strength: float | None, lang: Language) -> list[str]:
    known = [visible(name), _applied_words(strength, lang), "–", text("model_tab.adapters.without_files", lang)]
    return known + ["–"] * (len(ADAPTER_COLUMNS) - len(known))


def _applied_words(strength: float | None, lang: Language) -> str:
    """Whether it is applied, and in which strength where that is not the one it was trained in."""
    if strength is None:
        return "–"
    words = f"✓ {text('model_tab.adapters.yes', lang)}"
    return words if strength == 1 else f"{words} × {strength:g}"


def _method_words(info: AdapterInfo, lang: Language) -> str:
    """The method, and whether an adapter of it answers by itself: said before somebody applies it."""
    key = f"methods.{info.method}.name"
    name = text(key, lang) if has_text(key) else visible(info.method)
    return f"{name} · {text('model_tab.adapters.alone', lang)}" if "alone" in info.limits else name


def _size_words(info: AdapterInfo, lang: Language) -> str:
    """The rank, or the number of virtual tokens, whichever the method has."""
    if info.virtual_tokens:
        return text("model_tab.adapters.virtual_tokens", lang, count=info.virtual_tokens)
    return "–" if info.rank is None else str(info.rank)


def date(moment: str) -> str:
    """ISO 8601 to the minute."""
    return visible(moment[:16].replace("T", " ")) or "–"


def adapter_details(info: AdapterInfo, lang: Language) -> str:
    """Everything known about an adapter: problems first, then where it comes from and how its training ended."""
    card_values = info.card.model_dump() if info.card else {}
    metrics = card_values.get("metrics", {})
    parts = [(part.adapter, part.strength) for part in info.card.made_of] if info.card else []
    parents = [parent.adapter for parent in info.card.lineage] if info.card else []
    values = {
        "folder": str(info.folder),
        "base": info.base_name,
        "base_fingerprint": info.base_fingerprint,
        "method": _method_words(info, lang),
        "rank": _size_words(info, lang),
        "dataset": info.dataset,
        "dataset_sha256": card_values.get("dataset_sha256"),
        "system_prompt": card_values.get("system_prompt"),
        "template": card_values.get("template"),
        "made_of": combination_name(parts),
        "lineage": " ← ".join(parents),
        "run_id": card_values.get("run_id"),
        "created": date(info.created),
        "train_loss": number(info.train_loss),
        "eval_loss": number(info.eval_loss),
        "best_step": metrics.get("best_step"),
        "steps": metrics.get("steps"),
    }
    rows = [(text(f"model_tab.adapters.column.{name}", lang), value or "–") for name, value in values.items()]
    headers = (text("model_tab.adapters.detail_name", lang), text("model_tab.adapters.detail_value", lang))
    head = heading(info.name, badge(size(info.bytes)))
    limits = "".join(note(text(f"model_tab.adapters.limits.{limit}", lang)) for limit in info.limits)
    return card(head + problem_list(info.problems, lang) + limits + table(headers, rows))


def download_progress(status: DownloadStatus | None, lang: Language) -> str:
    """A download's bar while it runs, then how it ended; empty where there was none."""
    if status is None:
        return ""
    if status.state == "running":
        share = status.done_bytes / status.total_bytes if status.total_bytes else None
        return heading(status.title) + progress_bar(share, _download_words(status, lang))
    if status.state == "failed":
        return heading(status.title) + problem_list([status.problem] if status.problem else [], lang)
    state = "cancelled_kept" if status.state == "cancelled" and status.keeps else status.state
    words = text(f"model_tab.get.{state}", lang, name=status.model or status.title)
    return note(words, "good" if status.state == "finished" else "quiet")


def _download_words(status: DownloadStatus, lang: Language) -> str:
    parts = [phase_words(status.phase, lang)]
    if status.total_bytes:
        parts.append(f"{size(status.done_bytes)} / {size(status.total_bytes)}")
    elif status.done_bytes:
        parts.append(size(status.done_bytes))
    if status.eta_s is not None:
        parts.append(text("model_tab.get.time_left", lang, time=duration(status.eta_s, lang)))
    return " · ".join(parts)


def remote_info(info: RemoteInfo, lang: Language) -> str:
    """What a repository holds and needs, before anything is fetched."""
    unknown = text("model_tab.get.unknown", lang)
    shown = facts(
        [
            (text("model_tab.get.size", lang), size(info.bytes)),
            (text("model_tab.get.free", lang), size(info.free_bytes)),
            (text("model_tab.get.licence", lang), info.licence or unknown),
            (text("model_tab.get.files", lang), str(len(info.files))),
        ]
    )
    fits = info.bytes < info.free_bytes
    warnings = "" if fits else note(text("model_tab.get.no_room", lang), "bad")
    if info.gated:
        warnings += note(text("model_tab.get.gated", lang), "warning")
    if info.needs_token:
        warnings += note(text("model_tab.get.token_missing", lang, variable=info.needs_token), "warning")
    headers = (text("model_tab.get.file", lang), text("model_tab.get.file_size", lang))
    files = table(headers, [(file.name, size(file.bytes)) for file in info.files])
    names = details(text("model_tab.get.file_list", lang), files)
    press = note(text("model_tab.get.press_download", lang))
    return card(heading(info.repo_id) + shown + warnings + names + press, "info")


def _headers(part: str, columns: Sequence[str], lang: Language) -> list[str]:
    return [text(f"model_tab.{part}.column.{name}", lang) for name in columns]
