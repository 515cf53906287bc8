"""What the README says is so: its options exist, its samples are read, its files are there."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from core.data.options import FORMATS
from core.data.report import report
from core.settings import MethodSettings, TrainingSettings
from core.training.spec import read_spec

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Not app.py's: test.sh's, pip's.
OTHER_OPTIONS = {"--fast", "--slow", "--index-url"}


@pytest.mark.parametrize("option", sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - OTHER_OPTIONS))
def test_an_option_that_the_readme_names_exists(option: str) -> None:
    assert re.search(rf"{option}\b", _help())


@pytest.mark.parametrize("option", ["--host", "--port", "--lang", "--share", "--auth-file", "--data-dir", "--load"])
def test_the_readme_names_the_options_of_serving(option: str) -> None:
    assert option in README


@pytest.mark.parametrize("command", sorted(set(re.findall(r"app\.py ([a-z]+)", README))))
def test_a_command_that_the_readme_names_exists(command: str) -> None:
    assert re.search(rf"usage: app\.py {command}\b", _help())


TITLES = {
    "Alpaca": "alpaca",
    "ShareGPT": "sharegpt",
    "OpenAI messages": "messages",
    "Prompt and completion": "prompt_completion",
    "Plain text": "text",
    "Preference pairs": "preference",
    "Labelled answers": "kto",
}


@pytest.mark.parametrize("title", TITLES)
def test_a_sample_of_the_readme_is_a_data_file_of_its_format(title: str, tmp_path: Path) -> None:
    sample = re.search(rf"^{title}\b[^\n]*:\n\n```json\n(.*?)```", README, re.MULTILINE | re.DOTALL)
    assert sample
    (tmp_path / "sample.jsonl").write_text(sample[1], encoding="utf-8")
    found = report(tmp_path / "sample.jsonl")
    assert (found.format, found.rows) == (TITLES[title], 2)
    assert {problem.code for problem in found.errors} <= {"D21"}, "kept for training by one click"


def test_every_format_that_is_detected_has_a_sample_in_the_readme() -> None:
    assert {*TITLES.values(), "mapped", "patterns"} == set(FORMATS)


def test_the_run_of_the_readme_is_a_run(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(README.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    spec = read_spec(file)
    assert spec.method == MethodSettings(rank=8)
    assert spec.training == TrainingSettings(epochs=6.0, learning_rate=2e-4)


def test_the_torch_of_the_readme_is_the_pinned_one() -> None:
    pins = re.findall(r"torch==[\d.]+\d", (ROOT / "requirements.txt").read_text())
    assert set(re.findall(r"torch==[\d.]+\d", README)) == set(pins)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"^(?:  )?([a-z]+(?:/|\.py|\.sh))  ", README, re.MULTILINE))))
def test_a_file_in_the_tree_of_the_readme_is_there(path: str) -> None:
    assert any((ROOT / folder / path).exists() for folder in (".", "core"))


@pytest.mark.parametrize(
    "folder", ["training/datasets/NOTICE", "training/datasets/identity.json", "LICENSE", "start.sh"]
)
def test_a_file_that_the_readme_points_at_is_there(folder: str) -> None:
    assert (ROOT / folder).exists()


@cache
def _help() -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout
