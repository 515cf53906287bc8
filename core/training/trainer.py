"""The training loop: transformers' `Trainer` with our data order, loss, moments of evaluation and saving.

Owns what is different from `Trainer`: batches come in an order that is f(seed, epoch); the loss is the mean over the
trained tokens of a whole optimizer step; a step that is not finite never reaches the weights; evaluation and saving are
handed to a `Watcher`; stopping takes effect within the current micro-batch. It writes no file and emits no event.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from core.data.batching import epoch_order, pad_batch
from core.data.rendering import Rendered
from core.training.checkpoints import Checkpoint, RngState, load_adapter_weights, rng_state
from core.training.loss import count_trained, output_layer, summed_loss
from core.training.plan import Plan
from core.training.spec import RunSpec

SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class TrainingStoppedError(Exception):
    """Somebody asked to stop; the weights are those of the last whole optimizer step."""


class NotFiniteError(Exception):
    """Loss or gradient of a step was NaN or infinite; the step was not taken."""

    def __init__(self, step: int, lines: list[int]) -> None:
        super().__init__(f"step {step}, rows of lines {lines}")
        self.step = step
        self.lines = lines


@dataclass(frozen=True)
class TrainingJob:
    """What is trained on what: a resolved spec, its plan, rendered rows, where the loop runs."""

    spec: RunSpec
    plan: Plan
    train: list[Rendered]
    validation: list[Rendered]
    pad_id: int
    device: str
    fp16: bool
    folder: Path


@dataclass(frozen=True)
class StepFigures:
    """One optimizer step in numbers; see `events.StepDone`."""

    step: int
    epoch: float
    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    step_s: float


class Watcher(Protocol):
    """Who runs the loop: told of each step, asked to stop, and given the moments to evaluate and to save."""

    def stop_asked(self) -> bool: ...
    def step_done(self, figures: StepFigures) -> None: ...
    def review(self, trainer: AdapterTrainer) -> None: ...  # of what this step has been given already, nothing
    def save(self, trainer: AdapterTrainer) -> None: ...


class AdapterTrainer(Trainer):
    """Trains the adapter of a twin. `train()` returns when all steps are done or a stop came between two steps.

    Raises (from `train`):
        TrainingStoppedError: a stop came within a step, or during evaluation.
        NotFiniteError: a loss or gradient was NaN or infinite.
    """

    loss_is_scaled_for_ga = True  # `compute_loss` divides by the tokens of the whole step

    def __init__(self, model: Any, job: TrainingJob, watcher: Watcher) -> None:
        self.job = job
        self.watcher = watcher
        self.last_rng: RngState = {}
        self._head = output_layer(model)
        self._step_tokens = 0
        self._step_lines: list[int] = []
        self.control = TrainerControl()
        self._pace = _Pace(self)
        super().__init__(model=model, args=_arguments(job), train_dataset=job.train, callbacks=[self._pace])
        self.remove_callback(PrinterCallback)

    def go_through(self, checkpoint: Checkpoint | None) -> None:
        """Train to the end: from the start, or after the step of a checkpoint with the very state it holds."""
        if checkpoint is None:
            self.train()
        elif checkpoint.step < self.job.plan.steps:
            self.train(resume_from_checkpoint=str(checkpoint.folder))
        else:
            self._load_from_checkpoint(str(checkpoint.folder))
            self.state = TrainerState.load_from_json(str(checkpoint.folder / TRAINER_STATE_NAME))

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self.state.global_step)

    def get_train_dataloader(self) -> Any:
        """Micro-batches in the order of `epoch_order`; the process-wide random generator is not drawn from."""
        plan, seed = self.job.plan, self.job.spec.training.seed
        loader = DataLoader(
            self.job.train,
            batch_size=plan.micro_batch_size,
            sampler=_EpochSampler([len(row.input_ids) for row in self.job.train], plan.micro_batch_size, seed),
            collate_fn=self._collate,
            generator=torch.Generator().manual_seed(seed),
        )
        return self.accelerator.prepare(loader)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """This micro-batch's share of the mean over the trained tokens of the whole step.

        Processes average their gradients, so each counts its share as many times as there are processes.
        """
        assert not return_outputs, "evaluation has its own way: `validation_loss`"
        return summed_loss(model, inputs, self._head) * self.accelerator.num_processes / num_items_in_batch

    def validation_loss(self) -> float:
        """The mean loss over all trained tokens of the validation rows, each token counted once.

        Raises:
            TrainingStoppedError: a stop came meanwhile.
        """
        rows = sorted(self.job.validation, key=lambda row: len(row.input_ids))
        size = self.job.plan.micro_batch_size
        total, count = 0.0, 0
        self.model.eval()
        try:
            with torch.no_grad():
                for start in range(0, len(rows), size):
                    if self.watcher.stop_asked():
                        raise TrainingStoppedError
                    batch = self._prepare_inputs(pad_batch(rows[start : start + size], self.job.pad_id))
                    total += float(summed_loss(self.model, batch, self._head))
                    count += count_trained(batch["labels"])
        finally:
            self.model.train()
        return total / count

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        self.watcher.review(self)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, {})
        return {}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Hand a step's figures on. The state's own history stays empty: events are the record."""
        if "learning_rate" in logs:
            self.watcher.step_done(
                StepFigures(
                    step=self.step,
                    epoch=float(self.state.epoch or 0),
                    loss=logs["loss"],
                    grad_norm=logs["grad_norm"],
                    learning_rate=logs["learning_rate"],
                    tokens=self._step_tokens,
                    step_s=self._pace.step_s,
                )
            )
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # counting them walks over every parameter at every micro-batch, and nothing shows them

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_adapter_weights(self.model, Checkpoint(0, Path(resume_from_checkpoint)))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.watcher.save(self)
        self._pace.saved()

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        """Trained tokens of all micro-batches of a step, over all processes; also notes what the step reads."""
        self._step_lines = [line for batch in batch_samples for line in batch["lines"].tolist()]
        self._step_tokens = sum(
            int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel()
            for batch in batch_samples
        )
        count = torch.tensor(sum(count_trained(batch["labels"]) for batch in batch_samples), device=device)
        if self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return count

    def _clip_grad_norm(self, model: Any) -> torch.Tensor:
        """Clip, and refuse a step that is not finite before it reaches the weights.

        A gradient that overflowed under fp16's loss scaling is no failure: the scaler skips that step.
        """
        norm: torch.Tensor = super()._clip_grad_norm(model)
        checked = self._tr_loss if self.accelerator.scaler is not None else self._tr_loss + norm
        if not math.isfinite(float(checked)):
            raise NotFiniteError(self.step + 1, sorted(self._step_lines))
        return norm

    def _collate(self, rows: list[Rendered]) -> dict[str, torch.Tensor]:
        return {**pad_batch(rows, self.job.pad_id), "lines": torch.tensor([row.line for row in rows])}


