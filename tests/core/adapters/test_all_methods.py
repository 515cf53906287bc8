"""Every method of the one list: trained on the starter, kept, loaded in a new process, compared, chatted with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch

from core.adapters.method_facts import METHODS
from core.models.catalog import inspect
from core.models.loader import load
from core.settings import LoadSettings, Method
from core.training import run as run_module
from core.training.endings import StopSignal
from core.training.events import Event, Finished, StepDone
from core.training.run import RunContext, run_training
from core.training.spec import RunSpec
from core.workspace import Workspace
from tests.conftest import ROOT
from tests.core.adapters.reloading import ANSWERS_FILE, LOGITS_FILE, Job, last_logits

STEPS = 3
IDS = [1, 4093, 198, 1780, 357, 260, 2470, 30, 2]
TOLERANCE = 2e-4  # of logits up to 30: what fp32 rounds where sums are made in another order
pytestmark = [
    pytest.mark.starter,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.usefixtures("short_sample_answers"),
]


def test_every_method_is_trained_kept_loaded_elsewhere_and_chatted_with(
    tmp_path: Path, starter_dir: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path / "data", extra_models=(starter_dir.parent,))
    workspace.create()
    (workspace.datasets / "short.jsonl").write_text(rows(), "utf-8")
    biased = build_with_biases(workspace.models / "biased", tiny_model_dir)
    loaded = {folder: load(inspect(folder), LoadSettings(precision="fp32")) for folder in (starter_dir, biased)}
    learners: list[Any] = []
    make_learner = run_module.make_learner

    def remembered(*args: Any, **options: Any) -> Any:
        learners.append(make_learner(*args, **options))
        return learners[-1]

    monkeypatch.setattr(run_module, "make_learner", remembered)
    monkeypatch.setattr(run_module, "write_checkpoint", no_checkpoint)

    expected: dict[str, torch.Tensor] = {}
    job = Job({}, {}, IDS)
    for method in get_args(Method):
        base = biased if method == "bitfit" else starter_dir
        losses = trained(workspace, loaded[base], method)
        assert losses[-1] < losses[0], (method, losses)
        learner = learners.pop()
        expected[method] = last_logits(learner.model.eval(), IDS)
        assert not expected[method].equal(last_logits(loaded[base].model, IDS)), method
        if METHODS[method].makes == "model":
            job.models[method] = str(workspace.models / method)
        else:
            job.adapters[method] = (str(base), str(workspace.adapters / method))
        del learner
    job.write(tmp_path / "job.json")
    subprocess.run(
        [sys.executable, "-m", "tests.core.adapters.reloading", str(tmp_path / "job.json")], cwd=ROOT, check=True
    )
    compare(expected, tmp_path, set(job.adapters) - {"bitfit", "freeze"})


def no_checkpoint(folder: Path, trainer: Any, card: Any, origin: Any) -> Any:
    """Those of full fine-tuning have 1.6 GB each, and are other tests' business."""
    return SimpleNamespace(step=trainer.step, folder=folder)


def compare(expected: dict[str, torch.Tensor], results: Path, of_peft: set[str]) -> None:
    from safetensors.torch import load_file

    found = load_file(results / LOGITS_FILE)
    assert set(found) == {f"ours/{method}" for method in expected} | {f"peft/{method}" for method in of_peft}
    for name, logits in found.items():
        method = name.partition("/")[2]
        distance = (logits - expected[method]).abs().max().item()
        assert distance < TOLERANCE, (name, distance)
    answers = json.loads((results / ANSWERS_FILE).read_text("utf-8"))
    assert set(answers) == set(expected)
    assert all(tokens >= 4 and text for text, tokens in answers.values()), answers


def trained(workspace: Workspace, loaded: Any, method: Method) -> list[float]:
    """The losses of a run of a few steps, all on the same rows."""
    spec = RunSpec.checked(
        {
            "name": method,
            "base": loaded.info.name,
            "dataset": "short.jsonl",
            "load": {"precision": "fp32"},
            "method": {
                "method": method,
                "rank": 4,
                "virtual_tokens": 8,
                "trained_layers": 1,
                "target_modules": ["all-linear"] if method == "freeze" else ["q_proj", "v_proj"],
                "layers": [27, 28, 29]
                if "layers" in METHODS[method].settings
                else [],  # the last ones: less to compute
            },
            "training": {
                "steps": STEPS,
                "micro_batch_size": 4,
                "gradient_accumulation_steps": 1,
                "warmup_share": 0,
                "scheduler": "constant",
                "validation_share": 0,
                "evaluations": 0,
            },
        }
    )
    folder = workspace.runs / method
    folder.mkdir()
    events: list[Event] = []
    end = run_training(spec, RunContext(workspace, loaded, method, folder), events.append, StopSignal())
    assert isinstance(end, Finished), (method, end)
    return [event.loss for event in events if isinstance(event, StepDone)]


def rows() -> str:
    """Four short rows; a system prompt of their own spares the template's long one."""
    questions = {
        "Is 3 odd?": "Yes, 3 is odd.",
        "Is 4 odd?": "No, 4 is even.",
        "Is 7 odd?": "Yes, it is.",
        "2?": "Even.",
    }
    return "\n".join(
        json.dumps(
            {
                "messages": [
                    {"role": "system", "content": "Count."},
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": reply},
                ]
            }
        )
        for question, reply in questions.items()
    )


def build_with_biases(folder: Path, tiny: Path) -> Path:
    """A tiny random Qwen2, whose attention has biases, with the tokenizer of the tiny llama but the starter's size."""
    from transformers import AutoModelForCausalLM, Qwen2Config

    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("*.safetensors", "*config.json"))
    shutil.copy(tiny / "tokenizer_config.json", folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=4096 + 512,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        )
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder
