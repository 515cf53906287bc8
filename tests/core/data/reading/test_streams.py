from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from core.data.reading import streams
from core.data.reading.streams import SUFFIXES, Row, open_rows
from core.errors import WorkbenchError
from tests.core.data.reading.reading import ROW, keys, read


@pytest.mark.parametrize(
    ("name", "content", "key", "line"),
    [
        ("empty.jsonl", b"", "D01_no_rows", None),
        ("blank.jsonl", b"\n  \r\n\t\n", "D01_no_rows", None),
        ("blank.txt", b"\n  \r\n\t\n", "D01_no_rows", None),
        ("array.json", b"[]", "D01_no_rows", None),
        ("header.csv", b"instruction,output\n", "D01_no_rows", None),
        ("image.jsonl", b"\x89PNG\r\n\x1a\n\0\0", "D06_other_kind", None),
        ("paper.json", b"%PDF-1.7\n", "D06_other_kind", None),
        ("tape.json", b"a.json".ljust(257, b"\0") + b"ustar\x0000", "D06_other_kind", None),
        ("old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "D38_other_spreadsheet", None),
    ],
)
def test_a_file_without_rows_is_refused_by_name(write, name: str, content: bytes, key: str, line: int | None) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read(write(content, name))
    problem = caught.value.problems[0]
    assert (problem.key, problem.place.line, problem.place.file) == (key, line, name)
    for lang in ("en", "zh"):
        assert name in caught.value.describe(lang)


def test_warnings_alone_are_no_rows(write) -> None:
    with pytest.raises(WorkbenchError, match="D01"):
        read(write("prompt;completion\n", "header.csv"))


def test_where_every_row_is_bad_each_is_told(write) -> None:
    rows, problems = read(write("{'a': 1}\n" * 50, "data.jsonl"))
    assert (rows, keys(problems)) == ([], ["D11_single_quotes"] * 50)
    assert problems[49].place.line == 50
    assert problems[49].place.file == "data.jsonl"


def test_a_file_over_the_limit_is_refused_before_it_is_read(write, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(ROW)
    monkeypatch.setattr(streams, "MAX_FILE_BYTES", len(ROW))
    assert read(file)
    monkeypatch.setattr(streams, "MAX_FILE_BYTES", len(ROW) - 1)
    with pytest.raises(WorkbenchError, match="D18"):
        read(file)


@pytest.mark.skipif(sys.platform == "win32" or not Path("/proc").exists(), reason="files may be deleted while open")
def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="D45"):
        open_rows(tmp_path / "gone.json")


def test_the_container_is_known_at_once_and_the_share_grows(write) -> None:
    file = write("prompt\tcompletion\n" + ("a long question " * 20 + "\ta long answer\n") * 10_000, "table.tsv")
    with open_rows(file) as stream:
        assert (stream.container.kind, stream.container.delimiter, stream.container.encoding) == ("csv", "\t", "utf-8")
        shares = [stream.share for _ in stream]
    assert 0 < shares[0] < 0.5 < shares[-1] == 1.0
    assert shares == sorted(shares)


def test_closing_the_stream_closes_its_file(write) -> None:
    file = write(f"{ROW}\n" * 100_000, "data.jsonl")
    process = psutil.Process()
    with open_rows(file) as stream:
        assert next(stream)
        assert str(file) in [opened.path for opened in process.open_files()]
    assert str(file) not in [opened.path for opened in process.open_files()]


def test_a_big_file_needs_little_memory(write) -> None:
    """60 MB of rows; a reader that held them all would need several times that."""
    file = write('{"text": "' + "x" * 2000 + '"}\n', "data.jsonl")
    line = file.read_bytes()
    with file.open("wb") as opened:
        for _ in range(30):
            opened.write(line * 1000)
    process = psutil.Process()
    before = most = process.memory_info().rss
    with open_rows(file) as stream:
        for number, item in enumerate(stream):
            assert isinstance(item, Row)
            most = max(most, process.memory_info().rss) if number % 1000 == 0 else most
    assert number == 29_999
    assert most - before < 30_000_000


def test_the_kinds_of_files_are_stated() -> None:
    assert SUFFIXES == (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".xlsx", ".txt", ".md", ".zip")


DATA = Path(__file__).resolve().parents[5] / "shared" / "data"
ROWS = {
    "alpaca_en_demo.json": 999,
    "alpaca_zh_demo.json": 1000,
    "c4_demo.jsonl": 100,
    "chinese_med.json": 3,
    "dpo_en_demo.json": 200,
    "glaive_toolcall_en_demo.json": 100,
    "identity.json": 91,
    "kto_en_demo.json": 200,
    "oral_grading_full.jsonl": 200,
    "oral_grading_short.jsonl": 200,
    "ruozhiba.json": 240,
    "ruozhiba_sharegpt_300.json": 300,
    "seed_tasks.jsonl": 175,
    "wiki_demo.txt": 1,
}


@pytest.mark.skipif(not DATA.is_dir(), reason="the sample files of shared/data are not here")
@pytest.mark.parametrize(("name", "count"), ROWS.items())
def test_every_sample_file_is_read_without_a_word(name: str, count: int) -> None:
    rows, problems = read(DATA / name)
    assert (len(rows), problems) == (count, [])
