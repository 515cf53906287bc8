"""What is odd about the words of one example: damage, invisible or special characters, answers given away, and more.

Owns the questions about characters and what a clean text is. All are warnings, one of each kind for an example.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import ftfy
from ftfy.badness import is_bad

from core.data.checks.conversations import is_visible
from core.data.checks.personal_data import hinted, personal_data
from core.data.conversation import Example
from core.errors import Place, Problem, excerpt

NAMED = 5  # of several tokens, characters or data, so many are named
SHORT_ANSWER = 20  # characters, and a quarter of the question: a shorter one may be a choice, or a fact to be found

SPECIAL_TOKEN = re.compile(
    r"<\|\w[^|<>\s]{0,39}\|>|<\uff5c[^\uff5c<>\s]{1,40}\uff5c>|(?<!\?P)(?<!\\)<s>|</s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
)
# Controls but tab and line ends; zero-width space and joiner of words, byte-order mark, direction overrides.
_INVISIBLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\u202d\u202e]")
_REPLACEMENT = "\ufffd"
_CHINESE = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
_SOUND = re.compile("[的是了我在有人这他们个上来大为和你说中国时用要会]")  # no bytes of UTF-8 give these in GB18030
_TWO_BYTES = re.compile(r"[\x80-\u07ff]")
_PIECES = re.compile("([\n\ufffd])")  # a repair does not look beyond its line, nor at what is lost
_REPAIR = ftfy.TextFixerConfig(unescape_html=False, replace_lossy_sequences=False)


def text_problems(example: Example) -> list[Problem]:
    """D05, D22, D29, D46, D47 and D48 of an example."""
    words = "\n".join(filter(is_visible, example.words()))  # others are told in `conversations.py`
    problems = _special_tokens(example, words) + _invisible(example, words)
    if not words.isascii():
        problems += _damage(example, words)
    return problems + _loose_answers(example) + _given_away(example) + _personal(example, words)


def is_given_away(example: Example) -> bool:
    """Whether the last answer stands in the question before it, word for word."""
    asked, answer = example.messages[-2:] if len(example.messages) > 1 else (None, None)
    if not asked or not answer or asked["role"] != "user" or answer["role"] != "assistant":
        return False
    said = answer["content"].strip()
    return len(said) >= max(SHORT_ANSWER, len(asked["content"]) / 4) and said in asked["content"]


def without_special_tokens(text: str) -> str:
    return SPECIAL_TOKEN.sub("", text)


def trimmed(text: str) -> str:
    """Without invisible characters, and without white space around."""
    return _INVISIBLE.sub("", text).strip()


def repaired(text: str) -> str:
    """What was written, where UTF-8 was once read as Latin-1, Windows-125x or GB18030, line by line."""
    return text if text.isascii() else "".join(map(_repaired_piece, _PIECES.split(text)))


def _repaired_piece(line: str) -> str:
    if line.isascii() or line == _REPLACEMENT:
        return line
    if is_bad(line) and (meant := ftfy.fix_encoding(line, _REPAIR)) != line:
        return meant
    if _SOUND.search(line):
        return line
    meant = line.encode("gb18030", "ignore").decode("utf-8", "replace")
    lost = meant.count(_REPLACEMENT)
    # Chinese that was read as GB18030 gives three bytes a character; two-byte ones are there by chance.
    return meant if len(_CHINESE.findall(meant)) > max(1, 3 * lost) and not _TWO_BYTES.search(meant) else line


def _special_tokens(example: Example, words: str) -> list[Problem]:
    if "<" not in words and "[" not in words:
        return []
    return _named("D29_special_tokens", example, SPECIAL_TOKEN, "tokens", words)


def _invisible(example: Example, words: str) -> list[Problem]:
    return _named("D46_invisible_characters", example, _INVISIBLE, "characters", words)


def _named(key: str, example: Example, pattern: re.Pattern[str], name: str, words: str) -> list[Problem]:
    """One problem that names what a pattern finds, at the first text that has it."""
    found = list(dict.fromkeys(pattern.findall(words)))
    if not found:
        return []
    field, text = next((field, text) for field, text in _fields(example) if pattern.search(text))
    start = max(0, pattern.search(text).start() - 20)  # type: ignore[union-attr]
    shown = ", ".join(excerpt(each) for each in found[:NAMED])
    return [_warning(key, example, field, text[start:], **{name: shown})]


def _damage(example: Example, words: str) -> list[Problem]:
    problems = []
    if _REPLACEMENT in words:
        field, text = next((field, text) for field, text in _fields(example) if _REPLACEMENT in text)
        around = text[max(0, text.index(_REPLACEMENT) - 20) :]
        problems.append(_warning("D05_lost_characters", example, field, around, count=words.count(_REPLACEMENT)))
    for field, text in _fields(example):
        for line in _PIECES.split(text) if not text.isascii() else ():
            if (meant := _repaired_piece(line)) != line:
                differs = next((at for at, (is_, was) in enumerate(zip(line, meant, strict=False)) if is_ != was), 0)
                start = max(0, differs - 20)
                meant = excerpt(meant[start : start + 60])
                return [*problems, _warning("D05_garbled_text", example, field, line[start:], meant=meant)]
    return problems


def _loose_answers(example: Example) -> list[Problem]:
    for index, message in enumerate(example.messages):
        said = message["content"]
        if message["role"] == "assistant" and said and (said[0].isspace() or said[-1].isspace()) and said.strip():
            return [_warning("D22_spaces_around", example, f"messages[{index}]", "", said=_ends(said))]
    return []


def _ends(said: str) -> str:
    """Both ends of a text with its spaces to be seen."""
    shown = said if len(said) <= 30 else f"{said[:12]} … {said[-12:]}"
    return shown.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")


def _given_away(example: Example) -> list[Problem]:
    if not is_given_away(example):
        return []
    index = len(example.messages) - 1
    said = example.messages[index]["content"].strip()
    return [_warning("D47_answer_in_question", example, f"messages[{index}]", said)]


def _personal(example: Example, words: str) -> list[Problem]:
    calls = [json.dumps(said["tool_calls"], ensure_ascii=False) for said in example.messages if "tool_calls" in said]
    found = list(dict.fromkeys(each for text in (words, *calls) for each in personal_data(text)))
    if not found:
        return []
    field = next((field for field, text in _fields(example) if found[0][1] in text), "")
    shown = ", ".join(hinted(kind, value) for kind, value in found[:NAMED])
    return [_warning("D48_personal_data", example, field, "", found=shown)]


def _fields(example: Example) -> Iterator[tuple[str, str]]:
    """Every text with where it stands, in the order of `Example.words`."""
    for index, message in enumerate(example.messages):
        yield f"messages[{index}]", message["content"]
        if "reasoning_content" in message:
            yield f"messages[{index}].reasoning_content", message["reasoning_content"]
    if example.rejected:
        yield "rejected", example.rejected["content"]
    if example.text is not None:
        yield "text", example.text


def _warning(key: str, example: Example, field: str, shown: str, **values: object) -> Problem:
    place = Place(file=example.file, line=example.line, field=field, excerpt=excerpt(shown[:100]))
    return Problem(key, place, values, "warning")
