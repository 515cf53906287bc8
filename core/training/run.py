"""One training run from its spec to its adapter: a plain function that any executor can call.

Owns the order of the phases, what is emitted, when weights are kept, and how a run ends. It touches no page, starts no
thread, and never wraps or writes the loaded model: it trains a learner, which is a twin of it.

    reading → checking → rendering → planning → preparing (learner, the base's sample answers)
            → training (with evaluating, sampling, saving in between) → saving → Finished | Stopped | Failed
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import torch

from core.adapters.card import AdapterCard, Ancestor
from core.adapters.method_facts import METHODS
from core.errors import WorkbenchError
from core.models.loader import LoadedModel
from core.models.memory import used_memory_gb
from core.models.prefix import Prefix
from core.models.twin import make_twin
from core.training import events as e
from core.training.checkpoints import (
    CHECKPOINTS,
    SPEC_FILE,
    Origin,
    list_checkpoints,
    read_manifest,
    write_checkpoint,
)
from core.training.endings import Circumstances, EndEvent, StopSignal, broken, not_finite
from core.training.keeping import adapter_card, keep_result
from core.training.learner import Learner, make_learner
from core.training.lineage import ancestors, starting_folder
from core.training.log import LOG_FILE, Sink, also_logged
from core.training.preparation import Preparation, base_problems, check_spec, make_plan, read_data, render_rows
from core.training.resume import Resumption, clear_the_way
from core.training.samples import answer_all
from core.training.snapshots import SNAPSHOTS, go_back, rotate, snapshot_steps
from core.training.spec import RunSpec, write_spec
from core.training.stopping import Stopper
from core.training.token_cache import TokenCache
from core.training.trackers import also_drawn
from core.training.trainer import AdapterTrainer, NotFiniteError, StepFigures, TrainingJob, TrainingStoppedError
from core.workspace import Workspace, now


@dataclass(frozen=True)
class RunContext:
    """Where a run happens: the data directory, the loaded base, and the run's own folder, which exists.

    `repeats` is the id of the run that it repeats; "" for none.
    """

    workspace: Workspace
    model: LoadedModel
    run_id: str
    folder: Path
    started_by: str = ""
    repeats: str = ""


def run_training(
    spec: RunSpec, context: RunContext, sink: Sink, stop: StopSignal, resumption: Resumption | None = None
) -> EndEvent:
    """Train one adapter or model; every outcome but a sink that fails is an event, the last of which is returned.

    Everything random comes from the spec's seed, so a run does not depend on what its process did before. With a
    `resumption` it goes on from there, to the same adapter as if it had never ended; whoever resumes it has said so.
    """
    sink = also_logged(sink, context.folder / LOG_FILE)
    sink = also_drawn(sink, spec.training.trackers, context.folder, resumption.step if resumption else 0)
    run = _Run(spec, context, sink, stop, resumption)
    if resumption is None:
        sink(_started(spec, context, run.lineage))
    try:
        end = run.carry_out()
    except TrainingStoppedError:
        end = run.nothing_kept()
    except NotFiniteError as error:
        end = not_finite(error, list_checkpoints(run.checkpoints), run.elapsed_s)
    except WorkbenchError as error:
        end = e.Failed(error.problems, "", run.elapsed_s)
    except Exception as error:  # noqa: BLE001 - whatever broke, the run says so and the server stays up
        end = broken(error, run.circumstances())
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
    phase: e.Phase = "reading"
    began_gb: float = 0.0
    sampled: set[int] = field(default_factory=set)  # steps
    stopper: Stopper = field(init=False)

    def __post_init__(self) -> None:
        earlier = self.resumption
        self.began_gb = used_memory_gb(self.context.model.precision.device)
        self.stopper = Stopper(self.spec.training)
        if earlier:
            self.began -= earlier.elapsed_s
            self.sampled |= earlier.sampled
            self.stopper = Stopper(self.spec.training, earlier.losses, dict(earlier.evals), dict(earlier.accuracies))

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    @cached_property
    def lineage(self) -> tuple[Ancestor, ...]:
        """What is trained further, also where it is gone since the run began."""
        earlier = self.resumption
        return earlier.lineage if earlier and earlier.checkpoint else ancestors(self.spec, self.context.workspace)

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
            learner = self._learner(self.prepared)
            trainer = AdapterTrainer(learner, self._job(self.prepared), self)
            self._sample(make_twin(self.context.model.model), step=0)
            self._phase("training")
            self.trains = True
            with suppress(
                TrainingStoppedError
            ):  # within a step or an evaluation: the weights are those of the last step
                trainer.go_through(self.resumption.checkpoint if self.resumption else None)
            return self._end(trainer)

    def circumstances(self) -> Circumstances:
        return Circumstances(
            folder=self.context.folder,
            model=self.context.model,
            prepared=self.prepared,
            phase=self.phase,
            saved=list_checkpoints(self.checkpoints),
            began_gb=self.began_gb,
            elapsed_s=self.elapsed_s,
        )

    def _go_back(self, resumption: Resumption) -> None:
        """Say what is not as it was, and make room for the checkpoints that come again."""
        for name in resumption.damaged:
            self._log("training.log.damaged_checkpoint", name=name)
        for problem in resumption.differences:
            self._log(f"errors.{problem.key}.what", **problem.values)
        go_back(self.context.folder, resumption.step)
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
        rows = render_rows(self.spec, data, model, TokenCache(workspace.token_cache))
        self._phase("planning")
        prepared = make_plan(self.spec, data, rows, model)
        self.sink(e.Planned(prepared.plan, self.elapsed_s))
        return prepared

    def _learner(self, prepared: Preparation) -> Learner:
        """What is trained, drawn from the spec's seed."""
        spec, steps = prepared.spec, prepared.plan.steps
        goes_on = self.resumption and self.resumption.checkpoint
        start_from = None if goes_on else starting_folder(spec, self.context.workspace)
        further = spec.start_from is not None
        return make_learner(spec.method, self.context.model, spec.training.seed, start_from, steps, further)

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
        self.stopper.add_loss(figures.step, figures.loss)
        memory_gb = used_memory_gb(self.context.model.precision.device)
        self.sink(e.StepDone(**vars(figures), memory_gb=memory_gb, elapsed_s=self.elapsed_s))

    def enough(self) -> bool:
        return self.stopper.reason is not None

    def review(self, trainer: AdapterTrainer) -> dict[str, float]:
        """Evaluate on the validation rows, where there are some, and answer the sample prompts; the new figures."""
        figures = {}
        reviewed = trainer.job.plan.review_steps and trainer.job.validation
        if reviewed and trainer.step not in self.stopper.evals:
            self._phase("evaluating")
            began = time.monotonic()
            loss, accuracy = trainer.validation()
            best = self.stopper.add_evaluation(trainer.step, loss, accuracy)
            self.sink(e.EvalDone(trainer.step, loss, best, time.monotonic() - began, self.elapsed_s, accuracy))
            figures = {"eval_loss": loss, "eval_accuracy": accuracy}
        with trainer.finished_weights(), trainer.learner.compute():
            self._sample(*trainer.learner.decoding(), step=trainer.step)
        self._phase("training")
        return figures

    def save(self, trainer: AdapterTrainer) -> None:
        before, self.phase = self.phase, "saving"  # a moment, which the page is not told of
        trainer.check_finite()
        known = {checkpoint.step for checkpoint in list_checkpoints(self.checkpoints)}
        origin = Origin(trainer.job.spec.dataset_sha256 or "", self.context.model.fingerprint)
        checkpoint = write_checkpoint(self.checkpoints, trainer, self._card(trainer.step), origin)
        best = {self.stopper.best_step} if self.stopper.best_step else set()
        rotate(self.context.folder, best, snapshot_steps(trainer.job.plan.review_steps))
        if checkpoint.step not in known:
            self.sink(e.Saved(checkpoint.step, checkpoint.folder.name, self.elapsed_s))
        self.phase = before

    def _sample(self, tree: Any, prefix: Prefix | None = None, *, step: int) -> None:
        """Answer the sample prompts with a bare tree, perhaps after virtual tokens: at step 0 the base alone."""
        assert self.prepared is not None
        if step in self.sampled or not self.prepared.samples or not self.prepared.plan.review_steps:
            return
        self._phase("sampling")
        answers = answer_all(tree, self.context.model, self.prepared.samples, self.stop_asked, prefix)
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
        trainer.model.zero_grad(set_to_none=True)  # a stop within a step leaves gradients, as large as what is copied
        kept = self._restore_best(trainer)
        earlier = self.resumption.adapter if self.resumption else None
        with trainer.finished_weights():
            name = keep_result(trainer.learner, self.context.workspace, self._card(kept), earlier)
        makes = METHODS[trainer.job.spec.method.method].makes
        reason = self.stopper.reason if trainer.step < trainer.job.plan.steps else "all_steps"
        if reason is None:
            return e.Stopped("asked", name, kept, self.elapsed_s, makes=makes)
        return e.Finished(name, kept, self.elapsed_s, reason, makes)

    def nothing_kept(self) -> e.Stopped:
        """Stopped before there was anything to keep, or it is not wanted."""
        if not self.stop.keep:
            for folder in (self.checkpoints, self.context.folder / SNAPSHOTS):
                shutil.rmtree(folder, ignore_errors=True)
        return e.Stopped("asked", None, 0, self.elapsed_s)

    def _restore_best(self, trainer: AdapterTrainer) -> int:
        """Put the best evaluated weights back where a later evaluation was worse; the step of the weights now there.

        After a stop the newest weights are kept unless the last evaluation had become worse than an earlier one.
        """
        best, evals = self.stopper.best_step, self.stopper.evals
        if best is None or best == max(evals) or best == trainer.step:
            return trainer.step
        checkpoint = next((each for each in list_checkpoints(self.checkpoints) if each.step == best), None)
        if checkpoint is None or not read_manifest(checkpoint):
            return trainer.step
        trainer.put_back(checkpoint)
        self._log("training.log.best_restored", step=best, loss=f"{evals[best]:.4f}")
        return best

    def _card(self, step: int) -> AdapterCard:
        assert self.prepared is not None
        context = self.context
        return adapter_card(context.run_id, self.prepared, context.model, step, self.stopper, self.lineage)

    def _phase(self, phase: e.Phase) -> None:
        if self.stop.asked and not self.trains:
            raise TrainingStoppedError
        self.phase = phase
        self.sink(e.PhaseStarted(phase, self.elapsed_s))

    def _log(self, key: str, **values: Any) -> None:
        self.sink(e.Logged(key, values, self.elapsed_s))


def _started(spec: RunSpec, context: RunContext, lineage: tuple[Ancestor, ...]) -> e.RunStarted:
    return e.RunStarted(
        run_id=context.run_id,
        name=spec.name,
        base=spec.base,
        dataset=spec.dataset,
        started_by=context.started_by,
        started_at=now(),
        pid=os.getpid(),
        process_started=psutil.Process().create_time(),
        method=spec.method.method,
        repeats=context.repeats,
        lineage=lineage,
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
