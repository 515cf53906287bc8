"""Ten thousand damaged and invented files through everything that looks at a data file: an answer to each, and soon."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.options import FIXES, DataOptions
from core.data.report import report
from core.errors import WorkbenchError
from tests.core.data.reading.test_fuzz import PACKED, SAMPLES, damaged

AT_MOST_S = 2.0  # of computing: a busy machine may pause at any of ten thousand files
FILES, PORTIONS = 9_750, 10
INVENTED = 250
EVERYTHING = DataOptions(fixes=FIXES, skip_bad_rows=True)
NAMES = (
    "instruction output input history system messages conversations prompt completion text chosen rejected label tools"
    " role content from value tool_calls weight name"
)
KEYS = st.sampled_from(NAMES.split())
LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8) | st.sampled_from(["user", "gpt", "tool"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))
ROWS = st.lists(st.dictionaries(KEYS, VALUES, max_size=5), min_size=1, max_size=4)


def answered(file: Path, options: DataOptions) -> None:
    """A report or a refusal, in words of both languages, in time; whatever examples there are can be read back."""
    began = time.process_time()
    try:
        found = report(file, options)
        problems: Any = found.problems
        assert all(example.line >= 1 for example in found.examples)
    except WorkbenchError as error:
        problems = error.problems
    assert time.process_time() - began < AT_MOST_S
    for problem in problems:
        assert problem.place.file
        for lang in ("en", "zh"):
            assert problem.describe(lang).fix


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("portion", range(PORTIONS))
def test_a_damaged_file_is_answered(tmp_path: Path, portion: int) -> None:
    for seed in range(portion, FILES, PORTIONS):
        name, content = damaged(SAMPLES if seed % 10 else PACKED, seed)
        (tmp_path / name).write_bytes(content)
        answered(tmp_path / name, EVERYTHING if seed % 3 else DataOptions())


@settings(max_examples=INVENTED, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(ROWS, st.booleans())
def test_any_rows_are_answered(tmp_path: Path, rows: list[Any], fixed: bool) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    answered(file, EVERYTHING if fixed else DataOptions())
