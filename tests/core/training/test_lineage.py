"""Training an adapter further: from its weights, with its settings, with its ancestors kept."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from core.adapters.card import Ancestor, read_card, write_card
from core.adapters.tensor_file import weights_sha256
from core.data.library import DataLibrary
from core.errors import WorkbenchError
from core.settings import MethodSettings
from core.training.desk import RunDesk
from core.training.events import StepDone
from core.training.learner import make_learner
from core.training.lineage import ancestors, method_settings, starting_problems
from core.training.preparation import Planner
from core.training.progress import Snapshot, Status
from core.training.runner import Runner
from core.training.spec import RunSpec, StartingAdapter
from core.workspace import Workspace
from tests.core.adapters.building import edit_json, save_random_adapter, save_random_adapter_of
from tests.core.training.conftest import spec_of, write_rows

WAIT_S = 60.0
SMALL = {"epochs": 1, "evaluations": 0, "validation_share": 0.0}


@pytest.fixture
def desk(place: Workspace, loaded: Any) -> Iterator[RunDesk]:
    made = RunDesk(place, threading.RLock(), lambda: loaded, lambda *_: None)
    yield made
    made.close()


def done(desk: RunDesk, spec: RunSpec) -> Snapshot:
    run_id = desk.start(spec)
    assert desk.wait(WAIT_S)
    snapshot = desk.snapshot(run_id)
    assert snapshot.status is Status.FINISHED, snapshot.problems
    return snapshot


def further(desk: RunDesk, snapshot: Snapshot, **training: Any) -> RunSpec:
    spec = desk.further(snapshot.run_id)
    return spec.model_copy(update={"training": spec.training.model_copy(update={"epochs": 1.0, **training})})


def test_an_adapter_is_trained_further_and_its_ancestors_are_kept(desk: RunDesk, place: Workspace) -> None:
    first = done(desk, spec_of(name="poet", training={"evaluations": 0, "validation_share": 0.0}))
    write_rows(place, 8, "more.jsonl")
    spec = further(desk, first).model_copy(update={"dataset": "more.jsonl", "dataset_sha256": None, "other_data": {}})
    assert (spec.name, spec.method.rank, spec.training.steps) == ("poet-2", 4, None)
    second = done(desk, spec)
    assert second.losses[0][1] < first.losses[0][1] - 0.2, "it begins where the first one ended"
    third = done(desk, further(desk, second))
    hashes = {name: weights_sha256(place.adapters / name) for name in ("poet", "poet-2", "poet-2-2")}
    assert len(set(hashes.values())) == 3, "each is an adapter of its own"
    poet = Ancestor("poet", hashes["poet"], first.run_id, "colors.jsonl")
    line = (Ancestor("poet-2", hashes["poet-2"], second.run_id, "more.jsonl"), poet)
    assert (first.lineage, second.lineage, third.lineage) == ((), (poet,), line)
    card = read_card(place.adapters / "poet-2-2")
    assert card and card.lineage == line
    assert next(run.lineage for run in desk.list() if run.run_id == third.run_id) == line
    shutil.rmtree(place.adapters / "poet")
    assert ancestors(desk.spec(third.run_id), place) == line, "the card of the nearest one knows the others"
    assert desk.spec(third.run_id).start_from == StartingAdapter(adapter="poet-2", sha256=hashes["poet-2"])


def test_a_finished_run_says_that_its_adapter_can_be_trained_further(desk: RunDesk) -> None:
    ended = done(desk, spec_of(training=SMALL))
    with pytest.raises(WorkbenchError, match="A23") as caught:
        desk.resume(ended.run_id)
    assert "start_from" in caught.value.describe("en") and "接着训练" in caught.value.describe("zh")


def test_a_run_that_goes_on_no_longer_needs_what_it_started_from(
    desk: RunDesk, place: Workspace, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = done(desk, spec_of(name="poet", training=SMALL))
    emit = Runner._emit

    def stops(self: Runner, active: Any, event: Any) -> None:
        emit(self, active, event)
        if isinstance(event, StepDone) and event.step == 1:
            self.stop(active.run_id, keep=True)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_emit", stops)
        run_id = desk.start(further(desk, first, epochs=2.0))
        assert desk.wait(WAIT_S)
    line = desk.snapshot(run_id).lineage
    assert (desk.snapshot(run_id).checkpoint_step, [each.adapter for each in line]) == (1, ["poet"])
    shutil.rmtree(place.adapters / "poet")
    assert desk.resume(run_id)
    assert desk.wait(WAIT_S)
    ended = desk.snapshot(run_id)
    card = read_card(place.adapters / str(ended.adapter))
    assert (ended.status, ended.lineage, card and card.lineage) == (Status.FINISHED, line, line)


@pytest.fixture
def poet(place: Workspace, tiny_model: Any) -> Workspace:
    """A data directory with an adapter that was made elsewhere: rank 4, alpha 8, on two modules."""
    save_random_adapter(tiny_model, place.adapters / "poet", seed=1)
    return place


def started_from(place: Workspace, **changes: Any) -> RunSpec:
    method = method_settings(place.adapters / "poet").model_dump() | changes
    return spec_of(start_from={"adapter": "poet"}).model_copy(update={"method": MethodSettings.checked(method)})


def test_an_adapter_made_elsewhere_is_continued_with_what_its_configuration_says(poet: Workspace) -> None:
    config = json.loads((poet.adapters / "poet" / "adapter_config.json").read_text())
    (poet.adapters / "poet" / "workbench.json").unlink(missing_ok=True)
    found = method_settings(poet.adapters / "poet")
    assert (found.method, found.rank, found.alpha) == ("lora", config["r"], config["lora_alpha"])
    assert found.target_modules == tuple(sorted(config["target_modules"]))
    spec = started_from(poet, dropout=0.3)
    assert starting_problems(spec, poet) == []
    assert ancestors(spec, poet) == (Ancestor("poet", weights_sha256(poet.adapters / "poet")),)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"rank": 2, "alpha": 32.0}, ["method.rank", "method.alpha"]),
        ({"method": "dora"}, ["method.method"]),
        ({"method": "loraplus"}, []),
        ({"target_modules": ("all-linear",)}, ["method.target_modules"]),
        ({"layers": (0,)}, ["method.layers"]),
        ({"lora_bias": True}, ["method.lora_bias"]),
    ],
)
def test_settings_that_do_not_fit_its_weights_are_refused_by_name(
    poet: Workspace, changes: dict[str, Any], fields: list[str]
) -> None:
    problems = starting_problems(started_from(poet, **changes), poet)
    assert [problem.place.field for problem in problems] == fields
    assert {problem.key for problem in problems} <= {"A22_start_made_otherwise"}
    assert all("poet" in problem.describe("zh").what for problem in problems)


@pytest.mark.parametrize("code", ["M25", "A22", "M19"])
def test_an_adapter_that_is_gone_or_another_is_refused_when_the_run_starts(
    poet: Workspace, loaded: Any, code: str
) -> None:
    spec = started_from(poet)
    if code == "M25":
        shutil.rmtree(poet.adapters / "poet")
    if code == "A22":
        spec = spec.model_copy(update={"start_from": StartingAdapter(adapter="poet", sha256="0" * 64)})
    if code == "M19":
        card = read_card(poet.adapters / "poet")
        assert card
        write_card(poet.adapters / "poet", card.model_copy(update={"base_name": "another"}))
    with pytest.raises(WorkbenchError, match=code):
        Runner(poet).start(spec, loaded)


def test_an_adapter_that_does_not_say_how_it_was_made_is_not_continued(poet: Workspace) -> None:
    file = poet.adapters / "poet" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "rank_pattern": {"q_proj": 2}}))
    with pytest.raises(WorkbenchError, match="A22"):
        method_settings(poet.adapters / "poet")


@pytest.mark.parametrize("values", [{"exclude_modules": ["v_proj"]}, {"r": 600}, {"lora_alpha": 5000}])
def test_an_adapter_that_no_run_could_have_made_is_not_continued(poet: Workspace, values: dict[str, Any]) -> None:
    edit_json(poet.adapters / "poet" / "adapter_config.json", **values)
    with pytest.raises(WorkbenchError, match=r"A22|H01"):
        method_settings(poet.adapters / "poet")


def test_a_card_that_names_another_method_than_the_files_is_not_believed(place: Workspace, tiny_model: Any) -> None:
    folder = save_random_adapter_of(tiny_model, "ADALORA", place.adapters / "poet")
    card = read_card(folder)
    assert card
    write_card(folder, card.model_copy(update={"settings": MethodSettings()}))
    with pytest.raises(WorkbenchError, match="A22"):
        method_settings(folder)


@pytest.mark.parametrize(
    ("type_", "settings"),
    [
        ("LOHA", {"method": "loha", "rank": 3}),
        ("LOKR", {"method": "lokr", "target_modules": ("q_proj",)}),
        ("IA3", {"method": "ia3", "target_modules": ("q_proj",)}),
        ("PROMPT_TUNING", {"method": "prompt", "virtual_tokens": 3}),
        ("TRAINED_WEIGHTS", {"method": "freeze", "trained_layers": 2}),
    ],
)
def test_a_card_that_contradicts_the_tensors_is_refused_in_words(
    place: Workspace, tiny_model: Any, loaded: Any, type_: str, settings: dict[str, Any]
) -> None:
    folder = save_random_adapter_of(tiny_model, type_, place.adapters / "poet")
    card = read_card(folder)
    assert card
    write_card(folder, card.model_copy(update={"settings": MethodSettings.checked(settings)}))
    with pytest.raises(WorkbenchError) as caught:
        make_learner(method_settings(folder), loaded, seed=1, start_from=folder)
    assert caught.value.key == "A22_start_contradicts_card"
    assert "poet" in caught.value.describe("zh")


def test_an_adapter_without_weights_is_refused(poet: Workspace) -> None:
    spec = started_from(poet, dropout=0.3)
    spec = spec.model_copy(update={"start_from": StartingAdapter(adapter="poet", sha256="0" * 64)})
    (poet.adapters / "poet" / "adapter_model.safetensors").unlink()
    assert [problem.key for problem in starting_problems(spec, poet)] == ["M18_no_weights"]


def test_an_adapter_of_another_shape_is_refused_before_the_run_trains(poet: Workspace, loaded: Any) -> None:
    file = poet.adapters / "poet" / "adapter_model.safetensors"
    spec, tensors = started_from(poet), load_file(file)
    save_file({name: each.repeat(1, 2) if "lora_A" in name else each for name, each in tensors.items()}, file)
    with pytest.raises(WorkbenchError, match="M19"):
        Planner(poet, DataLibrary(poet)).plan(spec, loaded)


def test_an_adapter_that_waits_to_be_trained_further_is_not_deleted(poet: Workspace) -> None:
    desk = RunDesk(poet, threading.RLock(), lambda: None, lambda *_: None)
    desk.enqueue([started_from(poet).model_copy(update={"name": "second"})])
    assert (desk.user_of_adapter("poet"), desk.user_of_adapter("other")) == ("second", "")
    (run,) = desk.queue().runs
    assert desk.spec(run.run_id).start_from == StartingAdapter(
        adapter="poet", sha256=weights_sha256(poet.adapters / "poet")
    )


def test_a_run_that_kept_nothing_cannot_be_trained_further(place: Workspace) -> None:
    desk = RunDesk(place, threading.RLock(), lambda: None, lambda *_: None)
    (run_id,) = desk.enqueue([spec_of()])
    with pytest.raises(WorkbenchError, match="A23"):
        desk.further(run_id)


def test_a_model_that_was_fully_trained_is_the_base_of_the_next_run(place: Workspace) -> None:
    from core.training.lineage import further as further_spec

    spec = spec_of(name="whole", method={"method": "full"}, base_fingerprint="x")
    found = further_spec(spec, "whole", "whole-2", place)
    assert (found.base, found.base_fingerprint, found.start_from, found.name) == ("whole", None, None, "whole-2")
