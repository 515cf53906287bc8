"""Names never reach outside their folder, files appear whole or not at all, and a data directory has one writer."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import core.workspace
from core.errors import WorkbenchError
from core.workspace import (
    MAX_NAME_CHARACTERS,
    Workspace,
    checked_name,
    free_name,
    name_problem,
    new_folder,
    read_json,
    remove_folder,
    suggested_name,
    write_bytes,
    write_json,
)

SEPARATORS = ["/", "\\", "\u2215", "\u2044", "\uff0f", "\u29f5", "\ufe68", "%2f", "%5c"]
CONTROLS = ["\x00", "\x01", "\x07", "\x08", "\t", "\n", "\x0b", "\r", "\x1b", "\x7f", "\x80", "\x85", "\x9f"]
INVISIBLE = [
    *"\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e",
    *"\u2060\u2066\u2067\u2068\u2069\ufeff\ufff9\U000e0001\U000e0041",
]
PUNCTUATION = list("!\"#$%&'()*,:;<=>?@[]^`{|}~¥€…“。，：＊？")
DEVICES = ["CON", "con", "Prn", "AUX", "nul", "NUL.txt", "nul.tar.gz", "con .x", "COM1", "com9.log", "lpt1", "LPT9"]
PAYLOADS = [
    "../../x",
    "..",
    ".",
    "...",
    "../",
    "..\\..\\x",
    "a/b\\c",
    "a/../b",
    "/etc/passwd",
    "//host/share",
    "\\\\host\\share",
    "C:\\x",
    "C:x",
    "c:/x",
    "~",
    "~root",
    "$HOME",
    "`id`",
    "$(id)",
    "; touch x",
    "| cat",
    "&& id",
    "a;b",
    "-rf",
    "--help",
    "-",
    "_hidden",
    ".hidden",
    ".gitignore",
    "+x",
    " leading",
    "trailing ",
    "trailing.",
    "trailing. ",
    "file::$DATA",
    "a:stream",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    '"onload="x',
    "javascript:alert(1)",
    "![x](http://a/b)",
    "[x](y)",
    "{{7*7}}",
    "{name}",
    "%s%n",
    "%00",
    "a%2fb",
    "=cmd()",
    "@sum",
    "'; drop table",
    "http://a/b",
    "file:///etc",
    "line\nbreak",
    "ends with newline\n",
    "\r\nheader: x",
    "\ud800",
    "a\udfffb",
    "😀",
    "model 😀",
    "👨\u200d👩\u200d👧",
    "e\u0301",  # é in two characters: NFD
    "n\u0303ame",
    "\u1112\u1161\u11ab",  # 한 in three: NFD
    "a" + "\u0301" * 10,
    "x" * (MAX_NAME_CHARACTERS + 1),
    "x" * 300,
    "x" * 100_000,
    "字" * (MAX_NAME_CHARACTERS + 1),
    "\U00020000" * 60,  # 60 characters, 240 bytes
    "default",
    "Default",
    "BASE",
    "base.x",
    "",
    " ",
    "\t\n",
    "\u3000",
    "\u00a0",
]
NO_TEXT: list[object] = [None, True, 0, 1.5, float("nan"), b"name", ["name"], {"name": 1}, ("a",), Path("a")]
BAD_NAMES: list[object] = [
    *PAYLOADS,
    *NO_TEXT,
    *DEVICES,
    *(f"a{character}b" for character in [*SEPARATORS, *CONTROLS, *INVISIBLE, *PUNCTUATION]),
    *(f"name{character}" for character in [*CONTROLS, *INVISIBLE]),
    *(f"{character}name" for character in [*CONTROLS, *INVISIBLE]),
]
GOOD_NAMES = [
    "a",
    "7",
    "my adapter",
    "SmolLM2-135M-Instruct",
    "v1.2_final+x",
    "口语评分",
    "弱智吧 2026",
    "é",
    "Ünïcode",
    "имя",
    "이름",
    "console",
    "nulls",
    "com10",
    "base model",
    "x" * MAX_NAME_CHARACTERS,
    "字" * MAX_NAME_CHARACTERS,
]


def test_the_table_of_bad_names_is_long_enough() -> None:
    assert len({repr(name) for name in BAD_NAMES}) >= 200


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:40])
def test_a_bad_name_is_refused_with_a_suggestion_that_is_allowed(name: object) -> None:
    problem = name_problem(name)
    assert problem is not None
    assert problem.code == "D42"
    for lang in ("en", "zh"):
        shown = str(problem.describe(lang))
        assert shown.replace("\n", "").isprintable(), "control and bidirectional characters are made visible"
        assert len(shown) < 1000
    if "suggestion" in problem.values:
        assert name_problem(problem.values["suggestion"]) is None
    with pytest.raises(WorkbenchError):
        checked_name(name)


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_good_name_is_taken_as_it_is(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", [name for name in BAD_NAMES if isinstance(name, str)], ids=lambda n: ascii(n)[:40])
def test_whatever_is_wished_for_becomes_a_name_that_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    made = tmp_path / f"{free_name(tmp_path, name, '.jsonl')}.jsonl"
    made.write_text("x")
    assert made.resolve().parent == tmp_path.resolve()
    assert [file.name for file in tmp_path.iterdir()] == [made.name]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_good_wish_is_kept_nearly_as_it_is(name: str) -> None:
    assert suggested_name(name) == name.replace(" ", "-")[:48]


def test_a_taken_name_is_numbered(tmp_path: Path) -> None:
    for expected in ("rows", "rows-2", "rows-3"):
        assert free_name(tmp_path, "rows", ".json") == expected
        (tmp_path / f"{expected}.json").touch()
    assert free_name(tmp_path, "rows", ".csv") == "rows"


@pytest.mark.parametrize(
    ("first", "second"), [("Rows", "rows"), ("é", unicodedata.normalize("NFD", "é")), ("ﬁt", "fit")]
)
def test_names_that_a_file_system_may_take_for_one_are_kept_apart(first: str, second: str, tmp_path: Path) -> None:
    (tmp_path / free_name(tmp_path, first)).mkdir()
    assert free_name(tmp_path, second) == f"{suggested_name(second)}-2"


def test_the_data_directory_is_made_with_all_its_folders(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "家 目录 with spaces" / "data")
    workspace.create()
    workspace.create()
    for folder in (workspace.models, workspace.datasets, workspace.runs, workspace.adapters, workspace.state):
        assert folder.is_dir()
        assert folder.is_relative_to(workspace.root)


def test_a_data_directory_that_is_a_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(WorkbenchError) as refused:
        Workspace(tmp_path / "data").create()
    assert refused.value.code == "A14"
    assert str(tmp_path / "data") in refused.value.describe("en")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_directory_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WorkbenchError, match="A14"):
        Workspace(tmp_path / "data").create()


def test_json_comes_back_as_it_was_written(tmp_path: Path) -> None:
    value = {"名": ["é", 1, 2.5, None, True], "emoji": "😀"}
    write_json(tmp_path / "new" / "value.json", value)
    assert read_json(tmp_path / "new" / "value.json") == value


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    for content in (b"a long first content", b"b"):
        write_bytes(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_write_that_fails_leaves_the_old_content_and_no_rest(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / "file", b"old")
    monkeypatch.setattr(*_breaking(step))
    with pytest.raises(OSError, match="No space left"):
        write_bytes(tmp_path / "file", b"new")
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_threads_that_write_one_file_at_once_leave_the_whole_content_of_one_of_them(tmp_path: Path) -> None:
    contents = [bytes([48 + number]) * 200_000 for number in range(8)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda content: write_bytes(tmp_path / "file", content), contents * 4, timeout=60))
    assert (tmp_path / "file").read_bytes() in contents
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_value_that_is_no_json_does_not_touch_the_file(tmp_path: Path) -> None:
    write_json(tmp_path / "file", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "file", {"new": object()})
    assert read_json(tmp_path / "file") == {"old": 1}


def test_a_content_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(core.workspace.os, "fsync", lambda handle: (steps.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to))[1])
    write_bytes(tmp_path / "file", b"content")
    assert steps == ["fsync", "rename", "fsync"]


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "loras" / "mine"
    with new_folder(target) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "file").write_text("x")
        assert not target.exists()
    assert (target / "sub" / "file").read_text() == "x"
    assert [entry.name for entry in target.parent.iterdir()] == ["mine"]


def test_a_new_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half-way"), new_folder(tmp_path / "mine") as staging:
        (staging / "file").write_text("x")
        raise RuntimeError("half-way")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_as_a_whole_and_leaves_no_rest(
    exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:  # as on a system that cannot
        monkeypatch.setattr("core.workspace._exchange", lambda first, second: False)
    for content in ("old", "new"):
        with new_folder(tmp_path / "made", replace=True) as folder:
            (folder / content).write_text(content)
    assert [entry.name for entry in tmp_path.iterdir()] == ["made"]
    assert [entry.name for entry in (tmp_path / "made").iterdir()] == ["new"]


def test_a_replacement_that_fails_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_folder(tmp_path / "made") as folder:
        (folder / "old").write_text("old")
    monkeypatch.setattr("core.workspace._exchange", lambda first, second: False)
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError(28, "full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="full"), new_folder(tmp_path / "made", replace=True) as folder:
        (folder / "new").write_text("new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["made"]
    assert [entry.name for entry in (tmp_path / "made").iterdir()] == ["old"]


def test_a_new_folder_clears_away_what_a_killed_process_left_of_it(tmp_path: Path) -> None:
    gone, other = tmp_path / ".a b.99999999-1.tmp", tmp_path / f".a b.{os.getpid()}-1.tmp"
    for left in (gone, other):
        (left / "deep").mkdir(parents=True)
    with new_folder(tmp_path / "a b"):
        pass
    assert not gone.exists()
    assert other.exists(), "a thread of a process that lives may be filling it"


def test_a_folder_that_is_removed_is_out_of_sight_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run" / "deep").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *args, **kwargs: None)  # interrupted
        remove_folder(tmp_path / "run")
    assert [entry.name for entry in tmp_path.iterdir()] == [".run.deleted"]
    (tmp_path / "run").mkdir()
    remove_folder(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_new_folder_never_replaces_one_that_has_content(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("old")
    with pytest.raises(OSError, match="not empty"), new_folder(tmp_path / "mine") as staging:
        (staging / "file").write_text("new")
    assert (tmp_path / "mine" / "file").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


HOLD = """
import sys
from pathlib import Path
from core.workspace import Workspace
with Workspace(Path(sys.argv[1])).writer():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_writer_is_told_the_process_that_holds_the_data_directory(tmp_path: Path) -> None:
    holder = _holder(tmp_path)
    try:
        with pytest.raises(WorkbenchError) as refused, Workspace(tmp_path).writer():
            pytest.fail("two writers")
        assert refused.value.code == "A17"
        assert str(holder.pid) in refused.value.describe("en")
        assert str(holder.pid) in refused.value.describe("zh")
    finally:
        holder.communicate("\n", timeout=30)
    with Workspace(tmp_path).writer():
        assert read_json(tmp_path / "state" / "writer.json")["pid"] == os.getpid()


