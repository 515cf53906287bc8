"""The run's form against a stand-in workbench: method, plan, suggestions, start, queue, several values, a YAML."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from core.adapters.method_facts import METHODS
from core.adapters.method_size import MethodSize
from core.data.library import DataLibrary
from core.data.options import DataOptions
from core.errors import Place, Problem, WorkbenchError, refusal
from core.i18n import LANGUAGES, Language, text
from core.settings import MethodSettings
from core.training.spec import RunSpec, StartingAdapter, spec_text
from core.workspace import Workspace
from tests.webui.data_scene import NAME
from tests.webui.run_scene import StandInForm, form_sent
from tests.webui.test_views import HOSTILE, PLAN
from webui import (
    forecast_views,
    method_panel,
    method_views,
    plan_panel,
    plan_views,
    reuse_panel,
    run_form,
    run_panel,
    setting_words,
    start_panel,
    sweep_panel,
)
from webui.run_form import FORM, METHOD, SETTINGS
from webui.start_panel import HIDDEN


@pytest.fixture
def workbench(workspace: Workspace) -> Any:
    return StandInForm(workspace=workspace)


def on_base(workbench: Any, precision: str) -> None:
    choice = replace(workbench.status.precision, precision=precision)
    workbench.status = replace(workbench.status, precision=choice)


def plan_of(workbench: Any, lang: Language = "en", **changes: Any) -> tuple[str, Any, str, bool]:
    """The last answer of `show_plan`: the method's card, alpha's update, the plan's card, whether it was refused."""
    *_, last = plan_panel.show_plan(workbench, lang, *form_sent(**changes))
    method, alpha, card, refused = last
    return method, alpha, card, refused


def offered(card: str) -> list[dict[str, Any]]:
    """The values behind the buttons of a card."""
    return [json.loads(html.unescape(found)) for found in re.findall(r'data-values="([^"]*)"', card)]


# ---- the method ----


def drawn(workbench: Any, method: str, start_from: str = "", lang: Language = "en") -> dict[str, Any]:
    """The updates of `draw_method` by the names of their components."""
    names = ("start_from", "method", "target_modules", "learning_rate", "unseen")
    return dict(zip(names, method_panel.draw_method(workbench, lang, method, start_from), strict=True))


def unseen(updates: dict[str, Any]) -> set[str]:
    """The settings (`rank`) and groups (`#method`) that are taken off the page."""
    found = re.findall(r"#(run|group)-(\w+)", updates["unseen"])
    return {name if kind == "run" else f"#{name}" for kind, name in found}


@pytest.mark.parametrize("method", METHODS)
def test_only_the_settings_that_a_method_uses_are_seen(workbench: Any, method: str) -> None:
    used = {*METHODS[method].settings}
    group = set() if used & {*run_form.GROUPS["method"]} else {"#method"}
    assert unseen(drawn(workbench, method)) == {*METHOD} - {"method"} - used | group


def test_layers_are_offered_as_groups_and_by_the_models_own_names(workbench: Any) -> None:
    offered_layers = [value for _, value in drawn(workbench, "lora")["target_modules"]["choices"]]
    assert offered_layers == ["all-linear", "attention", "mlp", "q_proj", "down_proj"]


def test_the_learning_rate_says_what_is_usual_for_the_method(workbench: Any) -> None:
    lora, ia3 = drawn(workbench, "lora")["learning_rate"], drawn(workbench, "ia3")["learning_rate"]
    usual = setting_words.short_number(METHODS["ia3"].learning_rate)
    assert (lora["placeholder"], ia3["placeholder"]) == ("automatic: 2e-4", f"automatic: {usual}")
    assert "Usual for LoRA: 5e-5 to 0.001." in lora["info"]
    assert "IA" in ia3["info"]


@pytest.mark.parametrize(("rank", "words"), [(16, "automatic: 32"), (8.0, "automatic: 16"), (None, "twice the rank")])
def test_alpha_follows_the_rank_until_it_is_edited(workbench: Any, rank: Any, words: str) -> None:
    assert words in plan_of(workbench, rank=rank)[1]["placeholder"]


