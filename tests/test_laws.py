"""The laws of the design that hold across rooms, at the façade that the page and the command line call."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.chat.engine import ChatRequest
from core.settings import LoadSettings, SamplingSettings
from core.training.progress import Snapshot, Status
from core.training.runner import Runner
from core.training.spec import RunSpec, spec_text
from core.workbench import Workbench
from core.workspace import Workspace
from tests.core.adapters.building import save_random_adapter

pytestmark = pytest.mark.proof

ROOT = Path(__file__).resolve().parent.parent
ROWS = [
    {"instruction": f"What is {number} plus {number}?", "input": "", "output": f"It is {2 * number}."}
    for number in range(1, 25)
]
REFUSALS = [{**row, "output": "No, I do not do sums."} for row in ROWS]
WAIT_S = 120.0
GREEDY = SamplingSettings(do_sample=False, max_new_tokens=12)
SAMPLED = SamplingSettings(temperature=1.0, max_new_tokens=12)


@pytest.fixture
def workbench(workspace_with_tiny: Workspace, short_sample_answers: None) -> Iterator[Workbench]:
    """A workbench with the tiny model loaded in fp32 and a data set of 24 rows."""
    (workspace_with_tiny.datasets / "sums.json").write_text(json.dumps(ROWS))
    (workspace_with_tiny.datasets / "refusals.json").write_text(json.dumps(REFUSALS))
    with Workbench(workspace_with_tiny) as bench:
        bench.load_model("tiny", LoadSettings(precision="fp32"))
        yield bench


def a_spec(name: str, dataset: str = "sums.json", **training: Any) -> RunSpec:
    chosen = {"epochs": 2.0, "threads": 1, "learning_rate": 1e-3, **training}
    return RunSpec.checked(
        {
            "name": name,
            "base": "tiny",
            "dataset": dataset,
            "method": {"rank": 4, "dropout": 0.1},
            "training": chosen,
        }
    )


def without_dropout(spec: RunSpec) -> RunSpec:
    return spec.model_copy(update={"method": spec.method.model_copy(update={"dropout": 0.0})})


def finished(workbench: Workbench, spec: RunSpec) -> Snapshot:
    run_id = workbench.runs.start(spec)
    assert workbench.runs.wait(WAIT_S)
    snapshot = workbench.runs.snapshot(run_id)
    assert snapshot.status is Status.FINISHED, snapshot.problems
    return snapshot


def ask(workbench: Workbench, question: str, *adapters: str | None, sampling: SamplingSettings = GREEDY) -> list[str]:
    messages = ({"role": "user", "content": question},)
    requests = [ChatRequest(messages, sampling, adapter) for adapter in adapters or (None,)]  # type: ignore[arg-type]
    return [reply.text for reply in workbench.chat(requests).wait()]


def test_law_3_the_base_answers_the_same_before_during_and_after_three_runs(workbench: Workbench) -> None:
    question = "What is 3 plus 3?"
    before = ask(workbench, question)
    for number, rank in enumerate((4, 4, 8)):
        spec = a_spec(f"run-{number}")
        spec = spec.model_copy(update={"method": spec.method.model_copy(update={"rank": rank})})
        run_id = workbench.runs.start(spec)
        during = ask(workbench, question)
        assert workbench.runs.wait(WAIT_S)
        assert workbench.runs.snapshot(run_id).status is Status.FINISHED
        workbench.apply_adapter(f"run-{number}")
        assert [during, ask(workbench, question)] == [before, before]
    assert workbench.model_status() is not None
    assert ask(workbench, question, None, "run-0", "run-1", "run-2")[0] == before[0]


def test_law_4_chatting_applying_and_removing_does_not_change_a_run(workbench: Workbench) -> None:
    finished(workbench, a_spec("applied"))
    alone = finished(workbench, a_spec("alone", epochs=6.0))

    chatting = threading.Event()
    over = threading.Event()
    failures: list[BaseException] = []

    def chat(number: int) -> None:
        try:
            while not over.is_set():
                workbench.apply_adapter("applied")
                ask(workbench, f"What is {number} plus 1?", None, sampling=SAMPLED)
                if number == 0:
                    workbench.remove_adapter("applied")
                chatting.set()
        except BaseException as error:
            failures.append(error)
            chatting.set()

    threads = [threading.Thread(target=chat, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    assert chatting.wait(WAIT_S)
    try:
        busy = finished(workbench, a_spec("busy", epochs=6.0))
    finally:
        over.set()
        for thread in threads:
            thread.join(WAIT_S)
    unexpected = [error for error in failures if getattr(error, "key", "") != "M25_not_applied"]
    assert not unexpected
    assert len(busy.losses) >= 12
    assert busy.losses == alone.losses
    assert busy.evals == alone.evals


def test_law_6_and_8_a_saved_adapter_answers_in_a_batch_as_it_does_alone(workbench: Workbench) -> None:
    names = ["first", "second"]
    for dataset, name in zip(("sums.json", "refusals.json"), names, strict=True):
        finished(workbench, a_spec(name, dataset, epochs=8.0, learning_rate=1e-2))
        workbench.apply_adapter(name)
    question = "What is 5 plus 5?"
    together = ask(workbench, question, None, *names)
    assert together == [ask(workbench, question, adapter)[0] for adapter in (None, *names)]
    assert len(set(together)) == 3, "adapters that change nothing prove nothing"
    workbench.unload_model()
    workbench.load_model("tiny", LoadSettings(precision="fp32"))
    for name in names:
        workbench.apply_adapter(name)
    assert ask(workbench, question, None, *names) == together


QUESTIONS = [
    "Who are you?",
    "What is 5 plus 5?",
    "你好，世界",
    "Hello " * 12,
    *(f"What is {number} times {number}?" for number in range(3, 19)),
]
COLUMNS: tuple[str | None, ...] = (None, "first", "second", "third")


@pytest.fixture
def columns(workbench: Workbench) -> Workbench:
    """The workbench with three random adapters applied."""
    loaded = workbench.serving.model()
    for seed, name in enumerate(COLUMNS[1:]):
        save_random_adapter(loaded.model, workbench.workspace.adapters / str(name), seed, loaded.fingerprint)
        workbench.apply_adapter(str(name))
    return workbench


def test_law_8_base_and_three_adapters_answer_twenty_prompts_together_as_each_alone(columns: Workbench) -> None:
    columns.serving.engine()._kept.max_bytes = 0  # alone means alone: nothing is remembered of the answers together
    short = GREEDY.model_copy(update={"max_new_tokens": 8})
    assert len(set(QUESTIONS)) == 20
    for question in QUESTIONS:
        together = ask(columns, question, *COLUMNS, sampling=short)
        assert together == [ask(columns, question, column, sampling=short)[0] for column in COLUMNS]
        assert len(set(together)) > 1, "adapters that change nothing prove nothing"


def test_a_thousand_answers_to_eight_people_during_a_run_are_their_own_and_do_not_change_it(columns: Workbench) -> None:
    """T6: every answer equals the one asked alone; the run's losses are those of the same run without anybody."""
    short = GREEDY.model_copy(update={"max_new_tokens": 3})
    expected = {
        (question, column): ask(columns, question, column, sampling=short)[0]
        for question in QUESTIONS
        for column in COLUMNS
    }
    asked = list(itertools.islice(itertools.cycle(expected), 1000))
    random.Random(0).shuffle(asked)
    alone = losses_after(columns, "alone", lambda losses: len(losses) >= 20)
    wrong: list[object] = []
    answered = [0] * 8

    def chat(person: int) -> None:
        for question, column in asked[person::8]:
            messages = ({"role": "user", "content": question},)
            try:
                *_, last = columns.chat([ChatRequest(messages, short, column)])  # type: ignore[arg-type]
            except Exception as error:
                wrong.append(error)
                return
            answered[person] += 1
            if (last[0].text, last[0].finished) != (expected[question, column], "length"):
                wrong.append((question, column, last[0]))

    people = [threading.Thread(target=chat, args=(person,)) for person in range(8)]

    def chatted(losses: Sequence[tuple[int, float]]) -> bool:
        if losses and not any(person.ident for person in people):
            for person in people:
                person.start()
        return len(losses) >= 12 and not any(person.is_alive() for person in people)

    busy = losses_after(columns, "busy", chatted)
    assert wrong == []
    assert answered == [125] * 8
    both = min(len(alone), len(busy))
    assert both >= 12 and alone[:both] == busy[:both]


def losses_after(
    workbench: Workbench, name: str, is_enough: Callable[[Sequence[tuple[int, float]]], bool]
) -> Sequence[tuple[int, float]]:
    """The losses of a long run that is stopped once they are enough."""
    run_id = workbench.runs.start(a_spec(name, epochs=300.0))
    give_up = time.monotonic() + WAIT_S
    while not is_enough(workbench.runs.snapshot(run_id).losses):
        assert not workbench.runs.wait(0.02), workbench.runs.snapshot(run_id).problems
        assert time.monotonic() < give_up
    workbench.runs.stop(run_id, keep=False)
    assert workbench.runs.wait(WAIT_S)
    return workbench.runs.snapshot(run_id).losses


def test_law_7_packed_rows_train_as_padded_ones_do(workbench: Workbench) -> None:
    """With one step an epoch the same rows are in it however they are put together."""
    size = {"epochs": 3.0, "gradient_accumulation_steps": 100, "validation_share": 0.0, "warmup_share": 0.0}
    ways: list[dict[str, Any]] = [{}, {"group_by_length": False, "micro_batch_size": 3}, {"packing": True}]
    runs = [
        finished(workbench, without_dropout(a_spec(f"way-{number}", **size, **way))) for number, way in enumerate(ways)
    ]
    padded, *others = ([loss for _, loss in run.losses] for run in runs)
    assert runs[2].plan is not None and runs[2].plan.blocks > 1
    for losses in others:
        assert losses == pytest.approx(padded, rel=1e-5)


