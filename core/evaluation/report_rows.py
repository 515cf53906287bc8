"""The rows on which it went best and worst: question, reference, and what each column answered, in HTML. Pure."""

from __future__ import annotations

from core.evaluation.report_words import column_name, known, percent, titled, word
from core.evaluation.results import EvaluationResult, RowResult
from core.i18n import Language
from core.markup import badge, escape, note, number

LOOPING = "looping"
NAMED_ROWS = 20


def examples_part(result: EvaluationResult, lang: Language) -> str:
    """Best rows, worst rows, then which answers go round in circles."""
    lists = (("best", result.best), ("worst", result.worst))
    shown = "".join(_list(result, way, rows, lang) for way, rows in lists if rows)
    if not shown:
        return ""
    everything = note(word("examples.all", lang, rows=f"{len(result.rows):,}"))
    return titled("examples", shown + _looping(result, lang) + everything, lang)


def _list(result: EvaluationResult, way: str, rows: tuple[int, ...], lang: Language) -> str:
    names = [column_name(column.column, lang) for column in result.columns]
    items = "".join(_example(result.rows[at], names, lang) for at in rows if at < len(result.rows))
    return f"<h4>{escape(word(f'examples.{way}', lang))}</h4>{items}"


def _example(row: RowResult, names: list[str], lang: Language) -> str:
    texts = [
        _text(word("examples.question", lang), row.question, ""),
        _text(word("examples.reference", lang), row.reference, ""),
        *(_answer(row, column, name, lang) for column, name in enumerate(names)),
    ]
    head = f"<figcaption>{escape(word('examples.row', lang, row=f'{row.row:,}'))}</figcaption>"
    return f'<figure class="wb-example">{head}<div>{"".join(texts)}</div></figure>'


def _answer(row: RowResult, column: int, name: str, lang: Language) -> str:
    marks = "".join(badge(known("evaluation.row", each, lang), "warning") for each in row.problems[column])
    marks += "".join(badge(words) for words in _measured(row, column, lang))
    answer = row.answers[column]
    if answer is None:
        return _text(name, word("examples.no_answer", lang), marks, "wb-none")
    said = answer.strip()
    return _text(name, said or word("examples.empty", lang), marks, "" if said else "wb-none")


def _measured(row: RowResult, column: int, lang: Language) -> list[str]:
    """The few numbers of one answer that say something by themselves."""
    loss, right, mark = row.losses[column], row.scores[column].get("fields"), row.scores[column].get("judge")
    found = [word("examples.fields", lang, share=percent(right))] if right is not None else []
    found += [word("examples.mark", lang, mark=number(mark, 2))] if mark is not None else []
    return [*found, *([word("examples.loss", lang, loss=number(loss, 3))] if loss is not None else [])]


def _text(name: str, content: str, marks: str, style: str = "") -> str:
    return f'<div><b>{escape(name)}</b> {marks}<p class="{style}">{escape(content)}</p></div>'


def _looping(result: EvaluationResult, lang: Language) -> str:
    said = []
    for at, column in enumerate(result.columns):
        rows = [f"{row.row:,}" for row in result.rows if LOOPING in row.problems[at]]
        if rows:
            listed = ", ".join(rows[:NAMED_ROWS]) + (" …" if len(rows) > NAMED_ROWS else "")
            said.append(word("examples.looping", lang, name=column_name(column.column, lang), rows=listed))
    return "".join(note(words, "warning") for words in said)
