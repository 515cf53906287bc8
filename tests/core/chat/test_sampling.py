from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.chat.sampling import PresetStore, model_defaults, read_preset, shipped_presets
from core.errors import WorkbenchError
from core.i18n import LANGUAGES, text
from core.settings import SamplingSettings

TGW = b"temperature: 1.31\ntop_p: 0.14\nepsilon_cutoff: 1.49\nrepetition_penalty: 1.17\ntop_k: 49.0\ntypical_p: 1\n"


@pytest.fixture
def store(tmp_path: Path) -> PresetStore:
    return PresetStore(tmp_path / "presets")


def test_a_text_generation_webui_preset_is_read_and_unknown_keys_are_named() -> None:
    taken = read_preset(TGW, "Asterism.yaml")
    assert taken.settings == SamplingSettings(temperature=1.31, top_p=0.14, repetition_penalty=1.17, top_k=49)
    assert taken.ignored == ("epsilon_cutoff: 1.49", "typical_p: 1")


def test_what_a_preset_leaves_out_is_neutral() -> None:
    settings = read_preset(b"min_p: 0.2", "x.yaml").settings
    assert (settings.temperature, settings.top_p, settings.top_k) == (1.0, 1.0, 0)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"do_sample: false", {"do_sample": False}),
        (b"temperature: 0", {"do_sample": False}),
        (b"temperature: 1\nseed: -1", {"seed": None}),
        (b"temperature: 1\nseed: 5", {"seed": 5}),
        (b"max_tokens: 99", {"max_new_tokens": 99}),
        (b'stop: "END"', {"stop": ("END",)}),
        (b'stop: ["a", "b"]', {"stop": ("a", "b")}),
    ],
)
def test_the_quirks_of_presets_are_understood(content: bytes, expected: dict[str, Any]) -> None:
    settings = read_preset(content, "x.yaml").settings
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"temperature: -1", "H01_out_of_range"),
        (b"temperature: .nan", "H01_out_of_range"),
        (b"top_p: 2", "H01_out_of_range"),
        (b'top_k: "40"', "H01_not_whole"),
        (b"do_sample: 3", "H01_wrong_type"),
        (b"colour: red", "H01_no_preset"),
        (b"- temperature", "H01_settings_file_unreadable"),
    ],
)
def test_a_preset_that_cannot_be_is_refused(content: bytes, key: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read_preset(content, "x.yaml")
    assert caught.value.key == key


def test_shipped_presets_have_names_in_both_languages() -> None:
    presets = shipped_presets()
    assert {preset.name for preset in presets} == {"balanced", "creative", "greedy", "precise"}
    for preset in presets:
        assert all(text(preset.label_key, lang) for lang in LANGUAGES)
    assert next(preset for preset in presets if preset.name == "greedy").settings.do_sample is False


def test_a_preset_is_kept_found_and_deleted(store: PresetStore) -> None:
    settings = SamplingSettings(temperature=0.5, stop=("END",), seed=3, max_new_tokens=77)
    store.save("我的", settings)
    assert store.find("我的").settings == settings
    assert [preset.name for preset in store.list().presets if preset.origin == "own"] == ["我的"]
    store.delete("我的")
    with pytest.raises(WorkbenchError, match="H01"):
        store.find("我的")
    with pytest.raises(WorkbenchError, match="H01"):
        store.delete("我的")


def test_a_shipped_preset_is_neither_replaced_nor_deleted(store: PresetStore) -> None:
    with pytest.raises(WorkbenchError, match="H01"):
        store.save("balanced", SamplingSettings())
    with pytest.raises(WorkbenchError, match="H01"):
        store.delete("balanced")
    preset, _ = store.add_file(b"temperature: 0.1", "balanced.yaml")
    assert preset.name == "balanced-2"


def test_an_imported_preset_gets_a_free_name_and_tells_what_it_ignored(store: PresetStore) -> None:
    first, ignored = store.add_file(TGW, "Asterism.yaml")
    second, _ = store.add_file(TGW, "Asterism.yaml")
    assert (first.name, second.name) == ("Asterism", "Asterism-2")
    assert len(ignored) == 2
    assert store.find("Asterism-2").settings == first.settings


@pytest.mark.parametrize("name", ["", "../x", "a/b", "base"])
def test_names_that_are_not_allowed_are_refused(store: PresetStore, name: str) -> None:
    with pytest.raises(WorkbenchError, match="D42"):
        store.save(name, SamplingSettings())


def test_a_damaged_preset_is_reported_and_the_others_are_listed(store: PresetStore, tmp_path: Path) -> None:
    store.save("good", SamplingSettings())
    (tmp_path / "presets" / "bad.yaml").write_text("temperature: hot", "utf-8")
    found = store.list()
    assert [preset.name for preset in found.presets if preset.origin == "own"] == ["good"]
    assert [problem.code for problem in found.problems] == ["H01"]


@pytest.mark.parametrize(
    ("config", "expected", "ignored"),
    [
        ({}, SamplingSettings(), ()),
        ({"temperature": 0.6, "top_k": 20}, SamplingSettings(temperature=0.6, top_k=20), ()),
        ({"do_sample": False, "temperature": 0.6}, SamplingSettings(do_sample=False, temperature=0.6), ()),
        ({"do_sample": True, "temperature": 0}, SamplingSettings(do_sample=False), ()),
        ({"temperature": 0.0}, SamplingSettings(do_sample=False), ()),
        ({"temperature": 99, "top_p": 0.9}, SamplingSettings(top_p=0.9), ("temperature: 99",)),
        ({"repetition_penalty": 1.05, "eos_token_id": 2}, SamplingSettings(repetition_penalty=1.05), ()),
        ({"top_k": "x", "temperature": float("nan")}, SamplingSettings(), ("top_k: x", "temperature: nan")),
    ],
)
def test_a_models_generation_config_gives_the_starting_values(
    config: dict[str, Any], expected: SamplingSettings, ignored: tuple[str, ...]
) -> None:
    taken = model_defaults(config)
    assert taken.settings == expected
    assert taken.ignored == ignored
