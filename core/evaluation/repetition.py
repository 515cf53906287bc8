"""What is wrong with an answer as text, whatever it should have said: it repeats itself, loops, is cut off or empty.

Pure functions of an answer (and of how the engine ended it), alike for Chinese and English.
"""

from __future__ import annotations

import regex

from core.evaluation.text_units import units

NGRAM = 4
MIN_COPIES = 3
MIN_REPEATED = 40  # characters after the first copy: verses and lists repeat a little, too
CUT = ("length", "context")  # how the engine ends an answer that was not finished

LIST_MARK = regex.compile(r"^[\s>*#-]*\d+\s*[.)、．:：]", flags=regex.MULTILINE)
BLANK = regex.compile(r"\s+")


def answer_problems(answer: str, finished: str | None) -> tuple[str, ...]:
    """What a person should know of an answer: `empty`, `looping`, `cut`. `finished` is `Reply.finished`."""
    found = {"empty": not answer.strip(), "looping": is_looping(answer), "cut": finished in CUT}
    return tuple(key for key, holds in found.items() if holds)


def repetition(answer: str) -> float:
    """The share of 4-grams that were there before: 1 − distinct / all, 0 for answers of fewer than five units.

    seq-rep-4 of https://arxiv.org/abs/1908.04319 (3.3.1), over the units of `text_units`. People's texts have about
    0.01; an answer that says one thing for ever comes close to 1.
    """
    words = units(answer)
    ngrams = [tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def is_looping(answer: str) -> bool:
    """Whether the end of an answer is one piece again and again: 3 copies or more, 40 characters after the first.

    Blanks and the numbers of a list don't count, so "1. So.⏎2. So.⏎3. So." loops; the last copy may be cut anywhere.
    """
    text = BLANK.sub("", LIST_MARK.sub("", answer))[::-1]
    # The end has the period p as far as the reversed text agrees with itself p characters on.
    agreement = _z_function(text)
    return any(
        agreement[period] >= max(MIN_REPEATED, (MIN_COPIES - 1) * period)
        for period in range(1, len(text) // MIN_COPIES + 1)
    )


def _z_function(text: str) -> list[int]:
    """How many characters `text[i:]` has in common with the beginning of `text`, for each i > 0; in linear time.

    https://en.wikipedia.org/wiki/Z-algorithm (Gusfield 1997, 1.4)
    """
    common = [0] * len(text)
    left = right = 0
    for i in range(1, len(text)):
        if i < right:
            common[i] = min(right - i, common[i - left])
        while i + common[i] < len(text) and text[common[i]] == text[i + common[i]]:
            common[i] += 1
        if i + common[i] > right:
            left, right = i, i + common[i]
    return common