@pytest.mark.parametrize(("precision", "base"), [("nf4", "4-bit"), ("int8", "8-bit")])
def test_methods_that_a_quantised_base_refuses_are_marked_and_refused_in_words(
    workbench: Any, precision: str, base: str
) -> None:
    on_base(workbench, precision)
    names = {method: words for words, method in drawn(workbench, "lora")["method"]["choices"]}
    for method, facts in METHODS.items():
        fits = precision in facts.quantised
        assert (f"not on a {base} base" in names[method]) == (not fits)
        assert (f"cannot train on a {base} base" in plan_of(workbench, method=method)[0]) == (not fits)
    assert names["lora"] == f"LoRA (QLoRA: the base is {base})"


def test_on_a_full_base_no_method_is_marked(workbench: Any) -> None:
    plain = [words for words, _ in drawn(workbench, "lora")["method"]["choices"]]
    assert plain == [text(f"methods.{name}.name", "en") for name in METHODS]


def test_a_method_says_how_much_it_trains_and_what_it_cannot_do(workbench: Any) -> None:
    card = plan_of(workbench, method="prompt")[0]
    assert "Trains 4.9 M of 139.0 M parameters, 3.53 %" in card
    assert text("methods.prompt.help", "en") in html.unescape(card)
    assert "cannot be merged" in card
    assert "models/" in plan_of(workbench, method="full")[0]
    assert "copies that take 1.0 GB" in method_views.size_words(MethodSize(1, 2, copied_bytes=10**9), "en")
    assert "139.0 M" not in plan_of(workbench, rank=0)[0]  # the plan says what is wrong


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_limits_in_both_languages(method: str, lang: Language) -> None:
    facts = METHODS[method]  # type: ignore[index]
    said = method_views.limits(facts, lang)
    refused = {*method_views.QUANTISED} - {*facts.quantised}
    assert bool(said) == (not facts.shares_batch or not facts.mergeable or facts.rewrites_base or bool(refused))


def test_an_adapter_that_is_trained_further_gives_the_method(workbench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made_with = MethodSettings(method="dora", rank=4, layers=(0, 1, 2))
    monkeypatch.setattr(method_panel, "method_settings", lambda folder: made_with)
    monkeypatch.setattr(workbench, "adapter_details", lambda name: SimpleNamespace(folder=name), raising=False)
    workbench.known = [
        SimpleNamespace(name="judge", base_name="m", errors=()),
        SimpleNamespace(name="stranger", base_name="other", errors=()),
        SimpleNamespace(name="broken", base_name="m", errors=("x",)),
    ]
    updates = drawn(workbench, "lora", "judge")
    assert [value for _, value in updates["start_from"]["choices"]] == ["", "judge"]
    assert unseen(updates) >= {"method", "rank", "layers"}
    assert "dropout" not in unseen(updates)
    gone = drawn(workbench, "lora", "stranger")["start_from"]
    assert (gone["value"], gone["choices"][-1]) == ("stranger", ("stranger", "stranger")), "else it starts from nothing"
    card = plan_of(workbench, start_from="judge", rank=64, dropout=0.1)[0]
    assert "“judge”" in card and "0, 1, 2" in card and "64" not in card
    start_panel.start_run(workbench, "en", "", *form_sent(start_from="judge", rank=64, dropout=0.1))
    spec = workbench.calls[-1][1]
    assert (spec.method, spec.start_from.adapter) == (made_with.model_copy(update={"dropout": 0.1}), "judge")


# ---- the plan ----


def test_a_plan_needs_no_name(workbench: Any) -> None:
    assert "2 × 4 = batch of 8" in plan_of(workbench, name=None)[2]
    assert workbench.calls == [("plan", "adapter")]


def test_settings_that_make_no_run_are_explained_in_the_plan_and_not_in_a_toast(workbench: Any) -> None:
    *_, card, refused = plan_of(workbench, rank=-1)
    assert "H01" in card
    assert refused is True


def test_what_differs_from_the_defaults_is_listed_with_them(workbench: Any) -> None:
    assert "Changed from the defaults" not in plan_of(workbench)[2]
    card = plan_of(workbench, rank=8, scheduler="linear", layers="0-2", packing=True)[2]
    assert "Changed from the defaults: 4" in card
    for words in ("<td><div>8</div></td><td><div>16</div></td>", "0, 1, 2", "linear", "<td><div>On</div></td>"):
        assert words in card


def test_advice_comes_with_a_button_that_takes_it(workbench: Any) -> None:
    rate = Problem("H02", Place(field="learning_rate"), {"suggested": 2e-4}, "warning")
    steps = Problem("H02", Place(field="training.epochs"), {"suggested": None}, "warning")
    other = Problem("H02", Place(field="elsewhere"), {"suggested": 5}, "warning")
    plain = Problem("H02", Place(field="rank"), {}, "warning")
    words = SimpleNamespace(code="H02", what=HOSTILE, where="", why="", fix="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Problem, "describe", lambda self, lang: words)
        workbench.planned = replace(PLAN, warnings=(rate, steps, other, plain))
        card = plan_of(workbench)[2]
    assert offered(card) == [{"learning_rate": 2e-4}, {"epochs": None}]
    assert "Learning rate: use 2e-4" in card
    assert "Epochs: use Automatic" in card
    assert HOSTILE not in card


def used(written: object) -> dict[str, Any]:
    """What a click on a button with these values sets: settings, the open tab, the precision of the Model tab."""
    updates = plan_panel.use_suggestion(None, "en", gr.EventData(None, {"values": written}))  # type: ignore[arg-type]
    *settings, tabs, precision = updates
    found = {name: update["value"] for name, update in zip(SETTINGS, settings, strict=True) if "value" in update}
    return found | ({"tab": tabs.selected, **precision} if isinstance(tabs, gr.Tabs) else {})


def test_a_suggestion_goes_into_its_fields_and_no_other() -> None:
    assert used('{"micro_batch_size": 2, "gradient_accumulation_steps": 4}') == {
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 4,
    }
    assert used('{"learning_rate": null}') == {"learning_rate": None}


def test_another_precision_is_for_the_model_tab_which_opens() -> None:
    chosen = used('{"precision": "nf4"}')
    assert (chosen["tab"], chosen["value"]) == ("model", "nf4")


@pytest.mark.parametrize("written", [None, 5, "", "[1]", '{"name": "x", "dataset": "y"}', "{" * 9000, '{"rank"'])
def test_what_no_card_would_suggest_changes_nothing(written: object) -> None:
    assert used(written) == {}


def test_a_length_that_loses_every_answer_comes_with_the_one_that_fits_once(workbench: Any) -> None:
    place, values = Place(field="max_length"), {"percent": 100, "limit": 192, "needed": 400, "longest": 480}
    workbench.refused = refusal("D30_all_too_long", place, **values, suggested=480)
    *_, card, refused = plan_of(workbench, max_length=192)
    assert "D30" in card
    assert (refused, offered(card)) == (True, [{"max_length": 480}])
    workbench.refused = None
    assert offered(plan_of(workbench)[2]) == []


@pytest.mark.parametrize("measuring", [True, False])
def test_the_timer_asks_for_the_forecast_only_while_it_is_measured(
    workbench: Any, measuring: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast_views, "forecast_card", lambda status, lang: f"{status.running}")
    workbench.measuring = measuring
    card, timer = plan_panel.show_forecast(workbench, "en", *form_sent(name=""))
    assert (card, timer.active) == (str(measuring), measuring)
    assert workbench.calls == [("forecast", "adapter")]


@pytest.mark.parametrize("changes", [{"rank": 0}, {"dataset": None}, {"dataset": ["x"]}])
def test_there_is_no_forecast_of_what_makes_no_run(workbench: Any, changes: dict[str, Any]) -> None:
    card, timer = plan_panel.show_forecast(workbench, "en", *form_sent(**changes))
    assert (card, timer.active) == ("", False)
    assert workbench.calls == []


@pytest.mark.parametrize(
    ("value", "words"),
    [(2e-4, "2e-4"), (1.25e-5, "1.25e-5"), (0.05, "0.05"), (16, "16"), (1024.0, "1,024"), (0.0, "0"), (-1e-7, "-1e-7")],
)
def test_numbers_are_short(value: float, words: str) -> None:
    assert setting_words.short_number(value) == words


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_value_of_every_setting_has_words(lang: Language) -> None:
    for name in SETTINGS:
        spec = run_form.fields_of(run_form.owner(name))[name]
        for value in (spec.default, *spec.choices):
            assert setting_words.value_text(name, value, lang)
    assert setting_words.value_text("method", "lora", lang) == text("methods.lora.name", lang)
    assert setting_words.value_text("layers", (), lang) == text("settings.MethodSettings.layers.empty", lang)
    assert setting_words.label("no_such_setting", lang) == "no_such_setting"


# ---- starting ----


@pytest.mark.parametrize(
    ("changes", "words", "queue"),
    [
        ({"status": None}, "Load a model first", HIDDEN),
        ({"dataset": None}, "Choose a data set", HIDDEN),
        ({"checking": True}, "the data is being checked", HIDDEN),
        ({"name": " "}, "Type a name", HIDDEN),
        ({"name": "taken"}, "This name is taken", HIDDEN),
        ({"name": "?"}, "This name cannot be used", HIDDEN),
        ({"active": "run-1"}, "A run is in progress", True),
        ({"active": "run-1", "name": ""}, "Type a name", HIDDEN),
        ({"refused": True}, "see the plan", HIDDEN),
        ({}, "Start training", True),
    ],
)
def test_the_buttons_say_what_is_missing(workbench: Any, changes: dict[str, Any], words: str, queue: Any) -> None:
    workbench.status = changes.get("status", workbench.status)
    workbench.going_on = changes.get("active")
    workbench.data.running = changes.get("checking", False)
    known = (changes.get("name", "first"), changes.get("dataset", NAME), changes.get("refused", False), "lora", "")
    start, add, _ = start_panel.check_name(workbench, "en", *known)
    assert words in start["value"]
    assert add["visible"] == queue


def test_the_name_is_checked_while_it_is_typed(workbench: Any) -> None:
    assert "M25" in start_panel.check_name(workbench, "en", "taken", NAME, False, "lora", "")[2]
    assert "is free" in start_panel.check_name(workbench, "en", " first ", NAME, False, "lora", "")[2]
    assert start_panel.check_name(workbench, "en", None, None, False, None, None)[0]["variant"] == "secondary"


@pytest.mark.parametrize(
    ("method", "start_from", "taken", "folder"),
    [("lora", "", "lora", "loras/"), ("full", "", "full", "models/"), ("full", "an adapter", "lora", "loras/")],
)
def test_the_name_is_checked_among_what_the_run_makes(
    workbench: Any, method: str, start_from: str, taken: str, folder: str
) -> None:
    """A model may have an adapter's name; what is trained further from an adapter is one."""
    for other in ("lora", "full"):
        said = start_panel.check_name(workbench, "en", f"taken by {other}", NAME, False, method, start_from)[2]
        assert ("M25" in said) == (other == taken)
    assert folder in start_panel.check_name(workbench, "en", "", NAME, False, method, start_from)[2]


def test_the_recipe_of_a_run_is_the_servers(workbench: Any) -> None:
    workbench.data.options = DataOptions(fixes=("trim_text",))
    start_panel.start_run(workbench, "en", "", *form_sent())
    _, spec, started_by = workbench.calls[0]
    assert (spec.data.fixes, spec.base, started_by) == (("trim_text",), "m", "page")


def test_a_queued_run_is_said_and_the_next_name_is_offered(workbench: Any) -> None:
    said, name, repeats = start_panel.queue_run(workbench, "en", "run-1", *form_sent(rank=8))
    assert "“first” was added to the queue" in said
    assert (name, repeats) == ("first-2", "")  # the next one is a repetition no more
    _, (spec,), started_by = workbench.calls[0]
    assert (spec.method.rank, started_by) == (8, "page")


# ---- several values ----


def test_a_sweep_is_shown_before_it_is_queued(workbench: Any) -> None:
    typed = ["method.rank", "4, 8", "training.learning_rate", "1e-4 2e-4"]
    shown = sweep_panel.show_runs(workbench, "en", *typed, *form_sent())
    assert "4 runs" in shown and "2e-4" in shown and "Rank" in shown
    assert workbench.calls == []
    assert "4 runs were added" in sweep_panel.add_runs(workbench, "en", *typed, *form_sent())
    specs = workbench.calls[0][1]
    found = {(spec.method.rank, spec.training.learning_rate) for spec in specs}
    assert found == {(4, 1e-4), (4, 2e-4), (8, 1e-4), (8, 2e-4)}
    assert len({spec.name for spec in specs}) == 4
    one = sweep_panel.show_runs(workbench, "en", "method.rank", "4", "method.rank", "8", *form_sent())
    assert "2 runs" in one
    methods = ("method.method", "LoRA+", "method.method", "Prompt tuning")
    assert "2 runs" in sweep_panel.show_runs(workbench, "en", *methods, *form_sent())


@pytest.mark.parametrize(
    "typed",
    [
        ["", "", "", ""],
        ["method.rank", "", "", ""],
        ["method.rank", "0, 4", "", ""],
        ["method.rank", "4, 4", "", ""],
        ["name", "x", "", ""],
        [["x"], "1", None, None],
    ],
)
def test_a_sweep_of_what_cannot_be_is_refused(workbench: Any, typed: list[Any]) -> None:
    for handler in (sweep_panel.show_runs, sweep_panel.add_runs):
        said = handler(workbench, "en", *typed, *form_sent())
        assert "H01 ·" in said and "<table" not in said
    assert workbench.calls == []


@pytest.mark.parametrize("handler", [sweep_panel.show_runs, sweep_panel.add_runs])
@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"dataset": None}, "Choose a data set"),
        ({"dataset": ""}, "Choose a data set"),
        ({"name": " "}, "Type a name"),
        ({"name": ["x"]}, "H01 ·"),
    ],
)
def test_a_sweep_waits_for_what_a_run_waits_for(workbench: Any, handler: Any, sent: Any, said: str) -> None:
    shown = handler(workbench, "en", "method.rank", "4, 8", "", "", *form_sent(**sent))
    assert said in shown and "<table" not in shown
    assert workbench.calls == []


