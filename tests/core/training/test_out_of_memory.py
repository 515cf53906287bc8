"""No memory left: plain words with what was tried, nothing lost, nothing held, and the next run works."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch

from core.errors import WorkbenchError
from core.i18n import LANGUAGES
from core.jobs import let_go
from core.models import loader
from core.models.catalog import find_model
from core.models.memory import is_out_of_memory
from core.settings import LoadSettings
from core.training import run as run_module
from core.training import sizing
from core.training import trainer as trainer_module
from core.training.checkpoints import latest_checkpoint
from core.training.events import Failed, Finished
from core.training.preparation import Planner, check_spec, read_data
from core.training.progress import fold
from core.workspace import Workspace
from tests.core.training.conftest import Outcome, spec_of
from webui.run_views import run_progress

Train = Callable[..., Outcome]
CPU_WORDS = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 25000000000 bytes."
GB_ASKED = 25.0


def no_memory(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError(CPU_WORDS)


@pytest.fixture
def trees(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Any]]:
    """Of everything that is trained while a test goes on."""
    made: list[weakref.ref[Any]] = []
    make = run_module.make_learner

    def noted(*args: Any, **kwargs: Any) -> Any:
        learner = make(*args, **kwargs)
        made.append(weakref.ref(learner.model))
        return learner

    monkeypatch.setattr(run_module, "make_learner", noted)
    return made


def break_at(monkeypatch: pytest.MonkeyPatch, moment: str, at: int) -> None:
    """Let there be no memory the so-many-th time that a run comes to this moment."""
    owner, name = {
        "preparing": (trainer_module.AdapterTrainer, "__init__"),
        "forward": (trainer_module.AdapterTrainer, "compute_loss"),
        "backward": (torch.Tensor, "backward"),
        "optimizer": (torch.optim.AdamW, "step"),
        "evaluating": (trainer_module.AdapterTrainer, "validation"),
        "saving": (run_module, "write_checkpoint"),
    }[moment]
    works, times = getattr(owner, name), iter(range(1, 1_000_000))

    def breaks(*args: Any, **kwargs: Any) -> Any:
        return no_memory() if next(times) == at else works(*args, **kwargs)

    monkeypatch.setattr(owner, name, breaks)


@pytest.mark.parametrize(
    ("moment", "at", "key", "kept"),
    [
        ("preparing", 1, "A20_out_of_memory_preparing", 0),
        ("forward", 1, "A20_out_of_memory_training", 0),
        ("backward", 1, "A20_out_of_memory_training", 0),
        ("optimizer", 3, "A20_out_of_memory_training", 2),
        ("evaluating", 2, "A20_out_of_memory_reviewing", 2),
        ("saving", 2, "A20_out_of_memory_saving", 2),
    ],
)
def test_a_run_without_memory_fails_in_plain_words_and_lets_go_of_everything(
    train: Train,
    trees: list[weakref.ref[Any]],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    at: int,
    key: str,
    kept: int,
) -> None:
    with monkeypatch.context() as patched:
        break_at(patched, moment, at)
        outcome = train()
    assert isinstance(outcome.end, Failed)
    problem, *more = outcome.end.problems
    assert problem.key == key
    assert problem.values["needed_gb"] >= GB_ASKED and problem.values["free_gb"] > 0
    assert (problem.values["micro"], problem.values["length"]) == (4, fold(outcome.events).plan.max_length)  # type: ignore[union-attr]
    for lang in LANGUAGES:
        assert "{" not in str(problem.describe(lang))

    checkpoint = latest_checkpoint(outcome.folder / "checkpoints")
    assert (checkpoint.step if checkpoint else 0) == kept
    assert [each.key for each in more] == (["A20_checkpoint_kept"] if kept else [])
    gc.collect()
    assert trees and [tree() for tree in trees] == [None] * len(trees)
    assert isinstance(train(spec_of(name="again")).end, Finished)


def test_a_run_without_memory_offers_settings_that_need_less(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "free_memory_gb", lambda device: 20.0)
    with monkeypatch.context() as patched:
        break_at(patched, "forward", 1)
        outcome = train()
    smaller = {"micro_batch_size": 2, "gradient_accumulation_steps": 4}
    assert smaller in outcome.end.problems[0].values["proposals"]
    html = run_progress(fold(outcome.events), "en")
    assert "data-values" in html and "Micro-batch 2 × 4" in html


def test_a_model_that_finds_no_memory_is_refused_with_numbers_and_let_go(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees: list[weakref.ref[Any]] = []
    build = loader._load_weights

    def noted(*args: Any) -> Any:
        model = build(*args)
        trees.append(weakref.ref(model))
        return model

    monkeypatch.setattr(loader, "_load_weights", noted)
    for broken in ("_prepare", "_weight_problems"):
        with monkeypatch.context() as patched:
            patched.setattr(loader, broken, no_memory)
            with pytest.raises(WorkbenchError) as caught:
                loader.load(find_model(place, "tiny"), LoadSettings(precision="fp32"))
        assert caught.value.key == "A20_out_of_memory_loading"
        assert "tiny" in caught.value.describe() and "fp32" in caught.value.describe("zh")
    assert len(trees) == 2 and [tree() for tree in trees] == [None, None]
    monkeypatch.setattr(loader, "_load_weights", no_memory)
    with pytest.raises(WorkbenchError, match="A20"):
        loader.load(find_model(place, "tiny"), LoadSettings(precision="fp32"))


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (RuntimeError(CPU_WORDS), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_who_ever_notices_it_no_memory_is_known_as_such(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one
    wrapped = ValueError("a library's own")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped) is is_one


def test_an_error_that_is_kept_can_let_go_of_what_its_frames_held() -> None:
    class Large:
        pass

    def fails() -> weakref.ref[Large]:
        large = Large()
        seen.append(weakref.ref(large))
        raise MemoryError

    seen: list[weakref.ref[Large]] = []
    try:
        fails()
    except MemoryError as error:
        kept = error
    assert seen[0]() is not None
    let_go(kept)
    assert seen[0]() is None


def test_a_disk_that_is_too_small_is_refused_or_warned_of_with_numbers(
    place: Workspace, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.data.library import DataLibrary

    usage = namedtuple("usage", "total used free")
    data = read_data(spec_of(), place)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(WorkbenchError) as caught:
        check_spec(spec_of(), place, loaded, data)
    assert caught.value.key == "H10_disk_too_small"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 250_000))
    plan = Planner(place, DataLibrary(place)).plan(spec_of(), loaded)
    assert [each.key for each in plan.warnings if each.key.startswith("H10")] == ["H10_disk"]
