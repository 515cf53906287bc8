"""Exports in the background: once the whole way in a process of its own; progress, cancelling, refusals, files left."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from core.errors import Place, Problem, WorkbenchError
from core.exports import desk as desk_module
from core.exports import merge_process, work
from core.exports.agreement import Agreement, Merged
from core.exports.desk import ExportDesk, PushWish
from core.exports.plan import ExportPlan, ExportWish
from core.i18n import LANGUAGES
from core.jobs import Cancelled
from core.models.catalog import find_model
from core.workspace import Workspace
from tests.core.exports.conftest import Adapted

WAIT_S = 240.0  # a merge in a process of its own takes 20 s on two busy cores
SAME = Merged(Agreement(3, 3, 0.0, 1.0), Agreement(3, 3, 0.0, 1.0))


@pytest.fixture
def desk(place: Workspace) -> Iterator[ExportDesk]:
    made = ExportDesk(place, lambda: ["soon"])
    yield made
    made.close()


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path) -> list[ExportPlan]:
    """Merging is copying the tiny model; gives the plans that were carried out."""
    done: list[ExportPlan] = []

    def merge(workspace: Workspace, plan: ExportPlan, target: Path, watch: Callable[[str, float], None]) -> Merged:
        import shutil

        watch("merging", 0.5)
        shutil.copytree(tiny_model_dir, target)
        done.append(plan)
        return SAME

    monkeypatch.setattr(work, "merge_elsewhere", merge)
    return done


def wish(adapter: str, result: Any, **values: Any) -> ExportWish:
    return ExportWish(adapter=adapter, result=result, **values)


def test_a_merge_in_a_process_of_its_own_makes_a_model(
    desk: ExportDesk, place: Workspace, adapted: Adapted, outbox: Path
) -> None:
    desk.start(wish(adapted("LORA"), "model", name="merged", dtype="fp32"), outbox)
    with pytest.raises(WorkbenchError, match="A01"):
        desk.start(wish("lora", "model", name="other"), outbox)
    desk.refuse_exported("another")
    with pytest.raises(WorkbenchError, match="A04"):
        desk.refuse_exported("lora")
    status = desk.wait(WAIT_S)
    assert status and status.state == "finished", status
    assert status.done and status.done.model == "merged" and status.done.merged
    exact = status.done.merged.exact
    assert exact.same == exact.tokens > 0
    desk.refuse_exported("lora")
    assert find_model(place, "merged").loadable
    assert desk.merged_models("lora") == ["merged"]
    assert [entry.name for entry in outbox.iterdir()] == []


@pytest.mark.parametrize("ended", [False, True])
def test_what_the_process_refuses_or_dies_of_arrives_in_words(
    desk: ExportDesk, adapted: Adapted, outbox: Path, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    problem = asdict(Problem("M18_bias_not_mergeable", Place(file="lora"), {"count": 2, "names": "a; b"}))
    said = ["Traceback of a library", "17", *([] if ended else [json.dumps({"problems": [problem]})])]

    def run_command(command: list[str], heard: Callable[[str | None], None], *_: Any) -> int:
        for line in (None, json.dumps({"phase": "merging", "share": 0.5}), *said):
            heard(line)
        return -9

    monkeypatch.setattr(merge_process, "run_command", run_command)
    desk.start(wish(adapted("LORA"), "model", name="merged"), outbox)
    status = desk.wait(WAIT_S)
    assert status and status.state == "failed" and status.problem
    assert status.step.share == 0.5
    assert status.problem.key == ("A20_merge_ended" if ended else "M18_bias_not_mergeable")
    assert all(status.problem.describe(lang).why for lang in LANGUAGES)


def test_a_cancelled_merge_ends_and_leaves_nothing(
    desk: ExportDesk, place: Workspace, adapted: Adapted, outbox: Path
) -> None:
    desk.start(wish(adapted("LORA"), "model_zip"), outbox)
    desk.cancel()
    status = desk.wait(WAIT_S)
    assert status and (status.state, status.problem) == ("cancelled", None)
    assert [entry.name for entry in place.models.iterdir()] == ["tiny"]
    assert list(outbox.iterdir()) == list((place.state / "scratch").glob("*")) == []


def test_a_download_is_a_zip_that_goes_when_the_next_export_begins(
    desk: ExportDesk, place: Workspace, adapted: Adapted, outbox: Path, merges: list[ExportPlan]
) -> None:
    name = adapted("LORA")
    desk.start(wish(name, "model_zip", dtype="bf16"), outbox)
    status = desk.wait(WAIT_S)
    assert status and status.done and status.done.file
    assert merges[0].dtype == "bf16"
    with zipfile.ZipFile(status.done.file) as archive:
        assert "tiny-lora/model.safetensors" in archive.namelist()
    assert status.done.file.parent.parent == outbox
    assert list((place.state / "scratch").iterdir()) == []
    desk.start(wish(name, "model", name="merged"), outbox)
    assert list(outbox.iterdir()) == []
    assert desk.wait(WAIT_S)
    desk.start(wish(name, "model_zip"), outbox)
    desk.wait(WAIT_S)
    desk.close()
    assert list(outbox.iterdir()) == [], "nothing can be fetched any more"


CONVERTER = """
import sys
print("converting", *sys.argv[1:])
at = sys.argv.index("--outfile")
open(sys.argv[at + 1], "w").write("GGUF")
"""


@pytest.mark.parametrize("result", ["gguf", "adapter_gguf"])
def test_a_gguf_file_is_made_by_the_converter_that_is_here(
    desk: ExportDesk,
    place: Workspace,
    adapted: Adapted,
    outbox: Path,
    merges: list[ExportPlan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    result: Any,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    asked = wish(adapted("LORA"), result, gguf_type="f16")
    assert not desk.has_converter(asked)
    assert "_to_gguf.py" in desk.gguf_command(asked) and "--outtype f16" in desk.gguf_command(asked)
    with pytest.raises(WorkbenchError) as refused:
        desk.start(asked, outbox)
    assert refused.value.key == "M11_no_converter" and "--llama-cpp" in refused.value.describe()
    for name in ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py"):
        (tmp_path / name).write_text(CONVERTER)
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path))
    desk.start(asked, outbox)
    status = desk.wait(WAIT_S)
    assert status and status.done and status.done.file, status
    assert (status.done.file.name, status.done.file.read_text()) == ("lora.gguf", "GGUF")
    assert (len(merges) == 1) == (result == "gguf")
    assert "--outtype f16" in status.step.line
    for script in tmp_path.glob("*_to_gguf.py"):
        script.write_text(CONVERTER + "open(sys.argv[at + 1] + '.part', 'w').write('GG'); sys.exit(3)")
    desk.start(asked, outbox)
    status = desk.wait(WAIT_S)
    assert status and status.problem and status.problem.key == "M11_converter_failed"
    assert list(outbox.iterdir()) == [], "nor what the converter left"


def test_what_can_be_known_before_is_refused_before(
    desk: ExportDesk, place: Workspace, adapted: Adapted, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = adapted("LORA")
    for model, code in (
        ("tiny", "M25"),
        ("Tiny", "M25"),
        ("soon", "M25"),
        ("../x", "D42"),
        ("", "D42"),
        ("nul", "D42"),
    ):
        with pytest.raises(WorkbenchError, match=code):
            desk.start(wish(name, "model", name=model), outbox)
    with pytest.raises(WorkbenchError, match="M25"):
        desk.start(wish("gone", "model", name="x"), outbox)
    with pytest.raises(WorkbenchError, match="H01"):
        ExportWish.checked({"adapter": name, "result": "model", "dtype": "int8"})
    monkeypatch.setattr("core.models.memory.free_memory_gb", lambda *_: 0.1)
    with pytest.raises(WorkbenchError, match="M17"):
        desk.start(wish(name, "model", name="x"), outbox)
    assert desk.status() is None


def test_a_bug_is_shown_by_its_reference_in_the_log_alone(
    desk: ExportDesk, adapted: Adapted, outbox: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("/secret/path")

    monkeypatch.setattr(work, "merge_elsewhere", broken)
    desk.start(wish(adapted("LORA"), "model", name="x"), outbox)
    status = desk.wait(WAIT_S)
    assert status and status.problem and status.problem.values["reference"] in caplog.text
    assert "secret" not in str(status.problem.describe())
    assert desk.status() == status


def test_the_time_left_follows_the_share_that_is_done(
    desk: ExportDesk, adapted: Adapted, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def merge(workspace: Workspace, plan: ExportPlan, target: Path, watch: Callable[[str, float], None]) -> Merged:
        for share in (0.01, 0.5):
            watch("merging", share)
            seen.append(desk.status())
        desk.cancel()
        with pytest.raises(Cancelled):
            watch("merging", 0.6)
        raise Cancelled

    monkeypatch.setattr(work, "merge_elsewhere", merge)
    monkeypatch.setattr(desk_module.Job, "elapsed_s", property(lambda self: 30.0))
    desk.start(wish(adapted("LORA"), "model", name="x"), outbox)
    desk.wait(WAIT_S)
    assert [status.eta_s for status in seen] == [None, 30.0]


def test_nobody_who_asks_how_an_export_goes_waits_for_an_import(
    desk: ExportDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def import_zip(*_: Any) -> Any:
        asking = threading.Thread(target=desk.status, daemon=True)
        asking.start()
        asking.join(10.0)
        asked.append(not asking.is_alive())

    monkeypatch.setattr("core.adapters.intake.import_zip", import_zip)
    desk.import_zip(Path("x.zip"))
    assert asked == [True]


def test_virtual_tokens_are_served_by_nobody_else(desk: ExportDesk, adapted: Adapted) -> None:
    name = adapted("PROMPT_TUNING")
    for asked in (desk.serving, desk.modelfile):
        with pytest.raises(WorkbenchError) as refused:
            asked(name)
        assert refused.value.key == "M18_not_mergeable"


def test_a_push_without_a_token_is_refused_before_anything(
    desk: ExportDesk, adapted: Adapted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    asked = PushWish(adapter=adapted("LORA"), source="huggingface", repo_id="a/b")
    assert desk.plan_push(asked).needs_token == "HF_TOKEN"
    with pytest.raises(WorkbenchError) as refused:
        desk.start_push(asked)
    assert refused.value.key == "A24_push_needs_token"
    assert PushWish(adapter="a", source="huggingface", repo_id="a/b").private, "private unless said otherwise"