class _EpochSampler(Sampler[int]):
    """Row numbers in the order of the epoch that `set_epoch` named."""

    def __init__(self, lengths: list[int], batch_rows: int, seed: int) -> None:
        self._lengths, self._batch_rows, self._seed, self._epoch = lengths, batch_rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(epoch_order(self._lengths, self._batch_rows, self._seed, self._epoch))


class _Pace(TrainerCallback):
    """When to evaluate, save and stop; how long steps take."""

    def __init__(self, trainer: AdapterTrainer) -> None:
        self._trainer = trainer
        self._plan = trainer.job.plan
        self._save_every_s = trainer.job.spec.training.checkpoint_every_s
        self._step_began = self._last_saved = time.monotonic()
        self.step_s = 0.0

    def saved(self) -> None:
        self._last_saved = time.monotonic()

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step in self._plan.review_steps:  # resumed where the run ended before or amid a review
            self._trainer.watcher.review(self._trainer)

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._step_began = time.monotonic()

    def on_substep_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._trainer.watcher.stop_asked():
            raise TrainingStoppedError

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        now = time.monotonic()
        self.step_s = now - self._step_began
        self._trainer.last_rng = rng_state()
        control.should_log = True
        if self._trainer.watcher.stop_asked():
            control.should_training_stop = True
            return
        control.should_evaluate = state.global_step in self._plan.review_steps
        epoch_ends = state.global_step % self._plan.steps_per_epoch == 0
        control.should_save = control.should_evaluate or epoch_ends or now - self._last_saved >= self._save_every_s


def _arguments(job: TrainingJob) -> TrainingArguments:
    asked, plan = job.spec.training, job.plan
    arguments = TrainingArguments(
        output_dir=str(job.folder),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=plan.gradient_accumulation_steps,
        learning_rate=asked.learning_rate,
        lr_scheduler_type=SCHEDULERS[asked.scheduler],
        warmup_steps=plan.warmup_steps,
        weight_decay=asked.weight_decay,
        max_grad_norm=asked.max_grad_norm,
        seed=asked.seed,
        fp16=job.fp16,
        activation_checkpointing=plan.activation_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if plan.activation_checkpointing else None,
        use_cpu=job.device == "cpu",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    arguments.device  # noqa: B018 - finds the devices; then one process uses one of them, never DataParallel
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments
