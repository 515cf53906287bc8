"""One export at a time, in the background: what it takes, how far it is, what came of it, and its end.

Owns the running export and the file that the last one left to be fetched; that file goes when the next one begins and
when the workbench closes. What is done is in `work` and `push`; adapters that come in are taken by
`core.adapters.intake`. Importing this module loads no model library.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.adapters.store import AdapterInfo, find_adapter
from core.adapters.tensor_file import named
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.exports.plan import ExportPlan, ExportWish, base_of, merged_name, new_biases, plan_export, refuse_unmergeable
from core.exports.work import Done, Step, carry_out, refuse_before
from core.jobs import Cancelled, Job, Watch
from core.settings import Settings
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.adapters.intake import Arrived
    from core.exports.ollama import Modelfile
    from core.exports.push import PushPlan
    from core.exports.serving_commands import Serving
    from core.models.catalog import ModelInfo

log = logging.getLogger("workbench.exports")

LEAVES_S = 5.0
EARLY_SHARE = 0.05  # before so much is done, nobody can say how long the rest takes
State = Literal["running", "finished", "cancelled", "failed"]


class PushWish(Settings):
    """What is to be brought to a hub: an adapter, or where one is named a model of `models/`."""

    adapter: str
    model: str = ""
    source: str
    repo_id: str
    private: bool = True


@dataclass(frozen=True)
class ExportStatus:
    """What an export is doing. `title` names the adapter or model, `result` what is made; `eta_s` None = not known."""

    title: str
    result: str
    state: State
    step: Step
    eta_s: float | None = None
    done: Done | None = None
    problem: Problem | None = None


class ExportDesk:
    """Every method may be called from any thread. `promised` are names of adapters that are still being made."""

    def __init__(self, workspace: Workspace, promised: Callable[[], Collection[str]]) -> None:
        self._workspace = workspace
        self._promised = promised
        self._lock = threading.Lock()
        self._importing = threading.Lock()  # one of its own: nobody who asks how an export goes waits for an import
        self._current: tuple[str, str, Job[Step, Done]] | None = None

    # ---- at once ----

    def zip_adapter(self, name: str, folder: Path) -> Path:
        """An adapter as one zip, in a new folder within this one.

        Raises:
            WorkbenchError: M25 where there is none of that name, its own errors; A13, A14.
        """
        from core.exports.adapter_zip import write_adapter_zip

        return write_adapter_zip(self._workspace, name, folder)

    def import_zip(self, file: Path, name: str = "") -> Arrived:
        """Take an adapter out of a zip; see `core.adapters.intake.import_zip`."""
        from core.adapters.intake import import_zip

        with self._importing:
            return import_zip(self._workspace, file, name, self._promised())

    def import_folder(self, folder: Path, name: str = "") -> Arrived:
        """Copy an adapter from a folder, which the command line names; see `core.adapters.intake.import_folder`."""
        from core.adapters.intake import import_folder

        with self._importing:
            return import_folder(self._workspace, folder, name, self._promised())

    # ---- for others to serve ----

    def serving(self, name: str) -> tuple[Serving, ...]:
        """The commands that serve an adapter elsewhere; its merged model is named where it is here already.

        Raises:
            WorkbenchError: M25 where there is no such adapter, M18 where it is virtual tokens, which others know only
                merged, or adds biases that no merged model holds, M19 where its base is not here.
        """
        from core.exports.serving_commands import serving_commands

        info = find_adapter(self._workspace, name)
        refuse_unmergeable(info)
        base = base_of(self._workspace, info)
        bare = new_biases(info, base)
        if bare:
            raise WorkbenchError([Problem("M18_bias_not_mergeable", Place(file=info.name), named(bare))])
        return serving_commands(info, base.folder, self._merged_folder(info))

    def modelfile(self, name: str) -> Modelfile:
        """Ollama's Modelfile for the GGUF file of an adapter's merged model.

        Raises:
            WorkbenchError: as `serving`; M04, M06 where the base's tokenizer or template cannot be used.
        """
        from core.exports.ollama import modelfile

        info = find_adapter(self._workspace, name)
        refuse_unmergeable(info)
        prompt = info.card.system_prompt if info.card else None
        return modelfile(base_of(self._workspace, info), prompt, f"{name}.gguf")

    def gguf_command(self, wish: ExportWish) -> str:
        """What a person types in llama.cpp's folder where the workbench knows no converter."""
        from core.exports import llama_cpp

        info = find_adapter(self._workspace, wish.adapter)
        outfile = Path(f"{info.name}.gguf")
        if wish.result == "adapter_gguf":
            base = base_of(self._workspace, info).folder
            return llama_cpp.shown(llama_cpp.adapter_command(info.folder, base, outfile, wish.gguf_type))
        return llama_cpp.shown(llama_cpp.model_command(self._merged_folder(info), outfile, wish.gguf_type))

    def has_converter(self, wish: ExportWish) -> bool:
        """Whether llama.cpp's converter for this is where the workbench looks for it."""
        from core.exports.llama_cpp import find_converters

        found = find_converters()
        return (found.adapter if wish.result == "adapter_gguf" else found.model) is not None

    def merged_models(self, adapter: str) -> list[str]:
        """Names of the models that were made of this adapter."""
        return [info.name for info in self._merged(adapter)]

    def free_model_name(self, adapter: str) -> str:
        """A free name for the model that comes of an adapter."""
        return merged_name(self._workspace, find_adapter(self._workspace, adapter))

    # ---- in the background ----

    def plan(self, wish: ExportWish) -> ExportPlan:
        """What an export takes; nothing is started.

        Raises:
            WorkbenchError: as `plan_export`.
        """
        return plan_export(self._workspace, wish)

    def start(self, wish: ExportWish, outbox: Path) -> None:
        """Begin an export; what is to be fetched comes to lie in a new folder within `outbox`.

        Raises:
            WorkbenchError: A01 where one is running; as `plan`, M17, A13 where it would not fit; D42, M25 for a model's
                name; M11 where llama.cpp's converter is not here, M18 where that cannot convert such an adapter.
        """
        plan = self.plan(wish)
        refuse_before(self._workspace, wish, plan, self._promised())
        self._start(wish.adapter, wish.result, lambda watch: carry_out(self._workspace, wish, plan, outbox, watch))

    def plan_push(self, wish: PushWish) -> PushPlan:
        """What a push would send and to where; asks nobody.

        Raises:
            WorkbenchError: A24, M25, M01 as `push.plan_push`.
        """
        from core.exports.push import plan_push

        where = (wish.source, wish.repo_id, wish.private)
        return plan_push(self._workspace, wish.adapter, wish.model, *where)

    def start_push(self, wish: PushWish) -> None:
        """Begin to bring files to a hub.

        Raises:
            WorkbenchError: A01 where an export is running; as `plan_push`; A24 without a token.
        """
        from core.exports.work import bring

        plan = self.plan_push(wish)
        if plan.needs_token:
            raise refusal("A24_push_needs_token", variable=plan.needs_token, host=plan.host)
        work = lambda watch: bring(self._workspace, plan, wish.adapter, wish.model, watch)  # noqa: E731
        self._start(wish.model or wish.adapter, "push", work)

    def status(self) -> ExportStatus | None:
        """The running export, else the last one; None where there was none."""
        with self._lock:
            return self._status()

    def refuse_exported(self, adapter: str) -> None:
        """Raises A04 while the running export reads the files of this adapter."""
        status = self.status()
        if status and status.state == "running" and status.title == adapter:
            raise refusal("A04_adapter_exported", Place(excerpt=excerpt(adapter)), name=excerpt(adapter))

    def cancel(self) -> None:
        """End the running export; without one this does nothing."""
        with self._lock:
            if self._current:
                self._current[2].cancel()

    def wait(self, timeout_s: float | None = None) -> ExportStatus | None:
        """Wait for the running export's end."""
        current = self._current
        if current:
            current[2].wait(timeout_s)
        return self.status()

    def close(self) -> None:
        """End what is running and take away what could still be fetched."""
        self.cancel()
        self.wait(LEAVES_S)
        with self._lock:
            self._take_away()

    def _merged(self, adapter: str) -> list[ModelInfo]:
        from core.models.catalog import list_models

        models = list_models(self._workspace)
        return [info for info in models if info.origin and info.origin.adapter == adapter]

    def _merged_folder(self, info: AdapterInfo) -> Path:
        """Where an adapter's merged model is, or will be."""
        made = self._merged(info.name)
        return made[0].folder if made else self._workspace.models / merged_name(self._workspace, info)

    def _start(self, title: str, result: str, work: Callable[[Watch[Step]], Done]) -> None:
        with self._lock:
            if self._current and self._current[2].running:
                raise refusal("A01_export_running", title=self._current[0])
            self._take_away()
            self._current = (title, result, Job("export", _with_words(work)))

    def _take_away(self) -> None:
        """Remove the file that the last export left to be fetched."""
        last = self._status()
        if last and last.done and last.done.file:
            shutil.rmtree(last.done.file.parent, ignore_errors=True)

    def _status(self) -> ExportStatus | None:
        if self._current is None:
            return None
        title, result, job = self._current
        step = job.progress or Step("starting", 0.0)
        if job.running:
            left = (1 - step.share) / step.share if step.share >= EARLY_SHARE else None
            return ExportStatus(title, result, "running", step, left and job.elapsed_s * left)
        try:
            return ExportStatus(title, result, "finished", step, done=job.result())
        except Cancelled:
            return ExportStatus(title, result, "cancelled", step)
        except WorkbenchError as error:
            state: State = "cancelled" if job.cancelled else "failed"
            return ExportStatus(title, result, state, step, problem=None if job.cancelled else error.problems[0])


def _with_words(work: Callable[[Watch[Step]], Done]) -> Callable[[Watch[Step]], Done]:
    """The work, whose bugs are logged once and become a refusal with a reference to the log."""

    def worked(watch: Watch[Step]) -> Done:
        try:
            return work(watch)
        except (WorkbenchError, Cancelled):
            raise
        except Exception as error:
            reference = secrets.token_hex(4)
            log.exception("export failed, reference %s", reference)
            raise refusal("A14_export_broke", reference=reference) from error

    return worked
