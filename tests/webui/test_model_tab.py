"""The Model tab's handlers against a stand-in workbench, and that the tab is built in both languages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from core.adapters.store import AdapterInfo
from core.errors import WorkbenchError, refusal
from core.i18n import LANGUAGES, Language
from core.models.catalog import ModelInfo
from core.models.downloads import DownloadStatus
from core.models.hub import RemoteInfo
from core.models.precision import PrecisionChoice
from core.settings import LoadSettings
from core.workbench import ModelStatus, Workbench
from core.workspace import Workspace
from tests.webui.test_views import adapter
from webui import adapter_panel, get_model_panel, model_tab
from webui.background import reported
from webui.page import build_page

BF16 = PrecisionChoice("bf16", "bf16", "cpu", False, "models.precision.reason.auto_bf16", {"device": "CPU"})
MODELS = [
    ModelInfo("broken", Path("broken"), problems=refusal("D42_name_empty").problems),
    ModelInfo("small", Path("small"), "LlamaForCausalLM", "llama", 100, 200, "bf16", "own"),
    ModelInfo("other", Path("other"), "LlamaForCausalLM", "llama", 100, 200, "bf16"),
    ModelInfo("file.gguf", Path("file.gguf"), gguf=True),
]


@dataclass
class StandIn:
    """What the handlers call of a workbench, with what they asked for in `calls`."""

    status: ModelStatus | None = None
    download: DownloadStatus | None = None
    listed: list[AdapterInfo] = field(default_factory=lambda: [adapter(), adapter(name="b")])
    refused: WorkbenchError | None = None
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    exports: Any = field(default_factory=lambda: SimpleNamespace(status=lambda: None))

    def models(self) -> list[ModelInfo]:
        return MODELS

    def model_status(self) -> ModelStatus | None:
        return self.status

    def precision_choice(self, name: str, settings: LoadSettings) -> PrecisionChoice:
        self.calls.append(("precision", name, settings.precision))
        return BF16

    def load_model(self, name: str, settings: LoadSettings, report: Callable[[str, float], None]) -> None:
        self.calls.append(("load", name, settings.precision))
        report("weights", 0.25)
        if self.refused:
            raise self.refused
        self.status = ModelStatus(name, BF16, None, "f", 512, 1.0, 0.5, 0.8, (), ())

    def unload_model(self) -> None:
        self.status = None

    def adapters(self) -> list[AdapterInfo]:
        return self.listed

    def applied(self) -> list[str]:
        return ["a"]

    def strengths(self) -> dict[str, float]:
        return {"a": 0.5}

    def applied_without_files(self) -> list[str]:
        return []

    def apply_adapter(self, name: str, strength: float) -> None:
        self.calls.append(("apply", name, strength))

    def rename_adapter(self, old: str, new: str) -> None:
        self.calls.append(("rename", old, new))
        self.listed = [replace(info, name=new) if info.name == old else info for info in self.listed]

    def delete_adapter(self, name: str) -> None:
        self.calls.append(("delete", name))
        self.listed = [info for info in self.listed if info.name != name]

    def adapter_details(self, name: str) -> AdapterInfo:
        return next(info for info in self.listed if info.name == name)

    def describe_remote(self, source: Any, repo_id: str) -> RemoteInfo:
        self.calls.append(("look up", source, repo_id))
        return RemoteInfo(source, repo_id, 5_000_000_000, 9_000_000_000, "apache-2.0", True, None, ())

    def start_download(self, source: str, repo_id: str) -> None:
        self.calls.append(("download", source, repo_id))
        self.download = DownloadStatus(repo_id, "running")

    def download_status(self) -> DownloadStatus | None:
        return self.download


@pytest.fixture
def workbench() -> Any:
    return StandIn()


@pytest.mark.parametrize(
    ("wish", "loaded", "chosen"),
    [
        (None, None, "small"),
        ("other", None, "other"),
        ("gone", None, "small"),
        (None, "other", "other"),
        ("broken", None, "broken"),
    ],
)
def test_the_wish_then_the_loaded_then_the_first_loadable_model_is_chosen(
    workbench: Any, wish: str | None, loaded: str | None, chosen: str
) -> None:
    if loaded:
        workbench.status = ModelStatus(loaded, BF16, None, "f", 512, 1.0, 0.5, 0.8, (), ())
    _, choice, _ = model_tab.show_models(workbench, "en", wish)
    assert choice["value"] == chosen
    assert choice["choices"] == ["broken", "small", "other"]


def test_loading_shows_its_phase_and_then_the_loaded_model(workbench: Any) -> None:
    steps = list(model_tab.load_model(workbench, "en", "small", "nf4"))
    assert workbench.calls == [("load", "small", "nf4")]
    assert "width:25%" in steps[0][0]
    assert "Loading the weights" in steps[0][0]
    assert steps[-1][0] == ""
    assert "small" in steps[-1][3]


def test_a_refused_load_takes_its_bar_away_and_reaches_the_person(workbench: Any) -> None:
    workbench.refused = refusal("D42_name_empty")
    shown = []
    with pytest.raises(WorkbenchError):
        shown.extend(model_tab.load_model(workbench, "en", "small", "auto"))
    assert shown[-1][0] == ""


@pytest.mark.parametrize("precision", ["fp7", None, 4, ["auto"]])
def test_a_precision_that_no_form_offers_is_refused_with_its_code(workbench: Any, precision: Any) -> None:
    with pytest.raises(WorkbenchError) as refused:
        list(model_tab.load_model(workbench, "en", "small", precision))
    assert refused.value.code == "H01"
    assert not workbench.calls


def test_the_precision_and_its_reason_follow_the_choice(workbench: Any) -> None:
    note, problems = model_tab.show_choice(workbench, "en", "small", "auto")
    assert "bf16" in note
    assert "CPU computes bf16" in note
    assert problems == ""
    assert "D42" in model_tab.show_choice(workbench, "en", "broken", "auto")[1]
    assert model_tab.show_choice(workbench, "en", "gone", "auto") == ["", ""]


def test_the_whole_tab_is_drawn_in_one_answer(workbench: Any) -> None:
    drawn = model_tab.show_tab(workbench, "en", None, "auto", "b")
    assert drawn[1]["value"] == "small"
    assert "bf16" in drawn[3]
    assert drawn[6]["value"] == "b"
    assert drawn[8]["choices"] == ["file.gguf"]
    assert len(drawn) == 18


@pytest.mark.parametrize("cell", ["small", "● small"])
def test_a_click_on_a_row_chooses_its_model(workbench: Any, cell: str) -> None:
    event = gr.SelectData(None, {"index": [1, 3], "value": "x", "row_value": [cell, "…"]})
    assert model_tab.pick_model(workbench, "en", event)["value"] == "small"


def test_a_renamed_adapter_stays_chosen_and_its_new_name_is_trimmed(workbench: Any) -> None:
    table, choice, _, box = adapter_panel.rename_adapter(workbench, "en", "a", "  c ")
    assert workbench.calls == [("rename", "a", "c")]
    assert choice["value"] == "c"
    assert [row[0] for row in table["data"]] == ["c", "b"]
    assert box == ""


def test_deleting_asks_first_and_names_the_adapter(workbench: Any) -> None:
    dialog, question = adapter_panel.ask_delete(workbench, "en", "a")
    assert dialog["visible"] is True
    assert "a" in question
    assert not workbench.calls
    assert adapter_panel.ask_delete(workbench, "en", None)[0]["visible"] is False


def test_a_deleted_adapter_leaves_the_list_and_another_is_chosen(workbench: Any) -> None:
    table, choice, _ = adapter_panel.delete_adapter(workbench, "en", "a")
    assert [row[0] for row in table["data"]] == ["b"]
    assert choice["value"] == "b"


def test_details_name_the_system_prompt_of_the_data(workbench: Any) -> None:
    assert "Be kind." in adapter_panel.show_details(workbench, "en", "a")


def test_a_download_starts_its_timer_and_offers_to_cancel(workbench: Any) -> None:
    seen = ("modelscope", "a/b")
    _, _, shown, cancel, timer, running = get_model_panel.start_download(workbench, "en", "modelscope", " a/b ", seen)
    assert workbench.calls == [("download", "modelscope", "a/b")]
    assert "a/b" in shown
    assert cancel["visible"] is True
    assert timer.active is True
    assert running is True


@pytest.mark.parametrize("seen", [None, ("huggingface", "a/b"), ("modelscope", "a/c")])
def test_nothing_is_fetched_before_its_size_licence_and_access_were_shown(workbench: Any, seen: Any) -> None:
    shown, seen_now, *_ = get_model_panel.start_download(workbench, "en", "modelscope", "a/b", seen)
    assert workbench.calls == [("look up", "modelscope", "a/b")]
    assert all(part in shown for part in ("apache-2.0", "5.0 GB", "gated", "Press Download"))
    get_model_panel.start_download(workbench, "en", "modelscope", "a/b", seen_now)
    assert workbench.calls[1:] == [("download", "modelscope", "a/b")]


def test_only_gguf_files_can_be_converted(workbench: Any) -> None:
    assert get_model_panel.show_gguf_files(workbench, "en")["choices"] == ["file.gguf"]


def test_a_background_call_yields_its_reports_and_raises_its_error() -> None:
    def work(report: Callable[[str, float], None]) -> None:
        report("one", 0.5)
        raise KeyError("two")

    calls = reported(work, "test")
    assert next(calls) == ("one", 0.5)
    with pytest.raises(KeyError, match="two"):
        next(calls)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_is_built_and_every_control_of_the_two_tabs_has_an_id(workspace: Workspace, lang: Language) -> None:
    async def build(workbench: Workbench) -> gr.Blocks:  # without a running loop gradio makes one and leaves it open
        return build_page(workbench, lang)

    with Workbench(workspace) as workbench:
        page = asyncio.run(build(workbench))
    controls = {"button", "dropdown", "textbox", "number", "radio", "checkbox", "uploadbutton", "dataframe", "lineplot"}
    without = [
        block
        for block in page.blocks.values()
        if block.get_block_name() in controls and not getattr(block, "elem_id", None)
    ]
    assert [block.get_config() for block in without] == []
