"""The façade: what is there together or not at all, names that are promised, reports that are made once."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from core.adapters.card import read_card, write_card
from core.adapters.store import list_adapters
from core.chat import engine
from core.chat.serving import Applied
from core.data import datasets, library
from core.data.options import DataOptions
from core.errors import WorkbenchError
from core.exports.desk import ExportStatus
from core.exports.work import Step
from core.models import loader
from core.models.arrival import Cancelled, Report
from core.settings import LoadSettings, SamplingSettings
from core.training.spec import RunSpec
from core.workbench import Workbench
from core.workspace import Workspace

WAIT_S = 60.0
ROWS = [{"prompt": f"Who {number}?", "completion": "Me."} for number in range(4)]


@pytest.fixture
def workbench(workspace_with_tiny: Workspace) -> Iterator[Workbench]:
    (workspace_with_tiny.datasets / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    with Workbench(workspace_with_tiny) as made:
        yield made


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read for a report, as often as they were."""
    read, original = [], library.report

    def counted(info: Any, *args: Any) -> Any:
        read.append(info.name)
        return original(info, *args)

    monkeypatch.setattr(library, "report", counted)
    return read


def test_where_the_engine_cannot_be_made_no_model_is_there_and_its_weights_are_gone(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[weakref.ref[Any]] = []
    load = loader.load

    def watched(*args: Any) -> Any:
        loaded = load(*args)
        weights.append(weakref.ref(loaded.model))
        return loaded

    class Broken:
        def __init__(self, model: Any) -> None:
            self.model = model
            raise ZeroDivisionError

    monkeypatch.setattr(loader, "load", watched)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "Engine", Broken)
        with pytest.raises(ZeroDivisionError) as caught:
            workbench.load_model("tiny", LoadSettings(precision="fp32"))
        assert caught.value  # the error is still held: its frames must not keep the weights
    assert workbench.model_status() is None
    assert weights[0]() is None
    assert workbench.load_model("tiny", LoadSettings(precision="fp32")).name == "tiny"


