"""A disk that is full, broken or read-only: the run pauses and says why, what was saved is whole, and it goes on later.

The disk refuses every operation from a certain one on, in a fork of the process of `victims`; the next fork resumes.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

from core.i18n import LANGUAGES
from core.training.checkpoints import latest_checkpoint, list_checkpoints
from core.training.events import Stopped
from core.training.progress import Snapshot, Status
from tests.core.training.conftest import Outcome, spec_of
from tests.core.training.forks import SAVES_EACH_STEP, Settings, Victims, same, short

pytestmark = pytest.mark.proof

FULL = ("disk_full", ["A13_disk_full_run"])
REFUSED = ("cannot_write", ["A14_cannot_write_run"])
ERRORS = {errno.ENOSPC: FULL, errno.EIO: REFUSED, errno.EDQUOT: FULL, errno.EROFS: REFUSED}


def paused(victims: Victims, answer: dict[str, Any], error: int) -> None:
    """The run says what the disk refused, and what can be seen of it is whole."""
    assert not answer["killed"]
    assert answer["status"] == Status.STOPPED, answer
    assert (answer["reason"], answer["problems"]) == ERRORS.get(error, REFUSED), answer
    snapshot = victims.snapshot(answer["run_id"])
    assert snapshot.status in (Status.STOPPED, Status.INTERRUPTED), "also where its end could not be written down"
    victims.nothing_half_visible(answer["run_id"])


def refused_again_and_again(victims: Victims, spec: Settings, name: str, since: str, until: str | None) -> Snapshot:
    """Let the disk refuse a run, and each resuming of it, from every fifth moment on; till none is left."""
    order: Settings = {"spec": {**spec, "name": name}}
    for moment, error in zip(itertools.count(1, 5), itertools.cycle(ERRORS), strict=False):
        answer = victims.ask(**order, moment=moment, since=since, until=until, error=error, lasting=True)
        if answer["moments"] < moment:
            assert moment > 20
            break
        paused(victims, answer, error)
        order = {"run_id": answer["run_id"]}
    return victims.snapshot(answer["run_id"])


def test_a_disk_that_refuses_any_write_of_a_checkpoint_pauses_the_run_which_goes_on_later(victims: Victims) -> None:
    whole = victims.alone(SAVES_EACH_STEP, "refused-alone")
    resumed = refused_again_and_again(victims, SAVES_EACH_STEP, "refused", "step", "step")
    assert same(victims.place, resumed, whole)


def test_a_disk_that_refuses_the_adapter_pauses_the_run_which_makes_it_later(victims: Victims) -> None:
    spec = short(SAVES_EACH_STEP, epochs=2)
    whole = victims.alone(spec, "adapter-refused-alone")
    resumed = refused_again_and_again(victims, spec, "adapter-refused", "saving", "end")
    assert same(victims.place, resumed, whole)


@pytest.mark.parametrize(
    "limit", [8_000, 40_000]
)  # bytes a file may have: the adapter's own is larger, the optimizer's
def test_what_torch_and_safetensors_cannot_write_is_named_as_well(victims: Victims, limit: int) -> None:
    spec = short(SAVES_EACH_STEP, epochs=3)
    whole = victims.alone(spec, f"limit-{limit}-alone")
    answer = victims.ask(spec={**spec, "name": f"limit-{limit}"}, file_limit=limit)
    paused(victims, answer, errno.EFBIG)
    assert not list_checkpoints(victims.place.runs / answer["run_id"] / "checkpoints")
    victims.ask(run_id=answer["run_id"])
    assert same(victims.place, victims.snapshot(answer["run_id"]), whole)


def test_the_words_say_how_much_space_is_needed_and_how_much_there_is(victims: Victims) -> None:
    answer = victims.ask(spec={**SAVES_EACH_STEP, "name": "words"}, since="step", moment=30, error=errno.ENOSPC)
    snapshot = victims.snapshot(answer["run_id"])
    assert (snapshot.status, snapshot.stop_reason) == (Status.STOPPED, "disk_full")
    (problem,) = snapshot.problems
    assert problem.values["needed_mb"] >= 1 and problem.values["free_mb"] >= 0
    assert all(f"{problem.values['needed_mb']} MB" in problem.describe(lang).why for lang in LANGUAGES)
    log = (victims.place.runs / answer["run_id"] / "log.txt").read_text()
    assert os.strerror(errno.ENOSPC) in log, "the whole story is in the log"
    assert latest_checkpoint(victims.place.runs / answer["run_id"] / "checkpoints") is None


@pytest.mark.parametrize("method", ["lora", "full"])
def test_weights_that_are_not_finite_are_never_saved(
    train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Gradients were finite, the step they made was not."""
    from core.training.trainer import AdapterTrainer

    log = AdapterTrainer.log

    def explodes(trainer: Any, *args: Any) -> None:
        log(trainer, *args)
        if trainer.step == 3:
            with torch.no_grad():
                next(each for each in trainer.model.parameters() if each.requires_grad).view(-1)[0] = float("inf")

    monkeypatch.setattr(AdapterTrainer, "log", explodes)
    outcome = train(spec_of(method={"method": method}, training={"evaluations": 0, "epochs": 4}))
    assert isinstance(outcome.end, Stopped) and outcome.end.reason == "not_finite"
    (problem,) = outcome.end.problems
    assert problem.values["good"] == 2 and problem.values["lines"]
    newest = latest_checkpoint(outcome.folder / "checkpoints")
    assert newest is not None and newest.step == 2
