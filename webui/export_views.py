"""Exports, pushes and serving as HTML. Pure: the desk's dataclasses in, what a component shows out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.i18n import Language, text
from core.markup import card, details, duration, escape, facts, heading, note, table
from webui.views import problem_list, progress_bar, size

if TYPE_CHECKING:
    from core.adapters.intake import Arrived
    from core.exports.desk import ExportStatus
    from core.exports.plan import ExportPlan, ExportWish
    from core.exports.push import PushPlan


def export_plan(plan: ExportPlan, wish: ExportWish, by_hand: str, lang: Language) -> str:
    """What an export takes and gives before it begins; `by_hand` is the command where no converter is here."""
    shown = [(_word("base", lang), plan.base.name), (_word("result_size", lang), _about(plan.result_bytes, lang))]
    if plan.memory_bytes:
        shown += [(_word("memory", lang), _about(plan.memory_bytes, lang)), (_word("format", lang), plan.dtype)]
    shown.append((_word("disk", lang), _about(plan.disk_bytes, lang)))
    if wish.name and wish.result == "model":
        shown.insert(0, (_word("name", lang), wish.name))
    said = problem_list(plan.problems, lang)
    if by_hand:
        said += note(_word("by_hand", lang), "warning") + f'<pre class="wb-command">{escape(by_hand)}</pre>'
    return card(heading(plan.adapter.name) + facts(shown) + said, "bad" if plan.problems else "info")


def export_status(status: ExportStatus | None, lang: Language) -> str:
    """An export's bar while it runs, then how it ended; empty where there was none."""
    if status is None:
        return ""
    title = heading(f"{status.title} · {_word(f'result.{status.result}', lang)}")
    if status.state == "running":
        parts = [text(f"exports.phase.{status.step.phase}", lang)]
        parts += [_word("time_left", lang, time=duration(status.eta_s, lang))] if status.eta_s is not None else []
        line = f'<p class="wb-bar-words">{escape(status.step.line[:200])}</p>' if status.step.line else ""
        return title + progress_bar(status.step.share, " · ".join(parts)) + line
    if status.state == "failed":
        return title + problem_list([status.problem] if status.problem else [], lang)
    if status.done is None:
        return title + note(_word("cancelled", lang))
    done = status.done
    words = note(_ending(status, lang), "good")
    if done.merged:
        exact, written = done.merged.exact, done.merged.written
        figures = {"same": exact.same, "tokens": exact.tokens, "difference": f"{written.difference:.2g}"}
        words += note(_word("compared", lang, **figures, largest=f"{written.largest:.2g}"))
    return card(title + words, "good")


def _ending(status: ExportStatus, lang: Language) -> str:
    done = status.done
    assert done
    if done.model:
        return _word("made_model", lang, name=done.model)
    if done.url:
        return _word("sent", lang, url=done.url)
    return _word("made_file", lang)


def push_plan(plan: PushPlan, lang: Language) -> str:
    """What would leave the machine, and to where."""
    key = "private" if plan.private else "public"
    shown = facts(
        [
            (text("push_panel.to", lang), f"{plan.host} · {plan.repo_id}"),
            (text("push_panel.visible", lang), text(f"push_panel.{key}", lang)),
            (text("push_panel.size", lang), size(plan.bytes)),
            (text("push_panel.files", lang), str(len(plan.files))),
        ]
    )
    headers = (text("model_tab.get.file", lang), text("model_tab.get.file_size", lang))
    files = table(headers, [(name, size(count)) for name, count in plan.files])
    warnings = "" if plan.private else note(text("push_panel.is_public", lang), "warning")
    if any(name == "workbench.json" for name, _ in plan.files):
        warnings += note(text("push_panel.card_tells", lang))
    if plan.needs_token:
        warnings += note(text("model_tab.get.token_missing", lang, variable=plan.needs_token), "warning")
    press = note(text("push_panel.press_send", lang))
    return card(
        shown + warnings + details(text("push_panel.file_list", lang), files, open_at_first=True) + press, "info"
    )


def arrived(came: Arrived, lang: Language) -> str:
    """What an import brought."""
    words = note(text("import_panel.arrived", lang, name=came.info.name, size=size(came.info.bytes)), "good")
    if came.left_out:
        words += note(text("import_panel.left_out", lang, files=", ".join(came.left_out)))
    return card(words + problem_list(came.info.problems, lang), "good")


def _about(count_bytes: int, lang: Language) -> str:
    return _word("about", lang, size=size(count_bytes))


def _word(key: str, lang: Language, /, **values: object) -> str:
    return text(f"export_panel.{key}", lang, **values)
