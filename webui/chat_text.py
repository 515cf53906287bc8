"""Text of a message as the chat window may show it: formatted by Markdown, inert in every other respect.

Owns the marks that keep a message from being more than text. The chat window's own sanitiser lets `<img>`, `<form>`
and inline styles through and draws Mermaid code, so a word joiner (invisible, U+2060) is put behind what would begin a
tag, an image or a drawing. The mark is taken out again when a message is edited or copied (`COPY_PLAIN_JS`), and
never reaches the conversation's file. Owns nothing about turns, panes or answers: see `chat_views`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from webui.views import visible

JOINER = "\u2060"
_OPENING = re.compile(r"<(?=[A-Za-z/!?])|!(?=\[)|(?<=```)(?=[ \t]*mermaid)|(?<=~~~)(?=[ \t]*mermaid)", re.IGNORECASE)
_MARKED = re.compile(rf"(<|!|```|~~~){JOINER}")
_REASONING = re.compile(r"<think(?:ing)?>(.*?)(?:</think(?:ing)?>|\Z)", re.DOTALL)
_REASONING_END = re.compile(r"</think(?:ing)?>")

# What leaves the page by copying is the plain text: both the window's copy buttons and a selection.
COPY_PLAIN_JS = """() => {
  const plain = (text) => text.replaceAll("\\u2060", "");
  document.addEventListener("copy", (event) => {
    const field = document.activeElement;
    const typed = field && "selectionStart" in field && field.value.slice(field.selectionStart, field.selectionEnd);
    const text = typed || String(document.getSelection());
    if (text.includes("\\u2060")) { event.clipboardData.setData("text/plain", plain(text)); event.preventDefault(); }
  });
  if (navigator.clipboard) {
    const write = navigator.clipboard.writeText.bind(navigator.clipboard);
    navigator.clipboard.writeText = (text) => write(plain(text));
  }
}"""


@dataclass(frozen=True)
class Part:
    """A stretch of an answer. `reasoning` is shown folded; `open` while its end has not been written yet."""

    text: str
    reasoning: bool = False
    open: bool = False


def inert(text: str) -> str:
    """The text with nothing in it that a browser, Markdown image or drawing could act on; looks the same."""
    return _OPENING.sub(lambda found: found[0] + JOINER, visible(text.replace("\r\n", "\n")))


def plain(shown: str) -> str:
    """What a person meant with text that they edited in the chat window: `inert` undone."""
    return _MARKED.sub(r"\1", shown)


def parts(answer: str) -> list[Part]:
    """An answer split at `<think>…</think>`; text before a lone `</think>` counts as reasoning too."""
    end = _REASONING_END.search(answer)
    start = _REASONING.search(answer)
    if end and (start is None or end.start() < start.start()):
        head = [Part(answer[: end.start()].strip(), reasoning=True)]
        return [part for part in head if part.text] + parts(answer[end.end() :])
    found: list[Part] = []
    position = 0
    for match in _REASONING.finditer(answer):
        found.append(Part(answer[position : match.start()].strip()))
        found.append(Part(match[1].strip(), reasoning=True, open=not _REASONING_END.search(match[0])))
        position = match.end()
    rest = answer[position:]
    found.append(Part(rest.lstrip("\n") if position else rest))
    return [part for part in found if part.text]
