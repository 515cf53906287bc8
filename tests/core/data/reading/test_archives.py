from __future__ import annotations

import io
import os
import stat
import struct
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from core.data.reading import archives
from core.data.reading.streams import open_rows
from core.errors import WorkbenchError
from tests.core.data.reading.reading import ROW, keys, read, zipped
from tests.core.data.reading.test_sheet_rows import HEADER, saved, workbook_of


def members() -> dict[str, str | bytes]:
    """One member of each kind, with one row each."""
    table = io.BytesIO()
    parquet.write_table(pa.table({"text": ["parquet"]}), table)
    return {
        "b/data.jsonl": '\n{"text": "lines"}',
        "a.csv": "prompt,completion\ncsv,1\n",
        "c.parquet": table.getvalue(),
        "d.xlsx": saved(workbook_of({"Data": [HEADER, ["xlsx", "1"]]})),
        "e.md": "markdown",
        "f.json": '[\n{"text": "json"}]',
        "g.tsv": "prompt\tcompletion\ntsv\t1\n",
        "h.TXT": "text",
    }


EXPECTED = [
    ("a.csv", 2, "csv"),
    ("b/data.jsonl", 2, "lines"),
    ("c.parquet", 1, "parquet"),
    ("d.xlsx", 2, "xlsx"),
    ("e.md", 1, "markdown"),
    ("f.json", 2, "json"),
    ("g.tsv", 2, "tsv"),
    ("h.TXT", 1, "text"),
]


def test_an_archive_is_read_member_by_member_in_the_order_of_names(write) -> None:
    file = write(zipped(members()), "data.zip")
    rows, problems = read(file)
    assert [(row.file, row.line, next(iter(row.values.values()))) for row in rows] == EXPECTED
    assert problems == []
    with open_rows(file) as stream:
        assert stream.container.kind == "archive"
        assert stream.container.members == tuple(name for name, _, _ in EXPECTED)


def test_a_folder_is_read_like_an_archive(write, tmp_path: Path) -> None:
    for name, content in members().items():
        write(content, f"folder/{name}")
    rows, problems = read(tmp_path / "folder")
    assert [(row.file, row.line, next(iter(row.values.values()))) for row in rows] == EXPECTED
    assert problems == []
    with open_rows(tmp_path / "folder") as stream:
        assert stream.container.kind == "folder"


def test_what_is_no_data_is_left_out_and_named_and_what_systems_leave_is_not(write) -> None:
    others = {"image.png": b"\x89PNG", "__MACOSX/._a.csv": b"\0", ".DS_Store": b"\0", "a/Thumbs.db": b"\0", "b.py": b""}
    rows, problems = read(write(zipped({"data.jsonl": ROW, **others}), "data.zip"))
    assert (len(rows), keys(problems)) == (1, ["D38_left_out"])
    assert problems[0].values == {"count": 2, "names": "b.py, image.png"}


def test_what_is_wrong_in_one_member_is_told_of_it_and_the_others_are_read(write) -> None:
    content = {"a.json": '[{"a": 1}', "b.jsonl": f"{ROW}\nno", "c.csv": "", "d.xlsx": b"\x89PNG", "e.jsonl": ROW}
    rows, problems = read(write(zipped(content), "data.zip"))
    assert [(row.file, row.line) for row in rows] == [("b.jsonl", 1), ("e.jsonl", 1)]
    assert [(problem.key, problem.place.file, problem.place.line) for problem in problems] == [
        ("D07_cut_off", "a.json", 1),
        ("D08_bad_line", "b.jsonl", 2),
        ("D01_no_rows", "c.csv", None),
        ("D06_other_kind", "d.xlsx", None),
    ]


def test_names_written_by_windows_in_chinese_are_read(write) -> None:
    content = zipped({"XXXX.jsonl": ROW}).replace(b"XXXX", "数据".encode("gbk"))
    rows, _ = read(write(content, "data.zip"))
    assert rows[0].file == "数据.jsonl"


def test_an_archive_without_data_is_refused(write) -> None:
    for content in ({}, {"image.png": b"x"}, {"__MACOSX/a.json": ROW}):
        with pytest.raises(WorkbenchError, match="D38"):
            read(write(zipped(content), "data.zip"))


def _with_mode(name: str, mode: int) -> bytes:
    buffer = io.BytesIO()
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def _twice() -> bytes:
    return zipped({"data1.jsonl": ROW, "data2.jsonl": ROW}).replace(b"data2.jsonl", b"data1.jsonl")


def _encrypted() -> bytes:
    content = bytearray(zipped({"data.jsonl": ROW}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "key", "member"),
    [
        (zipped({"../data.jsonl": ROW}), "D40_unsafe_name", "../data.jsonl"),
        (zipped({"a/../../data.jsonl": ROW}), "D40_unsafe_name", "a/../../data.jsonl"),
        (zipped({"/etc/data.jsonl": ROW}), "D40_unsafe_name", "/etc/data.jsonl"),
        (zipped({"C:\\data.jsonl": ROW}), "D40_unsafe_name", "C:\\data.jsonl"),
        (zipped({"..\\data.jsonl": ROW}), "D40_unsafe_name", "..\\data.jsonl"),
        (zipped({"X.jsonl": ROW}).replace(b"X.jsonl", b"\0.jsonl"), "D40_unsafe_name", "\\u0000.jsonl"),
        (_with_mode("link.jsonl", stat.S_IFLNK | 0o777), "D40_link", "link.jsonl"),
        (_with_mode("device.jsonl", stat.S_IFCHR | 0o666), "D40_link", "device.jsonl"),
        (_with_mode("pipe.jsonl", stat.S_IFIFO | 0o666), "D40_link", "pipe.jsonl"),
        (_twice(), "D40_twice", "data1.jsonl"),
        (_encrypted(), "D40_encrypted", "data.jsonl"),
        (zipped({"inner.zip": zipped({"data.jsonl": ROW})}), "D39_nested", "inner.zip"),
        (zipped({"inner.json": zipped({"data.jsonl": ROW})}), "D39_nested", "inner.json"),
        (zipped({"inner.tar.gz": b"x"}), "D39_nested", "inner.tar.gz"),
        (zipped({"data.jsonl": b" " * 2_000_000}), "D39_ratio", "data.jsonl"),
    ],
)
def test_an_archive_with_a_trick_in_it_is_refused_whole_with_the_members_name(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, key: str, member: str
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    file = write(content, "trick.zip")
    with pytest.raises(WorkbenchError) as caught:
        read(file)
    problem = caught.value.problems[0]
    assert (problem.key, problem.place.file) == (key, member)
    assert problem.describe("en").fix
    assert problem.describe("zh").fix
    assert sorted(tmp_path.iterdir()) == [scratch, file]
    assert list(scratch.iterdir()) == []


def test_an_archive_is_refused_for_what_it_would_inflate_to(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_INFLATED_BYTES", 100)
    content = zipped({f"{number}.jsonl": ROW for number in range(4)}, zipfile.ZIP_STORED)
    with pytest.raises(WorkbenchError, match="D39"):
        read(write(content, "data.zip"))


def _announcing(members: int, directory_bytes: int, *, wide: bool) -> bytes:
    """An archive that is nothing but a directory of lies."""
    if not wide:
        return b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, directory_bytes, 0, 0)
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, members, members, directory_bytes, 0)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, 4, 1)
    return b"PK\x03\x04" + record + locator + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 100, 0, 0)


@pytest.mark.parametrize("wide", [False, True])
def test_a_million_members_are_refused_before_the_directory_is_read(write, wide: bool) -> None:
    started = time.process_time()
    with pytest.raises(WorkbenchError) as caught:
        read(write(_announcing(10**6, 5 * 10**7, wide=wide), "many.zip"))
    assert caught.value.key == "D39_too_many_members"
    assert time.process_time() - started < 1


def test_a_directory_that_hides_how_many_members_it_has_is_refused(write) -> None:
    content = bytearray(zipped({f"{number}": b"" for number in range(2001)}))
    at = content.rindex(b"PK\x05\x06")
    struct.pack_into("<HH", content, at + 8, 1, 1)
    with pytest.raises(WorkbenchError) as caught:
        read(write(bytes(content), "many.zip"))
    assert caught.value.key == "D39_too_many_members"


def test_a_folder_of_too_many_files_is_refused(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    for number in range(4):
        write(ROW, f"folder/{number}.jsonl")
    with pytest.raises(WorkbenchError, match="D39"):
        read(tmp_path / "folder")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("target", ["data.jsonl", ".", "gone"])
def test_a_folder_with_a_link_in_it_is_refused(write, tmp_path: Path, target: str) -> None:
    folder = write(ROW, "folder/data.jsonl").parent
    (folder / "link").symlink_to(target)
    with pytest.raises(WorkbenchError) as caught:
        read(tmp_path / "folder")
    assert (caught.value.key, caught.value.problems[0].place.file) == ("D40_link", "link")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_folder_with_a_pipe_in_it_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(WorkbenchError, match="D40"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["data.zip", "sheet.csv", "data.xlsx"])
def test_an_archive_that_is_cut_off_is_damaged_whatever_its_name(write, name: str) -> None:
    for content in (b"PK\x03\x04", zipped({"data.jsonl": ROW})[:-30]):
        with pytest.raises(WorkbenchError) as caught:
            read(write(content, name))
        assert (caught.value.key, caught.value.problems[0].place.file) == ("D40_damaged", name)


def test_a_member_whose_bytes_were_changed_is_told(write) -> None:
    content = bytearray(zipped({"data.jsonl": f"{ROW}\n" * 3}, zipfile.ZIP_STORED))
    content[content.index(b"instruction")] ^= 1
    with pytest.raises(WorkbenchError) as caught:
        read(write(bytes(content), "data.zip"))
    assert (caught.value.key, caught.value.problems[0].place.file) == ("D40_damaged", "data.jsonl")
