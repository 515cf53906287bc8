"""The training loop: transformers' `Trainer` with our data order, loss, moments of evaluation and saving.

Owns what is different from `Trainer`: batches come in an order that is f(seed, epoch); the loss is the mean over the
trained tokens of a whole optimizer step; a step that is not finite never reaches the weights; evaluation and saving are
handed to a `Watcher`, who also says when the run has done enough; stopping takes effect within the current micro-batch.
What is trained is a `Learner`'s business. It writes no file and emits no event.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from core.data.batching import pad_batch
from core.data.rendering import Rendered
from core.models.memory import trim_heap
from core.training.checkpoints import Checkpoint, RngState, load_learner, load_optimizer, rng_state
from core.training.learner import Learner
from core.training.loss import count_trained, output_layer, summed_loss, summed_loss_and_hits
from core.training.micro_batches import MicroBatches
from core.training.noise import noisy_embeddings
from core.training.optimizers import averaged, make_optimizer, schedule
from core.training.plan import Plan
from core.training.spec import RunSpec
from core.training.trackers import ELSEWHERE


class TrainingStoppedError(Exception):
    """Somebody asked to stop; the weights are those of the last whole optimizer step."""


class _EnoughError(Exception):
    """The run was resumed where it had done enough already."""


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
    def review(self, trainer: AdapterTrainer) -> dict[str, float]: ...  # of what this step was given already, nothing
    def enough(self) -> bool: ...
    def save(self, trainer: AdapterTrainer) -> None: ...


class AdapterTrainer(Trainer):
    """Trains a learner. `train()` returns when all steps are done, they are enough, or a stop came between two steps.

    Raises (from `train`):
        TrainingStoppedError: a stop came within a step, or during evaluation.
        NotFiniteError: a loss or gradient was NaN or infinite.
    """

    loss_is_scaled_for_ga = True  # `compute_loss` divides by the tokens of the whole step

    def __init__(self, learner: Learner, job: TrainingJob, watcher: Watcher) -> None:
        self.learner = learner
        self.job = job
        self.watcher = watcher
        self.last_rng: RngState = {}
        self._head = output_layer(learner.model)
        self._micro_batches = MicroBatches.of(job.train, job.plan, job.spec.training, job.pad_id)
        self._step_tokens = 0
        self._step_lines: list[int] = []
        self.control = TrainerControl()
        self._pace = _Pace(self)
        super().__init__(
            model=learner.model, args=_arguments(job), train_dataset=self._micro_batches.data, callbacks=[self._pace]
        )
        self.remove_callback(PrinterCallback)

    def go_through(self, checkpoint: Checkpoint | None) -> None:
        """Train to the end: from the start, or after the step of a checkpoint with the very state it holds."""
        noise = noisy_embeddings(self.model, self.job.spec.training.neftune_alpha)
        if checkpoint is None:
            with noise:
                self.train()
        elif checkpoint.step < self.job.plan.steps:
            with noise, suppress(_EnoughError):
                self.train(resume_from_checkpoint=str(checkpoint.folder))
        else:
            self.put_back(checkpoint)
            self.state = TrainerState.load_from_json(str(checkpoint.folder / TRAINER_STATE_NAME))

    def put_back(self, checkpoint: Checkpoint) -> None:
        """Hold the weights of a checkpoint again, in order to keep them; training does not go on from there."""
        load_learner(self.learner, checkpoint)
        if self._averages:
            load_optimizer(self.optimizer or self.create_optimizer(), checkpoint)

    def finished_weights(self) -> AbstractContextManager[None]:
        """Within it, the weights are those that are evaluated, sampled from and kept; then those that are trained."""
        return averaged(self.optimizer) if self._averages else nullcontext()

    @property
    def _averages(self) -> bool:
        return self.job.spec.training.optimizer == "adamw_schedule_free"

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self.state.global_step)

    def get_train_dataloader(self) -> Any:
        """Micro-batches in the order of `epoch_order`; the process-wide random generator is not drawn from."""
        loader = DataLoader(
            self._micro_batches.data,
            batch_size=self._micro_batches.size,
            sampler=self._micro_batches.sampler,
            collate_fn=self._micro_batches.collate,
            generator=torch.Generator().manual_seed(self.job.spec.training.seed),
        )
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        asked, rate = self.job.spec.training, self.job.plan.learning_rate
        self.optimizer = make_optimizer(asked, self.learner.parameter_groups(rate, asked.weight_decay), rate)
        return self.optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """This micro-batch's share of the mean over the trained tokens of the whole step.

        Processes average their gradients, so each counts its share as many times as there are processes. What a method
        adds to the loss reaches the gradient alone, once a step: curves of all methods show the same thing.
        """
        assert not return_outputs, "evaluation has its own way: `validation`"
        with self.learner.compute():
            loss = summed_loss(model, inputs, self._head, self.job.spec.training.label_smoothing)
        loss = loss * self.accelerator.num_processes / num_items_in_batch
        penalty = self.learner.penalty()
        if penalty is not None:
            loss = loss + (penalty - penalty.detach()) / self.current_gradient_accumulation_steps
        return loss

    def validation(self) -> tuple[float, float]:
        """The mean loss over all trained tokens of the validation rows, and the share that the model would choose.

        Each token counts once, without label smoothing.

        Raises:
            TrainingStoppedError: a stop came meanwhile.
        """
        rows = sorted(self.job.validation, key=lambda row: len(row.input_ids))
        size = self.job.plan.micro_batch_size
        total, hits, count = 0.0, 0, 0
        self.model.eval()
        try:
            with torch.no_grad(), self.finished_weights(), self.learner.compute():
                for start in range(0, len(rows), size):
                    if self.watcher.stop_asked():
                        raise TrainingStoppedError
                    batch = self._prepare_inputs(pad_batch(rows[start : start + size], self.job.pad_id))
                    loss, hit = summed_loss_and_hits(self.model, batch, self._head)
                    total, hits = total + float(loss), hits + int(hit)
                    count += count_trained(batch["labels"])
        finally:
            self.model.train()
        return total / count, hits / count

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        figures = self.watcher.review(self)
        if figures:
            self.log(figures)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        return figures

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
        load_learner(self.learner, Checkpoint(0, Path(resume_from_checkpoint)))

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

    def check_finite(self) -> None:
        """Refuse weights that are not finite: a step whose gradients are finite can still make them.

        Raises:
            NotFiniteError: with the rows of the last step.
        """
        if not all(bool(torch.isfinite(each).all()) for each in self.model.parameters() if each.requires_grad):
            raise NotFiniteError(self.step, sorted(self._step_lines))

    def _clip_grad_norm(self, model: Any) -> torch.Tensor:
        """Clip, and refuse a step that is not finite before it reaches the weights.

        A gradient that overflowed under fp16's loss scaling is no failure: the scaler skips that step.
        """
        norm: torch.Tensor = super()._clip_grad_norm(model)
        checked = self._tr_loss if self.accelerator.scaler is not None else self._tr_loss + norm
        if not math.isfinite(float(checked)):
            raise NotFiniteError(self.step + 1, sorted(self._step_lines))
        return norm


class _Pace(TrainerCallback):
    """When to evaluate, save and stop; how long steps take."""

    def __init__(self, trainer: AdapterTrainer) -> None:
        self._trainer = trainer
        self._plan = trainer.job.plan
        self._save_every_s = trainer.job.plan.checkpoint_every_s
        self._step_began = self._last_saved = time.monotonic()
        self.step_s = 0.0

    def saved(self) -> None:
        self._last_saved = time.monotonic()

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A run may be resumed where it ended before or amid a review, and where it had done enough."""
        watcher = self._trainer.watcher
        if state.global_step in self._plan.review_steps:
            watcher.review(self._trainer)
        if watcher.enough():
            raise _EnoughError

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._step_began = time.monotonic()

    def on_substep_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._give_back()
        if self._trainer.watcher.stop_asked():
            raise TrainingStoppedError

    def on_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._trainer.learner.on_step(state.global_step + 1)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._give_back()
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

    def _give_back(self) -> None:
        """Begin each micro-batch with a tidy heap: without it, seven packed steps took 2.5 GB instead of 1.6 once."""
        if self._trainer.job.device == "cpu":
            trim_heap()

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """After a step's figures are known, and again after those of its evaluation."""
        if self._trainer.watcher.enough():
            control.should_training_stop = control.should_save = control.should_evaluate = True


def _arguments(job: TrainingJob) -> TrainingArguments:
    asked, plan = job.spec.training, job.plan
    scheduler, scheduler_values = schedule(asked.scheduler, plan.warmup_steps, plan.steps)
    arguments = TrainingArguments(
        output_dir=str(job.folder),
        max_steps=plan.steps,
        per_device_train_batch_size=1 if plan.blocks else plan.micro_batch_size,
        gradient_accumulation_steps=plan.gradient_accumulation_steps,
        learning_rate=plan.learning_rate,
        lr_scheduler_type=scheduler,
        lr_scheduler_kwargs=scheduler_values,
        warmup_steps=plan.warmup_steps,
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
        report_to=[name for name in asked.trackers if name in ELSEWHERE] or "none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    arguments.device  # noqa: B018 - finds the devices; then one process uses one of them, never DataParallel
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments
