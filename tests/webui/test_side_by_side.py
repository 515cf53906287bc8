"""Comparing on the Chat tab: blind orders, votes, differences, the walk through training; scripted answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from core.chat import blind
from core.chat.characters import Character
from core.errors import WorkbenchError
from core.i18n import LANGUAGES
from tests.webui.chat_scene import Form, SceneRun, SceneWorkbench
from tests.webui.test_chat_tab import ANSWERING, PANE, SHOWN, begun, kept, key_of, send, window
from webui import chat_handlers as handlers
from webui import steps_panel, vote_panel
from webui.chat_desk import Desk

COMPARED = SHOWN - 1  # where the outputs of `show` have what stands under the panes
THREE = ("", "poet", "judge")


@pytest.fixture
def workbench(tmp_path: Path) -> Any:
    return SceneWorkbench(tmp_path)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(autouse=True)
def _known_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret order is the other way round."""
    monkeypatch.setattr("webui.chat_flow.shuffled", lambda things: tuple(reversed(things)))


def hidden(workbench: Any, desk: Desk, columns: tuple[str, ...] = THREE) -> Form:
    """A blind comparison that waits for its vote, and the form of the browser that asked."""
    form = begun(workbench, desk, columns, "open question").but(blind=True)
    send(workbench, desk, "q2", form)
    return form


def click(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def vote(workbench: Any, desk: Desk, form: Form, **data: Any) -> list[Any]:
    return vote_panel.vote(workbench, "en", click(**data), desk, *form.scene)


def test_five_answer_side_by_side(workbench: Any, desk: Desk) -> None:
    workbench.names = ["poet", "judge", "fox", "owl"]
    send(workbench, desk, "Hello", Form(columns=("", *workbench.names)))
    assert [each.adapter for each in workbench.asked] == [None, *workbench.names]


def test_nothing_that_is_sent_before_a_blind_vote_tells_who_answered(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk, THREE, "open question").but(blind=True)
    workbench.words = 9
    sent = send(workbench, desk, "q2", form)
    shown = handlers.show(workbench, "en", desk, *form.scene)
    texts = [window(sent[-1], pane, ANSWERING)[-1] for pane in range(3)]
    assert [words.split()[0] for words in texts] == ["judge", "poet", "base"], "the scripted answers say who they are"
    assert [each.adapter for each in workbench.asked] == ["judge", "poet", None]
    panes = [update[ANSWERING:] for update in sent] + [shown[SHOWN:]]
    said = json.dumps([*panes, shown[COMPARED]]).replace(json.dumps(texts), "")
    for word in ("judge 0", "poet 0", "base 0"):  # what the answers themselves say
        said = said.replace(word, "")
    assert not [word for word in ("judge", "poet", "Base", "base", "seed", "tokens", "open question") if word in said]
    assert "Answer B" in shown[SHOWN + PANE + 1] and "Answer C" in shown[COMPARED]
    assert shown[1]["value"] == ["", "poet", "judge"], "the selector keeps its own order"


def test_a_reloaded_page_does_not_tell_the_order_in_which_the_answers_came(workbench: Any, desk: Desk) -> None:
    send(workbench, desk, "first", Form(columns=THREE, blind=True))
    updates = handlers.restore(workbench, "en", desk, *Form(current=kept(workbench).id).scene)
    assert updates[1]["value"] == ["", "judge", "poet"]
    assert "Answer A" in updates[SHOWN + 1]


def test_a_vote_shows_the_names_in_the_order_of_the_panes_and_is_counted(workbench: Any, desk: Desk) -> None:
    form = hidden(workbench, desk)
    *shown, tally = vote(workbench, desk, form, do="vote", choice="0")
    (given,) = workbench.votes.list()
    assert (given.columns, given.best, given.blind, given.message) == (("judge", "poet", "base"), "judge", True, "q2")
    assert shown[1]["value"] == ["judge", "poet", ""]
    assert window(shown, 0, SHOWN) == ["open question", "judge 0 1 2", "q2", "judge 0 1 2"]
    assert 'aria-pressed="true">judge<' in shown[COMPARED] and "reveal" not in shown[COMPARED]
    assert "<div>judge</div>" in tally
    vote(workbench, desk, form, do="vote", choice="equal")
    assert [each.best for each in workbench.votes.list()] == [None], "voting again replaces the vote"


def test_names_can_be_shown_without_a_vote(workbench: Any, desk: Desk) -> None:
    form = hidden(workbench, desk)
    assert vote(workbench, desk, form, do="reveal")[1]["value"] == ["judge", "poet", ""]
    assert list(workbench.votes.list()) == []


@pytest.mark.parametrize("choice", ["3", "-1", "", None, 0, "0x", ["0"]])
def test_a_vote_for_no_answer_is_refused_and_tells_nothing(workbench: Any, desk: Desk, choice: Any) -> None:
    form = hidden(workbench, desk)
    with pytest.raises(WorkbenchError) as refused:
        vote(workbench, desk, form, do="vote", choice=choice)
    assert key_of(refused) == "H11_no_such_answer"
    assert desk.blind.get(form.current)
    assert not desk.busy(form.current)


def test_while_names_are_hidden_nothing_else_tells_them(workbench: Any, desk: Desk) -> None:
    form = hidden(workbench, desk)
    for tells in (
        lambda: handlers.export_json(workbench, "en", desk, form.current),
        lambda: handlers.export_markdown(workbench, "en", desk, form.current),
        lambda: handlers.other_variant(workbench, "en", desk, *form.scene, pane=0, by=1),
    ):
        with pytest.raises(WorkbenchError) as refused:
            tells()
        assert key_of(refused) == "H11_names_are_hidden"


def test_retry_of_one_hidden_pane_asks_who_sits_there_and_stays_hidden(workbench: Any, desk: Desk) -> None:
    form = hidden(workbench, desk)
    sent = list(handlers.again(workbench, "en", desk, "", *form.values, pane=0))
    assert [each.adapter for each in workbench.asked] == ["judge"]
    assert "Answer A" in sent[0][ANSWERING + 1]
    list(handlers.carry_on(workbench, "en", desk, *form.values))
    assert [each.adapter for each in workbench.asked] == ["judge", "poet", None]
    assert desk.blind.get(form.current)


@pytest.mark.parametrize("way", ["undo", "open question", "delete"])
def test_what_ends_a_blind_comparison_hides_nothing_any_more(workbench: Any, desk: Desk, way: str) -> None:
    form = hidden(workbench, desk)
    if way == "undo":
        handlers.take_back(workbench, "en", desk, *form.scene)
    elif way == "delete":
        handlers.delete(workbench, "en", desk, *form.scene)
    else:
        send(workbench, desk, "q3", form.but(blind=False))
    assert desk.blind.get(form.current) is None


def test_a_question_that_is_refused_hides_nothing(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk, THREE).but(blind=True)
    workbench.model = None
    with pytest.raises(WorkbenchError):
        send(workbench, desk, "q2", form)
    assert desk.blind.get(form.current) is None


def test_one_pane_is_no_comparison(workbench: Any, desk: Desk) -> None:
    form = begun(workbench, desk).but(blind=True)
    send(workbench, desk, "q2", form)
    assert desk.blind.get(form.current) is None
    assert handlers.show(workbench, "en", desk, *form.scene)[COMPARED] == ""


@pytest.mark.parametrize("lang", LANGUAGES)
def test_differences_are_marked_when_wished_for_and_inert(workbench: Any, desk: Desk, lang: Any) -> None:
    workbench.names = ["<b>poet"]
    form = begun(workbench, desk, ("", "<b>poet"))
    assert "<mark>" not in handlers.show(workbench, lang, desk, *form.scene)[COMPARED]
    marked = handlers.show(workbench, lang, desk, *form.but(marked=True).scene)[COMPARED]
    assert "<mark>base </mark>0 1 2" in marked and "<mark>&lt;b&gt;poet </mark>0 1 2" in marked
    assert "<b>" not in marked


def test_the_secret_order_is_drawn_from_all_there_are() -> None:
    seen = {blind.shuffled(("a", "b", "c")) for _ in range(300)}
    assert len(seen) == 6


def test_votes_are_exported_and_cleared(workbench: Any, desk: Desk) -> None:
    form = hidden(workbench, desk)
    vote(workbench, desk, form, do="vote", choice="0")
    file = json.loads(vote_panel.export_csv(workbench, "en"))
    assert file["name"].endswith(".csv") and "judge" in file["content"]
    assert json.loads(json.loads(vote_panel.export_jsonl(workbench, "en"))["content"])["best"] == "judge"
    *_, tally = vote_panel.clear(workbench, "en", desk, *form.scene)
    assert list(workbench.votes.list()) == [] and "<table>" not in tally


# ---- saved steps ----


@pytest.fixture
def trained(workbench: Any) -> Any:
    """A run that has ended and kept the adapters of two steps."""
    workbench.run = SceneRun("fox", status=SceneRun("").status.FINISHED, adapter="fox")
    workbench.names, workbench.steps = ["fox"], (10, 20)
    return workbench


def walk(workbench: Any, desk: Desk, form: Form, place: Any, run: Any = "r1") -> list[list[str]]:
    return list(steps_panel.answer(workbench, "en", desk, run, place, *form.values))


def test_a_step_answers_the_last_message_with_the_seed_of_the_panes_and_is_remembered(trained: Any, desk: Desk) -> None:
    form = begun(trained, desk)
    head, shown = walk(trained, desk, form, 1)[-1]
    assert "Step 10 · 1 of 2" in head and "validation loss 2" in head
    assert 'aria-busy="false">fox @ 10 0 1 2<' in shown
    (asked,) = trained.asked
    assert (asked.messages, asked.sampling.seed) == (({"role": "user", "content": "q1"},), 7)
    streams = len(trained.streams)
    assert walk(trained, desk, form, 1) == [[head, shown]], "at once"
    assert "best" in walk(trained, desk, form, 2)[-1][0]
    assert "base 0 1 2" in walk(trained, desk, form, 0)[-1][1]
    marked = walk(trained, desk, form.but(marked=True), 2)[-1][1]
    assert "new since step 10" in marked and "<mark>20 </mark>" in marked
    assert len(trained.streams) == streams + 2


@pytest.mark.parametrize("changed", ["precision", "character", "typed"])
def test_an_answer_made_otherwise_is_not_shown_again(trained: Any, desk: Desk, changed: str) -> None:
    trained.characters.save(Character("Momo", "Purr."))
    form = begun(trained, desk).but(character="Momo")
    shown = walk(trained, desk, form, 1)[-1]
    before, streams = form, len(trained.streams)
    if changed == "precision":
        trained.precision = "int4"
    elif changed == "character":
        trained.characters.save(Character("Momo", "Hiss."))
    else:
        form = form.but(prompt="Bark.")
    assert len(walk(trained, desk, form, 1)) > 1, "asked anew"
    assert len(trained.streams) == streams + 1
    said = {"precision": "Purr.", "character": "Hiss.", "typed": "Bark."}[changed]
    assert trained.asked[0].messages[0] == {"role": "system", "content": said}
    trained.precision = "bf16"
    trained.characters.save(Character("Momo", "Purr."))
    assert walk(trained, desk, before, 1) == [shown], "back as it was, the answer is at hand"


def test_a_character_without_a_prompt_changes_no_answer(trained: Any, desk: Desk) -> None:
    trained.characters.save(Character("Momo", "", "Hello."))
    form = begun(trained, desk)
    shown = walk(trained, desk, form, 1)[-1]
    assert walk(trained, desk, form.but(character="Momo"), 1) == [shown], "a greeting is shown, not sent"


def test_moving_on_ends_the_answer_in_progress(trained: Any, desk: Desk) -> None:
    form = begun(trained, desk)
    trained.words = 50
    first = steps_panel.answer(trained, "en", desk, "r1", 1, *form.values)
    next(first), next(first)
    trained.words = 2
    walk(trained, desk, form, 2)
    assert list(first) == []
    assert trained.streams[-2].is_cancelled
    assert "<mark>" not in walk(trained, desk, form, 1)[0][1], "what was broken off is not remembered"


def test_a_step_can_stand_beside_the_others(trained: Any, desk: Desk) -> None:
    form = begun(trained, desk)
    updates = steps_panel.beside(trained, "en", desk, "r1", 1, *form.values)
    assert updates[1]["value"] == ["", "step:r1:10"]
    assert ("fox @ 10", "step:r1:10") in updates[1]["choices"]
    send(trained, desk, "q2", form.but(columns=("", "step:r1:10", "step:r1:20")))
    assert [each.adapter for each in trained.asked] == [None, "fox @ 10", "fox @ 20"]
    assert kept(trained).turns[-1].columns["fox @ 10"].answer.step == 10
    restored = handlers.restore(trained, "en", desk, *Form(current=form.current).scene)
    assert restored[1]["value"] == ["", "step:r1:10", "step:r1:20"]
    trained.steps = (20,)
    assert handlers.show(trained, "en", desk, *form.but(columns=("step:r1:10",)).scene)[1]["value"] == [""]


def test_the_panel_offers_runs_of_the_loaded_model_that_have_saved_steps(trained: Any, desk: Desk) -> None:
    form = begun(trained, desk)
    run, slider, *_ = steps_panel.draw(trained, "en", desk, None, None, *form.values)
    assert run["value"] == "r1" and (slider["maximum"], slider["value"]) == (2, 2)
    assert "Send a message" in steps_panel.draw(trained, "en", desk, "r1", 1, *Form().values)[-1]
    trained.steps = ()
    run, slider, *_ = steps_panel.draw(trained, "en", desk, "r1", 1, *form.values)
    assert run["value"] is None and slider["visible"] is False


@pytest.mark.parametrize(
    ("run", "key"), [("../x", "A30_no_such_run"), (5, "A30_no_such_run"), (None, "A30_no_such_run")]
)
def test_a_run_that_there_is_none_of_is_refused(trained: Any, desk: Desk, run: Any, key: str) -> None:
    form = begun(trained, desk)
    with pytest.raises(WorkbenchError) as refused:
        walk(trained, desk, form, 1, run)
    assert key_of(refused) == key


@pytest.mark.parametrize(
    "value", ["step:", "step:r1:", "step:r1:x", "step:r1:²", "step::5", "step:gone:10", "step:r1:99"]
)
def test_a_step_that_there_is_none_of_is_no_column(trained: Any, desk: Desk, value: str) -> None:
    assert handlers.show(trained, "en", desk, *Form(columns=(value,)).scene)[1]["value"] == [""]
