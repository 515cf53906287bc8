"""A few real optimizer steps on chosen micro-batches, to see what a run will take on this machine.

Owns which micro-batches those are, how long this may last, and what is measured: the peak of memory, seconds of micro-
batches, of the optimizer, of an evaluation and of sample answers. It trains a learner of its own with the trainer's own
loop; the loaded model, the process-wide generators and the disk are left as they were. What the figures mean for a run
is `forecast`'s business. Never call it while a run trains: it sets threads and generators for a while.

    Preparation + LoadedModel → longest, median, median … → `Measurement`

Where the run accumulates gradients, so do these steps: gradients that stay while the next micro-batch is computed lie
in the midst of what it could have used again, and a process of the starter model was seen to grow by 0.5 GB for that.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from core.data.batching import packed_batch, pad_batch
from core.data.rendering import NOT_TRAINED, Rendered
from core.jobs import Watch
from core.models.loader import LoadedModel
from core.models.peak_memory import PeakMemory
from core.training.estimate import GB, MicroBatch
from core.training.forecast import Measurement, Timing, micro_batches, padded_tokens
from core.training.learner import Learner, make_learner
from core.training.loss import count_trained
from core.training.preparation import Preparation
from core.training.samples import SAMPLE_TOKENS, answer_all
from core.training.trainer import AdapterTrainer, StepFigures, TrainingJob

BUDGET_S = 30.0  # no third step is begun that would end later, and no second one after that
ACCUMULATED = 2  # micro-batches of a step at most: a third one finds memory as the second one found it
CPU_STEP_FLOPS = 4e12  # at most in one step on a CPU: some ten seconds on two cores
FLOPS_PER_WEIGHT = 6  # of a token's forward and backward pass
ANSWER_TOKENS = 8  # of the sample answers whose speed is measured
TINY_RATE = 1e-8  # whatever rate the run has, these steps stay finite
NEVER_S = 1e9


def measure(
    prepared: Preparation, loaded: LoadedModel, watch: Watch[float], most_tokens: int | None = None
) -> Measurement:
    """Try what this run would do. `watch` is told the share that is done; `most_tokens` bounds a micro-batch.

    Micro-batches over that bound, or so heavy that a step would take long on this CPU, are measured with fewer rows.

    Raises:
        Cancelled: `watch` said so; it is asked at every layer, forward and backward.
        MemoryError, RuntimeError, OSError: what running out of memory looks like; see `memory.is_out_of_memory`.
    """
    kept, nowhere = _left_as_it_was(prepared.plan.threads), tempfile.TemporaryDirectory()
    with kept, nowhere as folder, PeakMemory(loaded.precision.device) as peak:
        return _DryRun(prepared, loaded, Path(folder), watch, most_tokens).carry_out(peak)


class _DryRun:
    """One measurement; it is also the `Watcher` of its training loop."""

    def __init__(
        self,
        prepared: Preparation,
        loaded: LoadedModel,
        folder: Path,
        watch: Watch[float],
        most_tokens: int | None,
    ) -> None:
        self._prepared, self._loaded, self._folder, self._watch = prepared, loaded, folder, watch
        self._share = 0.0
        most = min(most_tokens or 1 << 40, _quick_tokens(loaded))
        self.accumulation = min(ACCUMULATED, prepared.plan.gradient_accumulation_steps)
        self.tensors = [self._batch(rows) for rows in choose(prepared, most, self.accumulation)]
        self.shapes = [_shape(tensors) for tensors in self.tensors]
        self._steps_done = 0
        self._validation = _shrunk(_longest_validation(prepared), most)
        self._too_long = False
        self._began = time.monotonic()

    def carry_out(self, peak: PeakMemory) -> Measurement:
        learner = make_learner(self._prepared.spec.method, self._loaded, self._prepared.spec.training.seed)
        clock = _Clock()
        trainer = _DryTrainer(learner, self)
        trainer.add_callback(clock)
        handles = _asking(learner, self._check)
        trainer.go_through(None)
        for handle in handles:
            handle.remove()
        self._too_long = False
        evaluation = self._evaluation(trainer)
        sampling = self._sampling(learner)
        done = self.shapes[: len(clock.passes_s)]
        timings = [Timing(shape.tokens, seconds) for shape, seconds in zip(done, clock.passes_s, strict=True)]
        trained = [tensor for group in trainer.optimizer.param_groups for tensor in group["params"]]
        return Measurement(
            largest=max(done, key=lambda shape: (shape.tokens, shape.trained_tokens)),
            peak_gb=peak.gb,
            accumulated=self.accumulation > 1,
            trained_gb=_bytes(trained) / GB,
            optimizer_gb=_bytes(_tensors(trainer.optimizer.state)) / GB,
            timings=tuple(timings[1:] or timings),  # the first one warms up
            optimizer_s=min(clock.optimizer_s),
            evaluation=evaluation,
            sampling_s=sampling,
            took_s=time.monotonic() - self._began,
        )

    def job(self) -> TrainingJob:
        """The run's own job, but for its length and what it leaves on the disk."""
        spec = self._prepared.spec
        plan = replace(
            self._prepared.plan,
            steps=len(self.tensors) // self.accumulation,
            steps_per_epoch=len(self.tensors) // self.accumulation,
            gradient_accumulation_steps=self.accumulation,
            learning_rate=TINY_RATE,
            warmup_steps=0,
            review_steps=(),
            checkpoint_every_s=NEVER_S,
            blocks=0,
        )
        return TrainingJob(
            spec=spec.model_copy(update={"training": spec.training.model_copy(update={"trackers": ()})}),
            plan=plan,
            train=self._prepared.train,
            validation=self._validation,
            pad_id=self._loaded.pad_id,
            device=self._loaded.precision.device,
            fp16=self._loaded.precision.compute == "fp16",
            folder=self._folder,
        )

    # What the training loop calls.

    def stop_asked(self) -> bool:
        self._check()
        return self._too_long

    def step_done(self, figures: StepFigures) -> None:
        self._steps_done += 1
        done = self._steps_done * self.accumulation
        self._share = done / (len(self.tensors) + 1)
        if done < len(self.shapes):
            last, following = self.shapes[done - self.accumulation : done], self.shapes[done : done + self.accumulation]
            next_s = figures.step_s * sum(each.tokens for each in following) / sum(each.tokens for each in last)
            elapsed_s = time.monotonic() - self._began
            self._too_long = elapsed_s + (next_s if self._steps_done > 1 else 0.0) > BUDGET_S

    def review(self, trainer: AdapterTrainer) -> dict[str, float]:
        return {}

    def enough(self) -> bool:
        return self._too_long

    def save(self, trainer: AdapterTrainer) -> None:
        """Nothing is kept."""

    def _check(self, *args: Any) -> None:
        self._watch(self._share)

    def _batch(self, rows: Sequence[Rendered]) -> dict[str, torch.Tensor]:
        made = packed_batch(rows) if self._prepared.plan.blocks else pad_batch(rows, self._loaded.pad_id)
        return {**made, "lines": torch.tensor([row.line for row in rows])}

    def _evaluation(self, trainer: AdapterTrainer) -> Timing | None:
        if not self._validation or not self._prepared.plan.review_steps:
            return None
        began = time.monotonic()
        trainer.validation()
        return Timing(padded_tokens([len(row.input_ids) for row in self._validation]), time.monotonic() - began)

    def _sampling(self, learner: Learner) -> float | None:
        """Seconds that the sample answers of a review take at most."""
        prompts = self._prepared.samples
        if not prompts or not self._prepared.plan.review_steps:
            return None
        seconds = []
        for tokens in (1, ANSWER_TOKENS):
            began = time.monotonic()
            tree, prefix = learner.decoding()
            answer_all(tree, self._loaded, prompts, self.stop_asked, prefix, tokens)
            seconds.append(time.monotonic() - began)
        a_token_s = max(0.0, seconds[1] - seconds[0]) / (ANSWER_TOKENS - 1)
        return seconds[1] + (SAMPLE_TOKENS - ANSWER_TOKENS) * a_token_s


class _DryTrainer(AdapterTrainer):
    """The trainer, but the micro-batches are those that were chosen."""

    def __init__(self, learner: Learner, dry: _DryRun) -> None:
        self._chosen = dry.tensors
        super().__init__(learner, dry.job(), dry)

    def get_train_dataloader(self) -> Any:
        return self.accelerator.prepare(DataLoader(self._chosen, batch_size=None, generator=torch.Generator()))


@dataclass
class _Clock(TrainerCallback):
    """How long each micro-batch takes, forward and backward, and each optimizer step after them."""

    passes_s: list[float] = field(default_factory=list)
    optimizer_s: list[float] = field(default_factory=list)
    _began: float = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began = time.monotonic()

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._note(self.passes_s)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._note(self.passes_s)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._note(self.optimizer_s)

    def _note(self, seconds: list[float]) -> None:
        now = time.monotonic()
        seconds.append(now - self._began)
        self._began = now


def choose(prepared: Preparation, most_tokens: int, accumulation: int = 1) -> list[list[Rendered]]:
    """Micro-batches to try: the longest, two median ones, the longest, a median one; each within the bound.

    The longest comes first, as often as a step accumulates: memory is known after one step, and the first micro-batch,
    which warms up, is not timed. Medians are three neighbours, so that shapes are new to the machine as often as they
    are in a run.
    """
    rows, plan = prepared.train, prepared.plan
    lengths = [len(row.input_ids) for row in rows]
    batches = micro_batches(lengths, plan, prepared.spec.training)
    widths = [padded_tokens([lengths[index] for index in batch], packed=bool(plan.blocks)) for batch in batches]
    by_width = sorted(range(len(batches)), key=lambda at: widths[at])
    middle = len(batches) // 2
    medians = [batches[by_width[min(len(batches) - 1, max(0, at))]] for at in (middle, middle + 1, middle - 1)]
    longest = sorted(range(len(rows)), key=lambda index: -lengths[index])[: plan.micro_batch_size]
    largest = batches[by_width[-1]] if plan.blocks else longest
    indices = [*[largest] * accumulation, medians[0], medians[1], largest, medians[2]]
    return [_shrunk([rows[index] for index in each], most_tokens) for each in indices]


