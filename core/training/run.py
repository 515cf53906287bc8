"""One training run from its spec to its adapter: a plain function that any executor can call.

Owns the order of the phases, what is emitted, when weights are kept, and how a run ends. It touches no page, starts no
thread, and never wraps or writes the loaded model: it trains an adapter in a twin of it.

    reading → checking → rendering → planning → preparing (twin, adapter, the base's sample answers)
            → training (with evaluating, sampling, saving in between) → saving → Finished | Stopped | Failed
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import set_seed

from core.adapters.card import AdapterCard
from core.adapters.methods import lora_config
from core.errors import WorkbenchError
from core.models.loader import LoadedModel
from core.models.memory import used_memory_gb
from core.models.twin import make_twin
from core.training import events as e
from core.training.checkpoints import (
    ADAPTER,
    SPEC_FILE,
    Origin,
    list_checkpoints,
    load_adapter_weights,
    read_manifest,
    rotate,
    write_checkpoint,
)
from core.training.endings import EndEvent, StopSignal, broken, not_finite
from core.training.keeping import adapter_card, keep_adapter
from core.training.log import LOG_FILE, Sink, also_logged
from core.training.preparation import Preparation, base_problems, check_spec, make_plan, read_data, render_rows
from core.training.resume import Resumption, clear_the_way
from core.training.samples import answer_all
from core.training.spec import RunSpec, write_spec
from core.training.trainer import AdapterTrainer, NotFiniteError, StepFigures, TrainingJob, TrainingStoppedError
from core.workspace import Workspace, now

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class RunContext:
    """Where a run happens: the data directory, the loaded base, and the run's own folder, which exists."""

    workspace: Workspace
    model: LoadedModel
    run_id: str
    folder: Path
    started_by: str = ""


def run_training(
    spec: RunSpec, context: RunContext, sink: Sink, stop: StopSignal, resumption: Resumption | None = None
) -> EndEvent:
    """Train one adapter; every outcome but a sink that fails is an event, the last of which is returned.

    Everything random comes from the spec's seed, so a run does not depend on what its process did before. With a
    `resumption` it goes on from there, to the same adapter as if it had never ended; whoever resumes it has said so.
    """
    sink = also_logged(sink, context.folder / LOG_FILE)
    run = _Run(spec, context, sink, stop, resumption)
    if resumption is None:
        sink(_started(spec, context))
    try:
        end = run.carry_out()
    except TrainingStoppedError:
        end = run.nothing_kept()
    except NotFiniteError as error:
        end = not_finite(error, list_checkpoints(run.checkpoints), run.elapsed_s)
    except WorkbenchError as error:
        end = e.Failed(error.problems, "", run.elapsed_s)
    except Exception as error:  # noqa: BLE001 - whatever broke, the run says so and the server stays up
        end = broken(error, context.folder, run.prepared, run.elapsed_s)
    sink(end)
    return end


