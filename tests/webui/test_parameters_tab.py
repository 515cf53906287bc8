"""The Parameters tab's handlers: presets, characters and the form, over real stores on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from core.errors import WorkbenchError
from core.settings import SamplingSettings
from tests.webui.chat_scene import FORM, SceneWorkbench
from webui import parameters_handlers as handlers
from webui.sampling_form import FIELDS, SIZE, form_of, sampling_of

MODEL_DEFAULTS = SamplingSettings(temperature=0.2, top_k=20)


@pytest.fixture
def workbench(tmp_path: Path) -> Any:
    made = SceneWorkbench(tmp_path)
    made.defaults = MODEL_DEFAULTS
    return made


def with_value(name: str, value: Any) -> list[Any]:
    form = list(FORM)
    form[FIELDS.index(name) if name in FIELDS else len(FIELDS)] = value
    return form


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(),
        SamplingSettings(do_sample=False, seed=0, num_beams=4, max_new_tokens=1),
        SamplingSettings(stop=("END", "\nUser:", "a\tb", " leading space")),
    ],
)
def test_the_form_holds_every_setting(settings: SamplingSettings) -> None:
    assert sampling_of(form_of(settings)) == settings
    assert len(form_of(settings)) == SIZE == len(SamplingSettings.model_fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("temperature", -1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", True),
        ("temperature", "abc"),
        ("temperature", [1]),
        ("top_p", 2),
        ("top_p", 0),
        ("top_k", 1.5),
        ("top_k", -1),
        ("min_p", 1.1),
        ("repetition_penalty", 0),
        ("no_repeat_ngram_size", 51),
        ("num_beams", 0),
        ("num_beams", 17),
        ("max_new_tokens", 10**9),
        ("max_new_tokens", 1e308),
        ("seed", -1),
        ("seed", 2**64),
        ("seed", "1e-4 "),
        ("do_sample", "yes"),
        ("stop", 5),
        ("stop", [1]),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_field(workbench: Any, name: str, value: Any) -> None:
    with pytest.raises(WorkbenchError) as refused:
        sampling_of(with_value(name, value))
    assert refused.value.code == "H01"
    assert refused.value.problems[0].place.field.startswith(name)
    assert name in handlers.check(workbench, "zh", *with_value(name, value))


def test_every_wrong_value_is_named_at_once(workbench: Any) -> None:
    form = with_value("temperature", 9)
    form[FIELDS.index("top_p")] = 9
    html = handlers.check(workbench, "en", *form)
    assert "temperature" in html
    assert "top_p" in html
    assert handlers.check(workbench, "en", *FORM) == ""


def test_an_empty_number_keeps_its_default_and_an_empty_seed_is_drawn() -> None:
    settings = sampling_of([None] * SIZE)
    assert settings == SamplingSettings()
    assert settings.seed is None


def test_values_that_this_browser_had_come_back_for_the_same_model(workbench: Any) -> None:
    form = with_value("temperature", 1.3)
    saved = {"model": "tiny", "system_prompt": "Be brief.", "character": "Assistant", "values": form}
    model, _, _, character, name, *_, prompt = (restored := handlers.restore(workbench, "en", saved))[:-SIZE]
    assert (model, prompt, character["value"], name) == ("tiny", "Be brief.", "Assistant", "Assistant")
    assert restored[-SIZE:] == form


@pytest.mark.parametrize(
    "saved",
    [
        None,
        {},
        "x",
        {"model": "other", "values": FORM},
        {"model": "tiny", "values": FORM[:-1]},
        {"model": "tiny", "values": with_value("top_p", 7), "character": "gone", "system_prompt": 5},
    ],
)
def test_without_usable_values_the_models_own_are_the_starting_values(workbench: Any, saved: Any) -> None:
    restored = handlers.restore(workbench, "en", saved)
    assert restored[0] == "tiny"
    assert restored[-SIZE:] == form_of(MODEL_DEFAULTS)


def test_another_model_brings_its_own_starting_values_and_the_same_one_changes_nothing(workbench: Any) -> None:
    assert handlers.follow_model(workbench, "en", "other")[2:] == form_of(MODEL_DEFAULTS)
    assert handlers.follow_model(workbench, "en", "tiny") == [gr.skip()] * (2 + SIZE)
    workbench.model = None
    assert handlers.follow_model(workbench, "en", "tiny") == [gr.skip()] * (2 + SIZE)


def test_reset_returns_to_the_models_values_and_says_whose_they_are(workbench: Any) -> None:
    model, note, presets, *form = handlers.reset(workbench, "en")
    assert (model, presets["value"], form) == ("tiny", "", form_of(MODEL_DEFAULTS))
    assert "tiny" in note


def test_a_preset_is_saved_chosen_and_deleted(workbench: Any) -> None:
    form = with_value("temperature", 1.5)
    presets, name = handlers.save_preset(workbench, "en", " Wild ideas ", *form)
    assert (presets["value"], name) == ("Wild ideas", "")
    assert handlers.choose_preset(workbench, "en", "Wild ideas") == form
    assert handlers.delete_preset(workbench, "en", "Wild ideas")["value"] == ""
    with pytest.raises(WorkbenchError):
        handlers.choose_preset(workbench, "en", "Wild ideas")


@pytest.mark.parametrize(
    ("name", "form", "code"),
    [
        ("", FORM, "D42"),
        ("../../x", FORM, "D42"),
        (None, FORM, "D42"),
        (5, FORM, "H11"),
        ("creative", FORM, "H01"),
        ("fine", with_value("top_p", 2), "H01"),
    ],
)
def test_a_preset_that_cannot_be_kept_is_refused(workbench: Any, name: Any, form: list[Any], code: str) -> None:
    before = workbench.presets.list()
    with pytest.raises(WorkbenchError) as refused:
        handlers.save_preset(workbench, "en", name, *form)
    assert refused.value.code == code
    assert workbench.presets.list() == before


@pytest.mark.parametrize("handler", [handlers.delete_preset, handlers.delete_character])
@pytest.mark.parametrize("name", ["", None, "creative", "../x", 5])
def test_deleting_nothing_of_ones_own_is_refused(workbench: Any, handler: Any, name: Any) -> None:
    with pytest.raises(WorkbenchError):
        handler(workbench, "en", name)


def test_a_preset_file_of_text_generation_webui_fills_the_form(workbench: Any, tmp_path: Path) -> None:
    file = tmp_path / "Big O.yaml"
    file.write_text("temperature: 0.87\ntop_p: 0.99\ntop_k: 85\nrepetition_penalty: 1.01\ntypical_p: 0.68\n")
    presets, *form = handlers.import_preset(workbench, "en", str(file))
    assert presets["value"] in [preset.name for preset in workbench.presets.list().presets]
    settings = sampling_of(form)
    assert (settings.temperature, settings.top_k, settings.repetition_penalty) == (0.87, 85, 1.01)


def test_a_character_file_of_text_generation_webui_is_chosen_after_its_import(workbench: Any, tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    file.write_text('name: Chiharu\ngreeting: "*{{char}} waves*"\ncontext: "{{char}} helps {{user}}."\n')
    chosen = handlers.import_character(workbench, "en", str(file))["value"]
    assert handlers.choose_character(workbench, "en", chosen) == ["Chiharu", "Chiharu helps You.", "*Chiharu waves*"]


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", b"- a\n- b\n", b"!!python/object:os.system {}\n", b"x: 1\n"])
@pytest.mark.parametrize("handler", [handlers.import_preset, handlers.import_character])
def test_a_file_that_is_neither_is_refused(workbench: Any, tmp_path: Path, handler: Any, content: bytes) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(content)
    with pytest.raises(WorkbenchError):
        handler(workbench, "en", str(file))


@pytest.mark.parametrize("path", [None, 5, []])
def test_no_file_is_refused(workbench: Any, path: Any) -> None:
    with pytest.raises(WorkbenchError):
        handlers.import_preset(workbench, "en", path)


def test_a_character_is_edited_saved_and_deleted(workbench: Any) -> None:
    assert handlers.save_character(workbench, "en", "Judge", "Give a score.", "Ready?")["value"] == "Judge"
    assert handlers.choose_character(workbench, "en", "Judge") == ["Judge", "Give a score.", "Ready?"]
    assert handlers.choose_character(workbench, "en", "") == ["", "", ""]
    assert handlers.delete_character(workbench, "en", "Judge")["value"] == ""
    with pytest.raises(WorkbenchError):
        handlers.choose_character(workbench, "en", "Judge")


@pytest.mark.parametrize(("lang", "other"), [("en", "zh"), ("zh", "en")])
def test_a_shipped_character_stays_chosen_when_the_language_changes(workbench: Any, lang: Any, other: Any) -> None:
    name = workbench.characters.list(lang).characters[0].name
    _, _, characters = handlers.lists(workbench, other, "", name, "tiny")
    assert characters["value"] == name
    assert handlers.choose_character(workbench, other, name)[0] == name


@pytest.mark.parametrize(("place", "folder"), [(0, "presets"), (1, "characters")])
def test_a_damaged_file_is_named_under_its_list(workbench: Any, tmp_path: Path, place: int, folder: str) -> None:
    assert handlers.damaged_files(workbench, "en") == ["", ""]
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "mine.yaml").write_text("a: [", encoding="utf-8")
    shown = handlers.damaged_files(workbench, "en")
    assert "mine.yaml" in shown[place]
    assert shown[1 - place] == ""


def test_shipped_presets_have_names_in_both_languages(workbench: Any) -> None:
    english, chinese = (handlers.lists(workbench, lang, "", "", "")[1]["choices"] for lang in ("en", "zh"))
    assert [value for _, value in english] == [value for _, value in chinese]
    assert [label for label, _ in english] != [label for label, _ in chinese]
