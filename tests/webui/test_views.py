"""What is drawn from reports, plans and snapshots: escaped, complete, in both languages."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from core import markup
from core.adapters.card import AdapterCard, Ancestor, Ingredient
from core.adapters.store import AdapterInfo
from core.errors import Place, Problem, refusal
from core.i18n import LANGUAGES, Language, text
from core.models.catalog import ModelInfo
from core.models.downloads import DownloadStatus
from core.models.hub import RemoteInfo
from core.models.precision import PrecisionChoice
from core.training.decisions import Reason
from core.training.estimate import MemoryEstimate
from core.training.log import LogLine
from core.training.plan import Plan
from core.training.progress import Sample, Snapshot, Status
from core.training.spec import RunSpec
from core.workbench import ModelStatus
from webui import model_views, plan_views, run_views, views
from webui.views import gigabytes

HOSTILE = "<img src=x onerror=alert(1)>"
PLAN = Plan(
    rows_train=82,
    rows_validation=9,
    rows_left_out=3,
    rows_cut=0,
    max_length=257,
    epochs=4,
    steps=44,
    steps_per_epoch=11,
    micro_batch_size=2,
    gradient_accumulation_steps=4,
    warmup_steps=2,
    review_steps=(11, 22, 33, 44),
    tokens_per_epoch=9229,
    trained_tokens_per_epoch=5607,
    validation_tokens=900,
    validation_share=0.1,
    alpha=32.0,
    learning_rate=2e-4,
    checkpoint_every_s=60.0,
    activation_checkpointing=False,
    threads=2,
    estimate=MemoryEstimate(0.1, 0.1, 0.2, 1.0, 1.8),
    reasons=(Reason("alpha", "training.reason.alpha", {"rank": 16}),),
)
SPEC = RunSpec(name="first", base="tiny", dataset="rows.jsonl")
SNAPSHOT = Snapshot(
    status=Status.RUNNING,
    version=7,
    run_id="20260101-000000-abcd",
    name="first",
    base="tiny",
    dataset="rows.jsonl",
    phase="training",
    plan=PLAN,
    step=11,
    steps=44,
    epoch=1.0,
    epochs=4.0,
    elapsed_s=61.0,
    eta_s=183.0,
    tokens_per_s=1234.5,
    memory_gb=1.5,
    losses=((1, 3.0), (2, 2.0)),
    evals=((11, 1.5),),
    learning_rates=((1, 1e-4), (2, 2e-4)),
    samples=(Sample(0, "Who are you?", "SmolLM", "stop"), Sample(11, "Who are you?", "Momo", "stop")),
    log=(LogLine("training.log.warning", {"problem": HOSTILE}, 3.0),),
    best_step=11,
    best_loss=1.5,
)


class Tags(HTMLParser):
    """The names of all elements in a piece of HTML."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.add(tag)


def adapter(**changes: object) -> AdapterInfo:
    card = AdapterCard(name="a", base_name="tiny", system_prompt="Be kind.")
    info = AdapterInfo(
        name="a",
        folder=Path("/data/loras/a"),
        base_name="tiny",
        base_fingerprint="llama-64x2-v512-ab",
        method="lora",
        rank=16,
        virtual_tokens=None,
        limits=(),
        dataset="rows.jsonl",
        created="2026-01-02T03:04:05+00:00",
        train_loss=1.23456,
        eval_loss=None,
        problems=(),
        card=card,
        bytes=1_000_000,
    )
    return replace(info, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "hostile", [HOSTILE, "<script>1</script>", "\" onmouseover='x'", "{{constructor}}", "${alert(1)}"]
)
def test_text_from_outside_is_inert_wherever_it_is_shown(hostile: str) -> None:
    shown = markup.escape(hostile)
    assert not Tags(shown).names
    assert not set("<>\"'{}$") & set(shown.replace("&#x27;", ""))


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("a\u202eb", "a\\u202eb"),
        ("bell\x07", "bell\\u0007"),
        ("two\nlines\tand 　wide", "two\nlines\tand 　wide"),
        ("family 👨\u200d👩\u200d👧", "family 👨\u200d👩\u200d👧"),
        ("z" + "\u0301" * 500, "z" + "\u0301" * markup.MAX_COMBINING_MARKS),
        ("\ud800", "\\ud800"),
    ],
)
def test_characters_that_deceive_are_made_visible(content: str, shown: str) -> None:
    assert markup.visible(content) == shown


