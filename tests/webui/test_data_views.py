"""What is drawn of a data set: escaped, complete, in both languages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.data.conversation import Example
from core.data.findings import Finding
from core.data.intake import FixOffer
from core.data.library import CheckStatus
from core.data.preview import PreviewRow
from core.data.rendering import Piece
from core.errors import Problem, refusal
from core.i18n import LANGUAGES, Language
from tests.webui.data_scene import EMPTY, EXAMPLES, HOSTILE, NAME, REPORT, TRIM, UNKNOWN, WHOLE, StandInLibrary
from tests.webui.test_views import Tags
from webui import dataset_views, findings_views, fix_views, preview_views

CARD = StandInLibrary().card(NAME)
OWN_TAGS = {"img", "script"}


def problem(severity: str) -> Problem:
    return Problem("D42_name_empty", severity=severity)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("findings", "kind"),
    [((), "wb-good"), ((WHOLE,), "wb-warning"), ((EMPTY, WHOLE), "wb-bad")],
)
def test_a_report_says_whether_the_data_can_be_used(findings: tuple[Finding, ...], kind: str) -> None:
    shown = dataset_views.dataset_report(replace(REPORT, findings=findings), CARD, "en")
    assert f'class="wb-card {kind}"' in shown
    assert not OWN_TAGS & Tags(shown).names


def test_a_report_names_how_the_file_was_read_and_what_became_of_its_rows() -> None:
    mixed = replace(REPORT, composition=((NAME, 6), ("other", 2)), left_out={"bad": 1, "fixes": 3})
    shown = dataset_views.dataset_report(mixed, CARD, "en")
    for part in ("GB18030", "semicolon", "OpenAI messages", "other: 2 rows (25%)", "1 with errors", "3 by fixes"):
        assert part in shown
    for part in ("sha256 ", "2026-01-02 03:04"):
        assert part in shown


def test_a_file_without_a_readable_row_does_not_ask_for_its_columns() -> None:
    shown = dataset_views.dataset_report(replace(UNKNOWN, rows=0), CARD, "en")
    assert "which column holds what" not in shown
    assert "The problems below say why" in shown


def test_an_unknown_format_says_what_can_be_done() -> None:
    assert "which column holds what" in dataset_views.dataset_report(UNKNOWN, CARD, "en")


def test_a_check_in_progress_shows_share_rows_and_time_left() -> None:
    shown = dataset_views.check_progress(CheckStatus(NAME, True, 0.25, 1234, (), None, None, 10.0), "en")
    assert all(part in shown for part in ("width:25%", "1,234 rows", "30 s"))


def test_problems_are_counted_by_kind_and_each_row_has_a_button() -> None:
    shown = findings_views.findings_list((EMPTY, WHOLE), "en")
    assert "Errors: 3" in shown
    assert "Remarks: 2" in shown
    assert shown.count("Show row") == 2
    assert 'data-finding="error:D42_name_empty" data-number="2">8</button>' in shown  # the one without words
    assert 'data-finding="warning:D42_name_empty" data-number="1">6</button>' in shown  # a row the set's problem names
    assert not OWN_TAGS & Tags(shown).names


def test_a_problem_without_a_row_cannot_be_walked_to() -> None:
    nowhere = Finding("D01_no_rows", "error", (Problem("D01_no_rows"),), 1, ())
    assert findings_views.choices((nowhere,), "en") == []
    assert findings_views.found((nowhere, EMPTY), "error:D01_no_rows") is EMPTY
    assert findings_views.found((nowhere,), None) is None
    assert "<button" not in findings_views.findings_list((nowhere,), "en")


def test_forty_lines_of_a_kind_are_shown_and_the_rest_is_counted() -> None:
    many = replace(EMPTY, count=102, lines=tuple(range(1, 103)))
    shown = findings_views.findings_list((many,), "en")
    assert shown.count("data-do=") == 42
    assert "and 60 more" in shown


def test_every_token_says_on_hover_which_it_is() -> None:
    pieces = (
        Piece("ask ", False, 11),
        Piece("", True, 12),
        Piece("", True, 13),
        Piece("你\n", True, 14),
        Piece("", True, 15),
    )
    shown = preview_views.preview([PreviewRow(EXAMPLES[0], pieces)], "en", model_loaded=True)
    assert '<span class="wb-untrained" title="11 · “ask␣” · given, not learned">ask </span>' in shown
    assert '<mark class="wb-trained" title="12 + 13 + 14 · “你⏎” · learned">你\n</mark>' in shown
    assert "Line 2 · 5 tokens, 4 learned" in shown


def test_rows_of_a_file_are_inert_and_may_run_either_way() -> None:
    row = PreviewRow(
        replace(EXAMPLES[0], file=HOSTILE),
        (Piece(HOSTILE + " مرحبا", False, 1),),
        refusal("D42_name_empty").problems[0],
    )
    shown = preview_views.preview([row], "en", model_loaded=True)
    assert not OWN_TAGS & Tags(shown).names
    assert not set("${}") & set(shown)
    assert 'dir="auto"' in shown
    assert "D42" in shown


def test_a_row_without_end_is_cut_in_the_preview() -> None:
    endless = [Piece("x" * 100_000, True, -1)], [Piece("ab", True, 1)] * 100_000, [Piece("", True, 1)] * 100_000
    for pieces in endless:
        shown = preview_views.preview([PreviewRow(EXAMPLES[0], tuple(pieces))], "en", model_loaded=True)
        assert "only the first" in shown
        assert shown.count("<mark") <= preview_views.MAX_TOKENS + 1
        assert len(shown.replace('<mark class="wb-trained"', "")) < 40 * preview_views.PREVIEW_CHARACTERS


def test_of_a_long_turn_in_plain_text_the_beginning_is_shown() -> None:
    pieces = Piece("user: hi\n", False, -1), Piece("assistant: " + "word " * 10_000, True, -1)
    shown = preview_views.preview([PreviewRow(EXAMPLES[0], pieces)], "en", model_loaded=False)
    assert "assistant: word word" in shown
    assert "only the first" in shown
    assert len(shown) < 2 * preview_views.PREVIEW_CHARACTERS


def test_rows_of_another_data_set_and_documents_are_not_edited() -> None:
    mixed, document = replace(EXAMPLES[0], file="other"), Example((), 1, 1, text="words")
    rows = [PreviewRow(example, (Piece("x", True, 1),)) for example in (EXAMPLES[0], mixed, document)]
    shown = preview_views.preview(rows, "en", True, frozenset({"other"}))
    assert (shown.count('data-do="edit"'), shown.count('data-do="leave_out"')) == (1, 2)


def test_a_fix_shows_what_it_changes_and_what_it_leaves_out() -> None:
    before = Example(({"role": "user", "content": f"  {HOSTILE}\u200b"},), 7, 6)
    after = Example(({"role": "user", "content": HOSTILE},), 7, 6)
    offer = FixOffer("trim_text", True, 1234, ((before, after), (before, None)))
    shown = fix_views.before_and_after(offer, "en")
    assert "<del>␣␣</del>" in shown
    assert "\\u200b" in shown
    assert "left out" in shown
    assert not OWN_TAGS & Tags(shown).names
    assert "rows changed: 1,234" in fix_views.fix_label(offer, "trim_text", "en")
    assert "rows it would change: 2" in fix_views.fix_label(TRIM, "trim_text", "en")


def test_a_long_text_is_shown_from_where_it_changes() -> None:
    long = "a" * 5000
    before, after = (Example(({"role": "user", "content": long + end},), 1, 1) for end in ("b", "c"))
    shown = fix_views.before_and_after(FixOffer("trim_text", False, 1, ((before, after),)), "en")
    assert "<del>b</del>" in shown
    assert len(shown) < 2000


@pytest.mark.parametrize("lang", LANGUAGES)
def test_everything_can_be_drawn_in_both_languages(lang: Language) -> None:
    for report in (REPORT, UNKNOWN, replace(REPORT, findings=(EMPTY,), examples=())):
        assert dataset_views.dataset_report(report, CARD, lang)
    assert dataset_views.dataset_refused(refusal("D42_name_empty"), lang)
    assert findings_views.findings_list((), lang)
    assert findings_views.findings_list((EMPTY,), lang, running=True)
    assert "3" in findings_views.position(EMPTY, 2, lang)
    assert preview_views.preview([PreviewRow(EXAMPLES[0], ())], lang, False)
    assert fix_views.before_and_after(TRIM, lang)
