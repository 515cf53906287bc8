"""The tiny model loaded in fp32; rows of graded answers, as a person would measure them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.models.catalog import inspect
from core.models.loader import LoadedModel, load
from core.settings import LoadSettings


@pytest.fixture(scope="session")
def loaded(tiny_model_dir: Path) -> LoadedModel:
    return load(inspect(tiny_model_dir), LoadSettings(precision="fp32"))


def write_grades(file: Path, count: int) -> None:
    """Rows whose answers have two fields, the second of them always the same but once."""
    rows = []
    for number in range(count):
        answer = f"speed: {1 + 2 * (number % 3)}; pauses: {5 if number else 3}"
        turns = [{"role": "user", "content": f"Grade {number}."}, {"role": "assistant", "content": answer}]
        rows.append(json.dumps({"messages": turns}))
    file.write_text("\n".join(rows), encoding="utf-8")
