"""What a run will take, as a card: does it fit, what the memory goes to, how long it lasts, what would need less. Pure.

The verdict is said in words; the numbers behind it are in the bar, its legend and its tooltips. Each proposal is a
button that puts its settings into the form, as those of the plan card do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.i18n import Language, text
from core.markup import Kind, badge, card, duration, escape, facts, heading, note
from webui import plan_views
from webui.views import count, gigabytes

if TYPE_CHECKING:
    from core.errors import Problem
    from core.training.estimate import MemoryEstimate, Verdict
    from core.training.forecast import Forecast, Proposal
    from core.training.forecasts import ForecastStatus

KINDS: dict[Verdict, Kind] = {"fits": "good", "tight": "warning", "does_not_fit": "bad"}
PARTS = ("adapter", "gradients", "optimizer", "activations", "logits")  # of `MemoryEstimate`; a colour each in the CSS
NARROWEST = 0.4  # percent of the bar; a part that is there can be seen
CHOICES: dict[frozenset[str], str] = {
    frozenset({"micro_batch_size", "gradient_accumulation_steps"}): "micro_batch",
    frozenset({"activation_checkpointing"}): "checkpointing",
    frozenset({"micro_batch_size", "gradient_accumulation_steps", "activation_checkpointing"}): "both",
    frozenset({"precision"}): "four_bit",
    frozenset({"max_length"}): "shorter",
}  # what a proposal changes → its words in the catalogue


def forecast_card(status: ForecastStatus, lang: Language) -> str:
    """The forecast as it stands; while it is being measured, the estimate with how far that is."""
    found = status.forecast
    kind = KINDS[found.verdict]
    title = heading(
        text("forecast.title", lang),
        badge(text(f"forecast.verdict.{found.verdict}.badge", lang), kind),
        badge(_origin(status, lang)),
    )
    values = {"needed": gigabytes(found.needed_gb), "free": gigabytes(found.free_gb)}
    verdict = note(text(f"forecast.verdict.{found.verdict}.words", lang, **values), kind)
    remarks = "".join(note(words) for words in _remarks(status, lang))
    return card(
        title + verdict + memory_bar(found, lang) + facts(_facts(found, lang)) + remarks + _proposals(found, lang), kind
    )


def memory_bar(found: Forecast, lang: Language) -> str:
    """What a run needs beside the loaded model, part by part, on a bar that is as long as what is free."""
    parts = [(name, _part_gb(found.memory, name)) for name in PARTS]
    whole = max(found.free_gb, found.needed_gb)
    shown = [(name, amount_gb) for name, amount_gb in parts if amount_gb > 0]
    pieces = "".join(_piece(name, amount_gb, whole, lang) for name, amount_gb in shown)
    legend = "".join(_entry(name, amount_gb, lang) for name, amount_gb in shown)
    limit = f'<i style="left:{100 * found.free_gb / whole:.1f}%"></i>' if found.needed_gb > found.free_gb else ""
    words = text("forecast.bar", lang, needed=gigabytes(found.needed_gb), free=gigabytes(found.free_gb))
    return (
        f'<div class="wb-stack" role="img" aria-label="{escape(words)}" title="{escape(words)}">{pieces}{limit}</div>'
        f'<ul class="wb-stack-legend">{legend}</ul>'
    )


def proposal_button(changes: Mapping[str, Any], lang: Language) -> str:
    """One click that applies a proposal; one for the Model tab, where the model would be loaded anew, opens that."""
    return plan_views.use_button(changes, _change_words(changes, lang))


def _piece(name: str, amount_gb: float, whole_gb: float, lang: Language) -> str:
    width = max(NARROWEST, 100 * amount_gb / whole_gb)
    words = escape(_part(name, amount_gb, lang))
    return f'<span class="wb-part-{name}" style="width:{width:.2f}%" title="{words}"></span>'


def _entry(name: str, amount_gb: float, lang: Language) -> str:
    return f'<li><span class="wb-part-{name}"></span>{escape(_part(name, amount_gb, lang))}</li>'


def _part(name: str, amount_gb: float, lang: Language) -> str:
    return f"{text(f'forecast.part.{name}', lang)} {gigabytes(amount_gb)}"


def _part_gb(memory: MemoryEstimate, name: str) -> float:
    return float(getattr(memory, f"{name}_gb"))


def _origin(status: ForecastStatus, lang: Language) -> str:
    """Whether the figures were measured, and how far that is."""
    if status.running:
        return text("forecast.origin.measuring", lang, percent=round(100 * status.share))
    return text(f"forecast.origin.{'measured' if status.forecast.measured else 'estimated'}", lang)


def _facts(found: Forecast, lang: Language) -> list[tuple[str, str]]:
    """Times where they were measured; the disk; the model that is in memory already."""
    pairs: list[tuple[str, str]] = []
    if found.epoch_s is not None:
        pairs += [("epoch", duration(found.epoch_s, lang)), ("run", duration(found.run_s, lang))]
        pairs.append(("step", f"{found.step_s:.2g} {text('forecast.seconds', lang)}"))
        pairs.append(("speed", count(found.tokens_per_s or 0)))
    pairs.append(("weights", gigabytes(found.weights_gb)))
    if found.disk is not None and found.free_disk_gb is not None:
        values = {"needed": gigabytes(found.disk.total_gb), "free": gigabytes(found.free_disk_gb)}
        pairs.append(("disk", text("forecast.of", lang, **values)))
    return [(text(f"forecast.fact.{name}", lang), value) for name, value in pairs]


def _remarks(status: ForecastStatus, lang: Language) -> list[str]:
    """What has to be known to trust the numbers."""
    found, remarks = status.forecast, []
    if status.problem:
        remarks.append(text(f"forecast.problem.{status.problem}", lang))
    if found.tried_in_vain:
        remarks.append(text("forecast.tried_in_vain", lang))
    if found.measured is not None and found.measured.tokens < found.largest.tokens:
        values = {"tried": f"{found.measured.tokens:,}", "largest": f"{found.largest.tokens:,}"}
        remarks.append(text("forecast.scaled", lang, **values))
    if found.review_s:
        remarks.append(text("forecast.reviews", lang, time=duration(found.review_s, lang)))
    return remarks


def _proposals(found: Forecast, lang: Language) -> str:
    """What would need less, each with its own numbers."""
    shown = _proposal_list([_proposal(proposal, lang) for proposal in found.proposals], lang)
    nothing_fits = found.verdict == "does_not_fit" and not shown
    return note(text("forecast.nothing_fits", lang)) if nothing_fits else shown


def _proposal_list(proposals: Sequence[str], lang: Language) -> str:
    items = "".join(f"<li>{proposal}</li>" for proposal in proposals)
    words = escape(text("forecast.proposals", lang))
    return f'<p class="wb-note">{words}</p><ul class="wb-proposals">{items}</ul>' if items else ""


def _proposal(proposal: Proposal, lang: Language) -> str:
    values = {"needed": gigabytes(proposal.needed_gb), "free": gigabytes(proposal.free_gb)}
    parts = [text("forecast.of", lang, **values)]
    if proposal.epoch_s is not None:
        parts.append(text("forecast.an_epoch", lang, time=duration(proposal.epoch_s, lang)))
    if proposal.rows_over:
        parts.append(text("forecast.rows_over", lang, rows=f"{proposal.rows_over:,}"))
    return f"{proposal_button(proposal.changes, lang)} <small>{escape(' · '.join(parts))}</small>"


def _change_words(changes: Mapping[str, Any], lang: Language) -> str:
    return text(f"forecast.change.{CHOICES[frozenset(changes)]}", lang, **dict(changes))


def proposed(problem: Problem) -> list[Mapping[str, Any]]:
    """The settings that a problem of a run proposes instead (A20: out of memory), as its log has them."""
    written = problem.values.get("proposals")
    changes = written if isinstance(written, list) else []
    return [change for change in changes if isinstance(change, dict) and frozenset(change) in CHOICES]


def offered(problem: Problem, lang: Language) -> str:
    """The buttons of what a problem proposes; nothing where it proposes nothing."""
    return _proposal_list([proposal_button(changes, lang) for changes in proposed(problem)], lang)
