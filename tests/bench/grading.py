"""Does training teach the starter model to grade? Base and adapter on 40 rows that were split off before training.

    python -m tests.bench.grading                                      160 rows to learn, 40 to measure
    python -m tests.bench.grading --set method.rank=32 --set training.learning_rate=5e-4
    python -m tests.bench.grading --rows 4 --steps 2                   whether it starts (a minute or two)

Everything the command line does not name is the workbench's suggestion. What comes of it, with the report as one HTML
file, is written into --out; the figures go to standard output: parseable answers, accuracy of each field beside always
answering the most frequent value, confusion.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

import yaml

from core.evaluation.field_match import propose_fields
from core.evaluation.report_file import report_html
from core.evaluation.results import EvaluationResult
from core.evaluation.spec import EvaluationSpec
from core.settings import LoadSettings
from core.training.spec import RunSpec
from core.workbench import Workbench
from core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
STARTER = "SmolLM2-135M-Instruct"
HELD_OUT = 40
WANTED_PARSED, WANTED_POINTS, WANTED_FIELDS = 0.95, 0.10, 4


def opened(folder: Path, name: str, precision: str = "auto") -> Workbench:
    """A workbench over a data directory with a base model loaded; models come from this checkout."""
    workbench = Workbench(Workspace(folder.resolve(), (ROOT / "models",)))
    workbench.load_model(name, LoadSettings.checked({"precision": precision}), remember=False)
    return workbench


def split_off(folder: Path, name: str, rows: list[Any], held_out: int, seed: int = 42) -> tuple[str, str]:
    """Write `name`-learn and `name`-test, which share no row; returns their file names."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    parts = {f"{name}-test.jsonl": sorted(order[:held_out]), f"{name}-learn.jsonl": sorted(order[held_out:])}
    for file, places in parts.items():
        lines = [json.dumps(rows[place], ensure_ascii=False) for place in places]
        (folder / file).write_text("\n".join(lines), encoding="utf-8")
    test, learn = parts
    return learn, test


def trained(workbench: Workbench, values: dict[str, Any]) -> str:
    """The adapter that a run of these values makes, under a name that is free; progress goes to standard error."""
    spec = RunSpec.checked(values)
    spec = spec.model_copy(update={"name": workbench.free_result_name(spec.name, spec.method.method)})
    run_id = workbench.runs.start(spec, started_by="bench")
    while not workbench.runs.wait(timeout_s=20):
        seen = workbench.runs.snapshot(run_id)
        told = (seen.phase or "", seen.step, seen.steps, seen.losses[-1:], seen.evals[-1:], seen.eta_s)
        sys.stderr.write(f"{spec.name}: {told}\n")
    ended = workbench.runs.snapshot(run_id)
    if ended.adapter is None:
        raise SystemExit(f"{spec.name}: {ended.status}, {ended.problems}")
    sys.stderr.write(f"{spec.name}: {ended.status} after {ended.step} steps in {ended.elapsed_s:.0f} s\n")
    return ended.adapter


def evaluated(workbench: Workbench, values: dict[str, Any], out: Path) -> EvaluationResult:
    """Measure and write the report beside the figures."""
    evaluation_id = workbench.evaluations.start(EvaluationSpec.checked(values))
    while not workbench.evaluations.wait(timeout_s=20):
        sys.stderr.write(f"{values['name']}: {workbench.evaluations.status(evaluation_id)}\n")
    status = workbench.evaluations.status(evaluation_id)
    if status.problem:
        raise SystemExit(str(status.problem.describe()))
    result = workbench.evaluations.result(evaluation_id)
    (out / f"{values['name']}.html").write_text(report_html(result, "en"), encoding="utf-8")
    return result


def changed(values: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The values with `method.rank=32` and the like put in."""
    for setting in settings:
        path, _, value = setting.partition("=")
        room, _, name = path.partition(".")
        values.setdefault(room, {})[name] = yaml.safe_load(value)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser, "grading")
    options = parser.parse_args()
    rows = [json.loads(line) for line in (DATA / "oral_grading_short.jsonl").read_text("utf-8").splitlines()]
    options.out.mkdir(parents=True, exist_ok=True)
    with opened(options.out / "data", options.model) as workbench:
        learn, test = split_off(workbench.workspace.datasets, "grading", rows, HELD_OUT)
        values = {"name": "grading", "base": options.model, "dataset": learn}
        adapter = trained(workbench, changed(values, settings_of(options)))
        measured = {
            "name": "grading",
            "base": options.model,
            "columns": ("", adapter),
            "dataset": test,
            "part": "all",
            "rows": options.rows,
            "sampling": {"do_sample": False, "max_new_tokens": 200},
        }
        references = workbench.evaluations.references(EvaluationSpec.checked(measured))
        fields = propose_fields(references)
        result = evaluated(workbench, {**measured, "fields": fields}, options.out)
    tell(result)


def add_common(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--model", default=STARTER, help=f"base model (default {STARTER})")
    parser.add_argument("--out", type=Path, default=Path("/tmp/bench") / name, help="where runs and reports go")
    parser.add_argument("--set", action="append", default=[], metavar="ROOM.NAME=VALUE", help="a setting of the run")
    parser.add_argument("--steps", type=int, help="train so many steps only")
    parser.add_argument("--rows", type=int, help="measure so many rows only")


def settings_of(options: argparse.Namespace) -> list[str]:
    return [*options.set, *([f"training.steps={options.steps}"] if options.steps else [])]


def tell(result: EvaluationResult) -> None:
    """The figures, and whether they are those of the acceptance."""
    for column in result.columns:
        loss = column.loss.loss if column.loss else float("nan")
        print(f"\n{column.column or 'base'}: loss {loss:.4f}, cut {column.measures['cut']:.1%}, ", end="")
        print(f"looping {column.measures['looping']:.1%}, {column.tokens_per_s:.1f} tokens/s an answer")
        for field in column.fields:
            above = 100 * (field.accuracy - field.most_frequent)
            print(f"  {field.label:8} parsed {field.parse_rate:6.1%}  right {field.accuracy:6.1%}  ", end="")
            print(f"most frequent {field.most_frequent:6.1%}  {above:+.1f} points")
            for wanted, counts in zip(field.classes, field.confusion, strict=True):
                print(f"      {wanted}: {dict(zip([*field.classes, 'not parsed'], counts, strict=True))}")
        if column.forgetting:
            print(f"  general: {column.forgetting.loss_by_text}, right {column.forgetting.right} of 24")
    last = result.columns[-1]
    parsed = min((field.parse_rate for field in last.fields), default=0.0)
    above = [round(field.accuracy - field.most_frequent, 6) for field in last.fields]  # 0.575 - 0.475 is 0.1
    beaten = sum(points >= WANTED_POINTS for points in above)
    print(f"\nparseable in every field: {parsed:.1%} (wanted {WANTED_PARSED:.0%})")
    print(f"fields {100 * WANTED_POINTS:.0f} points above the most frequent: {beaten} (wanted {WANTED_FIELDS} of 6)")


if __name__ == "__main__":
    main()
