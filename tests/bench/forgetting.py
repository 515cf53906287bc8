"""What identity rows cost: an adapter trained on them alone beside one trained on them and as many general rows.

    python -m tests.bench.forgetting                       81 rows to learn, 10 to measure, twice
    python -m tests.bench.forgetting --rows 2 --steps 2    whether it starts

`identity.json` is used with its placeholders filled; the general rows are a random half of the mixed run's rows, from
`alpaca_en_demo.json` (or `--general`). Everything else is the workbench's suggestion. Printed: loss on held-out
identity rows and the forgetting meter, for base and both adapters; the report goes into --out.
"""

from __future__ import annotations

import argparse
import json

from core.data.options import DataOptions
from core.evaluation.results import EvaluationResult
from core.evaluation.verdicts import forgotten, rise
from tests.bench.grading import DATA, add_common, changed, evaluated, opened, settings_of, split_off, trained

HELD_OUT = 10
PLACEHOLDERS = {"name": "Lumi", "author": "the neighbours"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser, "forgetting")
    parser.add_argument("--general", default="alpaca_en_demo.json", help="file in ../shared/data with general rows")
    options = parser.parse_args()
    rows = json.loads((DATA / "identity.json").read_text("utf-8"))
    options.out.mkdir(parents=True, exist_ok=True)
    with opened(options.out / "data", options.model) as workbench:
        folder = workbench.workspace.datasets
        (folder / options.general).write_bytes((DATA / options.general).read_bytes())
        learn, test = split_off(folder, "identity", rows, HELD_OUT)
        alone = DataOptions(placeholders=PLACEHOLDERS).model_dump(mode="json")
        mixed = {**alone, "mix": [{"dataset": options.general, "share": 0.5}], "shuffle": True}
        for name in (learn, test):
            workbench.data.change_recipe(name, lambda _: DataOptions.checked(alone))
        adapters = [
            trained(workbench, changed({"name": name, "base": options.model, "dataset": learn, "data": data}, settings))
            for settings in [settings_of(options)]
            for name, data in (("identity", alone), ("identity-mixed", mixed))
        ]
        measured = {"name": "forgetting", "base": options.model, "columns": ("", *adapters), "dataset": test}
        sampling = {"do_sample": False, "max_new_tokens": 80}
        result = evaluated(
            workbench, {**measured, "part": "all", "rows": options.rows, "sampling": sampling}, options.out
        )
    tell(result)


def tell(result: EvaluationResult) -> None:
    """The gain on identity rows and what it cost."""
    before = result.columns[0].forgetting
    for column in result.columns:
        loss, meter = column.loss, column.forgetting
        assert before and meter and loss, "both were asked for"
        risen = rise(before, meter) or 0.0
        losses = ", ".join(f"{name} {value:.4f}" for name, value in meter.loss_by_text.items())
        print(
            f"{column.column or 'base':16} identity loss {loss.loss:.4f}, chrF {column.measures['chrf']:.1f}; ", end=""
        )
        print(
            f"general loss {losses}: perplexity {risen:+.1%} ({forgotten(risen)}), {meter.right} of 24 questions right"
        )


if __name__ == "__main__":
    main()
