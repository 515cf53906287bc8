from __future__ import annotations

import errno
import json
import shutil
from collections import Counter
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from core.data import datasets
from core.data.conversation import Example, Message
from core.data.datasets import (
    DataOptions,
    add_dataset,
    default_validation_rows,
    find_dataset,
    list_datasets,
    report,
    split,
)
from core.errors import WorkbenchError
from core.workspace import Workspace
from tests.conftest import ROOT

ROWS = [{"instruction": f"question {number}", "output": "answer"} for number in range(20)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.jsonl", ROWS)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


SHARED = {
    "alpaca_en_demo.json": ("alpaca", 999, ["D31_duplicates"]),
    "alpaca_zh_demo.json": ("alpaca", 1000, ["D31_duplicates"]),
    "c4_demo.jsonl": (None, 0, ["D21_text_data"]),
    "chinese_med.json": ("alpaca", 3, ["D33_few_rows"]),
    "dpo_en_demo.json": (None, 0, ["D21_preference_data"]),
    "glaive_toolcall_en_demo.json": (None, 0, ["D21_tool_call_data"]),
    "identity.json": ("alpaca", 91, ["D29_placeholder_unfilled", "D29_placeholder_unfilled"]),
    "kto_en_demo.json": (None, 0, ["D21_kto_data"]),
    "oral_grading_full.jsonl": ("messages", 200, []),
    "oral_grading_short.jsonl": ("messages", 200, []),
    "ruozhiba.json": ("alpaca", 240, []),
    "ruozhiba_sharegpt_300.json": ("sharegpt", 300, []),
    "seed_tasks.jsonl": (None, 0, ["D21_unknown_columns"]),
}


@pytest.mark.parametrize("name", SHARED)
def test_real_files_are_reported_as_what_they_are(shared_data: Path, name: str) -> None:
    name_of_format, examples, problems = SHARED[name]
    found = report(shared_data / name, DataOptions())
    assert (found.format, len(found.examples)) == (name_of_format, examples)
    assert [problem.key for problem in found.problems] == problems
    assert bool(found.errors) == (name_of_format is None)
    assert found.rows == sum(found.counts.values())
    if examples:
        assert found.rows == examples


def test_every_real_file_has_its_expectation_here(shared_data: Path) -> None:
    files = {file.name for file in shared_data.iterdir()} - {"README.md", "wiki_demo.txt"}
    assert files == set(SHARED)


def test_a_real_prose_file_is_refused_as_prose(shared_data: Path) -> None:
    with pytest.raises(WorkbenchError, match="D21"):
        report(shared_data / "wiki_demo.txt", DataOptions())


def test_the_lines_of_a_real_file_are_those_of_its_rows(shared_data: Path) -> None:
    lines = (shared_data / "alpaca_zh_demo.json").read_text(encoding="utf-8").split("\n")
    for example in report(shared_data / "alpaca_zh_demo.json").examples:
        assert lines[example.line - 1].strip() == "{"
        question = json.loads("{" + lines[example.line].strip().rstrip(",") + "}")["instruction"]
        assert example.messages[0]["content"].startswith(question)


def test_placeholders_of_a_real_file_are_found_and_filled(shared_data: Path) -> None:
    options = DataOptions(placeholders={"name": "小艾", "author": "Ada"})
    found = report(shared_data / "identity.json", options)
    assert found.placeholders == {"name": 77, "author": 60}
    assert found.problems == ()
    assert found.examples[0].messages[1]["content"].startswith("Hello! I am 小艾, an AI assistant developed by Ada.")


def test_the_shipped_files_are_ready_to_train() -> None:
    folder = ROOT / "training" / "datasets"
    assert report(folder / "identity.json").errors == ()
    assert len(report(folder / "oral_grading_short.jsonl").examples) == 200
    assert "Apache License" in (folder / "NOTICE").read_text(encoding="utf-8")


def test_a_system_prompt_is_given_to_rows_without_one(tmp_path: Path) -> None:
    mixed = write(tmp_path / "rows.jsonl", [*ROWS, {"instruction": "q", "output": "a", "system": "own"}])
    found = report(mixed, DataOptions(system_prompt="given {{x}}", placeholders={"x": "to all"}))
    assert Counter(example.system_prompt for example in found.examples) == {"given to all": 20, "own": 1}
    assert found.system_prompt is None, "two different ones are shared by nobody"


def test_the_system_prompt_that_all_rows_share_is_known(file: Path, shared_data: Path) -> None:
    assert report(file).system_prompt is None
    assert report(file, DataOptions(system_prompt="s")).system_prompt == "s"
    assert (report(shared_data / "oral_grading_short.jsonl").system_prompt or "").startswith("你是给留学生")


BAD = [
    {"instruction": "q", "output": ""},
    {"instruction": "q", "output": 3},
    {"prompt": "q", "completion": "a"},
    {"messages": [{"role": "user", "content": "q"}]},
    "text",
]


def test_bad_rows_are_all_named_and_left_out(tmp_path: Path) -> None:
    bad = write(tmp_path / "rows.jsonl", [*ROWS, *BAD])
    found = report(bad)
    assert len(found.examples) == 20
    assert [(problem.code, problem.place.line, problem.place.file) for problem in found.errors] == [
        ("D22", 21, "rows.jsonl"),
        ("D23", 22, "rows.jsonl"),
        ("D19", 23, "rows.jsonl"),
        ("D20", 23, "rows.jsonl"),
        ("D20", 24, "rows.jsonl"),
        ("D23", 25, "rows.jsonl"),
    ]


def test_bad_rows_are_no_errors_where_they_are_to_be_skipped(tmp_path: Path) -> None:
    bad = write(tmp_path / "rows.jsonl", [*ROWS, *BAD])
    found = report(bad, DataOptions(skip_bad_rows=True))
    assert (len(found.examples), found.errors, len(found.warnings)) == (20, (), 6)


def test_where_no_row_is_good_there_is_nothing_to_skip_to(tmp_path: Path) -> None:
    bad = write(tmp_path / "rows.jsonl", [{"instruction": "q", "output": ""}] * 3)
    found = report(bad, DataOptions(skip_bad_rows=True))
    assert (found.examples, len(found.errors)) == ((), 3)


def test_a_row_without_an_answer_is_left_out_also_where_rows_share_a_line(tmp_path: Path) -> None:
    asked = {"role": "user", "content": "q"}
    good = {"messages": [asked, {"role": "assistant", "content": "a"}]}
    minified = tmp_path / "rows.json"
    minified.write_text(json.dumps([good, {"messages": [asked]}, good]), encoding="utf-8")
    found = report(minified)
    assert [example.line for example in found.examples] == [1, 3]
    assert [(problem.key, problem.place.line) for problem in found.errors] == [("D27_no_answer", 2)]


def test_a_chosen_format_is_used_instead_of_the_detected_one(tmp_path: Path) -> None:
    both = write(tmp_path / "rows.jsonl", [{"instruction": "i", "output": "o", "prompt": "p", "completion": "c"}])
    assert report(both).examples[0].messages[0]["content"] == "i"
    chosen = report(both, DataOptions(format="prompt_completion"))
    assert (chosen.format, chosen.examples[0].messages[0]["content"]) == ("prompt_completion", "p")


@pytest.mark.parametrize(
    "values",
    [{"format": "csv"}, {"placeholders": {"a": 1}}, {"system_prompt": 3}, {"skip_bad_rows": "yes"}, {"unknown": 1}],
)
def test_options_that_are_none_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(WorkbenchError, match="H01"):
        DataOptions.checked(values)


def test_an_added_file_is_listed_found_and_hashed(workspace: Workspace, file: Path) -> None:
    info = add_dataset(workspace, file, "My rows.JSONL")
    assert info.name == "My-rows.jsonl"
    assert info.file.read_bytes() == file.read_bytes()
    assert info.bytes == file.stat().st_size
    assert list_datasets(workspace) == [info]
    assert find_dataset(workspace, "My-rows.jsonl") == info
    assert len(info.sha256) == 64


def test_two_files_of_one_name_are_both_kept(workspace: Workspace, file: Path) -> None:
    barrier = Barrier(4, timeout=10)

    def add() -> None:
        barrier.wait()
        add_dataset(workspace, file, "rows.jsonl")

    threads = [Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
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


@pytest.mark.parametrize("name", ["rows.xlsx", "rows.xls", "rows", "rows.exe", "", ".json", "rows.json.zip"])
def test_other_kinds_of_files_are_refused_with_what_to_save_them_as(
    workspace: Workspace, file: Path, name: str
) -> None:
    with pytest.raises(WorkbenchError, match="D38"):
        add_dataset(workspace, file, name)
    assert list(workspace.datasets.iterdir()) == []


def test_a_file_over_the_limit_is_not_copied(workspace: Workspace, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_FILE_BYTES", file.stat().st_size - 1)
    with pytest.raises(WorkbenchError, match="D18"):
        add_dataset(workspace, file, "rows.jsonl")
    assert list(workspace.datasets.iterdir()) == []


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
    assert list(workspace.datasets.iterdir()) == []


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


def examples(count: int, different: int) -> list[Example]:
    """`count` examples of which `different` differ."""
    return [
        Example(
            (
                Message(role="user", content=f"q{number % different}"),
                Message(role="assistant", content="a"),
            ),
            number + 1,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "different", "share", "held_out"),
    [
        (100, 100, 0.1, 10),
        (60, 60, 0.1, 6),
        (200, 50, 0.1, 20),
        (100, 100, 0, 0),
        (3, 3, 0.34, 1),
        (10, 1, 0.2, 0),
        (2, 2, 1.0, 1),
    ],
)
def test_a_split_holds_out_its_share_and_loses_nothing(count: int, different: int, share: float, held_out: int) -> None:
    everything = examples(count, different)
    training, validation = split(everything, share, seed=42)
    assert len(validation) == held_out
    assert sorted([*training, *validation], key=lambda example: example.line) == everything
    assert [example.line for example in training] == sorted(example.line for example in training)


@pytest.mark.parametrize("seed", range(10))
def test_equal_rows_are_never_on_both_sides(seed: int) -> None:
    training, validation = split(examples(90, 37), 0.3, seed)
    assert validation
    assert not {example.key for example in training} & {example.key for example in validation}


def test_a_split_depends_on_the_seed_alone() -> None:
    everything = examples(100, 100)
    assert split(everything, 0.1, 1) == split(everything, 0.1, 1)
    assert split(everything, 0.1, 1) != split(everything, 0.1, 2)


@pytest.mark.parametrize(
    ("rows", "expected"), [(0, 0), (39, 0), (40, 4), (60, 6), (100, 10), (200, 10), (201, 10), (1000, 50)]
)
def test_the_default_validation_rows_are_those_of_the_design(rows: int, expected: int) -> None:
    assert default_validation_rows(rows) == expected
