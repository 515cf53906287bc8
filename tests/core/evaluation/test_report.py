"""The report: what it says, in both languages; whatever is missing; and that nothing in it runs or asks anyone."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from core.evaluation import report_figures, verdicts
from core.evaluation.overview import overview_csv, overview_lines
from core.evaluation.report_file import report_html
from core.evaluation.report_measures import SHOWN, measures_part, values
from core.evaluation.report_views import PARTS
from core.evaluation.report_words import change
from core.evaluation.results import EvaluationResult, JudgedResult, RowResult, result_from_json, result_to_json
from core.evaluation.row_files import rows_csv, rows_jsonl
from core.i18n import LANGUAGES, Language
from tests.core.evaluation.report_scene import BASE, JUDGE, LABELS, RESULT, ROWS, column, result_of

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>{{x}}${y}"
both_languages = pytest.mark.parametrize("lang", LANGUAGES)


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its words outside scripts and styles."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._raw = False
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        self.words += "" if self._raw else f"{data} "


def words_of(result: EvaluationResult, part: str, lang: Language = "en") -> str:
    return " ".join(Elements(PARTS[part](result, lang)).words.split())


def hostile() -> EvaluationResult:
    """A result of which every text is an attack."""
    field = replace(JUDGE.fields[0], label=HOSTILE, pattern=HOSTILE, classes=(HOSTILE, "a", "b"))
    first = replace(BASE, fields=(field,), measures={HOSTILE: 1.0})
    forgetting = replace(JUDGE.forgetting, loss_by_text={HOSTILE: 1.0}, questions=((HOSTILE, HOSTILE),))  # type: ignore[type-var]
    second = replace(first, column=HOSTILE, forgetting=forgetting)
    row = RowResult(1, HOSTILE, HOSTILE, (HOSTILE,) * 2, (1.0, 2.0), ({HOSTILE: 1.0},) * 2, ((HOSTILE,),) * 2)
    result = result_of(replace(first, forgetting=forgetting), second, rows=1)
    spec = result.spec.model_copy(update={"name": HOSTILE, "dataset": HOSTILE, "base": HOSTILE})
    return replace(result, rows=(row,), best=(0,), worst=(0,), spec=spec, created=HOSTILE)


# ---- what it says ----


def test_the_headline_counts_rows_and_names_what_parses() -> None:
    said = words_of(RESULT, "headline")
    assert "“judge” is better than the base model on 10 of 12 rows" in said
    assert "1 as good, 1 worse" in said
    assert "75 % (Base model: 0 %)" in said
    assert "always the most frequent: 33.3 %" in said


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (30.0, "is better than"),
        (-30.0, "is worse than"),
        (0.0, "is as good as"),
        (None, "“judge” beside the base model"),
    ],
)
def test_the_headline_is_what_most_rows_say(gain: float | None, said: str) -> None:
    scores = ({"chrf": 50.0}, {"chrf": 50.0 + gain}) if gain is not None else ({}, {})
    rows = tuple(replace(row, scores=scores, losses=(None, None)) for row in result_of(BASE, JUDGE).rows)
    assert said in words_of(replace(result_of(BASE, JUDGE), rows=rows), "headline")


def test_without_answers_rows_are_compared_by_their_loss() -> None:
    rows = tuple(replace(row, scores=({}, {}), losses=(2.0, 1.0)) for row in result_of(BASE, JUDGE).rows)
    counted = verdicts.tally(replace(result_of(BASE, JUDGE), rows=rows), 1)
    assert (counted.yardstick, counted.better, counted.rows) == ("loss", ROWS, ROWS)


@pytest.mark.parametrize(
    ("value", "before", "form", "higher", "said"),
    [
        (0.98, 0.0, "share", True, "▲ +98 better"),
        (0.1, 0.3, "share", False, "▼ −20 better"),
        (3.0, 2.0, "number", False, "▲ +1 worse"),
        (12.0, 10.0, "count", None, "▲ +2.0"),
        (2.0, 2.0, "number", True, "= the same"),
        (None, 1.0, "number", True, ""),
    ],
)
def test_a_difference_has_an_arrow_and_a_word_besides_its_colour(
    value: Any, before: float, form: Any, higher: bool | None, said: str
) -> None:
    assert Elements(change(value, before, form, higher, "en")).words.strip() == said


def test_every_measure_of_every_column_is_in_the_table() -> None:
    page = PARTS["measures"](RESULT, "en")
    assert page.count("<tr>") == 1 + len({name for each in RESULT.columns for name in values(each)})
    assert set(values(JUDGE)) <= set(SHOWN)


@pytest.mark.parametrize("failed", [0, 3])
def test_of_a_judge_that_left_answers_out_the_table_says_how_many(failed: int) -> None:
    marked = replace(column("a", 2.0, 0.9, 2.0), judged=JudgedResult(7.5, 17, failed))
    said = measures_part(result_of(marked), "en")
    assert ("3 of 20" in said) == bool(failed)


def test_a_field_is_measured_against_guessing() -> None:
    said = words_of(RESULT, "fields")
    assert all(label in said for label in LABELS)
    assert "▲ 41.7 points above guessing" in said
    assert "▼ 8.3 points below guessing" in said


@pytest.mark.parametrize(
    ("after", "said"),
    [(1.9, "Nothing"), (2.01, "Nothing"), (2.09, "A little"), (2.3, "Clearly"), (3.0, "Much"), (1e4, "Much")],
)
def test_the_meter_says_in_words_how_much_was_forgotten(after: float, said: str) -> None:
    result = result_of(BASE, column("judge", 1.0, 0.5, after))
    page = PARTS["forgetting"](result, "en")
    assert f"judge: {said}" in Elements(page).words
    meters = [attributes for _, attributes in Elements(page).found if attributes.get("role") == "meter"]
    assert len(meters) == 1 and said in str(meters[0]["aria-valuetext"])


def test_best_and_worst_rows_show_both_answers_and_the_loops() -> None:
    right = replace(RESULT.rows[2], scores=({"fields": 0.5}, {"fields": 1.0}, {}))
    said = words_of(replace(RESULT, rows=(*RESULT.rows[:2], right, *RESULT.rows[3:]), best=(0, 2)), "examples")
    assert all(words in said for words in ("Row 1 ", "Row 12", "mark 7", "50 % of the fields", "100 % of the fields"))
    assert "“judge” goes round in circles in these rows: 3." in said
    assert said.count("Sorry") == 3


@both_languages
@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_said_in_both_languages(part: str, lang: Language) -> None:
    page = re.sub(r"<pre>.*?</pre>", "", PARTS[part](RESULT, lang), flags=re.DOTALL)  # the specification is no words
    said = Elements(page).words
    assert said
    if lang == "zh":
        data = re.findall(r"[a-z]{4,}", json.dumps(result_to_json(RESULT)))
        assert set(re.findall(r"[a-z]{4,}", said)) <= set(data)


# ---- what is missing ----

BARE = replace(BASE, loss=None, measures={}, fields=(), forgetting=None, judged=None, tokens_per_s=0.0)
INCOMPLETE = {
    "one column": result_of(BASE),
    "no rows": result_of(BASE, JUDGE, rows=0),
    "nothing measured": result_of(BARE, replace(BARE, column="judge")),
    "one column, nothing measured": result_of(BARE, rows=0),
    "only an adapter measured": result_of(BARE, JUDGE),
    "only the base measured": result_of(BASE, replace(BARE, column="judge")),
    "no answers": replace(
        result_of(BASE, JUDGE),
        rows=tuple(replace(row, answers=(None, None), scores=({}, {})) for row in result_of(BASE, JUDGE).rows),
    ),
}


@both_languages
@pytest.mark.parametrize("missing", INCOMPLETE)
def test_a_report_shows_what_there_is(missing: str, lang: Language) -> None:
    result = result_from_json(json.loads(json.dumps(result_to_json(INCOMPLETE[missing]))))
    for part, draw in PARTS.items():
        draw(result, lang)
        report_figures.figures(result, part, lang)
    rows_csv(result)
    rows_jsonl(result)


# ---- the figures ----


def test_the_matrix_counts_what_was_answered_and_shades_by_share() -> None:
    drawn = report_figures.confusion_figure(RESULT, 1, "en")
    assert drawn is not None
    maps = json.loads(drawn.to_json())["data"]
    assert len(maps) == len(RESULT.columns)
    assert maps[1]["text"][0] == ["3", "", "", "1"]
    assert maps[1]["z"][0] == [0.75, 0.0, 0.0, 0.25]
    assert report_figures.confusion_figure(RESULT, 7, "en") is None
    assert report_figures.confusion_figure(RESULT, -1, "en") is None


def test_guessing_stands_beside_the_bars() -> None:
    drawn = report_figures.fields_figure(RESULT, "en")
    assert drawn is not None
    *bars, guessing = json.loads(drawn.to_json())["data"]
    assert [bar["y"] for bar in bars] == [[0.0] * 3, [0.75] * 3, [0.25] * 3]
    assert guessing["y"] == [pytest.approx(1 / 3)] * 3


# ---- the file ----


@both_languages
def test_the_file_is_whole_and_asks_nobody_for_anything(lang: Language) -> None:
    page = report_html(RESULT, lang)
    found = Elements(page).found
    assert not [each for each in found if {"src", "href", "srcset", "action", "data"} & set(each[1])]
    policy = next(attributes["content"] for _, attributes in found if "http-equiv" in attributes)
    assert str(policy).startswith("default-src 'none'")
    assert page.count("Plotly.newPlot(") - page.split("</head>")[0].count("Plotly.newPlot(") == 2 + len(LABELS)
    assert page.startswith("<!doctype html>") and page.endswith("</html>")
    assert not re.search(r"url\(|@import", page.split("<script>")[0])


def test_a_file_without_figures_carries_no_script() -> None:
    assert len(report_html(INCOMPLETE["one column, nothing measured"], "en")) < 20_000


@both_languages
def test_no_text_of_a_result_becomes_part_of_the_page(lang: Language) -> None:
    page = report_html(hostile(), lang)
    harmless = report_html(result_of(BASE, JUDGE, rows=1), lang)
    assert {tag for tag, _ in Elements(page).found} <= {tag for tag, _ in Elements(harmless).found} | {"small"}
    assert not [
        attributes for _, attributes in Elements(page).found if any(name.startswith("on") for name in attributes)
    ]
    body = page.split("<body>")[1]
    assert "<img" not in body and "{{x}}" not in body.split("<script>")[0]
    assert body.count("</script>") == body.count("<script")


# ---- the rows as files ----


def test_no_cell_of_the_rows_is_calculated_by_a_spreadsheet() -> None:
    row = replace(RESULT.rows[0], question="=cmd()", reference="+1", answers=("@x", "-2", "\t=1"))
    lines = list(csv.DictReader(io.StringIO(rows_csv(replace(RESULT, rows=(row,))).removeprefix("\ufeff"))))
    texts = [
        value for line in lines for name, value in line.items() if name.startswith(("question", "reference", "answer"))
    ]
    assert texts == ["'=cmd()", "'+1", "'@x", "'-2", "'\t=1"]
    assert lines[0]["chrf (judge)"] == "70.0"


def test_json_lines_name_the_columns() -> None:
    lines = [json.loads(line) for line in rows_jsonl(RESULT).splitlines()]
    assert len(lines) == ROWS
    assert lines[0]["columns"] == ["base", "judge", "other"]
    assert lines[0]["answers"][0] == "Sorry"


@both_languages
def test_the_windows_of_plain_text_are_told_where_there_were_any(lang: Language) -> None:
    assert "512" not in words_of(RESULT, "about", lang)
    read = tuple(replace(each, loss=replace(each.loss, window_tokens=512)) for each in RESULT.columns)  # type: ignore[type-var]
    apart = replace(RESULT, columns=read)
    assert {"en": "512 tokens beside each other", "zh": "512 个词元，互不重叠"}[lang] in words_of(apart, "about", lang)
    overlapping = replace(apart, spec=RESULT.spec.model_copy(update={"stride": 128}))
    assert {"en": "move on by 128", "zh": "每次前移 128 个"}[lang] in words_of(overlapping, "about", lang)


def test_the_overview_is_a_table_that_no_spreadsheet_calculates() -> None:
    named = replace(RESULT, columns=(BASE, replace(JUDGE, column="=1+1", loss=None)))
    first, second = csv.DictReader(io.StringIO(overview_csv(overview_lines(named)).removeprefix("\ufeff")))
    assert (first["model"], first["adapter"], first["part"], first["rows"]) == ("tiny", "base", "held_out", "12")
    assert (first["loss"], first["window_tokens"], first["created"]) == ("3.0", "", RESULT.created)
    assert (second["adapter"], second["loss"], second["perplexity"]) == ("'=1+1", "", "")