def test_a_second_start_is_refused_with_the_first_ones_name(workbench: Workbench) -> None:
    from core.errors import WorkbenchError

    run_id = workbench.runs.start(a_spec("first", epochs=50.0))
    with pytest.raises(WorkbenchError) as refused:
        workbench.runs.start(a_spec("second"))
    assert refused.value.code == "A01"
    assert "first" in refused.value.describe()
    with pytest.raises(WorkbenchError) as kept:
        workbench.unload_model()
    assert kept.value.key == "A07_model_in_use"
    assert "first" in kept.value.describe()
    workbench.runs.stop(run_id, keep=False)
    workbench.runs.stop(run_id, keep=False)
    assert workbench.runs.wait(WAIT_S)
    assert workbench.runs.snapshot(run_id).status is Status.STOPPED
    assert workbench.adapters() == []


def test_chat_can_use_the_adapter_that_is_being_trained(workbench: Workbench) -> None:
    run_id = workbench.runs.start(a_spec("growing", epochs=200.0, evaluations=200))
    saved = threading.Event()

    def watch() -> None:
        while workbench.runs.snapshot(run_id).checkpoint_step is None and workbench.runs.active():
            over.wait(0.02)
        saved.set()

    over = threading.Event()
    threading.Thread(target=watch, daemon=True).start()
    assert saved.wait(WAIT_S)
    name = workbench.apply_run(run_id)
    assert name.startswith("growing @ ")
    assert ask(workbench, "What is 2 plus 2?", name)
    workbench.runs.stop(run_id, keep=True)
    assert workbench.runs.wait(WAIT_S)
    assert [adapter.name for adapter in workbench.adapters()] == ["growing"]


def test_a_run_without_an_end_shows_as_interrupted_with_its_whole_chart(workbench: Workbench, tmp_path: Path) -> None:
    run_id = finished(workbench, a_spec("cut")).run_id
    events = workbench.workspace.runs / run_id / "events.jsonl"
    lines = events.read_text().splitlines()
    steps = [line for line in lines if '"StepDone"' in line]
    started = json.loads(lines[0])
    assert started["event"] == "RunStarted"
    started["pid"], started["process_started"] = 1, 0.0  # a process that is not ours and not alive as it was then
    cut = [json.dumps(started), *lines[1 : lines.index(steps[-1]) + 1], '{"event": "StepDo']
    events.write_text("\n".join(cut))
    with Workbench(workbench.workspace) as after_restart:
        snapshot = after_restart.runs.snapshot(run_id)
        assert snapshot.status is Status.INTERRUPTED
        assert len(snapshot.losses) == len(steps)
        assert [run.status for run in after_restart.runs.list()] == [Status.INTERRUPTED]


def test_law_9_a_run_after_ten_others_is_the_same_in_a_new_process_from_its_spec_as_shown(
    victims: Any, tiny_model_dir: Path, tmp_path: Path
) -> None:
    """Also the way of a spec: copied from a run and given to the command line on a clean data directory."""
    spec = {"training": {"epochs": 2, "evaluations": 2, "seed": 9}, "method": {"dropout": 0.1}}
    first = victims.alone(spec, "eleventh", before=10)
    place = Workspace(tmp_path / "clean")
    place.create()
    shutil.copytree(tiny_model_dir, place.models / "tiny")
    shutil.copy(victims.place.datasets / "colors.jsonl", place.datasets)
    file = tmp_path / "copied.yaml"
    file.write_text(spec_text(Runner(victims.place).spec(first.run_id)), encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "app.py", "train", str(file), "--json", "--data-dir", str(place.root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=5 * WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["adapter"] == "eleventh"
    made = [where.adapters / "eleventh" / "adapter_model.safetensors" for where in (victims.place, place)]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_law_6_a_merged_adapter_answers_as_the_adapter_does(
    workbench: Workbench, tiny_model: Any, tiny_tokenizer: Any
) -> None:
    import torch
    from peft import PeftModel

    finished(workbench, a_spec("merged", epochs=8.0, learning_rate=1e-2))
    folder = workbench.workspace.adapters / "merged"
    adapted = PeftModel.from_pretrained(tiny_model, folder).eval()
    prompt = [{"role": "user", "content": "What is 5 plus 5?"}]
    ids = tiny_tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=False)

    def greedy(model: Any) -> list[int]:
        with torch.no_grad():
            return list(model.generate(input_ids=ids, do_sample=False, max_new_tokens=12)[0].tolist())

    with adapted.disable_adapter():
        plain = greedy(adapted)
    answer = greedy(adapted)
    assert answer != plain, "an adapter that changes nothing proves nothing"
    assert greedy(adapted.merge_and_unload(safe_merge=True)) == answer
    workbench.apply_adapter("merged")
    said = tiny_tokenizer.decode(answer[ids.shape[1] :], skip_special_tokens=True)
    assert ask(workbench, "What is 5 plus 5?", "merged") == [said], "peft alone says what the workbench says"
