"""A training method in words: its name in the list, what it trains, and what it cannot do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core import markup
from core.adapters.method_facts import METHODS, MethodFacts
from core.i18n import Language, text
from core.training.lineage import FREE_SETTINGS
from webui import views
from webui.run_form import GROUPS
from webui.setting_words import label, value_text
from webui.views import count

if TYPE_CHECKING:
    from core.adapters.method_size import MethodSize
    from core.settings import Method, MethodSettings

QUANTISED = ("int8", "nf4")


def refuses(method: MethodFacts, precision: str | None) -> bool:
    """Whether a method cannot train on a base of this precision."""
    return precision in QUANTISED and precision not in method.quantised


def choices(precision: str | None, lang: Language) -> list[tuple[str, str]]:
    """(words, method) of every method, those marked that the loaded base refuses."""
    return [(_name(facts, precision, lang), name) for name, facts in METHODS.items()]


def _name(facts: MethodFacts, precision: str | None, lang: Language) -> str:
    name = text(f"methods.{facts.name}.name", lang)
    if precision not in QUANTISED:
        return name
    base = text(f"run_form.method.{precision}", lang)
    if refuses(facts, precision):
        return text("run_form.method.refused", lang, name=name, base=base)
    return text("run_form.method.qlora", lang, name=name, base=base) if facts.name == "lora" else name


def method_card(method: Method, size: MethodSize | None, precision: str | None, lang: Language) -> str:
    """What a method does, how much of this model it trains, and what it cannot do: said before anything starts."""
    facts = METHODS[method]
    lines = [markup.note(text(f"methods.{method}.help", lang))]
    if size:
        lines.append(markup.note(size_words(size, lang), "info"))
    lines += [markup.note(words) for words in limits(facts, lang)]
    if refuses(facts, precision):
        base = text(f"run_form.method.{precision}", lang)
        lines.append(markup.note(text("run_form.method.refused_why", lang, base=base), "bad"))
    return "".join(lines)


def further(adapter: str, settings: MethodSettings, lang: Language) -> str:
    """That an adapter is trained further, and with which settings of its own."""
    names = ("method", *(name for name in METHODS[settings.method].settings if name not in FREE_SETTINGS))
    pairs = [(label(name, lang), value_text(name, getattr(settings, name), lang)) for name in names]
    return markup.note(text("run_form.start_from.locked", lang, name=adapter), "info") + markup.facts(pairs)


def without(names: Sequence[str]) -> str:
    """HTML that takes settings off the page, and their group where none is left in it.

    One rule of CSS for all of them: gradio forgets on a tab's return which fields it was told not to show.
    """
    groups = [group for group, members in GROUPS.items() if {*members} <= {*names}]
    parts = [*(f"#run-{name}" for name in names), *(f"#group-{group}" for group in groups)]
    return f"<style>{', '.join(parts)} {{ display: none !important; }}</style>" if parts else ""


def size_words(size: MethodSize, lang: Language) -> str:
    """ "4.9 M of 139 M, 3.5 %", and what copies of the model's own weights take in memory."""
    share = f"{100 * size.trained / size.total:.3g}"
    words = text("run_form.method.size", lang, trained=count(size.trained), total=count(size.total), percent=share)
    if not size.copied_bytes:
        return words
    return words + " " + text("run_form.method.copies", lang, size=views.size(size.copied_bytes))


def limits(facts: MethodFacts, lang: Language) -> list[str]:
    """What a method cannot do, a sentence each."""
    keys = []
    if facts.makes == "model":
        keys.append("makes_model")
    elif not facts.shares_batch:
        keys.append("own_batch")
    if not facts.mergeable:
        keys.append("no_merge")
    if facts.rewrites_base:
        keys.append("converted")
    refused = [precision for precision in QUANTISED if precision not in facts.quantised]
    if refused:
        keys.append("no_quantised" if len(refused) == len(QUANTISED) else f"not_{refused[0]}")
    return [text(f"run_form.limit.{key}", lang) for key in keys]
