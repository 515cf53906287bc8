"""start.sh on a machine that is played: a stand-in for Python notes what it is asked and fails as it is told.

What the stand-in cannot show is that the pinned packages install; test.sh itself does that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_architecture import PRODUCT, imported_packages

ROOT = Path(__file__).resolve().parent.parent
BASH = shutil.which("bash")
# What the scripts call beside Python. The PATH of the played machine holds nothing else.
COMMANDS = ("awk", "bash", "cat", "cmp", "cp", "df", "dirname", "grep", "mkdir", "rm", "sed", "uname")

pytestmark = pytest.mark.skipif(BASH is None or os.name != "posix", reason="start.sh needs bash")

PYTHON = """#!/bin/sh
# Stand-in for Python. `fail` holds words of a command that fails, and below them what pip then writes into its log.
here={machine}
case "$*" in
  *sys.version_info\\ \\<*) exit {too_old} ;;
  *find_spec*) [ ! -e "$here/replaced" ] ;;
  *ensurepip*) exit {no_venv} ;;
  *sys.version_info*) echo 3.11 ;;
  --version) echo Python 3.11.7 ;;
  *metadata*) cat "$here/torch" 2>/dev/null || exit 1 ;;
  "-m venv"*) echo "venv" >>"$here/calls"; rm -f "$here/replaced"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
  "-m pip"*)
    echo "${{*#*--log }}" >>"$here/calls"
    if [ -e "$here/fail" ] && case "$*" in *"$(sed -n 1p "$here/fail")"*) true ;; *) false ;; esac; then
      sed 1d "$here/fail" >"$here/../work bench/.venv/install.log"; exit 1
    fi ;;
  *) printf '%s\\n' "$PWD" "$@" >"$here/started" ;;
esac
"""


@dataclass(frozen=True)
class Machine:
    """A checkout in a folder with a space, and a PATH of its own."""

    checkout: Path
    path: Path

    def start(self, *options: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.path), "HOME": str(self.path)}
        return subprocess.run(
            [str(BASH), str(self.checkout / "start.sh"), *options],
            env=environment,
            cwd=cwd or self.path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def add_python(self, too_old: int = 0, no_venv: int = 0) -> None:
        self.add("python3", PYTHON.format(machine=self.path, too_old=too_old, no_venv=no_venv))

    def add(self, command: str, script: str) -> None:
        file = self.path / command
        file.unlink(missing_ok=True)
        file.write_text(script)
        file.chmod(0o755)

    def fail(self, words: str, log: str = "") -> None:
        (self.path / "fail").write_text(f"{words}\n{log}\n")

    def recover(self) -> None:
        (self.path / "fail").unlink()

    def calls(self) -> list[str]:
        """What Python was asked since the last look: `venv`, or pip's arguments after its log file."""
        file = self.path / "calls"
        calls = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [call.replace(f"{self.path.parent}", "…") for call in calls]

    def started(self) -> list[str] | None:
        file = self.path / "started"
        return file.read_text().splitlines() if file.exists() else None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    checkout, path = tmp_path / "work bench", tmp_path / "bin"
    path.mkdir()
    (checkout / "scripts").mkdir(parents=True)
    for name in ("start.sh", "scripts/environment.sh", "requirements.txt"):
        shutil.copy(ROOT / name, checkout / name)
    for command in COMMANDS:
        (path / command).symlink_to(str(shutil.which(command)))
    played = Machine(checkout, path)
    played.add_python()
    played.add("uname", "#!/bin/sh\necho Linux\n")
    played.add("df", "#!/bin/sh\necho Filesystem\necho /dev/x 0 0 99000000 0% /\n")
    return played


INDEX = "--index-url https://download.pytorch.org/whl/cpu"
REQUIREMENTS = "--requirement …/work bench/requirements.txt"


def pip_calls(machine: Machine) -> list[str]:
    return [call.partition("install.log ")[2] for call in machine.calls() if call != "venv"]


def test_the_first_start_makes_the_environment_installs_and_starts(machine: Machine) -> None:
    done = machine.start("--port", "8000", "--load", "a model")
    assert done.returncode == 0, done.stderr
    assert pip_calls(machine) == ["--no-deps torch==2.13.0+cpu", REQUIREMENTS]
    assert machine.started() == [
        str(machine.path),
        str(machine.checkout / "app.py"),
        "--port",
        "8000",
        "--load",
        "a model",
    ]


def test_the_second_start_installs_nothing_and_says_nothing(machine: Machine) -> None:
    machine.start()
    machine.calls()
    done = machine.start()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.calls() == []


def test_changed_requirements_are_installed_without_making_the_environment_again(machine: Machine) -> None:
    machine.start()
    machine.calls()
    (machine.path / "torch").write_text("2.13.0\n")
    with (machine.checkout / "requirements.txt").open("a") as file:
        file.write("another==1\n")
    machine.start()
    assert machine.calls()[0] != "venv"
    machine.start()
    assert machine.calls() == []


def test_an_installation_that_failed_is_tried_again(machine: Machine) -> None:
    machine.fail("--requirement", "ERROR: something else")
    failed = machine.start()
    assert failed.returncode == 1
    assert "Installing the packages failed" in failed.stderr
    assert machine.started() is None
    machine.recover()
    machine.calls()
    assert machine.start().returncode == 0
    assert pip_calls(machine)[-1] == REQUIREMENTS


def test_options_keep_their_meaning_from_any_folder(machine: Machine, tmp_path: Path) -> None:
    machine.start("--auth-file", "./users", cwd=tmp_path)
    assert machine.started() == [str(tmp_path), str(machine.checkout / "app.py"), "--auth-file", "./users"]


