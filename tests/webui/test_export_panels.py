"""The panels for an adapter's ways in and out, against a real desk over the tiny model whose work is a stand-in."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.adapters.store import AdapterInfo, list_adapters
from core.errors import WorkbenchError
from core.exports import work
from core.exports.agreement import Agreement, Merged
from core.exports.desk import ExportDesk
from core.exports.plan import ExportPlan
from core.i18n import LANGUAGES, Language
from core.workspace import Workspace
from tests.core.adapters.building import save_random_adapter
from tests.webui.test_views import adapter
from webui import adapter_panel, export_panel, import_panel, push_panel, serve_panel, strength_panel
from webui.outgoing import outbox

WAIT_S = 60.0
MODEL = ("model", "", "", "q8_0")
PUSH = ("", "huggingface", "someone/judge", True)


@dataclass
class Bench:
    """What the handlers call of a workbench."""

    workspace: Workspace
    exports: ExportDesk
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    applied: dict[str, float] = field(default_factory=dict)

    def adapters(self) -> list[AdapterInfo]:
        return list_adapters(self.workspace)

    def strengths(self) -> dict[str, float]:
        return self.applied

    def applied_without_files(self) -> list[str]:
        return []

    def apply_adapter(self, name: str, strength: float) -> None:
        self.calls.append(("apply", name, strength))

    def apply_combination(self, parts: list[tuple[str, float]]) -> str:
        self.calls.append(("combine", *parts))
        return "a + b"

    def save_combination(self, parts: list[tuple[str, float]], name: str) -> AdapterInfo:
        self.calls.append(("save", name, *parts))
        return adapter(name=name)


@pytest.fixture
def bench(workspace_with_tiny: Workspace, tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    place = workspace_with_tiny
    save_random_adapter(tiny_model, place.adapters / "judge", 1)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(place.state / "browser-files"))
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("PATH", str(place.root))
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    desk = ExportDesk(place, list)
    yield Bench(place, desk)
    desk.close()


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch) -> None:
    def merge(workspace: Workspace, plan: ExportPlan, target: Path, watch: Callable[[str, float], None]) -> Merged:
        target.mkdir()
        (target / "config.json").write_text("{}")
        return Merged(Agreement(56, 56, 1e-5, 50.0), Agreement(56, 55, 0.25, 50.0))

    monkeypatch.setattr(work, "merge_elsewhere", merge)


def plain(shown: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", shown))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_what_an_export_takes_is_shown_before_it_begins(bench: Any, lang: Language) -> None:
    shown = plain(export_panel.look(bench, lang, "judge", *MODEL))
    assert "tiny-judge" in shown and "fp32" in shown
    assert len(re.findall(r"[\d.]+ (?:kB|MB|GB)", shown)) == 3, "memory, disk, result"
    assert bench.exports.status() is None


def test_a_zip_is_offered_with_its_size_under_a_name_nobody_can_guess(bench: Any) -> None:
    *_, (button, offered) = export_panel.write_zip(bench, "en", "judge")
    file = Path(offered["value"])
    assert zipfile.is_zipfile(file) and file.parent.parent == outbox()
    assert "judge.zip" in offered["label"] and "kB" in offered["label"]
    assert button["interactive"] and len(file.parent.name) > 8


@pytest.mark.usefixtures("merges")
@pytest.mark.parametrize("lang", LANGUAGES)
def test_an_export_starts_its_timer_and_ends_with_what_came_of_it(bench: Any, lang: Language) -> None:
    _, _, _, _, timer, running = export_panel.start(bench, lang, "judge", "model_zip", "", "bf16", "q8_0")
    assert timer.active == running
    bench.exports.wait(WAIT_S)
    shown, cancel, offered, timer, running = export_panel.show_export(bench, lang)
    assert "56" in shown and "0.25" in shown
    assert (cancel["visible"], timer.active, running) == (False, False, False)
    assert Path(offered["value"]).name == "tiny-judge.zip"
    export_panel.start(bench, lang, "judge", *MODEL)
    bench.exports.wait(WAIT_S)
    assert "tiny-judge" in export_panel.show_export(bench, lang)[0]
    assert not Path(offered["value"]).exists(), "what was offered before cannot be fetched any more"


def test_a_failed_export_says_why(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("<img onerror=x>")

    monkeypatch.setattr(work, "merge_elsewhere", broken)
    export_panel.start(bench, "en", "judge", *MODEL)
    bench.exports.wait(WAIT_S)
    shown = export_panel.show_export(bench, "en")[0]
    assert "A14" in shown and "onerror" not in shown


def test_without_a_converter_the_exact_command_is_shown_and_nothing_starts(bench: Any) -> None:
    for result in ("gguf", "adapter_gguf"):
        described = export_panel.start(bench, "en", "judge", result, "", "", "f16")[0]
        assert "_to_gguf.py" in described and "--outtype f16" in described
    assert bench.exports.status() is None


@pytest.mark.parametrize("field", range(4))
@pytest.mark.parametrize("bad", [None, 5, ["x"], "nothing", float("nan")])
def test_a_wish_that_no_page_sends_is_refused(bench: Any, field: int, bad: Any) -> None:
    wished: list[Any] = list(MODEL)
    wished[field] = bad
    if (field, bad) in ((1, None), (2, None), (1, "nothing")):
        return
    with pytest.raises(WorkbenchError):
        export_panel.start(bench, "en", "judge", *wished)
    assert bench.exports.status() is None


@pytest.mark.parametrize(
    ("result", "visible"),
    [("model", (True, True, False)), ("gguf", (False, True, True)), ("adapter_gguf", (False, False, True))],
)
def test_only_the_fields_that_count_are_shown(bench: Any, result: str, visible: tuple[bool, ...]) -> None:
    *fields, said = export_panel.choose_result(bench, "en", result)
    assert (tuple(each["visible"] for each in fields), said) == (visible, "")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_nothing_is_sent_before_it_was_shown_what_leaves_the_machine(
    bench: Any, lang: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, seen, *_ = push_panel.send(bench, lang, "judge", *PUSH, None)
    assert bench.exports.status() is None
    for part in ("huggingface.co", "someone/judge", "adapter_model.safetensors", "workbench.json", "HF_TOKEN"):
        assert part in shown
    changed = ("", "huggingface", "someone/judge", False)
    shown, seen_now, *_ = push_panel.send(bench, lang, "judge", *changed, seen)
    assert seen_now != seen and bench.exports.status() is None
    with pytest.raises(WorkbenchError, match="HF_TOKEN"):
        push_panel.send(bench, lang, "judge", *changed, seen_now)
    sent: list[Any] = []
    monkeypatch.setenv("HF_TOKEN", "x")
    monkeypatch.setattr(bench.exports, "start_push", sent.append)
    push_panel.send(bench, lang, "judge", *changed, seen_now)
    assert [wish.private for wish in sent] == [False]


def test_a_zip_that_comes_in_is_named_and_a_bad_one_refused(bench: Any, tmp_path: Path) -> None:
    file = bench.exports.zip_adapter("judge", tmp_path)
    said, name = import_panel.import_zip(bench, "en", str(file), " back ")
    assert "back" in said and "README.md" in said and name == ""
    assert {info.name for info in bench.adapters()} == {"judge", "back"}
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(WorkbenchError, match="D40"):
        import_panel.import_zip(bench, "en", str(tmp_path / "x.zip"), "")
    with pytest.raises(WorkbenchError, match="M01"):
        import_panel.import_zip(bench, "en", "x" * 9999, "")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_commands_to_serve_it_are_filled_in(bench: Any, lang: Language) -> None:
    shown = serve_panel.show_commands(bench, lang, "judge")
    assert len(shown) == len(serve_panel.forget())
    notes, (vllm, transformers, ollama, modelfile) = shown[:4], shown[4:]
    assert "--max-lora-rank 8" in vllm and "transformers serve" in transformers and "ollama run judge" in ollama
    assert modelfile.startswith("FROM ./judge.gguf") and "chatml" in notes[3]
    assert serve_panel.show_commands(bench, lang, None) == serve_panel.forget()


def test_a_strength_is_that_of_what_is_applied(bench: Any) -> None:
    (info,) = bench.adapters()
    assert strength_panel.show_strength(bench, info)["value"] == 1.0
    bench.applied = {"judge": 0.5}
    slider = strength_panel.show_strength(bench, info)
    assert (slider["value"], slider["interactive"]) == (0.5, True)
    table, *_ = adapter_panel.apply_adapter(bench, "en", "judge", 0.5)
    assert bench.calls == [("apply", "judge", 0.5)]
    assert table["data"][0][1] == "✓ applied × 0.5"
    chosen = adapter_panel.choose_adapter(bench, "en", "judge")
    assert chosen[0]["value"] == 0.5 and chosen[-1] == ""
    assert [button["interactive"] for button in chosen[1:5]] == [True] * 4
    assert "kB" in chosen[5]["value"], "the size of the zip before it is made"


def test_only_named_rows_are_combined(bench: Any) -> None:
    rows = ("a", 1.0, "", 0.5, None, 1.0, "b", 2)
    assert "a + b" in strength_panel.apply_combination(bench, "en", *rows)
    said, name = strength_panel.save_combination(bench, "en", " both ", *rows)
    assert bench.calls == [("combine", ("a", 1.0), ("b", 2)), ("save", "both", ("a", 1.0), ("b", 2))]
    assert "both" in said and name == ""
    (names, *_) = strength_panel.show_names(bench, "en")
    assert names["choices"] == [("–", ""), "judge"]
