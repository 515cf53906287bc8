"""The façade that the page and the command line call: one base model, its serving tree, one run, and the stores.

Owns what lives as long as the process: the loaded model, the chat engine with its applied adapters, the download, and
the rooms `data` and `runs`, which the page calls directly. It decides who may do what when (no unloading under a run,
no deleting of what is applied) and delegates all else. Importing this module loads neither torch nor transformers; the
first call that needs them does.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from core.adapters import store
from core.adapters.method_facts import METHODS
from core.chat.characters import CharacterStore
from core.chat.conversation_store import ConversationStore
from core.chat.sampling import PresetStore, model_defaults
from core.chat.system_prompt import SystemPrompt, effective_system_prompt, template_system_prompt
from core.data.library import DataLibrary
from core.data.preview import PreviewRow, preview_row
from core.errors import Problem, WorkbenchError, excerpt, refusal
from core.models import catalog, memory
from core.models.downloads import Downloads, DownloadStatus
from core.settings import LoadSettings, Method, MethodSettings, Precision, SamplingSettings
from core.training.desk import RunDesk
from core.training.forecasts import Forecasts, ForecastStatus
from core.training.result_name import check_result_name
from core.workspace import Workspace, free_name, read_json, write_json

__all__ = ["AT_STEP", "ModelStatus", "PreviewRow", "Workbench"]

if TYPE_CHECKING:
    from core.adapters.card import AdapterCard
    from core.adapters.method_size import MethodSize
    from core.adapters.store import AdapterInfo
    from core.chat.characters import Character
    from core.chat.engine import ChatRequest, Engine, Stream
    from core.data.token_tables import TokenStatus, TokenTables
    from core.models.catalog import ModelInfo
    from core.models.hub import RemoteInfo
    from core.models.loader import LoadedModel
    from core.models.precision import PrecisionChoice
    from core.training.plan import Plan
    from core.training.preparation import Planner
    from core.training.spec import RunSpec

Report = Callable[[str, float], None]
"""Told a phase (key under `models.phase`) and the share of loading that is done, 0 to 1."""

DOWNLOAD_LEAVES_S = 5.0
AT_STEP = " @ "  # between the name of a run in progress and the step at which its adapter was applied

log = logging.getLogger("workbench")


@dataclass(frozen=True)
class ModelStatus:
    """The base model in memory. `applied` are the adapters that chat can use at once; memory in GB of the process."""

    name: str
    precision: PrecisionChoice
    template: str | None
    fingerprint: str
    max_length: int | None
    load_s: float
    memory_before_gb: float
    memory_after_gb: float
    applied: tuple[str, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Serving:
    """The base model in memory and the engine that answers with it: there both or not at all."""

    loaded: LoadedModel
    engine: Engine


class Workbench(AbstractContextManager["Workbench"]):
    """One per process. Every method may be called from any thread."""

    def __init__(self, workspace: Workspace) -> None:
        workspace.create()
        self.workspace = workspace
        self.conversations = ConversationStore(workspace.state / "conversations")
        self.presets = PresetStore(workspace.state / "presets")
        self.characters = CharacterStore(workspace.state / "characters")
        self.downloads = Downloads()
        self._exclusive = threading.RLock()  # loading, unloading, applying and starting a run exclude each other
        self._serving: _Serving | None = None  # read it once into a local: it may be gone at the next look
        self.data = DataLibrary(workspace)
        self.forecasts = Forecasts(workspace, lambda: self._planner, lambda: self.runs.active() is not None)
        self.runs = RunDesk(workspace, self._exclusive, self._loaded, self.load_model, self.forecasts.give_way)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the run in progress (its adapter is kept), the download and the engine."""
        self.downloads.cancel()
        self.runs.close()
        self.downloads.wait(DOWNLOAD_LEAVES_S)
        with self._exclusive:
            self._drop_model()

    # ---- base model ----

    def models(self) -> list[ModelInfo]:
        """Every base model there is, loadable or not, and GGUF files that could be converted."""
        return catalog.list_models(self.workspace)

    def model_status(self) -> ModelStatus | None:
        """The base model in memory, None where there is none."""
        serving = self._serving
        if serving is None:
            return None
        loaded = serving.loaded
        return ModelStatus(
            name=loaded.info.name,
            precision=loaded.precision,
            template=loaded.template,
            fingerprint=loaded.fingerprint,
            max_length=loaded.max_length,
            load_s=loaded.load_s,
            memory_before_gb=loaded.memory_before_gb,
            memory_after_gb=loaded.memory_after_gb,
            applied=tuple(adapter.name for adapter in serving.engine.applied),
            problems=loaded.problems,
        )

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
        from core.chat.engine import Engine
        from core.models.loader import check_before_loading, load

        with self._exclusive:
            info = catalog.find_model(self.workspace, name)
            self._refuse_while_training()
            check_before_loading(info, settings)
            self._drop_model()
            loaded = load(info, settings, report, self.workspace.state)
            try:
                self._serving = _Serving(loaded, Engine(loaded))
            except Exception as error:
                del loaded
                traceback.clear_frames(error.__traceback__)  # they hold the weights
                memory.release()
                raise
            if remember:
                self._remember(name, settings)
            self.runs.advance()
            status = self.model_status()
            assert status is not None
            return status

    def reload_model(self, report: Report | None = None) -> ModelStatus:
        """Load the model in memory afresh, with the precision it was asked for.

        Raises:
            WorkbenchError: A03 where none is loaded, A07 while a run uses it.
        """
        loaded = self._require_model()
        return self.load_model(loaded.info.name, LoadSettings(precision=self._asked_precision()), report)

    def unload_model(self) -> None:
        """Free the memory of the base model and its adapters; without one this does nothing.

        Raises:
            WorkbenchError: A07 while a run uses it.
        """
        with self._exclusive:
            self._refuse_while_training()
            self._drop_model()
            self._last_model_file.unlink(missing_ok=True)

    def load_at_start(self, name: str | None, report: Report | None = None) -> None:
        """Load the named model, else the one that was loaded last; a remembered one that is gone is passed over.

        Raises:
            WorkbenchError: where the named model cannot be loaded.
        """
        if name:
            self.load_model(name, LoadSettings(), report)
            return
        remembered = self._remembered()
        if remembered and any(info.name == remembered[0] and info.loadable for info in self.models()):
            try:
                self.load_model(*remembered, report)
            except WorkbenchError:
                log.exception("the remembered model cannot be loaded")  # the page starts all the same

    def module_names(self) -> list[str]:
        """Short names of the loaded model's linear layers, which an adapter can be put on; none without a model."""
        serving = self._serving
        if serving is None:
            return []
        from core.adapters.methods import module_names

        return module_names(serving.loaded.model)

    def method_size(self, settings: MethodSettings) -> MethodSize | None:
        """How much of the loaded model a method with these settings trains; None without a model."""
        serving = self._serving
        if serving is None:
            return None
        from core.adapters.method_size import method_size

        return method_size(settings, serving.loaded.model)

    def sampling_defaults(self) -> SamplingSettings:
        """The starting values for answers: the loaded model's own, else ours."""
        serving = self._serving
        return model_defaults(serving.loaded.generation_defaults if serving else {}).settings

    # ---- getting a model ----

    def start_starter(self) -> None:
        """Fetch the starter model in the background; `download_status` follows it."""
        from core.models.starter import STARTER, install_starter

        self.downloads.start(STARTER.name, lambda report, cancelled: install_starter(self.workspace, report, cancelled))

    def describe_remote(self, source: str, repo_id: str) -> RemoteInfo:
        """Size, licence and access of a repository on a hub, asked before anything is fetched."""
        from core.models.hub import checked_source, describe_remote

        return describe_remote(checked_source(source), repo_id, self.workspace)

    def start_download(self, source: str, repo_id: str) -> None:
        """Fetch a repository in the background; what has arrived is kept for the next try."""
        from core.models.hub import checked_repo_id, checked_source, download

        hub, checked = checked_source(source), checked_repo_id(repo_id)
        self.downloads.start(
            checked, lambda report, cancelled: download(hub, checked, self.workspace, report, cancelled)
        )

    def start_gguf(self, name: str) -> None:
        """Convert a listed GGUF file to a model folder in the background."""
        from core.models.gguf_import import convert_gguf

        file = catalog.find_model(self.workspace, name).folder
        self.downloads.start(
            name, lambda report, cancelled: convert_gguf(file, self.workspace, None, report, cancelled)
        )

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
        folder = self.workspace.results(METHODS[method].makes)
        return free_name(folder, wish, promised=self.runs.promised_names())

    def applied(self) -> list[str]:
        """Names of the adapters that chat can use at once."""
        serving = self._serving
        return [adapter.name for adapter in serving.engine.applied] if serving else []

    def apply_adapter(self, name: str) -> tuple[Problem, ...]:
        """Put an adapter on the base model for chat; applied twice it is there once, as it is now. Returns warnings.

        Raises:
            WorkbenchError: A03 without a base model, M25 where there is none of that name, M18 to M23 where it does
                not fit; then nothing has changed.
        """
        with self._exclusive:
            engine = self._require_engine()
            info = store.find_adapter(self.workspace, name)
            if any(each.name == name and each.card == info.card for each in engine.applied):
                return ()
            return engine.apply(name, info.folder).warnings

    def apply_run(self, run_id: str) -> str:
        """Put the adapter of a run in progress on the base model as of its last checkpoint; returns the name for chat.

        Raises:
            WorkbenchError: A03 without a base model, A09 where the run has saved nothing yet or makes a model.
        """
        with self._exclusive:
            engine = self._require_engine()
            snapshot = self.runs.snapshot(run_id)
            if METHODS[self.runs.spec(run_id).method.method].makes == "model":
                raise refusal("A09_makes_a_model", name=snapshot.name)
            checkpoint = self.runs.latest_checkpoint(run_id)
            if checkpoint is None:
                raise refusal("A09_nothing_saved_yet", name=snapshot.name)
            name = f"{snapshot.name}{AT_STEP}{checkpoint.step}"
            for old in self.applied():
                if old.startswith(snapshot.name + AT_STEP) and old != name:
                    engine.remove(old)
            if name not in self.applied():
                engine.apply(name, checkpoint.adapter)
            return name

    def remove_adapter(self, name: str) -> None:
        """Take an adapter off the base model; its files stay. An answer in progress is finished first."""
        with self._exclusive:
            self._require_engine().remove(name)

    def rename_adapter(self, old: str, new: str) -> None:
        with self._exclusive:
            store.rename_adapter(self.workspace, old, new, self._user_of(old), self.runs.promised_names())

    def delete_adapter(self, name: str) -> None:
        with self._exclusive:
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
        serving = self._serving
        return [preview_row(example, serving.loaded.tokenizer if serving else None, options) for example in examples]

    def token_status(self, name: str, wait_s: float = 0.0) -> TokenStatus:
        """How far the count of a data set's tokens is; begins it where nobody has.

        Raises:
            WorkbenchError: A03 without a base model or such a data set.
        """
        loaded = self._require_model()
        return self._token_tables.status(name, loaded.tokenizer, loaded.fingerprint, wait_s)

    def delete_dataset(self, name: str) -> None:
        """Remove a data set from the registry.

        Raises:
            WorkbenchError: A03 where there is no such data set, A04 while a run uses it or waits for its turn with it.
        """
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
        loaded = self._require_model(spec.base)
        return self._planner.plan(spec, loaded)

    def forecast(self, spec: RunSpec, wait_s: float = 0.0) -> ForecastStatus:
        """What a run of this spec would take; begins to measure it in the background where nobody has.

        Raises:
            WorkbenchError: as `plan`.
        """
        return self.forecasts.status(spec, self._require_model(spec.base), wait_s)

    # ---- chat ----

    def chat(self, requests: Sequence[ChatRequest]) -> Stream:
        """Answer a group of requests together, streaming.

        Raises:
            WorkbenchError: A03 without a base model, H11 for a prompt that cannot be answered, A27 where too many wait.
        """
        return self._require_engine().submit(list(requests))

    def system_prompt(self, typed: str | None, character: Character | None, adapter: str | None) -> SystemPrompt:
        """The system prompt in force for an adapter (None = base) and where it comes from."""
        card = self._card_of(adapter) if adapter else None
        serving = self._serving
        default = template_system_prompt(serving.loaded.tokenizer) if serving else ""
        return effective_system_prompt(typed, character, card, default)

    # ---- inside ----

    def _card_of(self, adapter: str) -> AdapterCard | None:
        """The card of an applied adapter, that of a run in progress included, else of one in `loras/`."""
        serving = self._serving
        for applied in serving.engine.applied if serving else ():
            if applied.card and adapter in (applied.name, applied.card.name):
                return applied.card
        return next((info.card for info in self.adapters() if info.name == adapter), None)

    @cached_property
    def _token_tables(self) -> TokenTables:
        from core.data.token_tables import TokenTables

        return TokenTables(self.data)

    @cached_property
    def _planner(self) -> Planner:
        from core.training.preparation import Planner

        return Planner(self.workspace, self.data)

    @property
    def _last_model_file(self) -> Path:
        return self.workspace.state / "last_model.json"

    def _remember(self, name: str, settings: LoadSettings) -> None:
        try:
            write_json(self._last_model_file, {"name": name, "precision": settings.precision})
        except OSError:
            log.warning("the loaded model cannot be remembered for the next start", exc_info=True)

    def _remembered(self) -> tuple[str, LoadSettings] | None:
        try:
            values = read_json(self._last_model_file)
            return str(values["name"]), LoadSettings.checked({"precision": values["precision"]})
        except (OSError, ValueError, KeyError, TypeError, WorkbenchError):
            return None

    def _asked_precision(self) -> Precision:
        remembered = self._remembered()
        return remembered[1].precision if remembered else "auto"

    def _drop_model(self) -> None:
        self.forecasts.give_way()
        serving, self._serving = self._serving, None
        if serving:
            serving.engine.close()
        del serving
        memory.release()

    def _loaded(self) -> LoadedModel | None:
        serving = self._serving
        return serving.loaded if serving else None

    def _require_model(self, name: str | None = None) -> LoadedModel:
        """The model in memory; with a name, only where it is that one."""
        loaded = self._require_serving().loaded
        if name is not None and loaded.info.name != name:
            raise refusal("A03_other_model", wanted=excerpt(name), loaded=loaded.info.name)
        return loaded

    def _require_engine(self) -> Engine:
        return self._require_serving().engine

    def _require_serving(self) -> _Serving:
        serving = self._serving
        if serving is None:
            raise refusal("A03_no_model")
        return serving

    def _refuse_while_training(self) -> None:
        self.runs.settle()
        run, serving = self.runs.active_name(), self._serving
        if run and serving:
            raise refusal("A07_model_in_use", run=run, model=serving.loaded.info.name)

    def _user_of(self, adapter: str) -> str:
        """What an adapter is applied to just now, or the run that trains it further; "" for nothing."""
        serving = self._serving
        applied = serving is not None and any(adapter == each.name for each in serving.engine.applied)
        return serving.loaded.info.name if serving and applied else self.runs.user_of_adapter(adapter)