def test_a_model_that_goes_between_two_looks_harms_no_reader(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    workbench.load_model("tiny", LoadSettings(precision="fp32"))
    monkeypatch.setattr(engine.Engine, "applied", property(lambda self: workbench.serving.drop() or ()))
    status = workbench.model_status()
    assert status is not None and status.name == "tiny"
    assert workbench.model_status() is None and workbench.applied() == []


def test_the_name_of_the_run_in_progress_is_taken(
    workbench: Workbench, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.core.adapters.building import save_random_adapter

    save_random_adapter(tiny_model, workbench.workspace.adapters / "old", seed=1)
    monkeypatch.setattr(workbench.runs, "promised_names", lambda: ["Colors"])
    problem = workbench.check_result_name("colors", "lora")
    assert problem is not None and problem.key == "M25_name_taken" and problem.values["suggestion"] == "colors-2"
    assert workbench.free_result_name("colors", "lora") == "colors-2"
    others = [SimpleNamespace(name="Tints")]  # in a folder of others
    monkeypatch.setattr("core.training.result_name.list_models", lambda workspace: others)
    assert workbench.free_result_name("tints", "full") == "tints-2"
    with pytest.raises(WorkbenchError) as caught:
        workbench.rename_adapter("old", "colors")
    assert caught.value.key == "M25_name_taken"
    assert [info.name for info in list_adapters(workbench.workspace)] == ["old"]


def test_an_adapter_that_a_resumed_run_replaced_is_applied_as_it_is_now(workbench: Workbench, tiny_model: Any) -> None:
    from tests.core.adapters.building import save_random_adapter

    folder = workbench.workspace.adapters / "old"
    save_random_adapter(tiny_model, folder, seed=1)
    workbench.load_model("tiny", LoadSettings(precision="fp32"))

    def applied() -> Applied:
        workbench.apply_adapter("old")
        serving = workbench.serving.now
        assert serving and workbench.applied() == ["old"]
        return serving.engine.applied[0]

    first = applied()
    assert applied() is first
    card = read_card(folder)
    assert card
    write_card(folder, card.model_copy(update={"created": "2026-01-01T00:00:00+00:00"}))
    assert applied().id != first.id


@pytest.fixture
def poets(workbench: Workbench, tiny_model: Any) -> Workbench:
    """The workbench with the tiny model loaded and two LoRA adapters and one of DoRA in `loras/`."""
    from tests.core.adapters.building import save_random_adapter

    for seed, (name, options) in enumerate({"poet": {}, "cook": {"r": 2}, "dora": {"use_dora": True}}.items()):
        save_random_adapter(tiny_model, workbench.workspace.adapters / name, seed, **options)
    workbench.load_model("tiny", LoadSettings(precision="fp32"))
    return workbench


def said(workbench: Workbench, adapter: str | None) -> str:
    from core.chat.engine import ChatRequest

    sampling = SamplingSettings(do_sample=False, max_new_tokens=8)
    request = ChatRequest(({"role": "user", "content": "Who are you?"},), sampling, adapter)
    return workbench.chat([request]).wait()[0].text


def test_strength_belongs_to_the_applied_copy_and_another_one_replaces_it(poets: Workbench) -> None:
    base = said(poets, None)
    poets.apply_adapter("poet")
    whole = said(poets, "poet")
    assert poets.strengths() == {"poet": 1.0} and whole != base
    poets.apply_adapter("poet", 0)
    assert poets.strengths() == {"poet": 0.0} and said(poets, "poet") == base
    poets.apply_adapter("poet", 1)
    assert said(poets, "poet") == whole and poets.applied() == ["poet"]
    for wrong in (-0.1, 2.1, float("nan"), "strong", True):
        with pytest.raises(WorkbenchError, match="H01"):
            poets.apply_adapter("poet", wrong)  # type: ignore[arg-type]
    with pytest.raises(WorkbenchError) as caught:
        poets.apply_adapter("dora", 0.5)
    assert caught.value.key == "M18_no_strength"
    assert poets.strengths() == {"poet": 1.0}
    assert "no_strength" in poets.adapter_details("dora").limits
    assert "no_strength" not in poets.adapter_details("poet").limits


def test_an_adapter_that_is_applied_again_keeps_its_strength_also_where_its_files_have_changed(
    poets: Workbench, tiny_model: Any
) -> None:
    from tests.core.adapters.building import save_random_adapter

    def applied() -> Applied:
        poets.apply_adapter("poet")
        return poets.serving.engine().applied[0]

    assert applied().strength == 1
    poets.apply_adapter("poet", 0.5)
    half, text = applied(), said(poets, "poet")
    assert half.strength == 0.5 and applied() is half
    folder = poets.workspace.adapters / "poet"
    card = read_card(folder)
    assert card
    save_random_adapter(tiny_model, folder.with_name("bard"), seed=7)
    (folder.with_name("bard") / "adapter_model.safetensors").replace(folder / "adapter_model.safetensors")
    write_card(folder, card.model_copy(update={"created": "2026-01-01T00:00:00+00:00"}))
    assert applied().id != half.id and applied().strength == 0.5
    assert said(poets, "poet") != text
    poets.remove_adapter("poet")
    assert applied().strength == 1


def test_a_combination_is_applied_without_a_file_and_saved_as_a_new_adapter(poets: Workbench) -> None:
    parts = [("poet", 0.5), ("cook", 1.0)]
    name = poets.apply_combination(parts)
    assert name == "poet × 0.5 + cook" and poets.applied() == [name] == poets.applied_without_files()
    assert poets.apply_combination(parts) == name and poets.applied() == [name]
    assert [info.name for info in poets.adapters()] == ["cook", "dora", "poet"]
    saved = poets.save_combination(parts, "poet-cook")
    assert saved.card and [(part.adapter, part.strength) for part in saved.card.made_of] == parts
    assert (saved.rank, saved.errors, saved.base_fingerprint) == (6, (), poets.serving.model().fingerprint)
    poets.apply_adapter("poet-cook")
    assert said(poets, "poet-cook") == said(poets, name) != said(poets, None)
    assert poets.applied_without_files() == [name]
    for wrong, key in (
        ([("poet", 1.0), ("dora", 1.0)], "M18_not_combinable"),
        ([("poet", 1.0)], "H01_no_combination"),
        ([("poet", 1.0), ("nobody", 1.0)], "M25_no_such_adapter"),
    ):
        with pytest.raises(WorkbenchError) as caught:
            poets.save_combination(wrong, "another")
        assert caught.value.key == key
    with pytest.raises(WorkbenchError, match="M25"):
        poets.save_combination(parts, "poet")
    assert [*(poets.workspace.state / "scratch").iterdir()] == []
    assert len(poets.adapters()) == 4


def test_an_adapter_that_is_exported_keeps_its_name_and_its_place(
    poets: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    poets.apply_adapter("poet")
    running = ExportStatus("poet", "gguf", "running", Step("merging", 0.5))
    monkeypatch.setattr(poets.exports, "status", lambda: running)
    for refused in (
        lambda: poets.rename_adapter("poet", "bard"),
        lambda: poets.delete_adapter("poet", from_chat_too=True),
    ):
        with pytest.raises(WorkbenchError) as caught:
            refused()
        assert caught.value.key == "A04_adapter_exported"
    assert poets.applied() == ["poet"]
    monkeypatch.setattr(poets.exports, "status", lambda: None)
    with pytest.raises(WorkbenchError, match="A04"):
        poets.delete_adapter("poet")
    poets.delete_adapter("poet", from_chat_too=True)
    assert poets.applied() == [] and [info.name for info in poets.adapters()] == ["cook", "dora"]


def test_a_saved_step_of_a_run_is_applied_under_its_name(
    poets: Workbench, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = RunSpec.checked({"name": "verse", "base": "tiny", "dataset": "rows.jsonl"})
    folder = poets.workspace.adapters / "poet"
    monkeypatch.setattr(poets.runs, "snapshot", lambda run_id: SimpleNamespace(name="verse"))
    monkeypatch.setattr(poets.runs, "spec", lambda run_id: spec)
    monkeypatch.setattr(poets.runs, "saved_adapter", lambda run_id, step: folder)
    assert [poets.apply_checkpoint("run-1", step) for step in (10, 20, 10)] == [
        "verse @ 10",
        "verse @ 20",
        "verse @ 10",
    ]
    assert poets.applied() == ["verse @ 10", "verse @ 20"] and poets.applied_without_files() == []
    first = poets.serving.engine().applied[0].id
    poets.apply_checkpoint("run-1", 10)
    assert poets.serving.engine().applied[0].id == first
    folder = poets.workspace.adapters / "cook"  # another run under the same name
    poets.apply_checkpoint("run-2", 10)
    assert first not in [each.id for each in poets.serving.engine().applied]
    monkeypatch.setattr("core.chat.desk.MOST_STEPS", 2)
    for step in (20, 10, 30):
        poets.apply_checkpoint("run-2", step)
    assert set(poets.applied()) == {"verse @ 10", "verse @ 30"}
    whole_model = spec.model_copy(update={"method": spec.method.model_copy(update={"method": "full"})})
    monkeypatch.setattr(poets.runs, "spec", lambda run_id: whole_model)
    with pytest.raises(WorkbenchError, match="A09"):
        poets.apply_checkpoint("run-1", 10)


def test_closing_waits_for_the_download_to_leave(workspace: Workspace) -> None:
    begun, left = threading.Event(), threading.Event()

    def work(report: Report, cancelled: Cancelled) -> str:
        begun.set()
        while not cancelled():
            threading.Event().wait(0.01)
        threading.Event().wait(0.2)  # what a connection takes to close
        left.set()
        return "model"

    with Workbench(workspace) as workbench:
        workbench.downloads.start("a", work)
        assert begun.wait(WAIT_S)
    assert left.is_set()


def test_only_what_arrived_from_a_hub_is_kept(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with Workbench(workspace) as workbench:
        kept: dict[str, bool] = {}

        def start(title: str, work: Any, keeps: bool = False) -> None:
            kept[title] = keeps

        monkeypatch.setattr(workbench.downloads, "start", start)
        workbench.start_starter()
        workbench.start_download("huggingface", "someone/tiny")
    assert kept == {"SmolLM2-135M-Instruct": False, "someone/tiny": True}


def test_a_remembered_model_that_breaks_while_it_is_loaded_does_not_keep_the_page_from_starting(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workbench.load_model("tiny", LoadSettings(precision="fp32"))
    workbench.serving.drop()

    def broken(*_: Any) -> None:
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(loader, "load", broken)
    workbench.load_at_start(None)
    assert workbench.model_status() is None
    assert "the remembered model cannot be loaded" in caplog.text and "CUDA error" in caplog.text


def test_an_unchanged_file_is_read_once_for_report_preview_and_plans(
    workbench: Workbench, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    digest = datasets.hashlib.file_digest
    monkeypatch.setattr(
        datasets.hashlib, "file_digest", lambda file, kind: hashed.append(file.name) or digest(file, kind)
    )
    workbench.load_model("tiny", LoadSettings(precision="fp32"))
    spec = RunSpec.checked({"name": "a", "base": "tiny", "dataset": "rows.jsonl", "training": {"epochs": 1}})
    report = workbench.data.report("rows.jsonl", spec.data)
    assert workbench.data.report("rows.jsonl") is report
    assert len(workbench.preview("rows.jsonl", 0, 2)) == 2
    hashed.clear()
    plans = [workbench.plan(spec) for _ in range(3)]
    assert plans[0] == plans[1] == plans[2]
    assert parsed == ["rows.jsonl"]
    assert len([name for name in hashed if name.endswith("rows.jsonl")]) == 1


def test_a_changed_file_is_read_again_and_of_many_reports_the_oldest_goes(
    workbench: Workbench, parsed: list[str]
) -> None:
    file = workbench.workspace.datasets / "rows.jsonl"
    assert workbench.data.report("rows.jsonl").rows == 4
    file.write_text("\n".join(map(json.dumps, ROWS[:3])), encoding="utf-8")
    assert workbench.data.report("rows.jsonl").rows == 3
    prompts = [str(number) for number in range(library.KEPT_REPORTS)]
    for prompt in (*prompts, *prompts):
        workbench.data.report("rows.jsonl", DataOptions(system_prompt=prompt))
    assert len(parsed) == 2 + len(prompts)
    workbench.data.report("rows.jsonl")
    assert len(parsed) == 3 + len(prompts)


def test_rows_are_shown_as_the_model_sees_them_or_as_words_without_one(workbench: Workbench) -> None:
    (words,) = workbench.preview("rows.jsonl", 1, 1)
    assert "".join(piece.text for piece in words.pieces) == "user: Who 1?\nassistant: Me.\n"
    workbench.load_model("tiny", LoadSettings(precision="fp32"))
    (seen,) = workbench.preview("rows.jsonl", 1, 1)
    assert "".join(piece.text for piece in seen.pieces if piece.trained).startswith("Me.")
    assert (seen.line, seen.row, seen.problem, 0 < seen.trained < seen.tokens) == (2, 2, None, True)


def test_a_data_set_that_a_run_reads_is_not_deleted(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RunSpec.checked({"name": "a", "base": "tiny", "dataset": "x", "data": {"validation_dataset": "rows.jsonl"}})
    monkeypatch.setattr(workbench.runs, "active", lambda: "run-1")
    monkeypatch.setattr(workbench.runs, "spec", lambda run_id: spec)
    with pytest.raises(WorkbenchError, match="A04"):
        workbench.delete_dataset("rows.jsonl")
    monkeypatch.setattr(workbench.runs, "active", lambda: None)
    workbench.delete_dataset("rows.jsonl")
    assert workbench.data.list() == []


def test_no_run_begins_between_the_look_for_users_of_a_data_set_and_its_deletion(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[bool] = []

    def look() -> None:
        free.append(workbench._exclusive.acquire(blocking=False))

    def on_another_thread(*_: Any) -> str:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(WAIT_S)
        return ""

    monkeypatch.setattr(workbench.runs, "user_of_dataset", on_another_thread)
    monkeypatch.setattr(workbench.data, "delete", on_another_thread)
    workbench.delete_dataset("rows.jsonl")
    assert free == [False, False]


def test_a_spec_for_other_data_is_not_planned(workbench: Workbench) -> None:
    workbench.load_model("tiny", LoadSettings(precision="fp32"))
    values = {"name": "a", "base": "tiny", "dataset": "rows.jsonl", "dataset_sha256": "0" * 64}
    with pytest.raises(WorkbenchError) as caught:
        workbench.plan(RunSpec.checked(values))
    assert caught.value.key == "D45_data_changed"


def test_an_unknown_run_cannot_be_deleted(workbench: Workbench) -> None:
    with pytest.raises(WorkbenchError) as caught:
        workbench.runs.delete("../loras")
    assert caught.value.key == "A30_no_such_run"