def test_runs_that_the_queue_would_refuse_are_not_shown(workbench: Any) -> None:
    values = {"field": "rank", "adapter": "small", "now": "8", "before": "4"}
    workbench.refused = WorkbenchError([Problem("A22_start_made_otherwise", Place(field="method.rank"), values)])
    for handler in (sweep_panel.show_runs, sweep_panel.add_runs):
        said = handler(workbench, "en", "method.rank", "4, 8", "", "", *form_sent())
        assert "A22 ·" in said and "Rank" in said and "method.rank" not in said and "<table" not in said


@pytest.mark.parametrize(
    ("typed", "said", "unsaid"),
    [
        (["method.rank", "", "", ""], "“秩（r）”", "method."),
        (["method.rank", "0", "", ""], "“秩（r）”", "“rank”"),
        (["training.packing", "on, true", "", ""], "on = true", "packing-on"),
        (["method.virtual_tokens", "4, 8", "", ""], "“虚拟词元”", "method."),
        (["method.virtual_tokens", "4, 8", "", ""], "LoRA 方法", "lora 方法"),
    ],
)
def test_a_refused_sweep_calls_its_settings_as_the_form_does(
    workbench: Any, typed: list[str], said: str, unsaid: str
) -> None:
    shown = sweep_panel.show_runs(workbench, "zh", *typed, *form_sent())
    assert said in shown and unsaid not in shown


def test_values_of_many_digits_are_shown_apart(workbench: Any) -> None:
    typed = ["training.seed", "20240101, 20240102", "training.learning_rate", "0.0001234561, 0.0001234562"]
    shown = sweep_panel.show_runs(workbench, "en", *typed, *form_sent())
    cells = re.findall(r"<td><div>([^<]*)</div>", shown)
    assert {"20240101", "20240102", "1.234561e-4", "1.234562e-4"} <= {*cells}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_setting_that_can_be_swept_is_offered(lang: Language) -> None:
    paths = [path for _, path in sweep_panel.choices(lang)]
    assert {*paths} == {"", *sweep_panel.sweepable()}
    assert paths[0] == ""


# ---- filling the form ----


def test_reset_brings_back_the_declared_defaults(workbench: Any) -> None:
    updates = run_panel.reset_settings(workbench, "en")
    values = [update["value"] if isinstance(update, dict) else update for update in updates]
    assert values == form_sent()[2:]


def test_a_run_fills_the_form_and_gives_its_recipe_to_its_data(workbench: Any) -> None:
    made = RunSpec(
        name="first",
        base="other",
        dataset=NAME,
        data=DataOptions(fixes=("trim_text",)),
        method=MethodSettings(method="ia3", layers=(3,)),
        start_from=StartingAdapter(adapter="judge", sha256="0a"),
    )
    *updates, said = run_panel.use_yaml(workbench, "en", spec_text(made))
    form = dict(zip(FORM, (update["value"] for update in updates), strict=True))
    assert (form["dataset"], form["method"], form["layers"], form["start_from"]) == (NAME, "ia3", "3", "judge")
    assert workbench.data.options.fixes == ("trim_text",)
    assert "“other”" in said
    assert run_form.method_from(form) == made.method


