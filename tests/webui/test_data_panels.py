"""The data panels' handlers against a stand-in: choosing, saving, checking, walking, editing, making, counting."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from core.data.options import DataOptions, RowEdit
from core.data.token_tables import TokenStatus
from core.errors import WorkbenchError, refusal
from core.i18n import LANGUAGES, Language, text
from core.workbench import Workbench
from core.workspace import Workspace
from tests.webui.data_scene import EMPTY, EXAMPLES, NAME, REPORT, UNKNOWN, WHOLE, StandInData
from tests.webui.test_statistics_views import LENGTHS, table_of
from webui import (
    background,
    changes,
    dataset_handlers,
    findings_panel,
    making_panel,
    mapping_panel,
    preview_panel,
    reading_panel,
    row_editor,
    statistics_panel,
)
from webui.data_recipe import PLACEHOLDERS
from webui.dataset_panel import DatasetPanel
from webui.page import build_page


@pytest.fixture
def workbench() -> Any:
    return StandInData()


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> DatasetPanel:
    """The real page's panel, for the order of its outputs."""
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        from webui import training_tab

        connect = training_tab.connect
        patch.setattr(training_tab, "connect", lambda wiring: (seen.update(wiring.shared), connect(wiring))[1])
        with Workbench(Workspace(tmp_path_factory.mktemp("panel"))) as real:

            async def built() -> gr.Blocks:
                return build_page(real, "en")  # where a loop is running, gradio makes none that it never closes

            asyncio.run(built())
    return seen["dataset-panel"]


@pytest.fixture
def drawn(panel: DatasetPanel) -> Any:
    """An answer of `show` by the names of the components it goes to."""

    def by_name(answer: list[Any]) -> dict[str, Any]:
        assert len(answer) == len(panel.shown)
        names = [component.elem_id or type(component).__name__ for component in panel.shown]
        return {
            name: update.get("value", update) if isinstance(update, dict) else update
            for name, update in zip(names, answer, strict=True)
        }

    return by_name