def test_a_broken_environment_is_made_again(machine: Machine) -> None:
    machine.start()
    machine.calls()
    (machine.checkout / ".venv" / "bin" / "python").unlink()
    machine.start()
    assert machine.calls()[0] == "venv"


def test_an_environment_whose_python_was_replaced_by_a_newer_one_is_made_again(machine: Machine) -> None:
    machine.start()
    machine.calls()
    (machine.path / "replaced").touch()
    machine.start()
    assert machine.calls()[0] == "venv"
    machine.start()
    assert machine.calls() == []


def test_with_an_nvidia_gpu_the_standard_torch_is_installed(machine: Machine) -> None:
    machine.add("nvidia-smi", "#!/bin/sh\nexit 0\n")
    machine.start()
    assert pip_calls(machine) == [REQUIREMENTS]


def test_a_driver_without_a_gpu_is_no_gpu(machine: Machine) -> None:
    machine.add("nvidia-smi", "#!/bin/sh\nexit 9\n")
    machine.start()
    assert pip_calls(machine)[0] == "--no-deps torch==2.13.0+cpu"


def test_on_a_mac_the_standard_torch_is_installed(machine: Machine) -> None:
    machine.add("uname", "#!/bin/sh\necho Darwin\n")
    machine.start()
    assert pip_calls(machine) == [REQUIREMENTS]


def test_a_torch_that_the_person_installed_stays(machine: Machine) -> None:
    (machine.path / "torch").write_text("2.13.0\n")
    machine.start()
    assert pip_calls(machine) == [REQUIREMENTS]


def test_the_cpu_build_is_taken_from_pytorch_where_the_package_index_has_none(machine: Machine) -> None:
    machine.fail("--no-deps torch", "ERROR: No matching distribution found for torch==2.13.0+cpu")
    machine.start()
    calls = pip_calls(machine)
    assert len(calls) == 3
    assert INDEX in calls[1]
    assert calls[2] == REQUIREMENTS


def test_the_standard_build_is_the_last_resort_and_is_announced(machine: Machine) -> None:
    machine.fail("+cpu", "ERROR: No matching distribution found")
    done = machine.start()
    assert done.returncode == 0
    assert "installing the standard build" in done.stdout
    assert pip_calls(machine)[-1] == REQUIREMENTS


NO_NETWORK = "WARNING: Retrying after connection broken by 'NewConnectionError(...)'"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (NO_NETWORK, "The package index cannot be reached"),
        ("OSError: [Errno 28] No space left on device", "The disk became full"),
    ],
)
@pytest.mark.parametrize("command", ["+cpu", "--requirement"])
def test_a_failure_with_a_known_cause_is_said_in_one_sentence(
    machine: Machine, command: str, log: str, said: str
) -> None:
    machine.fail(command, log)
    done = machine.start()
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert machine.started() is None


def test_without_a_python_it_says_which_is_needed(machine: Machine) -> None:
    (machine.path / "python3").unlink()
    _refused(machine, "needs Python 3.11 or newer")


def test_an_old_python_is_refused(machine: Machine) -> None:
    machine.add_python(too_old=1)
    _refused(machine, "needs Python 3.11 or newer")


def test_a_newer_python_is_found_behind_an_old_one(machine: Machine) -> None:
    machine.add("python3.13", (machine.path / "python3").read_text())
    machine.add_python(too_old=1)
    assert machine.start().returncode == 0


def test_a_missing_venv_module_is_named_with_its_package(machine: Machine) -> None:
    machine.add_python(no_venv=1)
    _refused(machine, "apt install python3.11-venv")


def test_a_full_disk_is_refused_before_anything_is_made(machine: Machine) -> None:
    machine.add("df", "#!/bin/sh\necho Filesystem\necho /dev/x 0 0 4194303 0% /\n")
    _refused(machine, "has 3 GB free and the installation needs about 4 GB")
    assert not (machine.checkout / ".venv").exists()


def test_torch_is_pinned_as_the_scripts_read_it() -> None:
    pin = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("torch==")]
    assert len(pin) == 1
    assert pin[0].split()[0] == "torch==2.13.0"


@pytest.mark.parametrize("list_name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_has_a_reason_and_is_what_the_tests_run_with(list_name: str) -> None:
    from importlib.metadata import version

    for line in (ROOT / list_name).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            pin, _, reason = line.partition("#")
            name, _, wanted = pin.strip().partition("==")
            assert wanted, line
            assert reason.strip(), f"{name}: why is it here?"
            assert version(name).split("+")[0] == wanted, f"./start.sh (or ./test.sh) brings {name} up to date"


def test_the_requirements_are_what_the_code_imports() -> None:
    """Apart from those that libraries of ours need and that are pinned for safety or that they do not ask for."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = {line.split("==")[0].lower().replace("-", "_") for line in lines if "==" in line}
    ours = {"app", "core", "webui"} | set(sys.stdlib_module_names)
    extras = {"lm_eval"}  # which a person may install beside it
    called = {"yaml": "pyyaml", "re2": "google_re2"}
    imported = {called.get(name, name) for name in imported_packages(PRODUCT) - ours - extras}
    assert sorted(imported - required) == [], "add to requirements.txt"
    assert sorted(required - imported - NEEDED_BY_LIBRARIES) == [], "take out of requirements.txt"


NEEDED_BY_LIBRARIES = {"accelerate", "gguf", "pandas", "tensorboard", "fastapi", "starlette", "python_multipart"}


def _refused(machine: Machine, words: str) -> None:
    done = machine.start()
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1, "one sentence"
    assert machine.started() is None
