"""How answers compare with the answers they should have been: measures of each row, and of all rows.

Owns the registry `MEASURES` and computing it. Its words are in the catalogue under `measures.<key>.{label,help}`.
Text is cut by the language of each reference, so one data set may mix them: BLEU with sacrebleu's own tokenizers (zh,
13a; a data set in one language scores exactly as sacrebleu does), ROUGE and lengths in the units of `text_units`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from core.evaluation.repetition import CUT, is_looping, repetition
from core.evaluation.text_units import is_chinese, normalised, units

if TYPE_CHECKING:
    from core.evaluation.results import MeasureSet

Unit = Literal["share", "points", "words", "times"]


@dataclass(frozen=True)
class Measure:
    """One measure. It starts at 0; `largest` None: no bound. `higher_is_better` None: neither is."""

    key: str
    unit: Unit
    higher_is_better: bool | None
    largest: float | None = 1.0


MEASURES = {
    measure.key: measure
    for measure in (
        Measure("exact", "share", True),
        Measure("normalised", "share", True),
        Measure("rouge_1", "share", True),
        Measure("rouge_2", "share", True),
        Measure("rouge_l", "share", True),
        Measure("bleu", "points", True, 100.0),
        Measure("chrf", "points", True, 100.0),
        Measure("answer_length", "words", None, None),
        Measure("length_ratio", "times", None, None),
        Measure("repetition", "share", False),
        Measure("looping", "share", False),
        Measure("cut", "share", False),
    )
}


def measure_answers(
    answers: Sequence[str], references: Sequence[str], ends: Sequence[str | None] | None = None
) -> tuple[MeasureSet, list[MeasureSet]]:
    """Every measure of all rows together, and of each row; both empty where there are no rows.

    `ends` are the answers' `Reply.finished`; without them nothing is said about `cut`.
    """
    assert len(answers) == len(references), "one reference for each answer"
    pairs = list(zip(answers, references, strict=True))
    rows = [_measure(answer, reference) for answer, reference in pairs]
    if ends is not None:
        rows = [row | {"cut": float(end in CUT)} for row, end in zip(rows, ends, strict=True)]
    if not rows:
        return {}, []
    means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    return means | _of_corpus(pairs), rows


def rouge(answer: Sequence[Hashable], reference: Sequence[Hashable]) -> dict[str, float]:
    """ROUGE-1, -2 and -L as F1 of what answer and reference share: units, pairs of units, the longest subsequence.

    https://aclanthology.org/W04-1013; equal to Google's rouge-score on English. Its own tokenizer drops Chinese whole.
    Two texts without any unit share all of nothing: 1.
    """
    scores = {}
    for n in (1, 2):
        own, wanted = (Counter(zip(*(text[i:] for i in range(n)), strict=False)) for text in (answer, reference))
        scores[f"rouge_{n}"] = _f1((own & wanted).total(), own.total(), wanted.total())
    common = longest_common_subsequence(answer, reference)
    return scores | {"rouge_l": _f1(common, len(answer), len(reference))}


def longest_common_subsequence(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Its length. A bit for each place of `one`, so that a step of the table's rows is one addition of long integers.

    Hyyrö, "Bit-parallel LCS-length computation revisited", 2004
    """
    places: dict[Hashable, int] = {}
    for i, item in enumerate(one):
        places[item] = places.get(item, 0) | 1 << i
    full = row = (1 << len(one)) - 1
    for item in other:
        matches = row & places.get(item, 0)
        row = ((row + matches) | (row - matches)) & full
    return len(one) - row.bit_count()


def _measure(answer: str, reference: str) -> MeasureSet:
    bleu, chrf = _scorers(of_row=True)
    own, wanted = units(answer), units(reference)
    hypothesis, target = _tokenised(answer, reference)
    return {
        "exact": float(answer.strip() == reference.strip()),
        "normalised": float(normalised(answer) == normalised(reference)),
        **rouge(own, wanted),
        "bleu": _bounded(bleu.sentence_score(hypothesis, [target])),
        "chrf": _bounded(chrf.sentence_score(answer, [reference])),
        "answer_length": float(len(own)),
        "length_ratio": len(own) / max(1, len(wanted)),
        "repetition": repetition(answer),
        "looping": float(is_looping(answer)),
    }


def _of_corpus(pairs: Sequence[tuple[str, str]]) -> MeasureSet:
    """The measures whose value of many rows is not the mean of theirs: counts are added up before they are divided."""
    bleu, chrf = _scorers(of_row=False)
    tokenised = [_tokenised(answer, reference) for answer, reference in pairs]
    answers, references = map(list, zip(*pairs, strict=True))
    lengths = [sum(len(units(text)) for text in texts) for texts in (answers, references)]
    return {
        "bleu": _bounded(bleu.corpus_score([answer for answer, _ in tokenised], [[wanted for _, wanted in tokenised]])),
        "chrf": _bounded(chrf.corpus_score(answers, [references])),
        "length_ratio": lengths[0] / max(1, lengths[1]),
    }


def _f1(shared: int, answer: int, reference: int) -> float:
    return 2 * shared / (answer + reference) if answer + reference else 1.0


def _bounded(score: Any) -> float:
    """The points of a score of sacrebleu, of which rounding makes 100.00000000000004."""
    return min(100.0, float(score.score))


def _tokenised(answer: str, reference: str) -> tuple[str, str]:
    """Both as sacrebleu cuts the reference's language."""
    cut = _tokenizers()[is_chinese(reference)]
    return cut(answer), cut(reference)


@cache
def _tokenizers() -> dict[bool, Any]:
    """sacrebleu's tokenizers: of Chinese (True) and of all else."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
    from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

    return {True: TokenizerZh(), False: Tokenizer13a()}


@cache
def _scorers(of_row: bool) -> tuple[Any, Any]:
    """BLEU of tokenised text and chrF; a single row counts only the n-gram orders that it is long enough for."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    # force: it would warn of text that is tokenised already
    return BLEU(tokenize="none", force=True, effective_order=of_row), CHRF()
