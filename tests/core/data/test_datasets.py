from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from core.data import datasets
from core.data.datasets import add_dataset, delete_dataset, find_dataset, list_datasets, read_card
from core.errors import WorkbenchError
from core.workspace import Workspace

WAIT_S = 60.0
ROWS = [{"instruction": f"question {number}", "output": "answer"} for number in range(20)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.jsonl", ROWS)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def visible(workspace: Workspace) -> list[str]:
    return [entry.name for entry in workspace.datasets.iterdir()]


def test_a_folder_of_files_is_one_data_set(workspace: Workspace, file: Path) -> None:
    folder = workspace.datasets / "set"
    (folder / "deep").mkdir(parents=True)
    (folder / "picture.png").write_bytes(b"x")
    assert list_datasets(workspace) == [], "nothing in it is data"
    shutil.copy(file, folder / "a.jsonl")
    shutil.copy(file, folder / "deep" / "b.jsonl")
    (info,) = list_datasets(workspace)
    assert (info.name, info.bytes) == ("set", 2 * file.stat().st_size)
    hashes = {info.sha256}
    (folder / "deep" / "b.jsonl").rename(folder / "deep" / "c.jsonl")
    hashes.add(list_datasets(workspace)[0].sha256)
    (folder / "a.jsonl").write_text("{}", encoding="utf-8")
    hashes.add(list_datasets(workspace)[0].sha256)
    assert len(hashes) == 3, "names and bytes both count"
    delete_dataset(workspace, "set")
    assert list_datasets(workspace) == []


def test_the_readme_of_the_folder_is_no_data_set_but_an_added_one_is(workspace: Workspace, tmp_path: Path) -> None:
    note = tmp_path / "x.md"
    note.write_text("# notes", encoding="utf-8")
    shutil.copy(note, workspace.datasets / "README.md")
    assert list_datasets(workspace) == []
    assert add_dataset(workspace, note, "README.md").name == "README-2.md"
    (workspace.datasets / "README.md").unlink()
    assert add_dataset(workspace, note, "README.md").name == "README.md"
    assert [info.name for info in list_datasets(workspace)] == ["README-2.md", "README.md"]


def test_a_deleted_data_set_leaves_no_card(workspace: Workspace, file: Path) -> None:
    add_dataset(workspace, file, "rows.jsonl")
    assert read_card(workspace, "rows.jsonl").source == "rows.jsonl"
    delete_dataset(workspace, "rows.jsonl")
    assert read_card(workspace, "rows.jsonl").source == ""
    with pytest.raises(WorkbenchError, match="A03"):
        delete_dataset(workspace, "rows.jsonl")


def test_an_added_file_is_listed_found_and_hashed(workspace: Workspace, file: Path) -> None:
    info = add_dataset(workspace, file, "My rows.JSONL")
    assert info.name == "My-rows.jsonl"
    assert info.file.read_bytes() == file.read_bytes()
    assert info.bytes == file.stat().st_size
    assert list_datasets(workspace) == [info]
    assert find_dataset(workspace, "My-rows.jsonl") == info
    assert len(info.sha256) == 64


def test_two_files_of_one_name_are_both_kept(workspace: Workspace, file: Path) -> None:
    barrier = Barrier(4, timeout=WAIT_S)

    def add() -> None:
        barrier.wait()
        add_dataset(workspace, file, "rows.jsonl")

    threads = [Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=WAIT_S)
    names = sorted(info.name for info in list_datasets(workspace))
    assert names == ["rows-2.jsonl", "rows-3.jsonl", "rows-4.jsonl", "rows.jsonl"]
    assert all(info.bytes == file.stat().st_size for info in list_datasets(workspace))


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.json",
        "..\\..\\evil.json",
        "a/b/evil.json",
        "-rf.json",
        "CON.json",
        "x" * 300 + ".json",
        "...json",
        "\u202egnp.json",
        "<img onerror=1>.json",
        "a\nb.json",
        "😀.json",
        ".json.json",
        " .json",
    ],
)
def test_no_name_leaves_the_folder_or_is_hidden(workspace: Workspace, file: Path, name: str) -> None:
    info = add_dataset(workspace, file, name)
    assert info.file.parent == workspace.datasets
    assert [listed.name for listed in list_datasets(workspace)] == [info.name]
    assert not info.name.startswith((".", "-"))


@pytest.mark.parametrize("name", ["rows.ods", "rows.xls", "rows", "rows.exe", "", ".json", "rows.json.gz"])
def test_other_kinds_of_files_are_refused_with_what_to_save_them_as(
    workspace: Workspace, file: Path, name: str
) -> None:
    with pytest.raises(WorkbenchError, match="D38"):
        add_dataset(workspace, file, name)
    assert visible(workspace) == []


def test_a_file_over_the_limit_is_not_copied(workspace: Workspace, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_FILE_BYTES", file.stat().st_size - 1)
    with pytest.raises(WorkbenchError, match="D18"):
        add_dataset(workspace, file, "rows.jsonl")
    assert visible(workspace) == []


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "A13"), (errno.EACCES, "D45")])
def test_a_copy_that_fails_leaves_nothing_behind(
    workspace: Workspace, file: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def fails(source: Any, target: Any) -> None:
        target.write(b"half")
        raise OSError(number, "no")

    monkeypatch.setattr(shutil, "copyfileobj", fails)
    with pytest.raises(WorkbenchError, match=code):
        add_dataset(workspace, file, "rows.jsonl")
    assert visible(workspace) == []


def test_an_upload_that_is_gone_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="D45"):
        add_dataset(workspace, tmp_path / "gone.json", "rows.json")


@pytest.mark.parametrize("name", ["gone.json", "../rows.json", "", "README.md"])
def test_an_unknown_data_set_is_refused_with_those_there_are(workspace: Workspace, file: Path, name: str) -> None:
    add_dataset(workspace, file, "rows.jsonl")
    (workspace.datasets / "README.md").write_text("x", encoding="utf-8")
    with pytest.raises(WorkbenchError) as caught:
        find_dataset(workspace, name)
    assert caught.value.key == "A03_no_dataset"
    assert "rows.jsonl" in caught.value.describe("zh")
