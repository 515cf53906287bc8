"""The Chat tab's handlers: real stores on disk, scripted answers, no browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from core.chat.conversations import BASE, Conversation
from core.errors import WorkbenchError, refusal
from core.training.progress import Status
from tests.webui.chat_scene import Form, SceneRun, SceneWorkbench
from webui import chat_handlers as handlers
from webui.chat_desk import Desk
from webui.chat_panes import MAX_PANES

SHOWN = 9  # outputs of `show` before those of the panes
ANSWERING = 5  # and of an answer
PANE = 6


@pytest.fixture
def workbench(tmp_path: Path) -> Any:
    return SceneWorkbench(tmp_path)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def send(workbench: Any, desk: Desk, message: Any, form: Form | None = None, start: Any = "") -> list[list[Any]]:
    return list(handlers.send(workbench, "en", desk, message, start, *(form or Form()).values))


def kept(workbench: Any) -> Conversation:
    """The conversation that was changed last, as it is on disk."""
    return workbench.conversations.load(workbench.conversations.list().summaries[0].id)


def begun(workbench: Any, desk: Desk, columns: tuple[str, ...] = ("",), message: str = "q1") -> Form:
    """A conversation with one answered message, and the form of a browser that has it open."""
    send(workbench, desk, message, Form(columns=columns))
    return Form(current=kept(workbench).id, columns=columns)


def texts(conversation: Conversation, turn: int = -1) -> dict[str, str]:
    return {name: column.answer.text for name, column in conversation.turns[turn].columns.items()}


def window(updates: list[Any], pane: int, before: int) -> list[str]:
    return [message["content"][0]["text"] for message in updates[before + PANE * pane + 2]]


def key_of(error: pytest.ExceptionInfo[WorkbenchError]) -> str:
    return error.value.key


def test_base_and_adapters_answer_the_same_message_in_one_group(workbench: Any, desk: Desk) -> None:
    updates = send(workbench, desk, " Who are you? ", Form(columns=("", "poet")))
    assert [each.adapter for each in workbench.asked] == [None, "poet"]
    assert [each.messages for each in workbench.asked] == [({"role": "user", "content": "Who are you?"},)] * 2
    assert texts(kept(workbench)) == {BASE: "base 0 1 2", "poet": "poet 0 1 2"}
    assert window(updates[-1], 0, ANSWERING) == ["Who are you?", "base 0 1 2"]
    assert window(updates[-1], 1, ANSWERING) == ["Who are you?", "poet 0 1 2"]


def test_every_update_fits_the_outputs_and_names_the_open_conversation(workbench: Any, desk: Desk) -> None:
    for update in send(workbench, desk, "Hello"):
        assert len(update) == ANSWERING + PANE * MAX_PANES
        assert update[0] == kept(workbench).id
        assert update[2]["visible"] is False
        assert update[3]["visible"] is True
    assert len(handlers.show(workbench, "en", desk, *Form().scene)) == SHOWN + PANE * MAX_PANES


def test_the_message_box_is_emptied_only_at_first_so_that_the_next_message_can_be_typed(
    workbench: Any, desk: Desk
) -> None:
    workbench.words = 8
    boxes = [update[1] for update in send(workbench, desk, "Hello")]
    assert boxes[0] == ""
    assert boxes[-1] == gr.skip()


def test_the_sampling_form_and_the_first_words_shape_the_request(workbench: Any, desk: Desk) -> None:
    sampling = Form().sampling
    values = (False, *sampling[1:-2], 99, "END\n\\nUser:")
    send(workbench, desk, "Hello", Form(sampling=values, prompt="Be brief."), start="Sure, ")
    asked = workbench.asked[0]
    assert (asked.sampling.do_sample, asked.sampling.seed, asked.sampling.stop) == (False, 99, ("END", "\nUser:"))
    assert asked.messages[0] == {"role": "system", "content": "Be brief."}
    assert asked.reply_start == "Sure, "
    assert texts(kept(workbench)) == {BASE: "Sure, base 0 1 2"}


@pytest.mark.parametrize(
    ("message", "form", "key"),
    [
        ("", Form(), "H11_message_missing"),
        (" \n", Form(), "H11_message_missing"),
        (None, Form(), "H11_message_missing"),
        (5, Form(), "H11_message_not_text"),
        (["x"], Form(), "H11_message_not_text"),
        ("x" * 1_000_001, Form(), "H11_message_too_long"),
        ("x", Form(columns=("", "a", "b", "c", "d", "e")), "H11_too_many_panes"),
        ("x", Form(prompt=7), "H11_message_not_text"),
        ("x", Form(current="../../etc/passwd"), "A30_no_conversation"),
        ("x", Form(sampling=(True, 0, *Form().sampling[2:])), "H01_out_of_range"),
        ("x", Form(sampling=(True, float("nan"), *Form().sampling[2:])), "H01_out_of_range"),
        ("x", Form(sampling=(True, "hot", *Form().sampling[2:])), "H01_out_of_range"),
        ("x", Form(sampling=(*Form().sampling[:-1], 5)), "H01_wrong_type"),
        ("x", Form(character="nobody"), "H01_no_such_character"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_kept(
    workbench: Any, desk: Desk, message: Any, form: Form, key: str
) -> None:
    with pytest.raises(WorkbenchError) as refused:
        send(workbench, desk, message, form)
    assert key_of(refused) == key
    assert workbench.conversations.list().summaries == ()
    assert workbench.streams == []


def test_what_the_engine_refuses_leaves_the_conversation_as_it_was(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk)
    workbench.model = None
    with pytest.raises(WorkbenchError):
        send(workbench, desk, "q2", form)
    assert [turn.user for turn in kept(workbench).turns] == ["q1"]
    assert not desk.busy(form.current)


def test_closing_the_tab_cancels_the_answer_and_keeps_what_is_there(workbench: Any, desk: Desk) -> None:
    workbench.words = 9
    answering = handlers.send(workbench, "en", desk, "Hello", "", *Form().values)
    for _ in range(4):
        next(answering)
    answering.close()
    assert workbench.streams[-1].is_cancelled
    assert texts(kept(workbench)) == {BASE: "base 0 1"}
    assert kept(workbench).turns[0].columns[BASE].answer.finished == "cancelled"
    assert not desk.busy(kept(workbench).id)


def test_stop_ends_the_answer_where_it_is(workbench: Any, desk: Desk) -> None:
    workbench.words = 9
    answering = handlers.send(workbench, "en", desk, "Hello", "", *Form().values)
    for _ in range(4):
        update = next(answering)
    handlers.stop(workbench, "en", desk, update[0])
    list(answering)
    assert texts(kept(workbench)) == {BASE: "base 0 1"}


@pytest.mark.parametrize("current", [None, "", "0" * 32])
def test_stop_without_an_answer_does_nothing(workbench: Any, desk: Desk, current: Any) -> None:
    handlers.stop(workbench, "en", desk, current)


def test_an_error_in_the_engine_reaches_the_person_and_the_words_so_far_are_kept(workbench: Any, desk: Desk) -> None:
    workbench.error = refusal("A27_chat_is_busy", waiting=1, limit=1)
    with pytest.raises(WorkbenchError) as failed:
        send(workbench, desk, "Hello")
    assert key_of(failed) == "A27_chat_is_busy"
    assert texts(kept(workbench)) == {BASE: "base 0 1"}


def test_a_conversation_is_answered_once_at_a_time(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk)
    first = handlers.send(workbench, "en", desk, "q2", "", *form.values)
    next(first)
    for second in (send, lambda *_: handlers.take_back(workbench, "en", desk, *form.values)):
        with pytest.raises(WorkbenchError) as refused:
            second(workbench, desk, "q3", form)
        assert key_of(refused) == "A01_conversation_busy"
    first.close()
    assert [turn.user for turn in kept(workbench).turns] == ["q1", "q2"]


def test_a_conversation_deleted_while_it_is_answered_does_not_come_back(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk)
    answering = handlers.send(workbench, "en", desk, "q2", "", *form.values)
    next(answering)
    handlers.delete(workbench, "en", desk, *form.scene)
    list(answering)
    assert workbench.conversations.list().summaries == ()


def test_a_title_given_while_it_is_answered_stays(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk)
    answering = handlers.send(workbench, "en", desk, "q2", "", *form.values)
    next(answering)
    handlers.rename(workbench, "en", desk, "Foxes", *form.scene)
    list(answering)
    assert kept(workbench).title == "Foxes"
    assert len(kept(workbench).turns) == 2


def test_retry_adds_a_variant_in_every_pane_or_in_one(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk, ("", "poet"))
    list(handlers.again(workbench, "en", desk, "", *form.values))
    list(handlers.again(workbench, "en", desk, "", *form.values, pane=1))
    assert [each.adapter for each in workbench.asked] == ["poet"]
    assert {name: len(column.variants) for name, column in kept(workbench).turns[0].columns.items()} == {
        BASE: 2,
        "poet": 3,
    }


def test_the_variant_that_is_shown_is_the_one_that_the_model_reads_next(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk)
    workbench.words = 5
    list(handlers.again(workbench, "en", desk, "", *form.values))
    updates = handlers.other_variant(workbench, "en", desk, *form.values, pane=0, by=-1)
    assert window(updates, 0, SHOWN) == ["q1", "base 0 1 2"]
    send(workbench, desk, "q2", form)
    assert workbench.asked[0].messages[1] == {"role": "assistant", "content": "base 0 1 2"}


def test_continue_makes_the_last_answer_longer(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk)
    list(handlers.carry_on(workbench, "en", desk, *form.values))
    assert workbench.asked[0].reply_start == "base 0 1 2"
    assert texts(kept(workbench)) == {BASE: "base 0 1 2base 0 1 2"}
    assert len(kept(workbench).turns[0].columns[BASE].variants) == 1


def test_an_edited_message_is_answered_anew_and_what_followed_goes(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk)
    send(workbench, desk, "q2", form)
    event = gr.EditData(None, {"index": 0, "value": "Is <\u2060b> bold?", "previous_value": "q1"})
    list(handlers.edit(workbench, "en", event, desk, *form.values, pane=0))
    assert [turn.user for turn in kept(workbench).turns] == ["Is <b> bold?"]
    assert texts(kept(workbench)) == {BASE: "base 0 1 2"}


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ({"index": 99, "value": "x"}, "H11_no_such_message"),
        ({"index": -1, "value": "x"}, "H11_no_such_message"),
        ({"index": [0, 1], "value": "x"}, "H11_no_such_message"),
        ({}, "H11_no_such_message"),
        ({"index": 0}, "H11_message_missing"),
        ({"index": 0, "value": 5}, "H11_message_not_text"),
    ],
)
def test_an_edit_of_no_message_is_refused(workbench: Any, desk: Desk, sent: dict[str, Any], key: str) -> None:
    form = begun(workbench, desk)
    with pytest.raises(WorkbenchError) as refused:
        list(handlers.edit(workbench, "en", gr.EventData(None, sent), desk, *form.values, pane=0))
    assert key_of(refused) == key


def test_undo_gives_the_words_back(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk)
    words, *_ = handlers.take_back(workbench, "en", desk, *form.values)
    assert words == "q1"
    assert kept(workbench).turns == ()


@pytest.mark.parametrize("handler", [handlers.carry_on, handlers.take_back, handlers.again])
def test_what_acts_on_the_last_message_needs_one(workbench: Any, desk: Desk, handler: Any) -> None:
    values = ["", *Form().values] if handler is handlers.again else Form().values
    with pytest.raises(WorkbenchError) as refused:
        result = handler(workbench, "en", desk, *values)
        list(result if isinstance(result, Iterator) else [])
    assert key_of(refused) == "H11_nothing_said"


def test_an_adapter_that_is_chosen_gets_applied_and_one_that_is_refused_is_taken_out(
    workbench: Any, desk: Desk
) -> None:
    workbench.broken = {"judge"}
    updates = handlers.choose_columns(workbench, "en", desk, *Form(columns=("", "poet", "judge")).scene)
    assert next(updates)[1]["value"] == ["", "poet"]
    assert workbench.applied_names == ["poet"]
    with pytest.raises(WorkbenchError):
        next(updates)


@pytest.mark.parametrize("columns", [(), None, "poet", 5, ("gone",), ({},)])
def test_without_a_column_that_there_is_the_base_model_answers(workbench: Any, desk: Desk, columns: Any) -> None:
    assert handlers.show(workbench, "en", desk, *Form(columns=columns).scene)[1]["value"] == [""]


def test_the_adapter_in_training_answers_in_the_column_of_its_name_with_its_step(workbench: Any, desk: Desk) -> None:
    workbench.run = SceneRun("fox")
    send(workbench, desk, "Hello", Form(columns=("run:r1",)))
    assert workbench.asked[0].adapter == "fox @ 40"
    assert kept(workbench).turns[0].columns["fox"].answer.step == 40
    restored = handlers.restore(workbench, "en", desk, *Form(current=kept(workbench).id).scene)
    assert restored[1]["value"] == ["run:r1"]
    assert handlers.show(workbench, "en", desk, *Form(columns=("", "fox @ 30")).scene)[1]["value"] == ["", "run:r1"]
    workbench.run, workbench.names = None, ["fox"]
    assert handlers.restore(workbench, "en", desk, *Form(current=kept(workbench).id).scene)[1]["value"] == ["fox"]


def test_a_run_that_has_ended_answers_with_the_adapter_it_kept(workbench: Any, desk: Desk) -> None:
    workbench.run = SceneRun("fox")
    form = begun(workbench, desk, ("", "run:r1"))
    assert workbench.applied_names == ["fox @ 40"]
    workbench.run = SceneRun("fox", status=Status.FINISHED, adapter="fox-2")
    workbench.names = ["fox", "fox-2"]  # an older adapter has the run's name
    assert handlers.show(workbench, "en", desk, *form.scene)[1]["value"] == ["", "fox-2"]
    send(workbench, desk, "q2", form)
    assert [each.adapter for each in workbench.asked] == [None, "fox-2"]
    list(handlers.again(workbench, "en", desk, "", *form.values, pane=1))
    assert [each.adapter for each in workbench.asked] == ["fox-2"]


@pytest.mark.parametrize("run", [None, SceneRun("fox", status=Status.STOPPED)])
def test_a_run_that_kept_nothing_falls_away_and_no_other_pane_answers_for_it(
    workbench: Any, desk: Desk, run: SceneRun | None
) -> None:
    workbench.run = SceneRun("fox")
    form = begun(workbench, desk, ("run:r1", "poet"))
    workbench.run = run
    with pytest.raises(WorkbenchError) as refused:
        list(handlers.again(workbench, "en", desk, "", *form.values, pane=0))
    assert key_of(refused) == "H11_no_such_pane"
    list(handlers.again(workbench, "en", desk, "", *form.values, pane=1))
    assert [each.adapter for each in workbench.asked] == ["poet"]
    assert handlers.show(workbench, "en", desk, *form.scene)[1]["value"] == ["poet"]


def test_a_stop_before_the_answer_has_begun_is_not_lost(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk)
    ask = workbench.chat

    def chat(requests: Any) -> Any:
        handlers.stop(workbench, "en", desk, form.current)
        return ask(requests)

    workbench.chat = chat
    send(workbench, desk, "q2", form)
    assert texts(kept(workbench)) == {BASE: "base"}
    workbench.chat = ask
    send(workbench, desk, "q3", form)
    assert texts(kept(workbench)) == {BASE: "base 0 1 2"}


def test_a_damaged_conversation_is_named_under_the_list(workbench: Any, desk: Desk) -> None:
    begun(workbench, desk)
    file = next(workbench.conversations._folder.glob("*.json"))
    file.with_name(f"{'0' * 32}.json").write_text("{", encoding="utf-8")
    _, unreadable = handlers.search(workbench, "en", "", None)
    assert "A21" in unreadable
    assert unreadable == handlers.show(workbench, "en", desk, *Form().scene)[SHOWN - 2]


def test_a_reloaded_page_has_the_conversation_and_its_columns_again(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk, ("", "poet"))
    updates = handlers.restore(workbench, "en", desk, *Form(current=form.current).scene)
    assert updates[0] == form.current
    assert updates[1]["value"] == ["", "poet"]
    assert window(updates, 1, SHOWN) == ["q1", "poet 0 1 2"]


def test_a_tab_that_is_opened_before_the_page_is_restored_shows_who_answered(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk, ("", "poet"))
    assert handlers.show(workbench, "en", desk, *form.but(columns=()).scene)[1]["value"] == ["", "poet"]


@pytest.mark.parametrize("current", ["0" * 32, "../x", 5, None])
def test_a_page_whose_conversation_is_gone_opens_with_a_new_one(workbench: Any, desk: Desk, current: Any) -> None:
    updates = handlers.restore(workbench, "en", desk, *Form(current=current).scene)
    assert updates[0] is None
    assert window(updates, 0, SHOWN) == []


def test_a_new_chat_begins_with_the_characters_greeting(workbench: Any, desk: Desk) -> None:
    character = workbench.characters.list("zh").characters[0]
    form = Form(character=character.name)
    updates = handlers.new_conversation(workbench, "en", desk, *form.scene)
    assert window(updates, 0, SHOWN) == [character.greeting]
    send(workbench, desk, "Hello", form)
    assert workbench.asked[0].messages[0] == {"role": "system", "content": character.system_prompt}
    assert kept(workbench).character == character.name


def test_search_lists_the_conversations_in_which_it_was_said(workbench: Any, desk: Desk) -> None:
    begun(workbench, desk, message="about foxes")
    begun(workbench, desk, message="about owls")
    assert [title for title, _ in handlers.search(workbench, "en", "FOX", None)[0]["choices"]] == ["about foxes"]


def test_rename_delete_and_choose_act_on_the_server(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk)
    assert handlers.rename(workbench, "en", desk, " A title ", *form.scene)[3] == "A title"
    assert handlers.choose_conversation(workbench, "en", desk, form.current, *Form().scene)[0] == form.current
    assert handlers.delete(workbench, "en", desk, *form.scene)[0] is None
    with pytest.raises(WorkbenchError) as refused:
        handlers.choose_conversation(workbench, "en", desk, form.current, *Form().scene)
    assert key_of(refused) == "A30_no_conversation"


def test_exports_hold_the_text_as_it_was_said(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk, message="<b> & ![x](y)")
    as_json = json.loads(handlers.export_json(workbench, "en", desk, form.current))
    as_markdown = json.loads(handlers.export_markdown(workbench, "zh", desk, form.current))
    assert json.loads(as_json["content"])["turns"][0]["user"] == "<b> & ![x](y)"
    assert "<b> & ![x](y)" in as_markdown["content"]
    assert (as_json["name"][-5:], as_markdown["name"][-3:]) == (".json", ".md")


def test_the_note_without_a_model_is_shown_only_then(workbench: Any, desk: Desk) -> None:
    assert handlers.show(workbench, "en", desk, *Form().scene)[6]["visible"] is False
    workbench.model = None
    assert handlers.show(workbench, "en", desk, *Form().scene)[6]["visible"] is True
