"""Text of a message as the chat window may show it: formatted as its author meant it, inert in every other respect.

Owns the marks that are put into a message, all of them made with a word joiner (invisible, U+2060):

- behind what would begin a tag, an image or a drawing, since the window's own sanitiser lets those through;
- around formulas, so that the window draws these and no others (`LATEX_DELIMITERS`): `$5 and $10` stays money, and
  what stands in code stays code;
- where Markdown mistakes Chinese: bold next to `：` or `”`, and `3~5 天，10~20 次`, which it would strike out.

The marks are taken out again when a message is edited (`plain`) or copied (`COPY_PLAIN_JS`), and never reach the
conversation's file. Owns telling reasoning from the answer, too (`parts`); nothing about turns, panes or answers: see
`chat_views`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from core.markup import visible

JOINER = "\u2060"
REMEMBERED = 512  # messages: at each update of an answer the others are the same as before
LATEX_DELIMITERS = [
    {"left": f"{JOINER}{left}{JOINER}", "right": f"{JOINER}{right}{JOINER}", "display": display}
    for left, right, display in (("$$", "$$", True), ("\\[", "\\]", True), ("\\(", "\\)", False), ("$", "$", False))
]

_OPENING = re.compile(r"<(?=[A-Za-z/!?])|!(?=\[)|(?<=```)(?=[ \t]*mermaid)|(?<=~~~)(?=[ \t]*mermaid)", re.IGNORECASE)
# Fenced blocks (one without an end goes on to the end of the text) and spans within a paragraph.
_CODE = re.compile(
    r"^[ \t>]*(?:[-*+][ \t]+|\d+[.)][ \t]+)?(?P<fence>`{3,}|~{3,})[^\n]*"
    r"(?:\n.*?(?:^[ \t>]*(?P=fence)[`~]*[ \t]*$|\Z)|\Z)"
    r"|(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)(?P=ticks)(?!`)",
    re.DOTALL | re.MULTILINE,
)
_FORMULA = re.compile(
    r"\$\$(?P<block>(?:(?!\n[ \t]*\n|\$\$).)+)\$\$"
    r"|(?<!\\)\\\[(?P<bracket>(?:(?!\n[ \t]*\n|\\\]|(?<!\\)\\\[).)+)\\\](?!\()"
    r"|(?<!\\)\\\((?P<paren>(?:(?!\n[ \t]*\n|\\\)|(?<!\\)\\\().)+)\\\)"
    # Within a line, with no space inside the marks: as Pandoc reads it. A letter or number beside them is no formula.
    r"|(?<![\\$A-Za-z0-9])\$(?P<line>(?![\s$])(?:\\.|[^$\\\n])*?(?<![\s\\]))\$(?![$A-Za-z0-9])",
    re.DOTALL,
)
_OPERATOR = re.compile(r"[\\^_=+*/<>|{}]")
_WORDS = re.compile(r"[A-Za-z]{2}|[\u3400-\u9fff]")
_EMPHASIS = re.compile(r"(?<![*\\])(\*{1,3})(?![\s*])([^*\n]+)(?<!\s)\1(?!\*)")
_RANGE = re.compile(r"(?<=[\d%\u2103\u3000-\u303f\u3400-\u9fff\uff00-\uffef])~(?!~)")

_OPEN_TAGS = ("<think>", "<thinking>", "<thought>", "<reasoning>", "<seed:think>", "[THINK]", "◁think▷")
_END_TAGS = tuple(f"{tag[0]}/{tag[1:]}" for tag in _OPEN_TAGS)
_ONE_OF_END = "|".join(map(re.escape, _END_TAGS))
_REASONING_END = re.compile(_ONE_OF_END)
_TAG = re.compile(
    f"(?P<open>{'|'.join(map(re.escape, _OPEN_TAGS))})|(?P<end>{_ONE_OF_END})|{_CODE.pattern}", _CODE.flags
)

# What leaves the page by copying is the plain text: both the window's copy buttons and a selection.
COPY_PLAIN_JS = """() => {
  const plain = (text) => text.replaceAll("\\u2060\\\\~", "~").replaceAll("\\u2060", "");
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


@lru_cache(REMEMBERED)
def inert(text: str) -> str:
    """The text with its marks: formulas are drawn, and a browser could act on nothing in it; looks the same."""
    shown = visible(text.replace("\r\n", "\n"))
    pieces: list[str] = []
    position = 0
    for code in _CODE.finditer(shown):
        pieces += [_prose(shown[position : code.start()]), code[0]]
        position = code.end()
    pieces.append(_prose(shown[position:]))
    return _OPENING.sub(lambda found: found[0] + JOINER, "".join(pieces))


def plain(shown: str) -> str:
    """What a person meant with text that they edited in the chat window: `inert` undone."""
    return shown.replace(f"{JOINER}\\~", "~").replace(JOINER, "")


def parts(answer: str, growing: bool = False) -> list[Part]:
    """An answer split at its reasoning tags (`<think>…</think>` and its kin); tags in code are code.

    Text before a lone end tag counts as reasoning too. At the end of an answer that is still growing, what may become
    a tag is held back.
    """
    if growing:
        answer = answer[: len(answer) - _begun_tag(answer)]
    found: list[Part] = []
    position = at = 0
    while tag := _TAG.search(answer, at):
        at = tag.end()
        if tag["end"]:
            found.append(Part(answer[position : tag.start()].strip(), reasoning=True))
        elif tag["open"]:
            end = _REASONING_END.search(answer, at)
            found.append(Part(answer[position : tag.start()].strip()))
            at = end.end() if end else len(answer)
            inside = answer[tag.end() : end.start() if end else at]
            found.append(Part(inside.strip(), reasoning=True, open=end is None))
        else:
            continue
        position = at
    rest = answer[position:]
    found.append(Part(rest.lstrip("\n") if position else rest))
    return [part for part in found if part.text]


def _begun_tag(answer: str) -> int:
    """How many characters at the end of a text may be the beginning of a reasoning tag."""
    longest = max(map(len, _END_TAGS)) - 1
    tails = (answer[-count:] for count in range(min(longest, len(answer)), 0, -1))
    return next((len(tail) for tail in tails if any(tag.startswith(tail) for tag in (*_OPEN_TAGS, *_END_TAGS))), 0)


def _prose(text: str) -> str:
    """Text outside code, with the marks of formulas, bold and ranges."""
    pieces: list[str] = []
    position = 0
    for formula in _FORMULA.finditer(text):
        if formula["line"] and _is_money(formula["line"]):
            continue
        pieces += [_words(text[position : formula.start()]), _marked(formula)]
        position = formula.end()
    return "".join([*pieces, _words(text[position:])])


def _is_money(between: str) -> bool:
    """Whether what stands between two dollar signs is words, not a formula: `5 or 10`, `5，一共`."""
    return bool(_WORDS.search(between)) and not _OPERATOR.search(between)


def _marked(formula: re.Match[str]) -> str:
    width = 1 if formula["line"] else 2  # of the delimiters
    left, inside, right = formula[0][:width], formula[0][width:-width], formula[0][-width:]
    return f"{JOINER}{left}{JOINER}{inside}{JOINER}{right}{JOINER}"


def _words(text: str) -> str:
    return _RANGE.sub(f"{JOINER}\\~", _EMPHASIS.sub(_emphasised, text))


def _emphasised(found: re.Match[str]) -> str:
    """Bold whose first or last character is punctuation, kept bold: to Markdown the joiner is a letter."""
    first, last = (JOINER if _is_punctuation(found[2][at]) else "" for at in (0, -1))
    return f"{found[1]}{first}{found[2]}{last}{found[1]}"


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