def _longest_validation(prepared: Preparation) -> list[Rendered]:
    rows = sorted(prepared.validation, key=lambda row: -len(row.input_ids))
    return rows[: prepared.plan.micro_batch_size]


def _shrunk(rows: list[Rendered], most_tokens: int) -> list[Rendered]:
    """As many of the rows as make no more tokens than that, padded; of a single longer row, its end."""
    if not rows:
        return rows
    width = max(len(row.input_ids) for row in rows)
    kept = rows[: max(1, most_tokens // width)]
    if width <= most_tokens:
        return kept
    ids, labels = kept[0].input_ids[-most_tokens:], kept[0].labels[-most_tokens:]
    trained = any(label != NOT_TRAINED for label in labels[1:])
    return [replace(kept[0], input_ids=ids, labels=labels if trained else ids)]


def _quick_tokens(loaded: LoadedModel) -> int:
    """Tokens of a micro-batch that this device trains in a few seconds."""
    if loaded.precision.device != "cpu":
        return 1 << 40
    return max(16, int(CPU_STEP_FLOPS / (FLOPS_PER_WEIGHT * max(1, loaded.info.parameters))))


def _shape(tensors: dict[str, torch.Tensor]) -> MicroBatch:
    rows, length = tensors["input_ids"].shape
    return MicroBatch(rows, length, count_trained(tensors["labels"]))


def _asking(learner: Learner, check: Callable[..., None]) -> list[Any]:
    """Have `check` called again and again in forward and backward passes; it may raise."""
    handles = [module.register_forward_pre_hook(check) for module in learner.model.modules()]
    trained = [tensor for tensor in learner.model.parameters() if tensor.requires_grad]
    return handles + [tensor.register_hook(check) for tensor in trained]


@contextmanager
def _left_as_it_was(threads: int) -> Iterator[None]:
    """Compute with this many threads; that number and the state of every process-wide generator come back."""
    before = torch.get_num_threads()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(before)
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from _tensors(value)


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
