"""A stand-in for what the run's form calls, and what a page sends of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from core.adapters.method_size import MethodSize
from core.errors import Problem, WorkbenchError
from core.settings import Method, MethodSettings
from core.training.plan import Plan
from core.training.spec import RunSpec
from core.workbench import ModelStatus
from core.workspace import Workspace, free_name
from tests.webui.data_scene import NAME, StandInData
from tests.webui.test_model_tab import BF16
from tests.webui.test_views import PLAN
from webui.run_form import FORM, form_values


def form_sent(**changes: Any) -> list[Any]:
    """The form's raw values as a fresh page sends them, some of them changed by their name; in the order of `FORM`."""
    fresh = dict(zip(FORM, form_values(RunSpec(name="first", base="", dataset=NAME)), strict=True))
    assert changes.keys() <= fresh.keys()
    return list({**fresh, **changes}.values())


@dataclass
class StandInForm(StandInData):
    """What the handlers of the form call of a workbench, with what they asked for in `calls`."""

    workspace: Workspace = None  # type: ignore[assignment]
    status: ModelStatus | None = field(
        default_factory=lambda: ModelStatus("m", BF16, None, "f", 512, 1, 0.5, 0.8, (), ())
    )
    going_on: str | None = None
    refused: WorkbenchError | None = None
    planned: Plan = PLAN
    measuring: bool = False
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    known: list[Any] = field(default_factory=list)

    def check_result_name(self, name: str, method: str) -> Problem | None:
        if name == "?":
            return Problem("D42_name_empty")
        return Problem("M25_name_taken") if name in ("taken", f"taken by {method}") else None

    def free_result_name(self, wish: str, method: Method) -> str:
        folder = self.workspace.models if method == "full" else self.workspace.adapters
        return free_name(folder, wish, promised=self.promised_names())

    def plan(self, spec: RunSpec) -> Plan:
        self.calls.append(("plan", spec.name))
        if self.refused:
            raise self.refused
        return self.planned

    def forecast(self, spec: RunSpec) -> Any:
        self.calls.append(("forecast", spec.name))
        if self.refused:
            raise self.refused
        return SimpleNamespace(running=self.measuring)

    def method_size(self, settings: MethodSettings) -> MethodSize:
        return MethodSize(trained=4_900_000, total=139_000_000, copied_bytes=0)

    def module_names(self) -> list[str]:
        return ["q_proj", "down_proj"]

    def adapters(self) -> list[Any]:
        return self.known

    @property
    def runs(self) -> Any:
        return self

    def active(self) -> str | None:
        return self.going_on

    def promised_names(self) -> list[str]:
        return [spec.name for call in self.calls if call[0] == "queue" for spec in call[1]]

    def start(self, spec: RunSpec, started_by: str, repeats: str = "") -> str:
        self.calls.append(("start", spec, started_by))
        return "run-2"

    def admitted(self, specs: Sequence[RunSpec]) -> None:
        if self.refused:
            raise self.refused

    def enqueue(self, specs: Sequence[RunSpec], started_by: str, repeats: str = "") -> None:
        self.admitted(specs)
        self.calls.append(("queue", tuple(specs), started_by))
