"""A workbench without a model for the tests of the Chat and Parameters tabs: real stores, scripted answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from core.adapters.card import AdapterCard
from core.chat.characters import Character, CharacterStore
from core.chat.conversation_store import ConversationStore
from core.chat.sampling import PresetStore
from core.chat.streams import Reply
from core.chat.system_prompt import SystemPrompt, effective_system_prompt
from core.chat.votes import VoteStore
from core.errors import refusal
from core.settings import SamplingSettings
from core.training.desk import RunDesk
from core.training.progress import Status
from webui.sampling_form import form_of

FORM = form_of(SamplingSettings())


@dataclass(frozen=True)
class Asked:
    """What a request of the page was made of."""

    messages: tuple[dict[str, str], ...]
    adapter: str | None
    sampling: SamplingSettings
    reply_start: str


class ScriptedStream:
    """Answers that grow word by word: `word 0`, `word 0 1` …"""

    def __init__(self, asked: Sequence[Asked], words: int, error: Exception | None = None) -> None:
        self.asked, self.words, self.error = asked, words, error
        self.place = 0
        self.is_cancelled = False

    def __iter__(self) -> Iterator[list[Reply]]:
        yield [self._reply(each, 0, None) for each in self.asked]
        for count in range(1, self.words + 1):
            if self.is_cancelled:
                yield [self._reply(each, count - 1, "cancelled") for each in self.asked]
                return
            if self.error and count == self.words:
                raise self.error
            yield [self._reply(each, count, "stop" if count == self.words else None) for each in self.asked]

    def cancel(self) -> None:
        self.is_cancelled = True

    def _reply(self, asked: Asked, count: int, finished: Any) -> Reply:
        text = asked.reply_start + " ".join([asked.adapter or "base", *(str(number) for number in range(count))])
        return Reply(text, finished, count, 10, 100, asked.sampling.seed or 7, 2.5, 0.25 if count else None)


@dataclass(frozen=True)
class SceneRun:
    """A run as the chat sees it."""

    name: str
    checkpoint_step: int | None = 40
    status: Status = Status.RUNNING
    adapter: str | None = None
    evals: tuple[tuple[int, float], ...] = ((10, 2.0), (20, 1.5))
    best_step: int | None = 20


class SceneWorkbench:
    """What the two tabs need of a workbench. `words` is how long answers are, `error` ends them early."""

    def __init__(self, folder: Path) -> None:
        self.conversations = ConversationStore(folder / "conversations")
        self.presets = PresetStore(folder / "presets")
        self.characters = CharacterStore(folder / "characters")
        self.votes = VoteStore(folder / "votes.jsonl")
        self.steps: tuple[int, ...] = ()  # saved of the run
        self.model: str | None = "tiny"
        self.precision = "bf16"
        self.cards: dict[str | None, AdapterCard] = {}
        self.names = ["poet", "judge"]
        self.applied_names: list[str] = []
        self.broken: set[str] = set()
        self.words = 3
        self.error: Exception | None = None
        self.streams: list[ScriptedStream] = []
        self.run: SceneRun | None = None
        self.defaults = SamplingSettings()

    def model_status(self) -> Any:
        precision = SimpleNamespace(precision=self.precision, compute="bf16")
        return SimpleNamespace(name=self.model, fingerprint="tiny", precision=precision) if self.model else None

    def adapters(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self.names]

    def applied(self) -> list[str]:
        return list(self.applied_names)

    def strengths(self) -> dict[str, float]:
        return dict.fromkeys(self.applied_names, 1.0)

    def applied_without_files(self) -> list[str]:
        return [name for name in self.applied_names if name not in self.names and " @ " not in name]

    def apply_adapter(self, name: str) -> list[Any]:
        if name in self.broken or name not in self.names:
            raise refusal("A30_no_conversation")
        self.applied_names.append(name)
        return []

    def apply_run(self, run_id: str) -> str:
        assert self.run is not None
        self.applied_names.append(f"{self.run.name} @ {self.run.checkpoint_step}")
        return self.applied_names[-1]

    def apply_checkpoint(self, run_id: str, step: int) -> str:
        assert self.run is not None and step in self.steps
        self.applied_names.append(f"{self.run.name} @ {step}")
        return self.applied_names[-1]

    @property
    def runs(self) -> SceneWorkbench:
        return self

    def active(self) -> str | None:
        return "r1" if self.run and self.run.status.active else None

    def snapshot(self, run_id: str) -> Any:
        if self.run is None:
            raise refusal("A30_no_such_run", run_id=run_id)
        return self.run

    def list(self) -> Sequence[Any]:
        run = self.run
        fields = {"run_id": "r1", "base": "tiny", "method": "lora", "started_at": "2026-01-01T10:00:00"}
        return [SimpleNamespace(name=run.name, **fields)] if run else []

    def saved_steps(self, run_id: str) -> tuple[int, ...]:
        if run_id != "r1" or self.run is None:
            raise refusal("A30_no_such_run", run_id=run_id)
        return self.steps

    has_step, find_step = RunDesk.has_step, RunDesk.find_step

    def sampling_defaults(self) -> SamplingSettings:
        return self.defaults

    def system_prompt(self, typed: str | None, character: Character | None, adapter: str | None) -> SystemPrompt:
        return effective_system_prompt(typed, character, self.cards.get(adapter))

    def chat(self, requests: Sequence[Any]) -> ScriptedStream:
        if not self.model:
            raise refusal("H11_prompt_empty")
        asked = [Asked(each.messages, each.adapter, each.sampling, each.reply_start) for each in requests]
        self.streams.append(ScriptedStream(asked, self.words, self.error))
        return self.streams[-1]

    @property
    def asked(self) -> Sequence[Asked]:
        """The requests of the last question."""
        return self.streams[-1].asked


@dataclass(frozen=True)
class Form:
    """What the browser holds, in the order in which handlers take it."""

    current: Any = None
    columns: Any = ("",)
    prompt: Any = ""
    character: Any = ""
    search: Any = ""
    blind: Any = False
    marked: Any = False
    sampling: tuple[Any, ...] = tuple(FORM)

    @property
    def scene(self) -> list[Any]:
        columns = list(self.columns) if isinstance(self.columns, tuple) else self.columns
        return [self.current, columns, self.prompt, self.character, self.search, self.blind, self.marked]

    @property
    def values(self) -> list[Any]:
        return [*self.scene, *self.sampling]

    def but(self, **changes: Any) -> Form:
        return replace(self, **changes)