def test_a_writer_that_was_killed_leaves_the_data_directory_free(tmp_path: Path) -> None:
    holder = _holder(tmp_path)
    holder.kill()
    holder.communicate(timeout=30)
    with Workspace(tmp_path).writer():
        pass


def test_what_was_needed_for_a_while_is_gone_afterwards_and_of_a_killed_writer_with_the_next(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.scratch() as folder:
        (folder / "upload").touch()
    assert not folder.exists()
    with workspace.scratch() as left:
        (left / "upload").touch()
        with workspace.writer():
            assert not left.exists()


def test_a_second_writer_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with Workspace(tmp_path).writer():
        with pytest.raises(WorkbenchError, match="A17"), Workspace(tmp_path).writer():
            pytest.fail("two writers")
        with pytest.raises(WorkbenchError, match="A17"), Workspace(tmp_path).writer():
            pytest.fail("the refused one must not have let go")


def test_a_writer_that_fails_lets_go(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Workspace(tmp_path).writer():
        raise RuntimeError
    with Workspace(tmp_path).writer():
        pass


def test_two_data_directories_have_a_writer_each(tmp_path: Path) -> None:
    with Workspace(tmp_path / "a").writer(), Workspace(tmp_path / "b").writer():
        pass


def _holder(root: Path) -> subprocess.Popen[str]:
    """Another process that holds the data directory until it is told or killed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)],
        cwd=Path(__file__).resolve().parent.parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def _breaking(step: str) -> tuple[object, str, object]:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    return (core.workspace.os, "fsync", fail) if step == "fsync" else (Path, "replace", fail)
