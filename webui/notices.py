"""How a handler's failure reaches the person: a refusal in their language, a bug as a short notice with its reference.

Every handler of the page is called through `guarded`; nothing else turns exceptions into notices.
"""

from __future__ import annotations

import html
import inspect
import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from core.errors import ProblemText, WorkbenchError, excerpt, refusal
from core.i18n import LANGUAGES, Language, text
from core.models.arrival import in_words
from core.workbench import Workbench
from webui.incoming import received, received_event

log = logging.getLogger("workbench.page")
NOTICE_SECONDS = 20


def guarded(handler: Callable[..., Any], workbench: Workbench) -> Callable[..., Any]:
    """What gradio calls for `handler(workbench, lang, *values)`: its failures become notices in the page's language.

    Works for plain functions and for generators. A handler whose third parameter is annotated with one of gradio's
    event data (`gr.EventData`) gets it there, before the values.
    """
    event = _event_data(handler)
    first = 3 if event else 2  # the number of the first parameter that takes a value

    def arguments(values: tuple[Any, ...]) -> list[Any]:
        events = [received_event(value) for value in values[: first - 2]]
        return [*events, *received(handler, values[first - 2 :], first)]

    if inspect.isgeneratorfunction(handler):

        def stream(lang: object, *values: Any) -> Iterator[Any]:
            language = language_of(lang)
            try:
                yield from handler(workbench, language, *arguments(values))
            except Exception as error:
                raise notice(in_words(error, workbench.workspace.root), language) from error

        return _asking_for(event, stream)

    def call(lang: object, *values: Any) -> Any:
        language = language_of(lang)
        try:
            return handler(workbench, language, *arguments(values))
        except Exception as error:
            raise notice(in_words(error, workbench.workspace.root), language) from error

    return _asking_for(event, call)


def _event_data(handler: Callable[..., Any]) -> type[gr.EventData] | None:
    """The event data that a handler's third parameter is annotated with, if it is."""
    third = list(inspect.signature(handler).parameters.values())[2:3]
    # The annotation is text (`from __future__ import annotations`); resolving all of a handler's could import much.
    name = str(third[0].annotation).removeprefix("gr.") if third else ""
    kind = getattr(gr, name, None) if name.isidentifier() else None
    return kind if isinstance(kind, type) and issubclass(kind, gr.EventData) else None


def _asking_for(kind: type[gr.EventData] | None, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with a signature from which gradio sees that it wants this event data after the language."""
    if kind:
        named, rest = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
        parameters = [("lang", named), ("event", named), ("values", rest)]
        call.__annotations__ = {"event": kind}
        call.__signature__ = inspect.Signature([inspect.Parameter(*parameter) for parameter in parameters])  # type: ignore[attr-defined]
    return call


def language_of(value: object) -> Language:
    """A language from whatever a browser sent; English where it is none of ours."""
    return next((lang for lang in LANGUAGES if lang == value), "en")


def notice(error: Exception, lang: Language) -> gr.Error:
    """Show a failure and give back what to raise: a refusal as it is; anything else logged in full, as a reference.

    The words go out as a warning because gradio shows only those under a title of ours; the error that is raised stays
    invisible and stops what would have followed.
    """
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, WorkbenchError):
        log.info("refused: %s", error)
        gr.Warning(refusal_html(error, lang), NOTICE_SECONDS, title=text("page.refused", lang, code=error.code))
    else:
        reference = secrets.token_hex(4)
        log.error("bug %s", reference, exc_info=error)
        gr.Warning(text("page.bug", lang, reference=reference), NOTICE_SECONDS, title=text("page.bug_title", lang))
    return gr.Error(str(error), visible=False, print_exception=False)


def not_understood(error: Exception, inputs: object) -> gr.Error:
    """What to raise where gradio could not read a request's values: a refusal, with the reason in the log.

    gradio's own refusals (a file of another kind, one too big) keep their words as the reason.
    """
    log.info("request not understood", exc_info=error)
    lang = language_of(inputs[0] if isinstance(inputs, list) and inputs else None)
    if isinstance(error, gr.Error):
        refused = refusal("A26_not_accepted", reason=excerpt(error.message))
    else:
        refused = error if isinstance(error, WorkbenchError) else refusal("A26_not_understood")
    title = text("page.refused", lang, code=refused.code)
    return gr.Error(refusal_html(refused, lang), NOTICE_SECONDS, title=title, print_exception=False)


def refusal_html(error: WorkbenchError, lang: Language) -> str:
    """A refusal as HTML: every problem with its place, reason and mend; all of it escaped."""
    parts = [problem_html(problem.describe(lang)) for problem in error.problems]
    if error.total > len(error.problems):
        parts.append(html.escape(text("errors.more", lang, count=error.total - len(error.problems))))
    return "<br><br>".join(parts)


def problem_html(problem: ProblemText) -> str:
    lines = [f"<b>{html.escape(problem.code)} · {html.escape(problem.what)}</b>"]
    lines += [html.escape(line) for line in (problem.where, problem.why, problem.fix) if line]
    return "<br>".join(lines)
