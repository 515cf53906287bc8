"""The command line: what it prints, what it exits with, and that it is the page's own core."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import app
from core.errors import Place, Problem
from core.evaluation import procedure
from core.settings import SamplingSettings
from core.training.events import EventLog, Failed, RunStarted, StepDone
from core.training.history import EVENTS_FILE
from core.training.runner import Runner
from core.training.spec import RunSpec, read_spec, write_spec
from core.workspace import Workspace
from tests.browser.conftest import write_rows
from tests.core.adapters.building import save_random_adapter
from tests.core.evaluation.conftest import write_grades

pytestmark = pytest.mark.proof

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    workspace_with_tiny: Workspace, short_sample_answers: None, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run a command over a data directory with the tiny model; gives exit status, standard output and error."""
    root = logging.getLogger()
    before = list(root.handlers)

    def command(*words: str) -> tuple[int, str, str]:
        status = app.main([*words, "--data-dir", str(workspace_with_tiny.root)])
        said = capsys.readouterr()
        return status, said.out, said.err

    yield command
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
        handler.close()
    logging.captureWarnings(False)


def a_spec(workspace: Workspace, **changes: Any) -> str:
    write_rows(workspace.datasets / "sums.json", 12)
    values = {
        "name": "sums",
        "base": "tiny",
        "dataset": "sums.json",
        "training": {"epochs": 1, "threads": 1},
        **changes,
    }
    file = workspace.root / "spec.yaml"
    write_spec(file, RunSpec.checked(values))
    return str(file)


def test_a_run_trains_and_a_chat_uses_its_adapter(run: Run, workspace_with_tiny: Workspace) -> None:
    status, out, _ = run("train", a_spec(workspace_with_tiny), "--json")
    assert status == 0
    assert json.loads(out)["adapter"] == "sums"
    status, out, _ = run("adapters", "list", "--json")
    assert [adapter["name"] for adapter in json.loads(out)] == ["sums"]
    asked = (
        "chat",
        "--model",
        "tiny",
        "--adapter",
        "sums",
        "--seed",
        "7",
        "--max-new-tokens",
        "5",
        "What is 1 plus 1?",
    )
    first, again = run(*asked, "--json"), run(*asked, "--json")
    assert first[0] == 0
    assert json.loads(first[1])["text"] == json.loads(again[1])["text"]
    assert json.loads(first[1])["seed"] == 7
    status, out, _ = run(*asked)
    assert (status, out.strip()) == (0, json.loads(first[1])["text"].strip())
    assert not (workspace_with_tiny.state / "last_model.json").exists(), "a command leaves the page's choice alone"


