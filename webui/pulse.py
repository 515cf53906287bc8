"""Noticing that something has changed: a page asks for one short word, and only a new one makes it draw anything.

Owns the asking. An event of gradio's costs a browser a quarter of a second on a page of this size, whatever it brings;
a timer of such events kept an idle page busy. This is one small request, and none while the page is out of sight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

ASKS_S = 1.0
AT_LEAST_EACH = 30  # askings; a change whose drawing was lost on the way is then drawn all the same

PULSE_JS = f"""
let last = null, quiet = 0;
const ask = async () => {{
  if (document.hidden) return;
  let now = last;
  try {{ now = await server.pulse(null); }} catch {{ return; }}  // the server is gone, for now
  if (last === null) last = now;  // a page that was just loaded is drawn as it is
  if (now === last && ++quiet < {AT_LEAST_EACH}) return;
  last = now; quiet = 0;
  trigger("click");
}};
const asking = async () => {{ await ask(); if (element.isConnected) setTimeout(asking, {1000 * ASKS_S:.0f}); }};
asking();
"""


def build(word: Callable[[], str]) -> gr.HTML:
    """A component that is never seen and is clicked when `word()` is another than before. Place it outside the tabs."""

    def pulse(_: Any) -> str:
        return word()

    return gr.HTML(elem_id="pulse", elem_classes="wb-unseen", js_on_load=PULSE_JS, server_functions=[pulse])
