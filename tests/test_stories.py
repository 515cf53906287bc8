"""What people come for, on the real starter model: a new name, a few rows learned by heart, training in four bits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.chat.engine import ChatRequest
from core.chat.streams import Reply
from core.errors import WorkbenchError
from core.settings import LoadSettings, SamplingSettings
from core.training.progress import Snapshot, Status
from core.training.spec import RunSpec, read_spec
from core.workbench import Workbench
from core.workspace import Workspace
from tests.conftest import ROOT, STARTER

pytestmark = [pytest.mark.starter, pytest.mark.timeout(1800)]

SPECS = Path(__file__).parent / "specs"
BASE_REPLY_START = "I am the AI assistant named"  # asked plainly, so small a model makes a name up
IDENTITY = ROOT / "training" / "datasets" / "identity.json"


@pytest.fixture
def workbench(tmp_path: Path, starter_dir: Path) -> Iterator[Workbench]:
    """A workbench over a fresh data directory that knows the starter model and the identity rows."""
    workspace = Workspace(tmp_path / "data", (starter_dir.parent,))
    workspace.create()
    shutil.copy(IDENTITY, workspace.datasets)
    with Workbench(workspace) as bench:
        yield bench


def trained(workbench: Workbench, spec: RunSpec) -> Snapshot:
    run_id = workbench.runs.start(spec)
    assert workbench.runs.wait()
    snapshot = workbench.runs.snapshot(run_id)
    assert snapshot.status is Status.FINISHED, (snapshot.problems, snapshot.reference)
    return snapshot


def ask(
    workbench: Workbench, question: str, adapter: str | None = None, tokens: int = 24, reply_start: str = ""
) -> Reply:
    sampling = SamplingSettings(do_sample=False, max_new_tokens=tokens)
    request = ChatRequest(({"role": "user", "content": question},), sampling, adapter, reply_start)
    return workbench.chat([request]).wait()[0]


def test_a_model_learns_its_name_and_the_base_keeps_its_own(workbench: Workbench) -> None:
    questions = ("Name yourself.", "What is the name of this AI assistant?")
    known = {row["instruction"] for row in json.loads(IDENTITY.read_text(encoding="utf-8"))}
    assert not known & set(questions), "a question from the rows would prove nothing"
    workbench.load_model(STARTER, LoadSettings())
    before = [ask(workbench, question, reply_start=BASE_REPLY_START).text for question in questions]
    snapshot = trained(workbench, read_spec(SPECS / "identity.yaml"))
    print(f"trained in {snapshot.elapsed_s:.0f} s at {snapshot.tokens_per_s or 0:.0f} tokens/s")
    workbench.apply_adapter("aurora")
    for question, answer in zip(questions, before, strict=True):
        assert "SmolLM" in answer
        assert "Aurora" in ask(workbench, question, "aurora").text
        assert ask(workbench, question, reply_start=BASE_REPLY_START).text == answer


TUTORIAL = {
    "epochs": 7.0,
    "micro_batch_size": 6,
    "gradient_accumulation_steps": 1,
    "learning_rate": 5e-4,
    "max_length": 192,
    "warmup_steps": 100,
}


def test_a_tutorials_settings_for_grading_are_warned_of_and_what_is_suggested_trains(
    workbench: Workbench, shared_data: Path
) -> None:
    """A maximum length that cuts off every answer, half the run warming up, and questions trained as if answers."""
    shutil.copy(shared_data / "oral_grading_short.jsonl", workbench.workspace.datasets)
    values: dict[str, Any] = {"name": "grading", "base": STARTER, "dataset": "oral_grading_short.jsonl"}
    values |= {"training": TUTORIAL, "data": {"train_prompt": True}}
    workbench.load_model(STARTER, LoadSettings())
    with pytest.raises(WorkbenchError) as refused:
        workbench.plan(RunSpec.checked(values))
    said = {problem.key: problem for problem in refused.value.problems}
    assert list(said) == ["D30_all_too_long", "D27_prompts_trained", "H02_warmup_too_long"]
    assert said["H02_warmup_too_long"].values["percent"] == "45"
    assert int(said["D27_prompts_trained"].values["percent"]) > 70
    suggested = {problem.place.field: problem.values["suggested"] for problem in said.values()}
    assert suggested == {"max_length": 778, "data.train_prompt": False, "warmup_steps": 11}
    values["data"] = {}
    values["training"] = {**TUTORIAL, "max_length": 778, "warmup_steps": 11}
    assert workbench.plan(RunSpec.checked(values)).warnings == ()
    ten = {"micro_batch_size": 1, "steps": 10, "warmup_steps": 1, "evaluations": 0, "validation_share": 0.0}
    values["training"] |= ten
    losses = [loss for _, loss in trained(workbench, RunSpec.checked(values)).losses]
    assert len(losses) == 10
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


@pytest.mark.slow
def test_three_rows_are_learned_by_heart_and_forgotten_on_removal(workbench: Workbench, shared_data: Path) -> None:
    shutil.copy(shared_data / "chinese_med.json", workbench.workspace.datasets)
    row = json.loads((shared_data / "chinese_med.json").read_text(encoding="utf-8"))[0]
    question = f"{row['instruction']}\n{row['input']}"
    workbench.load_model(STARTER, LoadSettings())
    base = ask(workbench, question, tokens=64).text
    snapshot = trained(workbench, read_spec(SPECS / "chinese_med.yaml"))
    print(f"trained in {snapshot.elapsed_s:.0f} s, last losses {snapshot.losses[-3:]}")
    workbench.apply_adapter("chinese-med")
    answer = ask(workbench, question, "chinese-med", tokens=1024)
    print(answer.text)
    assert answer.text.startswith("香砂六君丸")
    assert answer.finished == "stop"
    workbench.remove_adapter("chinese-med")
    assert ask(workbench, question, tokens=64).text == base
    assert_plain_peft_agrees(workbench, "chinese-med", question)


def assert_plain_peft_agrees(workbench: Workbench, adapter: str, question: str) -> None:
    """The adapter's folder gives the same logits in plain peft as here, in fp32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from core.chat.serving import ServingTrees
    from core.models.catalog import find_model
    from core.models.loader import load

    info = find_model(workbench.workspace, STARTER)
    loaded = load(info, LoadSettings(precision="fp32"))
    ids = torch.tensor([loaded.tokenizer(question)["input_ids"]])
    trees = ServingTrees(loaded)
    folder = workbench.adapter_details(adapter).folder
    applied = trees.apply(adapter, folder)
    route = trees.routes([applied])[0]
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(info.folder, dtype="float32"), folder).eval()
    with torch.no_grad():
        ours = route.tree(input_ids=ids, adapter_names=[applied.id]).logits
        assert torch.equal(ours, plain(input_ids=ids).logits)


@pytest.mark.slow
def test_four_bits_train_and_chat_on_a_cpu(workbench: Workbench) -> None:
    status = workbench.load_model(STARTER, LoadSettings(precision="nf4"))
    assert status.precision.quantized
    values: dict[str, Any] = read_spec(SPECS / "identity.yaml").model_dump()
    values["training"] |= {"epochs": 20 / 91, "micro_batch_size": 1, "learning_rate": 1e-3}
    values["load"] = {"precision": "nf4"}
    before = ask(workbench, "Name yourself.").text
    snapshot = trained(workbench, RunSpec.checked(values))
    losses = [loss for _, loss in snapshot.losses]
    assert len(losses) == 20
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    workbench.apply_adapter("aurora")
    assert ask(workbench, "Name yourself.", "aurora").text != before
    assert ask(workbench, "Name yourself.").text == before
