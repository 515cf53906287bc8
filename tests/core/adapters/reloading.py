"""What a training process left, loaded in a process of its own: `python -m tests.core.adapters.reloading JOB`.

Owns what such a process does: logits through the serving trees and through plain peft, and one answer by the engine,
for each adapter; the same for each model folder. `JOB` is a JSON file as `Job` writes it; results go beside it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LOGITS_FILE = "logits.safetensors"
ANSWERS_FILE = "answers.json"
MAX_TOKENS = 4


@dataclass(frozen=True)
class Job:
    """`adapters`: the base's folder and the adapter's, by method; `models`: folders. `ids` is the prompt for logits."""

    adapters: dict[str, tuple[str, str]]
    models: dict[str, str]
    ids: list[int]

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)), "utf-8")


def last_logits(model: Any, ids: list[int]) -> Any:
    """The logits (vocab,) after a prompt, by a plain forward in eval mode."""
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1].clone()


def served_logits(loaded: Any, adapter: Path | None, ids: list[int]) -> Any:
    """The same as decoding sees them in the serving trees."""
    from core.chat.serving import ServingTrees
    from core.models.generation import GenerationRequest, decode
    from core.settings import SamplingSettings

    trees = ServingTrees(loaded)
    (route,) = trees.routes([trees.apply("it", adapter) if adapter else None])
    seen: list[Any] = []
    hook = route.tree.get_output_embeddings().register_forward_hook(lambda module, args, out: seen.extend(out[0, -1:]))
    try:
        request = GenerationRequest(ids, SamplingSettings(do_sample=False, max_new_tokens=1), route.adapters[0])
        next(decode(route.tree, loaded.eos_ids, loaded.pad_id, [request], prefix=route.prefix))
    finally:
        hook.remove()
    return seen[0].clone()


def plain_logits(loaded: Any, adapter: Path, ids: list[int]) -> Any:
    """The same by peft alone."""
    from peft import PeftModel

    from core.models.twin import make_twin

    return last_logits(PeftModel.from_pretrained(make_twin(loaded.model), adapter).eval(), ids)


def answer(loaded: Any, adapter: Path | None) -> tuple[str, int]:
    """A greedy answer of the engine, and how many tokens it has."""
    from core.chat.engine import ChatRequest, Engine
    from core.settings import SamplingSettings

    engine = Engine(loaded)
    try:
        if adapter:
            engine.apply("it", adapter)
        greedy = SamplingSettings(do_sample=False, max_new_tokens=MAX_TOKENS)
        request = ChatRequest(
            ({"role": "user", "content": "Tell me about the sea."},), greedy, "it" if adapter else None
        )
        (last,) = list(engine.submit([request]))[-1]
        return last.text, last.tokens
    finally:
        engine.close()


def carry_out(job: Job, results: Path) -> None:
    from safetensors.torch import save_file

    from core.models.catalog import inspect
    from core.models.loader import load
    from core.settings import LoadSettings

    def loaded_from(folder: str) -> Any:
        return load(inspect(Path(folder)), LoadSettings(precision="fp32"))

    bases = {folder: loaded_from(folder) for folder, _ in job.adapters.values()}
    logits, answers = {}, {}
    for method, (base, folder) in job.adapters.items():
        logits[f"ours/{method}"] = served_logits(bases[base], Path(folder), job.ids)
        config = json.loads((Path(folder) / "adapter_config.json").read_text("utf-8"))
        if config["peft_type"] != "TRAINED_WEIGHTS":
            logits[f"peft/{method}"] = plain_logits(bases[base], Path(folder), job.ids)
        answers[method] = answer(bases[base], Path(folder))
    for method, folder in job.models.items():
        model = loaded_from(folder)
        logits[f"ours/{method}"] = served_logits(model, None, job.ids)
        answers[method] = answer(model, None)
    save_file(logits, results / LOGITS_FILE)
    (results / ANSWERS_FILE).write_text(json.dumps(answers), "utf-8")


if __name__ == "__main__":
    job_file = Path(sys.argv[1])
    carry_out(Job(**json.loads(job_file.read_text("utf-8"))), job_file.parent)
