"""Adapters as they are applied on the Model tab and answer on the Chat tab: the real workbench on the tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from core.chat.conversations import BASE
from core.settings import LoadSettings, SamplingSettings
from core.workbench import Workbench
from core.workspace import Workspace
from tests.webui.chat_scene import Form
from tests.webui.test_chat_tab import SHOWN, begun, kept, texts
from webui import adapter_panel, chat_columns, run_actions, strength_panel
from webui import chat_handlers as handlers
from webui.chat_desk import Desk
from webui.sampling_form import form_of

SHORT = Form(sampling=tuple(form_of(SamplingSettings(do_sample=False, max_new_tokens=8, seed=1))))
BOTH = "poet × 0.5 + cook"


@pytest.fixture
def workbench(workspace_with_tiny: Workspace, tiny_model: Any) -> Iterator[Workbench]:
    from tests.core.adapters.building import save_random_adapter

    for seed, name in enumerate(("cook", "poet")):
        save_random_adapter(tiny_model, workspace_with_tiny.adapters / name, seed)
    with Workbench(workspace_with_tiny) as made:
        made.load_model("tiny", LoadSettings(precision="fp32"))
        yield made


@pytest.fixture
def desk() -> Desk:
    return Desk()


def asked(workbench: Workbench, desk: Desk, *columns: str) -> tuple[list[Any], dict[str, str]]:
    """Choose who answers and send a message: the tab as it was with the choice, and the answers."""
    form = SHORT.but(columns=columns)
    (chosen,) = handlers.choose_columns(workbench, "en", desk, *form.scene)
    list(handlers.send(workbench, "en", desk, "Who are you?", "", *form.values))
    return chosen, texts(kept(workbench))


def listed(shown: list[Any]) -> dict[str, str]:
    """What the table of adapters says of each: whether chat has it."""
    return {row[0]: row[1] for row in shown[0]["data"]}


def test_the_chat_answers_in_the_strength_that_was_set(workbench: Workbench, desk: Desk) -> None:
    _, whole = asked(workbench, desk, "", "poet")
    assert workbench.strengths() == {"poet": 1.0} and whole["poet"] != whole[BASE]
    adapter_panel.apply_adapter(workbench, "en", "poet", 0)
    chosen, none = asked(workbench, desk, "", "poet")
    assert none["poet"] == none[BASE] == whole[BASE]
    assert workbench.strengths() == {"poet": 0.0}
    assert ("poet × 0", "poet") in chosen[1]["choices"] and ">poet × 0<" in chosen[SHOWN + 7]
    assert listed(adapter_panel.show_adapters(workbench, "en", "poet"))["poet"] == "✓ applied × 0"


def test_a_run_that_is_opened_in_chat_leaves_its_adapter_the_strength_it_has(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = SimpleNamespace(status=SimpleNamespace(active=False), adapter="poet")
    monkeypatch.setattr(workbench.runs, "snapshot", lambda run_id: ended)
    workbench.apply_adapter("poet", 0.5)
    run_actions.chat_with_it(workbench, "en", "r1")
    assert workbench.strengths() == {"poet": 0.5}


def test_a_combination_in_chat_answers_under_its_name(workbench: Workbench, desk: Desk) -> None:
    assert BOTH in strength_panel.apply_combination(workbench, "en", "poet", 0.5, "cook", 1.0)
    chosen, answers = asked(workbench, desk, "", BOTH)
    assert (BOTH, BOTH) in chosen[1]["choices"] and f">{BOTH}<" in chosen[SHOWN + 7]
    assert answers.keys() == {BASE, BOTH} and answers[BOTH] != answers[BASE]
    workbench.save_combination([("poet", 0.5), ("cook", 1.0)], "both")
    assert asked(workbench, desk, "both")[1]["both"] == answers[BOTH]
    form = begun(workbench, desk, (BOTH,))
    assert handlers.restore(workbench, "en", desk, form.current, [], *form.scene[2:])[1]["value"] == [BOTH]


def test_a_combination_is_listed_with_the_adapters_and_can_be_taken_off_chat(workbench: Workbench) -> None:
    strength_panel.apply_combination(workbench, "en", "poet", 0.5, "cook", 1.0)
    shown = adapter_panel.show_adapters(workbench, "en", BOTH)
    assert listed(shown) == {"cook": "–", "poet": "–", BOTH: "✓ applied"}
    assert shown[0]["data"][-1][3] == "in memory only, no files"
    assert (shown[1]["choices"], shown[1]["value"]) == (["cook", "poet", BOTH], BOTH)
    assert {len(row) for row in shown[0]["data"]} == {len(shown[0]["headers"])}
    row: Any = SimpleNamespace(row_value=shown[0]["data"][-1])
    assert adapter_panel.pick_adapter(workbench, "en", row)["value"] == BOTH
    told = adapter_panel.choose_adapter(workbench, "en", BOTH)
    assert [update["interactive"] for update in told[:5]] == [False] * 5, "it can only be removed"
    assert [update["interactive"] for update in adapter_panel.choose_adapter(workbench, "en", "poet")[:5]] == [True] * 5
    assert chat_columns.present_columns(workbench, ["", BOTH]) == ("", BOTH)
    shown = adapter_panel.remove_adapter(workbench, "en", BOTH)
    assert workbench.applied() == [] and listed(shown).keys() == {"cook", "poet"} == set(shown[1]["choices"])
    assert chat_columns.present_columns(workbench, [BOTH]) == ("",)


def test_an_applied_step_of_a_run_is_no_adapter_of_the_list(workbench: Workbench) -> None:
    workbench.serving.apply_step("verse @ 10", workbench.workspace.adapters / "poet")
    assert listed(adapter_panel.show_adapters(workbench, "en", None)).keys() == {"cook", "poet"}
    assert chat_columns.present_columns(workbench, ["verse @ 10"]) == ("",)