def clicked(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


# ---- choosing ----


def test_choosing_fills_the_form_from_the_servers_recipe(workbench: Any, drawn: Any) -> None:
    workbench.data.options = DataOptions(system_prompt="Be kind.", fixes=("trim_text",), placeholders={"name": "Momo"})
    shown = drawn(dataset_handlers.choose(workbench, "en", NAME, ""))
    assert shown["system-prompt-for-rows"] == "Be kind."
    assert shown["fix-trim_text"] is True
    assert (shown["placeholder-0"], shown["placeholder-names"], shown["dataset-filled"]) == (
        "Momo",
        "name\nauthor",
        NAME,
    )
    assert "OpenAI messages" in shown["dataset-report"]
    assert shown["dataset-preview"].count("<figure") == preview_panel.PREVIEW_ROWS
    assert shown["Timer"].active is False


def test_nothing_chosen_says_what_can_be(workbench: Any, drawn: Any) -> None:
    shown = drawn(dataset_handlers.choose(workbench, "en", None, ""))
    assert "Choose a data set" in shown["dataset-report"]
    assert (shown["dataset-preview"], shown["dataset-filled"]) == ("", "")


def test_a_file_that_cannot_be_read_shows_why_in_place_of_a_report(workbench: Any, drawn: Any) -> None:
    workbench.data.refused = refusal("D42_name_empty")
    shown = drawn(dataset_handlers.choose(workbench, "en", NAME, ""))
    assert "D42" in shown["dataset-report"]
    assert shown["dataset-preview"] == ""
    assert shown["dataset-filled"] == NAME  # so that another encoding can be chosen
    gone = drawn(dataset_handlers.choose(workbench, "en", "gone", ""))
    assert "A03" in gone["dataset-report"]


def test_a_choice_that_is_still_there_is_not_touched_by_a_refresh(workbench: Any) -> None:
    assert "value" not in dataset_handlers.show_datasets(workbench, "en", NAME)
    assert dataset_handlers.show_datasets(workbench, "en", "gone")["value"] is None


def test_of_several_uploads_each_is_taken_or_said_to_be_refused(workbench: Any) -> None:
    files = ["/cache/1/a.json", "/cache/2/b.exe", "/cache/3/c.zip"]
    choice, box, words = dataset_handlers.add_datasets(workbench, "en", files)
    assert workbench.data.calls == [("add", "a.json"), ("add", "c.zip")]
    assert (choice["value"], box) == ("c.zip", None)
    assert "a.json, c.zip" in words
    assert "D38" in words


@pytest.mark.parametrize("name", ["a.exe", "a.xls", "a.png"])
def test_a_kind_of_file_that_is_not_read_is_refused_by_the_core(
    workspace: Workspace, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"MZ")
    with Workbench(workspace) as real:
        choice, _, words = dataset_handlers.add_datasets(real, "en", [str(tmp_path / name)])
    assert "value" not in choice
    assert "D38" in words
    assert name in words


def test_a_deleted_data_set_leaves_the_list_and_none_is_chosen(workbench: Any) -> None:
    dialog, question, asked = dataset_handlers.ask_to_delete(workbench, "en", NAME)
    assert (dialog["visible"], asked, f"“{NAME}”" in question) == (True, NAME, True)
    choice, dialog = dataset_handlers.delete_dataset(workbench, "en", asked, NAME)
    assert (choice["choices"], choice["value"], dialog["visible"]) == (["other.jsonl"], None, False)
    assert dataset_handlers.ask_to_delete(workbench, "en", None)[0]["visible"] is False


def test_the_data_set_that_the_question_named_is_deleted_whatever_is_chosen_by_then(workbench: Any) -> None:
    choice, _ = dataset_handlers.delete_dataset(workbench, "en", NAME, "other.jsonl")
    assert (choice["choices"], choice["value"]) == (["other.jsonl"], "other.jsonl")


# ---- the recipe ----


def test_a_change_is_saved_and_what_is_being_typed_is_left_alone(workbench: Any, panel: DatasetPanel) -> None:
    workbench.data.options = DataOptions(take=5)
    known = [4, NAME, "name\nauthor"]
    answer = dataset_handlers.save(workbench, "en", NAME, "", *known, True, unit=("fix-trim_text",))
    assert workbench.data.options == DataOptions(take=5, fixes=("trim_text",))
    assert ("preview", 3, preview_panel.PREVIEW_ROWS) in workbench.data.calls
    fields = [update for update, part in zip(answer, panel.shown, strict=True) if part in panel.form]
    assert [update for update in fields if "value" in update] == []


def test_another_set_that_is_gone_is_shown_as_such_and_can_be_let_go(workbench: Any, drawn: Any, panel: Any) -> None:
    workbench.data.options = DataOptions(validation_dataset="gone.jsonl")
    workbench.data.check = lambda *_, **__: (_ for _ in ()).throw(refusal("A03_other_dataset", name="gone.jsonl"))
    answer = dataset_handlers.choose(workbench, "en", NAME, "")
    assert "gone.jsonl" in drawn(answer)["dataset-report"]
    assert drawn(answer)["dataset-filled"] == NAME
    validation = answer[panel.shown.index(panel.fields(("validation_dataset",))[0])]
    assert validation["value"] == "gone.jsonl"
    assert validation["choices"][-1] == ("gone.jsonl (no longer there)", "gone.jsonl")
    dataset_handlers.save(workbench, "en", NAME, "", 1, NAME, "", "", unit=("validation_dataset",))
    assert workbench.data.options == DataOptions()


def test_a_form_that_holds_another_data_set_is_not_saved(workbench: Any) -> None:
    for filled, value in (("other.jsonl", True), (NAME, False)):
        dataset_handlers.save(workbench, "en", NAME, "", 1, filled, "", value, unit=("fix-trim_text",))
    assert not [call for call in workbench.data.calls if call[0] == "save"]


def test_what_the_page_shows_already_is_not_sent_again(workbench: Any, panel: DatasetPanel) -> None:
    first = dataset_handlers.choose(workbench, "en", NAME, "")
    again = dataset_handlers.show_progress(workbench, "en", NAME, first[-1], 1, "name\nauthor")
    sent = [part.elem_id for update, part in zip(again, panel.shown, strict=True) if update != gr.skip()]
    always = {"dataset-report", "dataset-preview", "preview-row", "problem-kind", "problem-number", "dataset-seen"}
    assert always <= set(sent)  # other handlers change these too
    assert len(sent) < 20
    assert again[-1] == first[-1]


def test_a_mark_is_kept_of_what_is_skipped_and_hidden_is_how_things_begin() -> None:
    sent, seen = changes.only_new(["a", gr.update(visible=False), changes.Anew("x", {"label": "l"}), gr.skip()], "junk")
    assert sent == ["a", gr.skip(), gr.update(label="l", value="x"), gr.skip()]
    sent, later = changes.only_new(["a", gr.update(visible=True), changes.Anew("x", {"label": "l"}), "b"], seen)
    assert sent == [gr.skip(), gr.update(visible=True), "x", "b"]
    assert changes.only_new([gr.skip()] * 4, later)[1] == later
    assert changes.only_new(["c", gr.update(visible=False), changes.Anew(), "b"], later)[0][:2] == [
        "c",
        gr.update(visible=False),
    ]


def test_blanks_that_turn_up_later_get_their_fields_and_values(workbench: Any, drawn: Any) -> None:
    workbench.data.options = DataOptions(placeholders={"name": "Momo"})
    shown = drawn(dataset_handlers.show_progress(workbench, "en", NAME, "", 1, ""))
    assert (shown["placeholder-names"], shown["placeholder-0"]) == ("name\nauthor", "Momo")
    again = dataset_handlers.show_progress(workbench, "en", NAME, "", 1, "name\nauthor")
    assert not [update for update in again if isinstance(update, dict) and update.get("value") == "Momo"]


def test_a_blank_names_its_field_and_those_without_one_are_named() -> None:
    many = replace(REPORT, placeholders={f"blank{number}": 1 for number in range(8)})
    view = dataset_handlers.DataView(NAME, "en", report=many)
    found = reading_panel.properties(view)
    assert "blank5" in found[PLACEHOLDERS[5]]["label"]
    words = reading_panel.draw(view)[-1]
    assert all(part in words for part in ("2 more blanks", "blank6, blank7", "data.placeholders"))


# ---- the check ----


def test_a_long_check_shows_what_was_found_and_keeps_the_timer_going(workbench: Any, drawn: Any) -> None:
    workbench.data.running = True
    shown = drawn(dataset_handlers.choose(workbench, "en", NAME, ""))
    assert "1,234 rows" in shown["dataset-report"]
    assert "Found so far" in shown["dataset-findings"]
    assert (shown["Timer"].active, shown["dataset-preview"]) == (True, "")
    later = drawn(dataset_handlers.show_progress(workbench, "en", NAME, "", 7, ""))
    assert later["dataset-preview"] == gr.skip()  # what stands there stays while a recipe is being checked
    assert later["State"] == gr.skip()


def test_the_plan_is_told_when_the_rows_are_others_and_not_before(workbench: Any, drawn: Any) -> None:
    states = [drawn(dataset_handlers.choose(workbench, "en", NAME, ""))["State"] for _ in range(2)]
    assert states[0] == states[1]
    workbench.data.options = DataOptions(answers="last")
    assert drawn(dataset_handlers.choose(workbench, "en", NAME, ""))["State"] != states[0]
    workbench.data.report = replace(REPORT, rows=10)
    assert drawn(dataset_handlers.choose(workbench, "zh", NAME, ""))["State"] != states[0]


def test_a_cancelled_check_stays_so_until_someone_asks_for_it(workbench: Any, drawn: Any) -> None:
    words, cancel, again, timer = dataset_handlers.cancel(workbench, "en", NAME)
    assert workbench.data.calls == [("cancel", NAME)]
    assert "D18" in words
    assert (cancel["visible"], again["visible"], timer.active) == (False, True, False)
    workbench.data.refused = refusal("D18_check_cancelled")
    late = drawn(dataset_handlers.show_progress(workbench, "en", NAME, "", 1, ""))  # of a timer that was still on
    assert (workbench.data.again, late["check-again"], late["State"]) == (False, gr.update(visible=True), gr.skip())
    dataset_handlers.show_again(workbench, "en", NAME, "", 1)
    assert workbench.data.again is True


# ---- columns ----


def test_an_unknown_format_offers_its_columns_with_the_roles_their_names_suggest() -> None:
    view = dataset_handlers.DataView(NAME, "en", report=UNKNOWN)
    group, paths, _, *rest = mapping_panel.draw(view)
    columns, roles, samples = (rest[at::1][: mapping_panel.MAX_COLUMNS] for at in (0, 12, 24))
    assert (group["visible"], json.loads(paths)) == (True, ["ask", "say[0].x"])
    assert [column["visible"] for column in columns[:3]] == [True, True, False]
    assert [role.value for role in roles[:2]] == ["user", ""]
    assert "&lt;img" in samples[0]


def test_roles_are_kept_in_the_recipe(workbench: Any) -> None:
    mapping_panel.apply(workbench, "en", NAME, '["ask", "say[0].x"]', "user", "assistant", "", "")
    assert workbench.data.options.mapping == {"ask": "user", "say[0].x": "assistant"}
    assert workbench.data.options.format == "mapped"


def test_columns_with_a_known_name_are_offered_before_others() -> None:
    column = UNKNOWN.columns[1]
    many = [replace(column, path=f"c{number}") for number in range(20)] + [UNKNOWN.columns[0]]
    offered = mapping_panel.offered(many)
    assert [each.path for each in offered] == [*(f"c{number}" for number in range(11)), "ask"]
    assert mapping_panel.draw(dataset_handlers.DataView(NAME, "en", report=replace(UNKNOWN, columns=tuple(many))))[2]


@pytest.mark.parametrize("paths", ["{", "7", '["a", 5]', "[" * 100_000])
def test_columns_that_no_page_sends_are_refused(workbench: Any, paths: str) -> None:
    with pytest.raises(WorkbenchError) as refused:
        mapping_panel.apply(workbench, "en", NAME, paths, "user")
    assert refused.value.code == "H01"


# ---- preview ----


@pytest.mark.parametrize(
    ("row", "start"), [(4, 3), (1, 0), (0, 0), (-7, 0), (None, 0), ("x", 0), (True, 0), (float("nan"), 0), (1e300, 0)]
)
def test_any_row_number_shows_rows_that_there_are(workbench: Any, row: Any, start: int) -> None:
    preview_panel.show_page(workbench, "en", NAME, row)
    assert workbench.data.calls == [("preview", start, preview_panel.PREVIEW_ROWS)]


def test_the_pager_goes_forth_and_back_by_a_page(workbench: Any) -> None:
    assert preview_panel.show_next(workbench, "en", NAME, 1)[0] == 4
    assert preview_panel.show_previous(workbench, "en", NAME, 4)[0] == 1
    assert preview_panel.show_next(workbench, "en", NAME, 7)[0] == 7
    assert preview_panel.show_page(workbench, "en", NAME, 5000)[0] == len(EXAMPLES)


def test_words_are_found_from_the_next_row_on(workbench: Any) -> None:
    page, rows = preview_panel.find_words(workbench, "en", NAME, " hi 5 ", 2)
    assert (page, workbench.data.calls[0]) == (5, ("search", "hi 5", 2))
    assert "Line 6" in rows
    assert "No row holds “nothing”" in preview_panel.find_words(workbench, "en", NAME, "nothing", 1)[1]


def test_a_line_that_has_no_usable_row_shows_the_next_and_says_so(workbench: Any) -> None:
    page, rows = preview_panel.show_line(workbench, "en", NAME, 1)
    assert page == 1
    assert "not among the usable ones" in rows
    assert "not among" not in preview_panel.show_line(workbench, "en", NAME, 4)[1]
    assert "no usable row at line 99" in preview_panel.show_line(workbench, "en", NAME, 99)[1]


def test_the_preview_waits_for_no_long_check(workbench: Any) -> None:
    workbench.data.running = True
    assert "still being checked" in preview_panel.show_page(workbench, "en", NAME, 1)[1]
    assert not workbench.data.calls


# ---- the walk ----


def test_the_walk_goes_from_problem_to_problem_and_round(workbench: Any) -> None:
    workbench.data.report = replace(REPORT, findings=(EMPTY, WHOLE))
    kind, number, words, page, rows = findings_panel.show_next(workbench, "en", NAME, None, -1)
    assert (kind, number, page) == ("error:D42_name_empty", 0, 2)
    assert "Problem 1 of 3, line 3" in words
    assert "Line 3" in rows
    assert findings_panel.show_previous(workbench, "en", NAME, kind, 0)[1] == 2
    assert findings_panel.show_next(workbench, "en", NAME, kind, 2)[1] == 0
    assert findings_panel.show_first(workbench, "en", NAME, "warning:D42_name_empty")[3] == 3


def test_a_click_on_a_line_shows_its_row(workbench: Any) -> None:
    workbench.data.report = replace(REPORT, findings=(EMPTY,))
    event = clicked(finding="error:D42_name_empty", number="2")
    assert findings_panel.show_clicked(workbench, "en", event, NAME)[1:4:2] == [2, 7]


def test_without_problems_there_is_nothing_to_walk_to(workbench: Any) -> None:
    workbench.data.report = replace(REPORT, findings=())
    assert findings_panel.show_next(workbench, "en", NAME, None, 0) == [gr.skip()] * 5


# ---- single rows ----


def test_a_row_is_opened_turn_by_turn_and_saved_as_it_was_rewritten(workbench: Any) -> None:
    group, title, kept, *fields = row_editor.open_or_leave_out(workbench, "en", clicked(do="edit", row="2"), NAME, 1)
    assert (group["visible"], [field["visible"] for field in fields[:3]]) == (True, [True, True, False])
    assert (fields[0]["label"], fields[0]["value"]) == ("User", "hi 2")
    assert "line 3" in title
    contents = ["hello", "Momo", *[""] * 6]
    assert row_editor.save_row(workbench, "en", NAME, kept, *contents)["visible"] is False
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Momo"}]
    assert workbench.data.calls[-1] == ("edit", 2, turns)
    assert row_editor.save_row(workbench, "en", "other.jsonl", kept, *contents)["visible"] is False
    assert workbench.data.edited == NAME, "the editor stays open when another data set is chosen"


def test_an_emptied_turn_is_taken_out_and_what_has_no_field_stays() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": []}]
    messages += [{"role": "user", "content": str(number)} for number in range(10)]
    turns = row_editor.rewritten(messages, ["", "", "x", *["y"] * 5])
    assert turns[:2] == [messages[1], {"role": "user", "content": "x"}]
    assert turns[-4:] == messages[-4:]


def test_the_recipes_system_prompt_does_not_become_the_rows_own() -> None:
    example = replace(EXAMPLES[0], messages=({"role": "system", "content": "Be kind."}, *EXAMPLES[0].messages))
    assert row_editor.own_messages(example, DataOptions(system_prompt="Be kind."))[0]["role"] == "user"
    assert row_editor.own_messages(example, DataOptions())[0]["role"] == "system"
    filled = DataOptions(system_prompt="Be {{how}}.", placeholders={"how": "kind"})
    assert row_editor.own_messages(example, filled)[0]["role"] == "user"


def test_a_row_is_left_out_and_restored(workbench: Any) -> None:
    row_editor.open_or_leave_out(workbench, "en", clicked(do="leave_out", row="4"), NAME, 1)
    assert workbench.data.calls == [("edit", 4, None)]
    view = dataset_handlers.DataView(NAME, "en", DataOptions(edits=(RowEdit(row=4),)), REPORT)
    group, changed = row_editor.draw(view)
    assert (group["visible"], changed.value["choices"]) == (True, [("Row 4: left out", 4)])
    row_editor.restore_row(workbench, "en", NAME, 4)
    assert workbench.data.calls[-1] == ("restore", 4)


@pytest.mark.parametrize(
    "kept", ["{", "[]", '{"row": 1}', '{"row": 1, "messages": [5]}', '{"row": 1, "messages": [{}]}']
)
def test_a_row_that_no_page_sends_is_refused(workbench: Any, kept: str) -> None:
    with pytest.raises(WorkbenchError) as refused:
        row_editor.save_row(workbench, "en", NAME, kept, "a")
    assert refused.value.code == "H01"


# ---- making ----


def test_an_export_is_offered_with_its_name_and_size(
    workbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    *_, (button, download, words) = making_panel.export(workbench, "en", NAME)
    assert (button["interactive"], download["visible"], words) == (True, True, "")
    assert Path(download["value"]).name in download["label"]


def test_a_set_saved_under_a_new_name_is_chosen(workbench: Any) -> None:
    *_, (choice, name, words) = making_panel.save_as(workbench, "en", NAME, "clean.jsonl")
    assert (choice["value"], name) == ("clean.jsonl", "")
    assert "clean.jsonl" in words


def test_what_takes_long_is_said_to_go_on() -> None:
    go_on = threading.Event()
    steps = background.awaited(lambda: go_on.wait(10), "slow", patience_s=0.01)
    assert next(steps) is None
    go_on.set()
    assert list(steps) == [True]
    with pytest.raises(ZeroDivisionError):
        list(background.awaited(lambda: 1 / 0, "bug"))


def test_a_format_file_is_imported_and_chosen(workbench: Any) -> None:
    choice, box = reading_panel.add_patterns(workbench, "en", "/cache/x/alpaca-format.json")
    assert (choice["value"], box) == ("alpaca-format", None)


# ---- statistics ----


def test_without_a_model_the_statistics_say_what_is_missing(workbench: Any) -> None:
    timer, words, *_ = statistics_panel.show_progress(workbench, "en", NAME, None, "skip")
    assert "A03" in words
    assert timer.active is False


def test_a_count_goes_on_until_there_is_a_table(workbench: Any) -> None:
    workbench.tokens = TokenStatus(True, 0.5)
    is_open, timer, words, *_ = statistics_panel.show_count(workbench, "en", NAME, None, "skip")
    assert (is_open, timer.active) == (True, True)
    assert "width:50%" in words
    workbench.tokens = TokenStatus(False, 1.0, table_of(*LENGTHS))
    timer, words, slider, use, summary, plot, _ = statistics_panel.show_progress(workbench, "en", NAME, None, "skip")
    longest = int(workbench.tokens.table.tokens.max())
    assert (timer.active, words, slider["value"], slider["maximum"]) == (False, "", longest, longest)
    assert use["visible"]
    assert summary
    assert plot["value"] is not None
    assert statistics_panel.show_length(workbench, "en", NAME, 9, "cut")[0] != summary


def test_nothing_is_counted_while_the_part_is_closed(workbench: Any) -> None:
    workbench.token_status = lambda *_: pytest.fail("counted")
    assert statistics_panel.show_again(workbench, "en", False, NAME, None, "skip") == [gr.skip()] * 7


@pytest.mark.parametrize(("limit", "length"), [(None, 90), (20, 20), (500, 90), (3, 90), ("x", 90), (float("nan"), 90)])
def test_any_limit_is_a_length_that_the_slider_has(limit: Any, length: int) -> None:
    assert statistics_panel.length_from(limit, 90) == length


# ---- both languages ----


@pytest.mark.parametrize("lang", LANGUAGES)
def test_everything_about_a_data_set_has_words_in_both_languages(workbench: Any, lang: Language, drawn: Any) -> None:
    workbench.status = SimpleNamespace(name="m")
    workbench.data.options = DataOptions(edits=(RowEdit(row=1), RowEdit(row=2, messages=({"role": "user"},))))
    for report in (REPORT, UNKNOWN):
        workbench.data.report = report
        shown = drawn(dataset_handlers.choose(workbench, lang, NAME, ""))
        assert text("data_tab.report.file", lang) in shown["dataset-report"]
    assert "D42" in findings_panel.walk_to(workbench, lang, NAME, None, 0)[2] or report is UNKNOWN
    dataset_handlers.cancel(workbench, lang, NAME)