@dataclass
class _Run:
    """A run that is going on; it is also the `Watcher` of its training loop."""

    spec: RunSpec
    context: RunContext
    sink: Sink
    stop: StopSignal
    resumption: Resumption | None = None
    began: float = field(default_factory=time.monotonic)
    prepared: Preparation | None = None
    trains: bool = False
    losses: dict[int, float] = field(default_factory=dict)  # by step, as are the others
    evals: dict[int, float] = field(default_factory=dict)
    sampled: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.resumption:
            self.began -= self.resumption.elapsed_s
            self.losses |= self.resumption.losses
            self.evals |= self.resumption.evals
            self.sampled |= self.resumption.sampled

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    @property
    def checkpoints(self) -> Path:
        return self.context.folder / CHECKPOINTS

    def carry_out(self) -> EndEvent:
        write_spec(self.context.folder / SPEC_FILE, self.spec)
        if self.resumption:
            self._go_back(self.resumption)
        self.prepared = self._prepare()
        write_spec(self.context.folder / SPEC_FILE, self.prepared.spec)
        with _threads(self.prepared.plan.threads):
            self._phase("preparing")
            tree = self._tree(self.prepared)
            trainer = AdapterTrainer(tree, self._job(self.prepared), self)
            self._sample(make_twin(self.context.model.model), step=0)
            self._phase("training")
            self.trains = True
            with suppress(
                TrainingStoppedError
            ):  # within a step or an evaluation: the weights are those of the last step
                trainer.go_through(self.resumption.checkpoint if self.resumption else None)
            return self._end(trainer)

    def _go_back(self, resumption: Resumption) -> None:
        """Say what is not as it was, and make room for the checkpoints that come again."""
        for name in resumption.damaged:
            self._log("training.log.damaged_checkpoint", name=name)
        for problem in resumption.differences:
            self._log(f"errors.{problem.key}.what", **problem.values)
        clear_the_way(self.checkpoints, resumption.step)

    def _prepare(self) -> Preparation:
        workspace, model = self.context.workspace, self.context.model
        self._phase("reading")
        data = read_data(self.spec, workspace)
        self._phase("checking")
        for problem in (*data.warnings, *base_problems(self.spec, model)):
            self.sink(e.Logged(f"errors.{problem.key}.what", problem.values, self.elapsed_s))
        check_spec(self.spec, workspace, model, data, resumes=self.resumption is not None)
        self._phase("rendering")
        rows = render_rows(self.spec, data, model)
        self._phase("planning")
        prepared = make_plan(self.spec, data, rows, model)
        self.sink(e.Planned(prepared.plan, self.elapsed_s))
        return prepared

    def _tree(self, prepared: Preparation) -> Any:
        """A twin of the base with a fresh adapter, drawn from the spec's seed."""
        from peft import get_peft_model

        twin = make_twin(self.context.model.model)
        set_seed(prepared.spec.training.seed)
        return get_peft_model(twin, lora_config(prepared.spec.method, twin), adapter_name=ADAPTER)

    def _job(self, prepared: Preparation) -> TrainingJob:
        precision = self.context.model.precision
        return TrainingJob(
            spec=prepared.spec,
            plan=prepared.plan,
            train=prepared.train,
            validation=prepared.validation,
            pad_id=self.context.model.pad_id,
            device=precision.device,
            fp16=precision.compute == "fp16",
            folder=self.checkpoints,
        )

    # What the training loop calls.

    def stop_asked(self) -> bool:
        return self.stop.asked

    def step_done(self, figures: StepFigures) -> None:
        self.losses[figures.step] = figures.loss
        memory_gb = used_memory_gb(self.context.model.precision.device)
        self.sink(e.StepDone(**vars(figures), memory_gb=memory_gb, elapsed_s=self.elapsed_s))

    def review(self, trainer: AdapterTrainer) -> None:
        """Evaluate on the validation rows, where there are some, and answer the sample prompts."""
        if trainer.job.validation and trainer.step not in self.evals:
            self._phase("evaluating")
            began = time.monotonic()
            loss = trainer.validation_loss()
            best = loss < min(self.evals.values(), default=float("inf"))
            self.evals[trainer.step] = loss
            self.sink(e.EvalDone(trainer.step, loss, best, time.monotonic() - began, self.elapsed_s))
        self._sample(trainer.model.get_base_model(), trainer.step)
        self._phase("training")

    def save(self, trainer: AdapterTrainer) -> None:
        known = {checkpoint.step for checkpoint in list_checkpoints(self.checkpoints)}
        origin = Origin(trainer.job.spec.dataset_sha256 or "", self.context.model.fingerprint)
        checkpoint = write_checkpoint(self.checkpoints, trainer, self._card(trainer.step), origin)
        rotate(self.checkpoints, {self._best_step} if self._best_step else set())
        if checkpoint.step not in known:
            self.sink(e.Saved(checkpoint.step, checkpoint.folder.name, self.elapsed_s))

    def _sample(self, tree: Any, step: int) -> None:
        """Answer the sample prompts with a bare tree: at step 0 the base alone."""
        assert self.prepared is not None
        if step in self.sampled or not self.prepared.samples or not self.prepared.plan.review_steps:
            return
        self._phase("sampling")
        answers = answer_all(tree, self.context.model, self.prepared.samples, self.stop_asked)
        if not self.stop.asked:
            self.sampled.add(step)
            for each in answers:
                self.sink(e.SampleDone(step, each.prompt, each.answer, each.finished, self.elapsed_s))

    # How it ends.

    def _end(self, trainer: AdapterTrainer) -> EndEvent:
        if self.stop.asked and (trainer.step == 0 or not self.stop.keep):
            return self.nothing_kept()
        self._phase("saving")
        self.save(trainer)
        kept = self._restore_best(trainer)
        earlier = self.resumption.adapter if self.resumption else None
        name = keep_adapter(trainer.model, self.context.workspace, self._card(kept), earlier)
        if trainer.step < trainer.job.plan.steps:
            return e.Stopped("asked", name, kept, self.elapsed_s)
        return e.Finished(name, kept, self.elapsed_s)

    def nothing_kept(self) -> e.Stopped:
        """Stopped before there was anything to keep, or it is not wanted."""
        if not self.stop.keep:
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        return e.Stopped("asked", None, 0, self.elapsed_s)

    def _restore_best(self, trainer: AdapterTrainer) -> int:
        """Put the best evaluated weights back where a later evaluation was worse; the step of the weights now there.

        After a stop the newest weights are kept unless the last evaluation had become worse than an earlier one.
        """
        best = self._best_step
        if best is None or best == max(self.evals) or best == trainer.step:
            return trainer.step
        checkpoint = next((each for each in list_checkpoints(self.checkpoints) if each.step == best), None)
        if checkpoint is None or not read_manifest(checkpoint):
            return trainer.step
        load_adapter_weights(trainer.model, checkpoint)
        self._log("training.log.best_restored", step=best, loss=f"{self.evals[best]:.4f}")
        return best

    @property
    def _best_step(self) -> int | None:
        return min(self.evals, key=lambda step: self.evals[step], default=None)

    def _card(self, step: int) -> AdapterCard:
        assert self.prepared is not None
        return adapter_card(self.context.run_id, self.prepared, self.context.model, step, self.losses, self.evals)

    def _phase(self, phase: e.Phase) -> None:
        if self.stop.asked and not self.trains:
            raise TrainingStoppedError
        self.sink(e.PhaseStarted(phase, self.elapsed_s))

    def _log(self, key: str, **values: Any) -> None:
        self.sink(e.Logged(key, values, self.elapsed_s))


def _started(spec: RunSpec, context: RunContext) -> e.RunStarted:
    return e.RunStarted(
        run_id=context.run_id,
        name=spec.name,
        base=spec.base,
        dataset=spec.dataset,
        started_by=context.started_by,
        started_at=now(),
        pid=os.getpid(),
        process_started=psutil.Process().create_time(),
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with this many threads; what was set before comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
