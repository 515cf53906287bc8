"""A run as a file: what can be read and written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import WorkbenchError
from core.i18n import LANGUAGES, has_text, text
from core.settings import LoadSettings, MethodSettings, SamplingSettings, Settings, TrainingSettings, fields_of
from core.small_yaml import MAX_BYTES
from core.training.spec import RunSpec, read_spec, write_spec

MINIMAL = "name: a\nbase: tiny\ndataset: rows.jsonl\n"


def written(folder: Path, content: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def test_a_spec_reads_back_as_it_was_written(tmp_path: Path) -> None:
    spec = RunSpec.checked(
        {
            "name": "名字 1",
            "base": "tiny",
            "dataset": "rows.jsonl",
            "data": {"placeholders": {"name": "小明"}},
            "training": {"learning_rate": 1e-5, "epochs": 3},
            "method": {"target_modules": ["q_proj"]},
            "sample_prompts": ["Who are you?"],
            "versions": {"torch": "2"},
        }
    )
    write_spec(tmp_path / "spec.yaml", spec)
    assert read_spec(tmp_path / "spec.yaml") == spec


@pytest.mark.parametrize(("written_as", "value"), [("2e-4", 2e-4), ("1E-3", 1e-3), (".5e-3", 5e-4), ("0.001", 0.001)])
def test_a_number_with_an_exponent_is_a_number(tmp_path: Path, written_as: str, value: float) -> None:
    spec = read_spec(written(tmp_path, f"{MINIMAL}training:\n  learning_rate: {written_as}\n"))
    assert spec.training.learning_rate == value


@pytest.mark.parametrize(
    ("content", "key", "field"),
    [
        (MINIMAL + "trainig: {}\n", "H01_unknown_setting", "trainig"),
        (MINIMAL + "1: 2\n", "H01_unknown_setting", "1"),
        (MINIMAL + "training: {learning_rte: 1}\n", "H01_unknown_setting", "training.learning_rte"),
        (MINIMAL + "training: {epochs: 0}\n", "H01_out_of_range", "training.epochs"),
        (MINIMAL + "training: {steps: 1.5}\n", "H01_not_whole", "training.steps"),
        (MINIMAL + "method: {rank: many}\n", "H01_not_whole", "method.rank"),
        (MINIMAL.replace("name: ", "name: 123 #"), "H01_not_text", "name"),
        (MINIMAL + "training: {learning_rate: .nan}\n", "H01_out_of_range", "training.learning_rate"),
        (MINIMAL + "training: {seed: -1}\n", "H01_out_of_range", "training.seed"),
        (MINIMAL + "training: {seed: true}\n", "H01_not_whole", "training.seed"),
        (MINIMAL + "load: {precision: fp8}\n", "H01_not_a_choice", "load.precision"),
        ("name: a\nbase: tiny\n", "H01_missing_setting", "dataset"),
    ],
)
def test_what_is_not_allowed_is_named_with_its_full_path(tmp_path: Path, content: str, key: str, field: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read_spec(written(tmp_path, content))
    assert (caught.value.key, caught.value.problems[0].place.field) == (key, field)
    for lang in LANGUAGES:
        assert field.rpartition(".")[2] in caught.value.describe(lang)


def test_all_wrong_values_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read_spec(written(tmp_path, MINIMAL + "training: {epochs: 0, seed: -1}\nmethod: {rank: 0}\n"))
    assert caught.value.total == 3


@pytest.mark.parametrize(
    "content",
    ["- a\n", "a: [\n", "a: &x 1\nb: *x\n", "a: !!python/object/apply:os.system [ls]\n", "\x00", "[" * 5000],
    ids=["list", "cut off", "alias", "python object", "control character", "deep"],
)
def test_a_file_that_is_no_plain_mapping_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read_spec(written(tmp_path, content))
    assert caught.value.key == "H01_settings_file_unreadable"
    assert all(caught.value.describe(lang) for lang in LANGUAGES)


def test_a_missing_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read_spec(tmp_path / "none.yaml")
    assert caught.value.key == "A03_no_spec_file"
    with pytest.raises(WorkbenchError) as caught:
        read_spec(written(tmp_path, "#" * (MAX_BYTES + 1)))
    assert caught.value.key == "H01_settings_file_too_large"


@pytest.mark.parametrize("model", [LoadSettings, MethodSettings, TrainingSettings, SamplingSettings])
def test_every_setting_has_a_label_and_a_help_text(model: type[Settings]) -> None:
    for field in fields_of(model).values():
        assert has_text(field.label_key) and has_text(field.help_key), field.name
        for lang in LANGUAGES:
            assert text(field.label_key, lang)
            assert len(text(field.help_key, lang)) > 15