@pytest.mark.parametrize(
    ("amount", "shown"), [(999, "999 B"), (98_362_432, "98 MB"), (2.69e9, "2.7 GB"), (3e11, "300 GB")]
)
def test_sizes_are_short(amount: float, shown: str) -> None:
    assert views.size(amount) == shown


@pytest.mark.parametrize(
    ("amount_gb", "shown"),
    [(0.0, "0 MB"), (0.0001, "< 1 MB"), (0.0042, "4 MB"), (0.05, "50 MB"), (0.1, "0.10 GB"), (12.34, "12.3 GB")],
)
def test_no_part_of_memory_seems_to_be_nothing(amount_gb: float, shown: str) -> None:
    assert gigabytes(amount_gb) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(None, "–"), (0.2, "0 s"), (61, "1 min 1 s"), (7265, "2 h 1 min")])
def test_durations_have_two_units_at_most(seconds: float | None, shown: str) -> None:
    assert markup.duration(seconds, "en") == shown


@pytest.mark.parametrize(
    ("share", "width"), [(-1, "width:0%"), (0.5, "width:50%"), (7, "width:100%"), (None, "wb-busy")]
)
def test_a_bar_never_leaves_its_frame(share: float | None, width: str) -> None:
    assert width in views.progress_bar(share, "words")


def test_twenty_problems_are_shown_and_the_rest_is_counted() -> None:
    problems = [Problem("D42_name_empty", Place(file="rows.jsonl", line=line)) for line in range(1, 31)]
    shown = views.problem_list(problems, "en")
    assert shown.count("<li") == 20
    assert "10 more" in shown
    assert "line 20" in shown
    assert "line 21" not in shown


def test_the_loaded_model_is_marked_and_dangers_are_named_in_the_table() -> None:
    fine = ModelInfo("fine", Path("fine"), "LlamaForCausalLM", "llama", 134_515_008, 269_060_552, "bf16", "own")
    broken = ModelInfo("broken", Path("broken"), problems=(Problem("D42_name_empty"),))
    file = ModelInfo("file.gguf", Path("file.gguf"), gguf=True)
    table = model_views.models_table([fine, broken, file], "fine", "en")
    assert [row[0] for row in table["data"]] == ["● fine", "broken"]
    assert table["data"][0][1:] == ["LlamaForCausalLM", "134.5 M", "269 MB", "bf16", "own", "–"]
    assert table["data"][1][-1].startswith("D42 ")


def test_a_broken_adapter_shows_its_problem_instead_of_a_method() -> None:
    table = model_views.adapters_table(
        [adapter(), adapter(name="b", problems=(Problem("D42_name_empty"),))], {"a": 1.0}, "en"
    )
    assert table["data"][0] == ["a", "✓ applied", "tiny", "LoRA", "16", "rows.jsonl", "2026-01-02 03:04", "1.235", "–"]
    assert table["data"][1][1] == "–"
    assert table["data"][1][3].startswith("D42 ")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, []),
        (
            DownloadStatus("m", "running", "downloading", 50_000_000, 100_000_000, 20.0),
            ["width:50%", "50 MB / 100 MB", "20 s"],
        ),
        (DownloadStatus("m", "running"), ["wb-busy"]),
        (DownloadStatus("m", "finished", model="m"), ["“m” is ready"]),
        (DownloadStatus("m", "cancelled", keeps=True), ["Cancelled. What has arrived is kept"]),
        (DownloadStatus("m", "failed", problem=Problem("D42_name_empty")), ["D42"]),
    ],
)
def test_a_download_shows_bytes_time_and_its_end(status: DownloadStatus | None, expected: list[str]) -> None:
    shown = model_views.download_progress(status, "en")
    assert all(part in shown for part in expected)
    assert bool(shown) == bool(expected)


def test_what_a_cancelled_download_does_not_keep_is_not_promised() -> None:
    shown = model_views.download_progress(DownloadStatus("m", "cancelled"), "en")
    assert "Cancelled." in shown and "kept" not in shown


def test_a_gated_repository_that_does_not_fit_says_both() -> None:
    info = RemoteInfo("huggingface", "a/b", 5_000_000_000, 1_000_000_000, "apache-2.0", True, "HF_TOKEN", ())
    shown = model_views.remote_info(info, "en")
    assert all(part in shown for part in ("gated", "HF_TOKEN", "5.0 GB", "1.0 GB", "apache-2.0", "does not fit"))