def test_a_run_is_shown_repeated_compared_exported_and_deleted(
    run: Run, workspace_with_tiny: Workspace, tmp_path: Path
) -> None:
    first = json.loads(run("train", a_spec(workspace_with_tiny), "--json")[1])["run_id"]
    status, out, _ = run("runs", "show", first, "--json")
    shown = json.loads(out)
    assert (status, shown["status"], shown["method"], shown["spec"]["name"]) == (0, "finished", "lora", "sums")
    assert shown["bytes"] > 0
    typed = app.parse(shlex.split(shown["command"])[2:])
    assert read_spec(typed.spec).name == "sums" and typed.name == "sums-2"
    assert typed.data_dir == workspace_with_tiny.root
    status, out, _ = run("runs", "show", first, "--lang", "zh")
    assert "状态: finished" in out and shown["command"] in out and "dataset: sums.json" in out
    spec = workspace_with_tiny.runs / first / "spec.yaml"
    again = json.loads(run("train", str(spec), "--name", "sums-2", "--json")[1])
    assert again["adapter"] == "sums-2"
    weights = [workspace_with_tiny.adapters / name / "adapter_model.safetensors" for name in ("sums", "sums-2")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    found = json.loads(run("runs", "compare", first, again["run_id"], "--json")[1])
    assert [each["run_id"] for each in found["runs"]] == [first, again["run_id"]] and found["settings"] == []
    status, out, _ = run("runs", "compare", first, again["run_id"])
    assert f"Run\t{first}\t{again['run_id']}" in out
    status, out, _ = run("runs", "export", first, "--to", str(tmp_path), "--no-weights", "--json")
    assert status == 0 and Path(json.loads(out)["file"]).is_file()
    status, out, _ = run("runs", "delete", first, "--json")
    assert (status, json.loads(out)["run_id"]) == (0, first)
    assert not (workspace_with_tiny.runs / first).exists() and weights[0].exists()
    assert [run("runs", verb, first)[0] for verb in ("show", "export", "delete")] == [2, 2, 2]


def test_a_failed_run_is_shown_with_its_problems_as_json(run: Run, workspace: Workspace) -> None:
    folder = workspace.runs / "run-1"
    folder.mkdir(parents=True)
    log, problem = EventLog(folder / EVENTS_FILE), Problem("A14_cannot_write", Place(file="x"), {"reason": "gone"})
    log.append(RunStarted("run-1", "sums", "tiny", "sums.json", "page", "2026-01-02T03:04:05", 1, 0.0))
    log.append(Failed((problem,), "", 1.0))
    write_spec(folder / "spec.yaml", RunSpec(name="sums", base="tiny", dataset="sums.json"))
    status, out, _ = run("runs", "show", "run-1", "--json", "--lang", "zh")
    assert (status, json.loads(out)["problems"]) == (0, [vars(problem.describe("zh"))])


def test_base_and_adapter_are_evaluated_and_the_report_is_a_file(
    run: Run, workspace_with_tiny: Workspace, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procedure, "SHORT_ANSWER", SamplingSettings(do_sample=False, max_new_tokens=2))
    write_grades(workspace_with_tiny.datasets / "grades.jsonl", 8)
    save_random_adapter(tiny_model, workspace_with_tiny.adapters / "one", 1)
    asked = ("evaluate", "--model", "tiny", "--adapter", "one", "--data", "grades.jsonl", "--max-new-tokens", "4")
    status, _, err = run(*asked)
    assert (status, "A03" in err) == (2, True), "nothing is held out of eight rows"
    report = tmp_path / "report.html"
    status, out, err = run(*asked, "--part", "all", "--html", str(report), "--json")
    result = json.loads(out)
    assert status == 0, err
    assert result["spec"]["fields"] == ["speed:[\\s*]*([\\d.]+)", "pauses:[\\s*]*([\\d.]+)"], (
        "proposed from the answers"
    )
    assert [column["column"] for column in result["columns"]] == ["", "one"]
    assert "<html" in report.read_text("utf-8") and "Grade 0." in report.read_text("utf-8")
    spec = workspace_with_tiny.evaluations / result["id"] / "spec.yaml"
    status, out, _ = run("evaluate", "--spec", str(spec), "--rows", "2", "--lang", "zh", "--field", "pauses: *(\\d)")
    assert status == 0 and "speed" not in out and "基础模型\tone" in out and "只有 2 行" in out


def test_a_data_directory_that_is_in_use_loses_no_run(run: Run, workspace_with_tiny: Workspace) -> None:
    with workspace_with_tiny.writer():
        status, _, err = run("runs", "delete", "any")
    assert (status, "A17" in err) == (2, True)


def test_what_a_run_refuses_is_told_with_status_2(run: Run, workspace_with_tiny: Workspace) -> None:
    status, _, err = run("train", a_spec(workspace_with_tiny, dataset_sha256="0" * 64))
    assert status == 2
    assert "D45" in err
    status, _, err = run("train", a_spec(workspace_with_tiny, base="absent"), "--json")
    assert status == 2
    assert json.loads(err)["error"]["problems"][0]["code"] == "M01"


def test_a_run_that_was_stopped_is_resumed_by_its_id(
    run: Run, workspace_with_tiny: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(self: Runner, active: Any, event: Any) -> None:
        emit(self, active, event)
        if isinstance(event, StepDone) and event.step == 1:
            self.stop(active.run_id)

    emit = Runner._emit
    spec = a_spec(workspace_with_tiny, training={"epochs": 3, "threads": 1})
    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_emit", stops)
        stopped = json.loads(run("train", spec, "--json")[1])
    assert (stopped["status"], stopped["adapter"]) == ("stopped", "sums")
    write_rows(workspace_with_tiny.datasets / "sums.json", 13)
    status, _, err = run("train", "--resume", stopped["run_id"])
    assert status == 2 and "A22" in err and "--accept-changes" in err
    status, out, _ = run("train", "--resume", stopped["run_id"], "--accept-changes", "--json")
    assert status == 0
    ended = json.loads(out)
    assert (ended["status"], ended["run_id"], ended["adapter"]) == ("finished", stopped["run_id"], "sums")
    status, _, err = run("train", "--resume", stopped["run_id"])
    assert status == 2 and "A23" in err


@pytest.mark.parametrize("words", [(), ("spec.yaml", "--resume", "id")])
def test_a_run_is_named_by_its_file_or_its_id_not_both(run: Run, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as left:
        run("train", *words)
    assert left.value.code == 2


def test_check_lists_every_problem_with_its_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    file.write_text(json.dumps(good) + "\n{broken\n" + json.dumps(good) + "\n[1]\n")
    status, out, _ = run("check", str(file), "--json")
    assert status == 2
    found = json.loads(out)
    assert (found["rows"], found["examples"], found["container"], found["encoding"]) == (2, 2, "json_lines", "utf-8")
    errors = {finding["key"]: finding["lines"] for finding in found["findings"] if finding["severity"] == "error"}
    assert errors == {"D08_bad_line": [2], "D23_row_not_object": [4]}
    file.write_text(json.dumps(good) + "\n")
    status, out, _ = run("check", str(file), "--lang", "zh")
    assert status == 0
    assert "格式" in out


@pytest.mark.parametrize("noun", ["models", "datasets", "adapters", "runs"])
def test_lists_are_readable_by_people_and_programs(run: Run, noun: str) -> None:
    status, out, _ = run(noun, "list", "--json")
    assert status == 0
    assert isinstance(json.loads(out), list)
    assert run(noun, "list")[0] == 0


def test_a_missing_file_or_model_is_told_in_the_chosen_language(run: Run) -> None:
    status, _, err = run("chat", "--model", "absent", "hello", "--lang", "zh")
    assert status == 2
    assert "M01" in err
    assert "模型" in err
    assert run("check", "/no/such/file.json")[0] == 2
    assert run("train", "/no/such/spec.yaml")[0] == 2


@pytest.mark.parametrize("words", [("--host", "0.0.0.0"), ("--share",), ("serve", "--host", "::")])
def test_others_are_let_in_only_with_a_password(run: Run, words: tuple[str, ...]) -> None:
    status, _, err = run(*words)
    assert status == 2
    assert "A25" in err
    assert "--auth-file" in err


def test_an_unexpected_failure_is_owned_up_to_with_status_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, workspace_with_tiny: Workspace
) -> None:
    def fall_over(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("core.models.catalog.list_models", fall_over)
    status, _, err = run("models", "list")
    assert status == 1
    log_file = workspace_with_tiny.state / "logs" / "workbench.log"
    assert str(log_file) in err
    assert "a bug" in log_file.read_text()


def test_a_read_only_or_full_disk_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.commands.lists._list", no_space)
    monkeypatch.setattr("core.models.catalog.list_models", no_space)
    status, _, err = run("models", "list")
    assert status == 2
    assert "A13" in err


def test_help_names_every_command_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        app.main(["--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    for word in (
        *app.COMMANDS,
        "--host",
        "--auth-file",
        "--share",
        "--data-dir",
        "--models-dir",
        "--adapter",
        "--json",
    ):
        assert word in said


def test_an_adapter_goes_out_and_comes_back_by_its_commands(
    run: Run, workspace_with_tiny: Workspace, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.core.adapters.building import save_random_adapter

    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    save_random_adapter(tiny_model, workspace_with_tiny.adapters / "judge", 1)
    status, out, _ = run("adapters", "export", "judge", "--to", str(tmp_path))
    assert (status, out.strip()) == (0, str(tmp_path / "judge.zip"))
    assert run("adapters", "export", "judge", "--to", str(tmp_path))[1].strip() == str(tmp_path / "judge-2.zip")
    assert run("adapters", "export", "judge", "--to", str(tmp_path / "new" / "folder"))[0] == 0
    status, _, err = run("adapters", "export", "judge", "--to", str(tmp_path / "judge.zip"))
    assert status == 2 and "A14" in err, "a file is in the way"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("tmp")] == []
    status, out, _ = run("adapters", "import", str(tmp_path / "judge.zip"), "--name", "back", "--json")
    assert (status, json.loads(out)["info"]["name"]) == (0, "back")
    assert run("adapters", "import", str(workspace_with_tiny.adapters / "judge"))[0] == 0
    status, out, _ = run("adapters", "serve", "judge")
    assert status == 0 and "--max-lora-rank 8" in out and "FROM ./judge.gguf" in out
    status, out, _ = run("adapters", "push", "judge", "--repo", "someone/judge")
    assert status == 0 and "adapter_model.safetensors" in out and "--yes" in out
    status, _, err = run("adapters", "push", "judge", "--repo", "someone/judge", "--yes")
    assert status == 2 and "HF_TOKEN" in err
    status, _, err = run("adapters", "gguf", "judge", "--adapter-only")
    assert status == 2 and "convert_lora_to_gguf.py --base" in err and "M11" in err
    assert run("adapters", "merge", "judge", "--name", "../x")[0] == 2