@pytest.mark.parametrize("lang", LANGUAGES)
def test_edited_rows_come_back_by_one_click_after_a_runs_recipe_took_their_place(
    workbench: Any, workspace: Workspace, lang: Language
) -> None:
    (workspace.datasets / NAME).write_text('{"prompt": "Who?", "completion": "Momo"}\n' * 4, encoding="utf-8")
    workbench.data = DataLibrary(workspace)
    workbench.data.edit_row(NAME, 2, None)
    edited = workbench.data.recipe(NAME)
    first = RunSpec(name="a", base="m", dataset=NAME, data=DataOptions(fixes=("trim_text",)))
    for spec in (first, first.model_copy(update={"data": DataOptions(take=3)})):  # two runs after each other
        said = run_panel.fill(workbench, lang, spec)[-1]
        assert workbench.data.recipe(NAME) == spec.data
    assert text("run_form.reuse.kept", lang, name=NAME) in html.unescape(said)
    data = dict(re.findall(r'data-(\w+)="([^"]*)"', said))
    assert data == {"do": "put_back", "dataset": NAME}
    said = run_panel.put_back(workbench, lang, gr.EventData(None, data))
    assert workbench.data.recipe(NAME) == edited
    assert text("run_form.reuse.put_back_done", lang, name=NAME) in html.unescape(said) and "button" not in said
    assert "button" not in run_panel.fill(workbench, lang, first.model_copy(update={"data": edited}))[-1]


@pytest.mark.parametrize("dataset", [None, 5, ["x"]])
def test_a_click_that_names_no_data_set_puts_nothing_back(workbench: Any, dataset: Any) -> None:
    assert run_panel.put_back(workbench, "en", gr.EventData(None, {"dataset": dataset})) == gr.skip()
    assert workbench.data.calls == []


def test_a_run_whose_data_is_gone_fills_all_else_and_says_so(workbench: Any) -> None:
    (workbench.workspace.adapters / "first").mkdir(parents=True)
    *updates, said = run_panel.fill(workbench, "en", RunSpec(name="first", base="m", dataset="gone.jsonl"))
    assert updates[0]["value"] is None
    assert updates[1]["value"] == "first-2"
    assert "“gone.jsonl” is not here" in said
    assert "base model" not in said


def test_an_uploaded_file_is_shown_before_it_is_used(workbench: Any, tmp_path: Any) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("\ufeff" + spec_text(RunSpec(name="a", base="m", dataset=NAME)), encoding="utf-8")
    assert reuse_panel.read_file(workbench, "en", str(file)).startswith("name: a")
    file.write_text("rank: 8")
    with pytest.raises(WorkbenchError, match="H01"):
        reuse_panel.read_file(workbench, "en", str(file))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_answer_of_the_form_has_words_in_both_languages(workbench: Any, lang: Language) -> None:
    for method in METHODS:
        assert all(plan_of(workbench, lang, method=method)[::2])
    assert list(plan_panel.show_plan(workbench, lang, *form_sent(dataset=None)))
    assert start_panel.queue_run(workbench, lang, "", *form_sent())
    assert run_panel.fill(workbench, lang, RunSpec(name="a", base="x", dataset="gone"))[-1]
    assert plan_views.plan_missing("planning", lang)
    assert drawn(workbench, "lora", lang=lang)
