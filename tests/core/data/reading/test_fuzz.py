"""Damaged files of every container: whatever was done to the bytes, a person gets rows and named problems in time.

`test_damaged_files.py` takes ten thousand such files through everything; here only what reads them is looked at.
"""

from __future__ import annotations

import random
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.reading.streams import Row, open_rows
from core.errors import WorkbenchError
from tests.core.data.reading.reading import ROW, zipped
from tests.core.data.reading.test_archives import members

CHINESE = '{"问题": "什么是感冒？", "回答": "感冒是一种常见病。\\u4e2d\\n"}'
JSON = f'[\n{ROW},\n{{"a": [1.5e3, -2, true, null, {{"b": "😀\\ud83d"}}]}},\n{CHINESE}\n]'
TABLE = 'prompt;completion\r\n"What; ""now""?\r\nyes";1\r\n感冒,2;b\r\n'
SAMPLES: dict[str, bytes] = {
    "a.json": JSON.encode(),
    "b.json": f'{{"version": 1, "data": {JSON}, "test": [{ROW}]}}'.encode("utf-16"),
    "c.jsonl": f"{ROW}\n{CHINESE}\n\n{ROW}\n".encode(),
    "d.jsonl": f"{ROW}\n{CHINESE}\n".encode("gb18030"),
    "e.csv": TABLE.encode(),
    "f.csv": TABLE.encode("gb18030"),
    "g.tsv": TABLE.replace(";", "\t").encode("utf-16"),
    "h.txt": "A text.\r\n\r\n感冒 😀\n".encode(),
}
MEMBERS = {name: content if isinstance(content, bytes) else content.encode() for name, content in members().items()}
PACKED = {name: MEMBERS[name] for name in ("c.parquet", "d.xlsx")} | {"data.zip": zipped(MEMBERS)}
INTERESTING = [b"\0", b"\xff", b"\xef\xbb\xbf", b'"', b"\\", b"[" * 300, b"{", b"}", b"\n", b"\r", b";", b"9" * 4400]
INTERESTING += [
    b"NaN",
    b"1e999",
    b"'",
    b"\\ud800",
    b"PK\x05\x06",
    b"\xff\xff\xff\xff",
    b"PAR1",
    b"\x80",
    b"<!DOCTYPE x>",
]
SEEDS = st.integers(0, 2**64)  # one draw a file: drawing each change would take longer than reading it


def damaged(samples: dict[str, bytes], seed: int) -> tuple[str, bytes]:
    """A sample under its name or another's, with some bytes replaced, put in, taken out or cut off."""
    chance = random.Random(seed)
    name = chance.choice(sorted(samples))
    content = samples[name]
    for _ in range(chance.randint(1, 4)):
        put = chance.choice(INTERESTING) if chance.random() < 0.5 else chance.randbytes(chance.randint(0, 4))
        at = chance.randint(0, len(content))
        content = content[:at] + put + content[at + chance.randint(0, 20) :]
    if chance.random() < 0.1:
        content = content[: chance.randint(0, len(content))]
    return chance.choice([name] * 4 + ["other.jsonl", "other.csv", "other.txt"]), content


def read_damaged(folder: Path, name: str, content: bytes) -> None:
    """Nothing but rows, problems and refusals, each in words of both languages, and all of it soon."""
    file = folder / name
    file.write_bytes(content)
    started = time.process_time()
    problems = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_rows(file) as stream:
                for item in stream:
                    if isinstance(item, Row):
                        assert item.line >= 1
                        assert all(isinstance(name, str) for name in item.values)
                    else:
                        problems.append(item)
    except WorkbenchError as error:
        problems += error.problems
    assert time.process_time() - started < 2
    for problem in problems:
        assert problem.place.file
        assert problem.describe("en").fix
        assert problem.describe("zh").fix


FUZZ = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture], "database": None}


@settings(max_examples=300, **FUZZ)  # type: ignore[arg-type]
@given(SEEDS)
def test_a_damaged_text_file_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    read_damaged(tmp_path, *damaged(SAMPLES, seed))


@settings(max_examples=200, **FUZZ)  # type: ignore[arg-type]
@given(SEEDS)
def test_a_damaged_packed_file_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    read_damaged(tmp_path, *damaged(PACKED, seed))


@settings(max_examples=200, **FUZZ)  # type: ignore[arg-type]
@given(st.sampled_from(sorted({*SAMPLES, *PACKED})), st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path: Path, name: str, content: bytes) -> None:
    read_damaged(tmp_path, name, content)


@pytest.mark.slow
@settings(max_examples=20_000, **FUZZ)  # type: ignore[arg-type]
@given(SEEDS)
def test_very_many_damaged_files_are_read_or_refused(tmp_path: Path, seed: int) -> None:
    read_damaged(tmp_path, *damaged(SAMPLES | PACKED, seed))
