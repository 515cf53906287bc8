"""The façade that the page, the command line and the API call: what lives as long as the process, room by room.

Owns the rooms: `serving` (the base model in memory with its applied adapters and chat), `data`, `runs`, `downloads` and
the stores, most of which are called directly. It decides who may do what when (no unloading under a run, no deleting
of what is applied) and delegates all else. Importing this module loads neither torch nor transformers; the first call
that needs them does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING

from core.adapters import store
from core.adapters.method_facts import METHODS
from core.adapters.strength import checked_strength
from core.chat.characters import CharacterStore
from core.chat.conversation_store import ConversationStore
from core.chat.desk import ModelStatus, Parts, Report, ServingDesk
from core.chat.sampling import PresetStore, model_defaults
from core.chat.system_prompt import SystemPrompt, effective_system_prompt, template_system_prompt
from core.chat.votes import VoteStore
from core.data.library import DataLibrary
from core.data.preview import PreviewRow, preview_row
from core.errors import Problem, WorkbenchError, refusal
from core.evaluation.desk import EvaluationDesk
from core.exports.desk import ExportDesk
from core.models import catalog
from core.models.downloads import Downloads, DownloadStatus
from core.settings import LoadSettings, Method, MethodSettings, Precision, SamplingSettings
from core.training.desk import RunDesk
from core.training.forecasts import Forecasts, ForecastStatus
from core.training.result_name import check_result_name, free_result_name
from core.training.snapshots import AT_STEP
from core.workspace import Workspace

__all__ = ["AT_STEP", "ModelStatus", "PreviewRow", "Workbench"]

if TYPE_CHECKING:
    from core.adapters.card import AdapterCard
    from core.adapters.method_size import MethodSize
    from core.adapters.store import AdapterInfo
    from core.chat.characters import Character
    from core.chat.engine import ChatRequest, Stream
    from core.data.token_tables import TokenStatus, TokenTables
    from core.models.catalog import ModelInfo
    from core.models.hub import RemoteInfo
    from core.models.precision import PrecisionChoice
    from core.training.plan import Plan
    from core.training.preparation import Planner
    from core.training.spec import RunSpec

DOWNLOAD_LEAVES_S = 5.0

log = logging.getLogger("workbench")


class Workbench(AbstractContextManager["Workbench"]):
    """One per process. Every method may be called from any thread."""

    def __init__(self, workspace: Workspace, on_wait: Callable[[], None] = lambda: None) -> None:
        """`on_wait` is called where closing takes more than a moment, because a run is being saved."""
        workspace.create()
        self._on_wait = on_wait
        self.workspace = workspace
        self.conversations = ConversationStore(workspace.state / "conversations")
        self.presets = PresetStore(workspace.state / "presets")
        self.characters = CharacterStore(workspace.state / "characters")
        self.votes = VoteStore(workspace.state / "votes.jsonl")
        self.downloads = Downloads()
        self._exclusive = threading.RLock()  # loading, unloading, applying and starting a run exclude each other
        self.data = DataLibrary(workspace)
        self.forecasts = Forecasts(workspace, lambda: self._planner, lambda: self.runs.active() is not None)
        self.serving = ServingDesk(workspace, self.forecasts.give_way)
        self.runs = RunDesk(
            workspace, self._exclusive, lambda: self.serving.loaded, self.load_model, self.forecasts.give_way
        )
        self.exports = ExportDesk(workspace, self.runs.promised_names)
        self.evaluations = EvaluationDesk(workspace, self._exclusive, self.data, self.runs, self.serving.model)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the run in progress (its adapter is kept), the evaluation, the export, the download and the engine."""
        self.downloads.cancel()
        self.runs.close(self._on_wait)
        self.evaluations.close()
        self.exports.close()
        self.downloads.wait(DOWNLOAD_LEAVES_S)
        with self._exclusive:
            self.serving.drop()

    # ---- base model ----

    def models(self) -> list[ModelInfo]:
        """Every base model there is, loadable or not, and GGUF files that could be converted."""
        return catalog.list_models(self.workspace)

    def model_status(self) -> ModelStatus | None:
        """The base model in memory, None where there is none."""
        return self.serving.status()

    def precision_choice(self, name: str, settings: LoadSettings) -> PrecisionChoice:
        """What the wished precision becomes for this model here, and why; nothing is loaded.

        Raises:
            WorkbenchError: M01 where there is no such model.
        """
        from core.models.precision import choose_precision

        return choose_precision(settings, catalog.find_model(self.workspace, name))

    def load_model(
        self, name: str, settings: LoadSettings, report: Report | None = None, *, remember: bool = True
    ) -> ModelStatus:
        """Put a base model into memory in the place of the one that is there; `remember` it for the next start.

        Raises:
            WorkbenchError: A07 while a run uses the model in memory; what `loader.load` refuses, with the model that
                was there still loaded where the refusal came before any weight was read.
        """
        with self._exclusive:
            catalog.find_model(self.workspace, name)
            self._refuse_while_in_use()
            self.serving.load(name, settings, report, remember)
            self.runs.advance()
            status = self.serving.status()
            assert status is not None
            return status

    def reload_model(self, report: Report | None = None) -> ModelStatus:
        """Load the model in memory afresh, with the precision it was asked for.

        Raises:
            WorkbenchError: A03 where none is loaded, A07 while a run uses it.
        """
        name, remembered = self.serving.model().info.name, self.serving.remembered()
        precision: Precision = remembered[1].precision if remembered else "auto"
        return self.load_model(name, LoadSettings(precision=precision), report)

    def unload_model(self) -> None:
        """Free the memory of the base model and its adapters; without one this does nothing.

        Raises:
            WorkbenchError: A07 while a run uses it.
        """
        with self._exclusive:
            self._refuse_while_in_use()
            self.serving.drop()
            self.serving.forget()

    def load_at_start(self, name: str | None, report: Report | None = None) -> None:
        """Load the named model, else the one that was loaded last; where that fails, or it is gone, none is loaded.

        Raises:
            WorkbenchError: where the named model cannot be loaded.
        """
        if name:
            self.load_model(name, LoadSettings(), report)
            return
        remembered = self.serving.remembered()
        if remembered and any(info.name == remembered[0] and info.loadable for info in self.models()):
            try:
                self.load_model(*remembered, report)
            except Exception:
                log.exception("the remembered model cannot be loaded")  # the page starts all the same

    def module_names(self) -> list[str]:
        """Short names of the loaded model's linear layers, which an adapter can be put on; none without a model."""
        loaded = self.serving.loaded
        if loaded is None:
            return []
        from core.adapters.methods import module_names

        return module_names(loaded.model)

    def method_size(self, settings: MethodSettings) -> MethodSize | None:
        """How much of the loaded model a method with these settings trains; None without a model."""
        loaded = self.serving.loaded
        if loaded is None:
            return None
        from core.adapters.method_size import method_size

        return method_size(settings, loaded.model)

    def sampling_defaults(self) -> SamplingSettings:
        """The starting values for answers: the loaded model's own, else ours."""
        loaded = self.serving.loaded
        return model_defaults(loaded.generation_defaults if loaded else {}).settings

    # ---- getting a model ----

    def start_starter(self) -> None:
        """Fetch the starter model in the background; `download_status` follows it."""
        from core.models.starter import STARTER, install_starter

        self.downloads.start(STARTER.name, partial(install_starter, self.workspace))

    def describe_remote(self, source: str, repo_id: str) -> RemoteInfo:
        """Size, licence and access of a repository on a hub, asked before anything is fetched."""
        from core.models.hub import checked_source, describe_remote

        return describe_remote(checked_source(source), repo_id, self.workspace)

    def start_download(self, source: str, repo_id: str) -> None:
        """Fetch a repository in the background; what has arrived is kept for the next try."""
        from core.models.hub import checked_repo_id, checked_source, download

        hub, checked = checked_source(source), checked_repo_id(repo_id)
        self.downloads.start(checked, partial(download, hub, checked, self.workspace), keeps=True)

    def start_gguf(self, name: str) -> None:
        """Convert a listed GGUF file to a model folder in the background."""
        from core.models.gguf_import import convert_gguf

        file = catalog.find_model(self.workspace, name).folder
        self.downloads.start(name, partial(convert_gguf, file, self.workspace, None))

    def cancel_download(self) -> None:
        self.downloads.cancel()

    def download_status(self) -> DownloadStatus | None:
        return self.downloads.status

    # ---- adapters ----

    def adapters(self) -> list[AdapterInfo]:
        return store.list_adapters(self.workspace)

    def adapter_details(self, name: str) -> AdapterInfo:
        return store.find_adapter(self.workspace, name)

    def check_result_name(self, name: str, method: Method) -> Problem | None:
        """Why what a run makes may not be called so; a run that will be saved under the name counts as well."""
        return check_result_name(self.workspace, method, name, self.runs.promised_names())

    def free_result_name(self, wish: str, method: Method) -> str:
        """`wish`, numbered where something of its kind, or a run that will be saved, has the name already."""
        return free_result_name(self.workspace, method, wish, self.runs.promised_names())

    def applied(self) -> list[str]:
        """Names of the adapters that chat can use at once."""
        return self.serving.applied()

    def strengths(self) -> dict[str, float]:
        """The strength of each applied adapter, by its name."""
        return self.serving.strengths()

    def applied_without_files(self) -> list[str]:
        """Applied adapters that have no folder in `loras/`, as combinations have none; no saved steps of runs."""
        folder = self.workspace.adapters
        return [name for name in self.applied() if AT_STEP not in name and not (folder / name).is_dir()]

    def apply_adapter(self, name: str, strength: float | None = None) -> tuple[Problem, ...]:
        """Put an adapter on the base model for chat; applied twice it is there once, as it is now. Returns warnings.

        `strength` multiplies what it changes: 0 is the base, 1 as it was trained, at most 2. Another strength replaces
        the one it has; answers in progress end with the old one. Without one it keeps what it has, 1 where it is new.

        Raises:
            WorkbenchError: A03 without a base model, M25 where there is none of that name, M18 to M23 where it does
                not fit, H01 for a strength out of range, M18 where its type has no strength; then nothing has changed.
        """
        with self._exclusive:
            checked = None if strength is None else checked_strength(strength)
            return self.serving.apply(store.find_adapter(self.workspace, name), checked)

    def apply_run(self, run_id: str) -> str:
        """Put the adapter of a run in progress on the base model as of its last checkpoint; returns the name for chat.

        Raises:
            WorkbenchError: A03 without a base model, A09 where the run has saved nothing yet or makes a model.
        """
        with self._exclusive:
            self.serving.engine()
            run = self._adapter_run_name(run_id)
            checkpoint = self.runs.latest_checkpoint(run_id)
            if checkpoint is None:
                raise refusal("A09_nothing_saved_yet", name=run)
            return self.serving.apply_step(f"{run}{AT_STEP}{checkpoint.step}", checkpoint.adapter)

    def apply_checkpoint(self, run_id: str, step: int) -> str:
        """Put the adapter that a run had at a saved step on the base model; returns the name for chat, `name @ step`.

        Raises:
            WorkbenchError: A03 without a base model, A09 where the run makes a model, A30 where nothing is kept of
                that step.
        """
        with self._exclusive:
            self.serving.engine()
            run = self._adapter_run_name(run_id)
            return self.serving.apply_step(f"{run}{AT_STEP}{step}", self.runs.saved_adapter(run_id, step))

    def apply_combination(self, parts: Parts) -> str:
        """Put several adapters of LoRA type, each in its strength, on the base model as one; returns the name for chat.

        The combination is exact: what it adds to the base is the sum of what each adds.

        Raises:
            WorkbenchError: A03 without a base model; M25 for an adapter that there is none of; H01, M18 where they
                cannot be combined (see `core.adapters.combine`).
        """
        with self._exclusive:
            return self.serving.apply_combination(parts)

    def save_combination(self, parts: Parts, name: str) -> AdapterInfo:
        """Keep a combination as a new adapter; its card says what it was made of.

        Raises:
            WorkbenchError: as `apply_combination`; M25, D42 where the name is not free or not allowed.
        """
        with self._exclusive:
            problem = store.check_adapter_name(self.workspace, name, self.runs.promised_names())
            if problem:
                raise WorkbenchError([problem])
            self.serving.combine(parts, self.workspace.adapters / name)
            return store.find_adapter(self.workspace, name)

    def remove_adapter(self, name: str) -> None:
        """Take an adapter off the base model at once; its files stay. Answers in progress end with it."""
        with self._exclusive:
            self.serving.remove(name)

    def rename_adapter(self, old: str, new: str) -> None:
        """Give an adapter another name.

        Raises:
            WorkbenchError: A04 while chat, a run or an export uses it; as `store.rename_adapter`.
        """
        with self._exclusive:
            self.exports.refuse_exported(old)
            store.rename_adapter(self.workspace, old, new, self._user_of(old), self.runs.promised_names())

    def delete_adapter(self, name: str, from_chat_too: bool = False) -> None:
        """Delete an adapter's files; `from_chat_too` takes it off the base model first.

        Raises:
            WorkbenchError: A04 while a run or an export uses it, or chat where it is not to be taken off; M25 where
                there is none of that name. Then nothing has changed.
        """
        with self._exclusive:
            self.exports.refuse_exported(name)
            if from_chat_too and self.serving.user_of(name) and not self.runs.user_of_adapter(name):
                store.find_adapter(self.workspace, name)
                self.serving.remove(name)
            store.delete_adapter(self.workspace, name, self._user_of(name))

    # ---- data ----

    def preview(self, name: str, start: int, count: int) -> list[PreviewRow]:
        """`count` examples from `start` (0 = first) as the loaded model will see them, token by token.

        Without a model, or where its template refuses one, it is its messages as text.

        Raises:
            WorkbenchError: as `DataLibrary.report`.
        """
        options = self.data.recipe(name)
        examples = self.data.report(name, options).examples[start : start + count]
        loaded = self.serving.loaded
        return [preview_row(example, loaded.tokenizer if loaded else None, options) for example in examples]

    def token_status(self, name: str, wait_s: float = 0.0) -> TokenStatus:
        """How far the count of a data set's tokens is; begins it where nobody has.

        Raises:
            WorkbenchError: A03 without a base model or such a data set.
        """
        loaded = self.serving.model()
        return self._token_tables.status(name, loaded.tokenizer, loaded.fingerprint, wait_s)

    def delete_dataset(self, name: str) -> None:
        """Remove a data set from the registry.

        Raises:
            WorkbenchError: A03 where there is no such data set, A04 while a run uses it or waits for its turn with it.
        """
        with self._exclusive:
            run = self.runs.user_of_dataset(name)
            if run:
                raise refusal("A04_dataset_in_use", name=name, run=run)
            self.data.delete(name)

    # ---- training ----

    def plan(self, spec: RunSpec) -> Plan:
        """What a run of this spec would do, with every automatic value and its reason; nothing is started.

        Raises:
            WorkbenchError: A03 where its base model is not loaded, and whatever speaks against such a run.
        """
        loaded = self.serving.model(spec.base)
        return self._planner.plan(spec, loaded)

    def enqueue(self, spec: Callable[[], RunSpec], started_by: str) -> str:
        """Queue the run of a spec that is made here and now, so that a name that was free for it still is.

        Raises:
            WorkbenchError: as `RunDesk.enqueue`; whatever making the spec raises.
        """
        with self._exclusive:
            return self.runs.enqueue([spec()], started_by)[0]

    def forecast(self, spec: RunSpec, wait_s: float = 0.0) -> ForecastStatus:
        """What a run of this spec would take; begins to measure it in the background where nobody has.

        Raises:
            WorkbenchError: as `plan`.
        """
        return self.forecasts.status(spec, self.serving.model(spec.base), wait_s)

    # ---- chat ----

    def chat(self, requests: Sequence[ChatRequest]) -> Stream:
        """Answer a group of requests together, streaming.

        Raises:
            WorkbenchError: A03 without a base model, H11 for a prompt that cannot be answered, A27 where too many wait.
        """
        return self.serving.engine().submit(list(requests))

    def system_prompt(self, typed: str | None, character: Character | None, adapter: str | None) -> SystemPrompt:
        """The system prompt in force for an adapter (None = base) and where it comes from."""
        card = self._card_of(adapter) if adapter else None
        loaded = self.serving.loaded
        default = template_system_prompt(loaded.tokenizer) if loaded else ""
        return effective_system_prompt(typed, character, card, default)

    # ---- inside ----

    def _card_of(self, adapter: str) -> AdapterCard | None:
        """The card of an applied adapter, else of one in `loras/`."""
        listed = (info.card for info in self.adapters() if info.name == adapter)
        return self.serving.card_of(adapter) or next(listed, None)

    def _adapter_run_name(self, run_id: str) -> str:
        """The name of a run whose adapter chat may use."""
        name = self.runs.snapshot(run_id).name
        if METHODS[self.runs.spec(run_id).method.method].makes == "model":
            raise refusal("A09_makes_a_model", name=name)
        return name

    @cached_property
    def _token_tables(self) -> TokenTables:
        from core.data.token_tables import TokenTables

        return TokenTables(self.data)

    @cached_property
    def _planner(self) -> Planner:
        from core.training.preparation import Planner

        return Planner(self.workspace, self.data)

    def _refuse_while_in_use(self) -> None:
        self.runs.settle()
        run, loaded = self.runs.active_name(), self.serving.loaded
        if run and loaded:
            raise refusal("A07_model_in_use", run=run, model=loaded.info.name)
        evaluation = self.evaluations.active_name()
        if evaluation and loaded:
            raise refusal("A07_model_evaluated", name=evaluation, model=loaded.info.name)

    def _user_of(self, adapter: str) -> str:
        """What an adapter is applied to just now, or the run that trains it further; "" for nothing."""
        return self.serving.user_of(adapter) or self.runs.user_of_adapter(adapter)
