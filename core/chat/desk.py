"""The serving desk: the base model in memory, the engine that answers with it, and the adapters applied to it.

`ServingDesk` owns what is there together or not at all: a loaded model and its engine. It puts models in, takes them
out, remembers the last one for the next start, and applies adapters in their strength. Who may do what when (a run that
uses the model, an adapter that is being deleted) is decided by `Workbench`, which calls it. Importing this module loads
neither torch nor transformers.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.adapters import store
from core.errors import Problem, WorkbenchError, excerpt, refusal
from core.models import catalog, memory
from core.settings import LoadSettings
from core.workspace import Workspace, read_json, write_json

if TYPE_CHECKING:
    from core.adapters.card import AdapterCard
    from core.adapters.store import AdapterInfo
    from core.chat.engine import Engine
    from core.models.loader import LoadedModel
    from core.models.precision import PrecisionChoice

Report = Callable[[str, float], None]
"""Told a phase (key under `models.phase`) and the share of loading that is done, 0 to 1."""
Parts = Sequence[tuple[str, float]]
"""Adapters in `loras/` by name, each with its strength."""

MOST_STEPS = 12  # of runs, applied at once

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
class Serving:
    """The base model in memory and the engine that answers with it: there both or not at all."""

    loaded: LoadedModel
    engine: Engine


class ServingDesk:
    """What answers. Looking is allowed from any thread; whoever changes something holds the workbench's lock."""

    def __init__(self, workspace: Workspace, before_dropping: Callable[[], None]) -> None:
        """`before_dropping` is called before a model goes, and ends what works with it in the background."""
        self._workspace = workspace
        self._before_dropping = before_dropping
        self._steps: list[str] = []  # applied steps of runs by their names, the one that was asked for last at the end
        self.now: Serving | None = None  # read it once into a local: it may be gone at the next look

    # ---- the base model ----

    @property
    def loaded(self) -> LoadedModel | None:
        """The base model in memory."""
        serving = self.now
        return serving.loaded if serving else None

    def status(self) -> ModelStatus | None:
        """The base model in memory, None where there is none."""
        serving = self.now
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

    def load(self, name: str, settings: LoadSettings, report: Report | None, remember: bool) -> None:
        """Put a base model into memory in the place of the one that is there; `remember` it for the next start.

        Raises:
            WorkbenchError: M01 where there is none of that name; what `loader.load` refuses, with the model that was
                there still loaded where the refusal came before any weight was read.
        """
        from core.chat.engine import Engine
        from core.models.loader import check_before_loading, load

        info = catalog.find_model(self._workspace, name)
        check_before_loading(info, settings)
        self.drop()
        loaded = load(info, settings, report, self._workspace.state)
        try:
            self.now = Serving(loaded, Engine(loaded))
        except Exception as error:
            del loaded
            traceback.clear_frames(error.__traceback__)  # they hold the weights
            memory.release()
            raise
        if remember:
            self._remember(name, settings)

    def drop(self) -> None:
        """Free the memory of the base model and its adapters; without one this does nothing."""
        self._before_dropping()
        serving, self.now = self.now, None
        if serving:
            serving.engine.close()
        del serving
        memory.release()

    def remembered(self) -> tuple[str, LoadSettings] | None:
        """The model that was loaded last and the precision it was asked for; None where none is to be loaded."""
        try:
            values = read_json(self._last_model_file)
            return str(values["name"]), LoadSettings.checked({"precision": values["precision"]})
        except (OSError, ValueError, KeyError, TypeError, WorkbenchError):
            return None

    def forget(self) -> None:
        """Load no model at the next start."""
        self._last_model_file.unlink(missing_ok=True)

    def model(self, name: str | None = None) -> LoadedModel:
        """The model in memory; with a name, only where it is that one.

        Raises:
            WorkbenchError: A03 where it is not there.
        """
        loaded = self._require().loaded
        if name is not None and loaded.info.name != name:
            raise refusal("A03_other_model", wanted=excerpt(name), loaded=loaded.info.name)
        return loaded

    def engine(self) -> Engine:
        """What answers with the model in memory.

        Raises:
            WorkbenchError: A03 without one.
        """
        return self._require().engine

    # ---- adapters ----

    def applied(self) -> list[str]:
        """Names of the adapters that chat can use at once."""
        return list(self.strengths())

    def strengths(self) -> dict[str, float]:
        """The strength of each applied adapter."""
        serving = self.now
        return {adapter.name: adapter.strength for adapter in serving.engine.applied} if serving else {}

    def apply(self, info: AdapterInfo, strength: float | None) -> tuple[Problem, ...]:
        """Put an adapter on the base model; applied twice in one strength it is there once, as it is now.

        Without a strength it keeps the one it is applied in; 1 where it is not applied. Returns warnings.

        Raises:
            WorkbenchError: A03 without a base model; as `Engine.apply`.
        """
        engine = self.engine()
        before = next((each for each in engine.applied if each.name == info.name), None)
        if strength is None:
            strength = before.strength if before else 1.0
        if before and (before.card, before.strength) == (info.card, strength):
            return ()
        return engine.apply(info.name, info.folder, strength).warnings

    def apply_step(self, name: str, folder: Path) -> str:
        """Put the adapter that a run had at a step on the base model under this name, which is returned.

        Of more than `MOST_STEPS`, the one that was asked for longest ago is taken off. Another run may have had the
        name: its step gives way.

        Raises:
            WorkbenchError: as `apply`.
        """
        engine = self.engine()
        if not any((each.name, each.folder) == (name, folder) for each in engine.applied):
            engine.apply(name, folder)
        self._steps = [*(step for step in self._steps if step != name), name]
        for old in self._steps[:-MOST_STEPS]:
            if old in self.applied():
                engine.remove(old)
        del self._steps[:-MOST_STEPS]
        return name

    def combine(self, parts: Parts, target: Path) -> None:
        """Write the exact combination of adapters as a new adapter folder.

        Raises:
            WorkbenchError: A03 without a base model, M25 for a part that there is none of, M18 to M23 for one that does
                not fit; as `core.adapters.combine.check_parts` and `write_combination`.
        """
        from core.adapters.base_shapes import shapes_of
        from core.adapters.combine import check_parts, write_combination
        from core.adapters.validity import judge

        check_parts(parts)
        loaded = self.model()
        shapes = shapes_of(loaded.model)
        files = [
            judge(store.find_adapter(self._workspace, name).folder, shapes, loaded.fingerprint, loaded.info.name)
            for name, _ in parts
        ]
        problems = [problem for each in files for problem in each.errors]
        if problems:
            raise WorkbenchError(problems)
        strengths = [strength for _, strength in parts]
        judged = list(zip(files, strengths, strict=True))
        write_combination(judged, shapes, loaded.info.name, loaded.fingerprint, target)

    def apply_combination(self, parts: Parts) -> str:
        """Put the exact combination of adapters on the base model; returns the name for chat. No file is kept.

        Raises:
            WorkbenchError: as `combine`.
        """
        name = combination_name(parts)
        with self._workspace.scratch() as folder:
            self.combine(parts, folder / "combination")
            self.engine().apply(name, folder / "combination")
        return name

    def remove(self, name: str) -> None:
        """Take an adapter off the base model at once; answers in progress end with it.

        Raises:
            WorkbenchError: A03 without a base model, M25 where it is not applied.
        """
        self.engine().remove(name)

    def card_of(self, adapter: str) -> AdapterCard | None:
        """The card of an applied adapter, that of a run in progress included."""
        serving = self.now
        for applied in serving.engine.applied if serving else ():
            if applied.card and adapter in (applied.name, applied.card.name):
                return applied.card
        return None

    def user_of(self, adapter: str) -> str:
        """The base model that an adapter is applied to; "" where it is not applied."""
        serving = self.now
        return serving.loaded.info.name if serving and adapter in self.applied() else ""

    # ---- inside ----

    def _require(self) -> Serving:
        serving = self.now
        if serving is None:
            raise refusal("A03_no_model")
        return serving

    @property
    def _last_model_file(self) -> Path:
        return self._workspace.state / "last_model.json"

    def _remember(self, name: str, settings: LoadSettings) -> None:
        try:
            write_json(self._last_model_file, {"name": name, "precision": settings.precision})
        except OSError:
            log.warning("the loaded model cannot be remembered for the next start", exc_info=True)


def combination_name(parts: Parts) -> str:
    """What chat calls a combination that has no name of its own: `poet × 0.5 + french`."""
    return " + ".join(name_in_strength(name, strength) for name, strength in parts)


def name_in_strength(name: str, strength: float) -> str:
    """An adapter's name, with its strength where that is not the one it was trained in: `poet × 0.5`."""
    return name if strength == 1 else f"{name} × {strength:g}"
