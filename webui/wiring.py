"""What the tabs are wired with: the workbench, the page's language, and the registry of words.

A tab calls `say` for each component whose words depend on the language and `on` for each event. So every handler gets
`(workbench, lang, *values)` and is guarded, and the language switch is one event that updates all registered words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import gradio as gr

from core.i18n import Language, text
from core.workbench import Workbench
from webui.notices import guarded

ComponentT = TypeVar("ComponentT")
# For events whose values the core checks: without gradio's own refusals, which are in its words, not ours. Not for
# files and states, which gradio has to look up.
RAW: dict[str, Any] = {"preprocess": False}
# For what draws a run: one after the other, so that a page never mixes two runs.
RUNS_IN_TURN: dict[str, Any] = {**RAW, "concurrency_id": "runs", "concurrency_limit": 1}
# As `RAW`, for what is drawn anew at each change: while one call runs, of many changes only the last counts.
LAST_ONLY: dict[str, Any] = {**RAW, "trigger_mode": "always_last"}
Properties = Callable[[Language], dict[str, Any]]


@dataclass(frozen=True)
class Joined:
    """One call that many events ask for; `done` is the event after it."""

    button: gr.Button
    done: Any

    def after(self, trigger: Any) -> None:
        """Ask for the call when a trigger fires: one event, a list of them, or what follows on one (`event.then`)."""
        asking = {"js": f"() => document.getElementById('{self.button.elem_id}').click()", "show_progress": "hidden"}
        listen = partial(gr.on, trigger) if isinstance(trigger, list) else trigger
        listen(None, api_visibility="private", **asking)


@dataclass
class Wiring:
    """One page under construction. `language` is the switch at its top: its value is the page's language.

    `shared` holds components that one tab offers to the others (by name), set by the tab that owns them.
    """

    workbench: Workbench
    page: gr.Blocks
    start_language: Language
    language: gr.Radio
    words: list[tuple[Any, Properties]] = field(default_factory=list)
    shared: dict[str, Any] = field(default_factory=dict)

    def say(self, component: ComponentT, **keys: str) -> ComponentT:
        """Give a component its words: `say(gr.Button(), value="model.load", …)`, property → catalogue key."""
        return self.say_with(component, lambda lang: {name: text(key, lang) for name, key in keys.items()})

    def say_with(self, component: ComponentT, properties: Properties) -> ComponentT:
        """As `say`, for words that need more than a key: choices with translated names, for example."""
        self.words.append((component, properties))
        for name, value in properties(self.start_language).items():
            setattr(component, name, value)
        return component

    def on(
        self,
        triggers: Any,
        handler: Callable[..., Any],
        inputs: Sequence[Any] = (),
        outputs: Any = None,
        **options: Any,
    ) -> Any:
        """Call `handler(workbench, lang, *values of inputs)` when a trigger fires; returns gradio's dependency.

        `triggers` is one event (`button.click`) or a list; `options` are gradio's (`show_progress`, `queue` …).
        Every endpoint is private: the page is its only caller, and each handler checks its input all the same.
        """
        options.setdefault("api_visibility", "private")
        options.setdefault("show_progress", "hidden")  # gradio writes a bare "Error" over the outputs otherwise
        # Else the browser tells every output of every event of the page, one by one, at each step of each event.
        options.setdefault("show_progress_on", [self.language])
        listen = partial(gr.on, triggers) if isinstance(triggers, list) else triggers
        return listen(guarded(handler, self.workbench), [self.language, *inputs], outputs, **options)

    def joined(
        self, elem_id: str, handler: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> Joined:
        """One call for all that draw the same, of which the last counts. Place it outside the tabs.

        Two events of their own can overtake each other between a busy browser and a busy server, and then what the
        older form was answered stays. Gradio does not join events with what follows on events, so all of them click a
        button that nobody sees.
        """
        button = gr.Button(visible="hidden", elem_id=elem_id)
        return Joined(button, self.on(button.click, handler, inputs, outputs, **LAST_ONLY).then)

    def switch_language(self, lang: Language) -> list[Any]:
        """The update of every registered component, in the order of `spoken`."""
        return [gr.update(**properties(lang)) for _, properties in self.words]

    @property
    def spoken(self) -> list[Any]:
        """Every component whose words depend on the language."""
        return [component for component, _ in self.words]
