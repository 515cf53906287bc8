"""Forecast against truth: twelve settings on the starter model, each in a fresh process, as a Markdown table.

    python -m tests.bench.forecast                 all of them; a quiet machine, some ten minutes on two cores
    python -m tests.bench.forecast --only 3        one of them, counted from 1

Memory is the peak resident memory of the process while the run goes on, over what it held right before (on a GPU: of
tensors); both numbers after unused memory was given back. Time is the median of the run's own optimizer steps. The
forecast is made first, from the form as the page would have it, and never sees the run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STARTER = "SmolLM2-135M-Instruct"
MEMORY_WITHIN, TIME_WITHIN = 0.15, 0.20
FORECAST_WAITS_S = 600
WORDS = ["the", "tea", "is", "ready", "when", "water", "boils", "and", "leaves", "have", "opened", "in", "a", "cup"]


@dataclass(frozen=True)
class Setting:
    """One run: rows of up to `length` tokens, `micro` of them at a time, `accumulation` times a step."""

    name: str
    length: int
    micro: int
    accumulation: int = 1
    precision: str = "bf16"
    method: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


SETTINGS = (
    Setting("LoRA r16", 128, 8),
    Setting("LoRA r16", 256, 4),
    Setting("LoRA r16, accumulation 2", 512, 2, 2),
    Setting("LoRA r16, checkpointing", 512, 4, training={"activation_checkpointing": True}),
    Setting("LoRA r16, packed", 768, 1, training={"packing": True}),
    Setting("LoRA r64, dropout 0.1, nf4", 256, 2, precision="nf4", method={"rank": 64, "dropout": 0.1}),
    Setting("LoRA r16, int8", 256, 2, precision="int8"),
    Setting("LoRA r16, fp32", 256, 2, precision="fp32"),
    Setting("DoRA r16", 256, 4, method={"method": "dora"}),
    Setting("PiSSA r16", 256, 4, method={"method": "pissa"}),
    Setting("prefix tuning", 256, 4, method={"method": "prefix"}),
    Setting("full fine-tuning, accumulation 2", 128, 4, 2, method={"method": "full"}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int, help="the number of one setting")
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(_measured(SETTINGS[asked.here - 1])))
        return
    print("| # | setting | length × rows | memory forecast | peak | off | step forecast | median | off |")
    print("|--|--|--|--|--|--|--|--|--|")
    for number in [asked.only] if asked.only else range(1, len(SETTINGS) + 1):
        command = [sys.executable, "-W", "ignore", "-m", "tests.bench.forecast", "--here", str(number)]
        child = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        print(_row(number, json.loads(child.stdout.splitlines()[-1])), flush=True)


def _row(number: int, found: dict[str, Any]) -> str:
    setting = SETTINGS[number - 1]
    memory = _off(found["needed_gb"], found["peak_gb"], MEMORY_WITHIN)
    seconds = _off(found["forecast_s"], found["step_s"], TIME_WITHIN)
    return (
        f"| {number} | {setting.name} | {setting.length} × {setting.micro} "
        f"| {found['needed_gb']:.2f} GB | {found['peak_gb']:.2f} GB | {memory} "
        f"| {found['forecast_s']:.2f} s | {found['step_s']:.2f} s | {seconds} |"
    )


def _off(forecast: float, truth: float, within: float) -> str:
    off = forecast / truth - 1
    return f"{100 * off:+.0f} %{'' if abs(off) <= within else ' **out**'}"


def _measured(setting: Setting) -> dict[str, Any]:
    """The forecast, then the run itself."""
    from core.data.library import DataLibrary
    from core.models.catalog import find_model
    from core.models.loader import load
    from core.settings import LoadSettings
    from core.training.forecasts import Forecasts
    from core.training.preparation import Planner
    from core.workspace import Workspace

    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder), (ROOT / "models",))
        workspace.create()
        _write_rows(workspace.datasets / "rows.jsonl", setting)
        loaded = load(find_model(workspace, STARTER), LoadSettings(precision=setting.precision))  # type: ignore[arg-type]
        planner = Planner(workspace, DataLibrary(workspace))
        forecasts = Forecasts(workspace, lambda: planner, lambda: False)
        status = forecasts.status(_spec(setting), loaded, FORECAST_WAITS_S)
        assert status.problem is None and status.forecast.step_s is not None, status
        peak_gb, steps = _run(setting, workspace, loaded)
    return {
        "needed_gb": status.forecast.needed_gb,
        "peak_gb": peak_gb,
        "forecast_s": status.forecast.step_s,
        "step_s": statistics.median(steps),
        "steps": steps,
    }


def _run(setting: Setting, workspace: Any, loaded: Any) -> tuple[float, list[float]]:
    """The run on a thread of its own, as the server has it: its peak of memory, and seconds of its steps."""
    from core.models.peak_memory import PeakMemory
    from core.training.endings import StopSignal
    from core.training.events import Finished, StepDone
    from core.training.run import RunContext, run_training

    run = workspace.runs / "run"
    run.mkdir()
    events: list[Any] = []
    context = RunContext(workspace, loaded, "run", run, "test")
    work = threading.Thread(target=run_training, args=(_spec(setting), context, events.append, StopSignal()))
    with PeakMemory(loaded.precision.device) as peak:
        work.start()
        work.join()
        peak_gb = peak.gb
    assert isinstance(events[-1], Finished), events[-1]
    return peak_gb, [event.step_s for event in events if isinstance(event, StepDone)]


def _spec(setting: Setting) -> Any:
    from core.training.spec import RunSpec

    training = {
        "epochs": 1,  # the forecast is the median over the steps of an epoch
        "max_length": setting.length,
        "micro_batch_size": setting.micro,
        "gradient_accumulation_steps": setting.accumulation,
        "activation_checkpointing": False,
        "validation_share": 0.1,
        "evaluations": 2,
        **setting.training,
    }
    values = {"name": "bench", "base": STARTER, "dataset": "rows.jsonl", "load": {"precision": setting.precision}}
    return RunSpec.checked({**values, "training": training, "method": setting.method})


def _write_rows(path: Path, setting: Setting) -> None:
    """Rows for one epoch: half of them as long as can be, the others of all lengths; half a row is its answer."""
    draw = random.Random(0)
    rows = []
    for number in range(10 * setting.micro * setting.accumulation * (2 if "packing" in setting.training else 1)):
        words = setting.length - 48 if number % 2 else draw.randrange(setting.length // 4, setting.length - 48)
        text = [draw.choice(WORDS) for _ in range(max(16, words))]
        half = len(text) // 2
        turns = [("user", " ".join(text[:half])), ("assistant", " ".join(text[half:]))]
        rows.append({"messages": [{"role": role, "content": content} for role, content in turns]})
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
