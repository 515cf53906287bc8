"""The panes of the chat tab: up to five chat windows side by side, each with its name, variants and facts.

Owns their components and the updates that show `PaneView`s in them. Who answers and what is said comes from
`chat_flow` and `chat_views`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from webui.chat_flow import MAX_PANES
from webui.chat_following import FOLLOW_JS
from webui.chat_text import LATEX_DELIMITERS
from webui.chat_views import PaneView, variant_label
from webui.wiring import Wiring

WINDOW_HEIGHT = "max(300px, calc(100vh - 500px))"  # what is above and below it fits the screen with it


@dataclass(frozen=True)
class Pane:
    """One pane's components. `variants` is the row that is shown once an answer has more than one."""

    place: gr.Column
    head: gr.HTML
    window: gr.Chatbot
    variants: gr.Row
    older: gr.Button
    variant: gr.HTML
    newer: gr.Button
    foot: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        return [self.place, self.head, self.window, self.variants, self.variant, self.foot]


def build_panes(wiring: Wiring) -> list[Pane]:
    with gr.Row(elem_id="chat-panes", equal_height=False):
        return [_build_pane(wiring, number) for number in range(1, MAX_PANES + 1)]


def outputs_of(panes: Sequence[Pane]) -> list[Any]:
    return [component for pane in panes for component in pane.outputs]


def _build_pane(wiring: Wiring, number: int) -> Pane:
    with gr.Column(
        visible=number == 1, min_width=280, elem_id=f"chat-pane-{number}", elem_classes="chat-pane"
    ) as place:
        head = gr.HTML(elem_id=f"chat-head-{number}", padding=False)
        window = gr.Chatbot(
            elem_id=f"chat-window-{number}",
            elem_classes="chat-window",
            height=WINDOW_HEIGHT,
            show_label=False,
            editable="user",
            buttons=["copy"],
            latex_delimiters=LATEX_DELIMITERS,
            autoscroll=False,  # `FOLLOW_JS` does it
            allow_file_downloads=False,
            feedback_options=None,
        )
        wiring.say(window, placeholder="chat_tab.placeholder")
        with gr.Row(visible=False, elem_id=f"chat-variants-{number}", elem_classes="chat-variants") as variants:
            older = gr.Button("◀", elem_id=f"chat-older-{number}", size="sm", min_width=36, scale=0)
            variant = gr.HTML(elem_id=f"chat-variant-{number}", elem_classes="chat-variant", padding=False)
            newer = gr.Button("▶", elem_id=f"chat-newer-{number}", size="sm", min_width=36, scale=0)
        foot = gr.HTML(elem_id=f"chat-foot-{number}", padding=False, js_on_load=FOLLOW_JS)
    return Pane(place, head, window, variants, older, variant, newer, foot)


def pane_updates(views: Sequence[PaneView]) -> list[Any]:
    """What the panes' outputs become to show these views; the panes beyond them are hidden."""
    updates: list[Any] = []
    for view in views:
        shown, of = view.variant
        variants = gr.update(visible=of > 1)
        updates += [gr.update(visible=True), view.head, view.messages, variants, variant_label((shown, of)), view.foot]
    for _ in range(MAX_PANES - len(views)):
        updates += [gr.update(visible=False), "", [], gr.update(visible=False), "", ""]
    return updates


def growing_updates(views: Sequence[PaneView]) -> list[Any]:
    """As `pane_updates` where only the last answers have changed: nothing else on the page is touched."""
    updates: list[Any] = []
    for view in views:
        updates += [gr.skip(), gr.skip(), view.messages, gr.skip(), gr.skip(), view.foot]
    return updates + [gr.skip()] * (6 * (MAX_PANES - len(views)))