def test_the_plan_card_shows_the_batch_as_a_product_and_every_reason() -> None:
    shown = plan_views.plan_card(PLAN, SPEC, "en")
    assert "2 × 4 = batch of 8" in shown
    assert "Twice the rank of 16" in shown
    assert "3 too long" in shown


def test_progress_names_phase_step_epoch_time_left_speed_and_memory() -> None:
    shown = run_views.run_progress(SNAPSHOT, "en")
    for part in ("width:25%", "Training", "step 11 of 44", "epoch 1.00 of 4", "3 min 3 s", "1,234", "1.50 GB"):
        assert part in shown


def test_a_failed_run_without_words_for_people_names_its_reference() -> None:
    shown = run_views.run_progress(replace(SNAPSHOT, status=Status.FAILED, reference="beef1234"), "en")
    assert "beef1234" in shown


def test_sample_answers_stand_beside_the_base_model() -> None:
    shown = run_views.samples_table(SNAPSHOT.samples, "en")
    assert shown.index("Base model") < shown.index("Step 11")
    assert shown.index("SmolLM") < shown.index("Momo")


def test_a_run_that_ended_says_what_it_left_behind() -> None:
    ended = replace(SNAPSHOT, status=Status.FINISHED, adapter="first", kept_step=11)
    shown = run_views.run_result(ended, [("adapter_folder", "/data/loras/first")], "en")
    assert all(part in shown for part in ("first (weights of step 11)", "1.5 at step 11", "/data/loras/first"))
    by_accuracy = run_views.run_result(replace(ended, best_by="accuracy", best_accuracy=0.625), [], "en")
    assert "Best validation accuracy" in by_accuracy and "62.5 % at step 11" in by_accuracy
    assert "Best validation loss" in shown and "Best validation loss" not in by_accuracy
    stopped = replace(ended, status=Status.STOPPED, stop_reason="disk_full")
    assert "Paused: the disk is full." in run_views.run_result(stopped, [], "en")
    assert run_views.run_result(SNAPSHOT, [], "en") == ""


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("status", list(Status))
def test_every_status_of_a_run_can_be_drawn_in_both_languages(status: Status, lang: Language) -> None:
    snapshot = replace(SNAPSHOT, status=status)
    assert run_views.run_progress(snapshot, lang)
    run_views.run_result(snapshot, [("run_folder", "/runs/x")], lang)
    assert Tags(run_views.log_lines(snapshot.log, lang)).names == {"pre"}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_models_adapters_and_refusals_can_be_drawn_in_both_languages(lang: Language) -> None:
    precision = PrecisionChoice("bf16", "bf16", "cpu", False, "models.precision.reason.auto_bf16", {"device": "CPU"})
    status = ModelStatus("m", precision, "chatml", "f", 512, 1.5, 0.5, 0.8, ("a",), ())
    assert "m" in model_views.model_status(status, lang)
    assert model_views.model_status(None, lang)
    assert "/data/loras/a" in model_views.adapter_details(adapter(), lang)
    made_of = (Ingredient("poet", "0" * 64, 0.5), Ingredient("cook", "1" * 64, 1.0))
    card = AdapterCard(name="a", base_name="tiny", made_of=made_of, lineage=(Ancestor("b", "2"), Ancestor("c", "3")))
    shown = model_views.adapter_details(adapter(card=card), lang)
    assert "poet × 0.5 + cook" in shown and "b ← c" in shown
    error = refusal("D42_name_empty")
    assert plan_views.plan_refused(error, lang)
    assert plan_views.name_check(error.problems[0], "x", "adapter", lang)
    assert "x" in plan_views.name_check(None, "x", "adapter", lang)
    for missing in ("model", "data", "checking", "planning", "name", "running"):
        assert plan_views.plan_missing(missing, lang)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_an_adapter_cannot_do_is_said_before_it_is_applied(lang: Language) -> None:
    prompt = adapter(method="prompt", rank=None, virtual_tokens=8, limits=("alone", "not_mergeable"))
    (row,) = model_views.adapters_table([prompt], {}, lang)["data"]
    assert row[3] == f"{text('methods.prompt.name', lang)} · {text('model_tab.adapters.alone', lang)}"
    assert row[4] == text("model_tab.adapters.virtual_tokens", lang, count=8)
    shown = model_views.adapter_details(prompt, lang)
    for limit in ("alone", "not_mergeable"):
        assert markup.escape(text(f"model_tab.adapters.limits.{limit}", lang)) in shown
        assert markup.escape(text(f"model_tab.adapters.limits.{limit}", lang)) not in model_views.adapter_details(
            adapter(), lang
        )
