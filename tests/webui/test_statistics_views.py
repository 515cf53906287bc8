"""The figures of a data set's tokens: what they show, in both languages, on a light and a dark page."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.data.statistics import TokenTable
from core.i18n import LANGUAGES, Language, text
from core.plotting import WORDS
from webui.statistics_views import MAXIMUM, REST, TRAINED, figure, role_figure, summary

HOSTILE = "<img src=x onerror=alert(1)>.jsonl"
LENGTHS = (100, 200, 300, 1000)
PAGES = ("#ffffff", "#1e293b")  # what is behind a plot in gradio's light and dark theme
both_languages = pytest.mark.parametrize("lang", LANGUAGES)


def table_of(*lengths: int, files: tuple[str, ...] = ("",)) -> TokenTable:
    """Rows at lines 1, 2 … of which the last half is trained."""
    tokens = np.array(lengths, dtype=np.int32)
    count = np.arange(len(lengths), dtype=np.int32)
    return TokenTable(
        lines=count + 1,
        rows=count + 1,
        files=files,
        file_numbers=np.zeros_like(count),
        tokens=tokens,
        trained=tokens - tokens // 2,
        documents=np.zeros(len(lengths), dtype=np.bool_),
        spans=np.stack([tokens // 2, tokens], axis=1),
        span_rows=count,
        turns=np.full_like(count, 2),
        by_role={"user": tokens // 2 - 5, "assistant": tokens - tokens // 2, "template": np.full_like(count, 5)},
    )


def drawn(table: TokenTable, max_length: int, lang: Language = "en") -> dict[str, Any]:
    """The figure as the browser gets it."""
    return dict(json.loads(figure(table, max_length, lang).to_json()))


def shown(page: str) -> str:
    """HTML as plain words."""
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


@both_languages
def test_the_bars_hold_every_row_divided_as_its_tokens_are(lang: Language) -> None:
    trained, rest = drawn(table_of(*LENGTHS, 310), 500, lang)["data"]
    assert trained["name"] == text("statistics.chart.trained", lang)
    heights = {round(x): (low, high) for x, low, high in zip(trained["x"], trained["y"], rest["y"], strict=True)}
    assert sum(low + high for low, high in heights.values()) == 5
    longest = max(x for x, (low, _) in heights.items() if low)
    assert 1000 <= longest < 1050
    assert heights[longest] == (0.5, 0.5)


def test_what_is_pointed_at_is_said() -> None:
    words = drawn(table_of(*LENGTHS), 500)["data"][0]["text"]
    assert "1,000–1,049 tokens<br>Rows: 1<br>Tokens: 1,000, 50% of them trained" in words


@both_languages
@pytest.mark.parametrize("limit", [120, 900])
def test_the_maximum_is_a_dashed_line_with_its_name(lang: Language, limit: int) -> None:
    layout = drawn(table_of(*LENGTHS), limit, lang)["layout"]
    (line,), (label,) = layout["shapes"], layout["annotations"]
    assert (line["x0"], line["x1"], line["line"]["dash"]) == (limit, limit, "dash")
    assert label["text"] == text("statistics.chart.maximum", lang, tokens=limit)
    assert label["xanchor"] == ("left" if limit == 120 else "right"), "the words stay inside the plot"


def test_a_maximum_far_behind_all_rows_does_not_squeeze_the_bars() -> None:
    layout = drawn(table_of(*LENGTHS), 32_768)["layout"]
    assert "shapes" not in layout
    assert [each["text"] for each in layout["annotations"]] == ["maximum 32,768 →"]
    assert layout["xaxis"]["range"][1] < 1100


def test_rows_far_behind_the_others_share_a_bar_that_says_so() -> None:
    made = drawn(table_of(*range(100, 400), 50_000), 200)
    first = int(made["layout"]["annotations"][0]["text"].removeprefix("≥ "))
    assert made["data"][0]["text"][-1].startswith(f"{first} tokens or more<br>Rows: 1<br>")


@both_languages
def test_each_role_has_its_median_and_what_nine_of_ten_rows_have(lang: Language) -> None:
    table = table_of(*[100] * 8, 200, 2000)
    median, most = json.loads(role_figure(table, lang).to_json())["data"]
    assert median["y"] == [text(f"statistics.roles.{role}", lang) for role in ("user", "assistant", "template")]
    assert (median["x"], most["x"]) == ([45, 50, 5], [95, 100, 5])


@both_languages
@pytest.mark.parametrize("draw", [lambda table, lang: figure(table, 200, lang), role_figure], ids=["lengths", "roles"])
def test_a_figure_names_nothing_that_would_be_fetched_and_lets_the_page_shine_through(draw: Any, lang: Any) -> None:
    for table in (table_of(*LENGTHS), table_of(), replace(table_of(*LENGTHS), files=("http://127.0.0.1/x",))):
        made = draw(table, lang).to_json()
        assert not re.search(r"https?:|//|url\(|src=|href=|data:", made)
        layout = json.loads(made)["layout"]
        assert {layout["paper_bgcolor"], layout["plot_bgcolor"]} == {"rgba(0, 0, 0, 0)"}
        assert len(made) < 20_000


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("colour", "least"), [(TRAINED, 3.0), (REST, 2.5), (MAXIMUM, 3.0), (WORDS, 3.4)])
def test_colours_are_seen_on_a_light_and_a_dark_page(colour: str, least: float, page: str) -> None:
    """Contrast as WCAG 2 has it; `markup.css` gives words the theme's own colour, `WORDS` is what they fall to."""
    lighter, darker = sorted((luminance(colour), luminance(page)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= least


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@both_languages
def test_the_summary_counts_rows_turns_and_tokens(lang: Language) -> None:
    page = shown(summary(table_of(*LENGTHS), 1000, "skip", lang))
    share = text("statistics.trained_value", lang, tokens="800", share="50%")
    for words in (share, *(text("statistics.length", lang, tokens=number) for number in ("200", "1,000"))):
        assert words in page
    assert text("statistics.turns_value", lang, turns="8", median=2, most=2) in page
    assert text("statistics.fits", lang, limit="1,000") in page
    assert "1,600" in page


SENTENCES = {
    (350, "cut"): "1 row is longer than 350 tokens and loses 1,000 tokens (500 of them trained); "
    "1 row would have nothing left to learn.",
    (600, "cut"): "1 row is longer than 600 tokens and loses 400 tokens (400 of them trained); "
    "each row still has something to learn.",
    (150, "cut"): "3 rows are longer than 150 tokens and lose 1,350 tokens (700 of them trained); "
    "2 rows would have nothing left to learn.",
    (600, "skip"): "1 row is longer than 600 tokens and is left out, with its 1,000 tokens (500 of them trained); "
    "3 of 4 rows remain.",
    (150, "skip"): "3 rows are longer than 150 tokens and are left out, with their 1,500 tokens (750 of them trained); "
    "1 of 4 rows remain.",
    (10, "cut"): "4 rows are longer than 10 tokens and lose 1,600 tokens (800 of them trained); "
    "4 rows would have nothing left to learn.",
}


@pytest.mark.parametrize(("limit", "long_rows"), SENTENCES)
def test_what_a_maximum_takes_is_said_in_a_sentence(limit: int, long_rows: Any) -> None:
    assert SENTENCES[limit, long_rows] in summary(table_of(*LENGTHS), limit, long_rows, "en")


def test_the_sentence_in_chinese() -> None:
    said = "有 3 行超过 150 个词元，共丢失 1,350 个词元（其中 700 个参与训练）；有 2 行将没有可学的内容。"
    assert said in summary(table_of(*LENGTHS), 150, "cut", "zh")


@both_languages
def test_a_maximum_that_leaves_nothing_is_bad_and_says_what_to_do(lang: Language) -> None:
    page = summary(table_of(*LENGTHS), 10, "cut", lang)
    assert text("statistics.nothing_remains", lang, limit=10) in page
    assert page.startswith('<div class="wb-card wb-bad">')


@both_languages
def test_documents_are_said_to_be_divided_not_to_be_lost(lang: Language) -> None:
    table = replace(table_of(*LENGTHS), documents=np.ones(4, dtype=np.bool_), turns=np.zeros(4, dtype=np.int32))
    page = summary(table, 150, "cut", lang)
    assert text("statistics.documents", lang, limit=150) in page
    assert text("statistics.fits", lang, limit=150) not in page
    assert text("statistics.turns", lang) not in page


@both_languages
def test_the_longest_rows_stand_with_their_lines_and_refused_ones_are_counted(lang: Language) -> None:
    page = summary(replace(table_of(*LENGTHS), refused=3), 1000, "skip", lang)
    cells = re.findall(r"<td><div>(.*?)</div></td>", page)
    assert cells[:6] == ["4", "1,000", "500", "3", "300", "150"]
    assert text("statistics.refused", lang, rows=3) in shown(page)


@both_languages
def test_a_file_name_is_inert(lang: Language) -> None:
    page = summary(table_of(*LENGTHS, files=(HOSTILE,)), 1000, "skip", lang)
    assert "<img" not in page
    assert "&lt;img" in page


@both_languages
def test_a_set_without_rows_is_summed_up_too(lang: Language) -> None:
    table = replace(table_of(files=()), refused=2, by_role={})
    words = shown(summary(table, 100, "skip", lang))
    assert text("statistics.refused", lang, rows=2) in words
    assert text("statistics.nothing_remains", lang, limit=100) not in words, "no maximum would help"
    assert figure(table, 100, lang).to_json()
    assert role_figure(table, lang).to_json()
