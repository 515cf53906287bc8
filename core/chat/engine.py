"""The engine: one thread that answers chat requests, several at once, over the serving trees of one loaded model.

Owns the queue, what is answered together, and the thread. Whoever asks joins, at the next step, those who are answered
on the same tree, up to `MAX_ROWS` rows: the base and all adapters of LoRA type are one batch, whoever asked when. An
adapter with a tree of its own is answered between the steps of the others, and so are beam searches, one after the
other. Applying and removing adapters happens on the same thread, between two steps:
an answer begun with an adapter ends with it. What the model remembers of finished answers is kept (`prompt_cache`).

    submit → prompt fitted (caller's thread) → queue → batch → decode step by step → Stream → caller

Randomness is each request's own (`core.models.token_choice`); the process-wide generator is not touched.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.chat.intake import Intake
from core.chat.prompt_cache import PromptCache
from core.chat.rows import Group, Row
from core.chat.serving import Applied, Route, ServingTrees
from core.chat.streams import ChatRequest, Reply, Stream
from core.data.rendering import end_of_turn_ids
from core.errors import Place, refusal
from core.jobs import let_go
from core.models.beams import BeamSearch
from core.models.generation import Decoding
from core.models.loader import LoadedModel
from core.models.memory import is_out_of_memory, release

__all__ = ["ChatRequest", "Engine", "Reply", "Stream"]

MAX_ROWS = 16
MAX_WAITING = 64
log = logging.getLogger("workbench.chat")


@dataclass(eq=False)
class _Batch:
    """Rows that are answered together, by their number in `decoding`; `own` as in `serving.Route`."""

    own: str | None
    decoding: Decoding
    rows: dict[int, Row] = field(default_factory=dict)


@dataclass
class _Inbox:
    """What callers hand to the engine's thread; guarded by `changed`."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    waiting: deque[Group] = field(default_factory=deque)
    commands: deque[tuple[Callable[[], Any], Future[Any]]] = field(default_factory=deque)
    closing: bool = False


class Engine:
    """Answers with one loaded model until it is closed."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._trees = ServingTrees(model)
        self._eos_ids = model.eos_ids | set(end_of_turn_ids(model.tokenizer))
        self._intake = Intake.of(model)
        self._kept = PromptCache.on(str(model.model.device))
        self._inbox = _Inbox()
        self._batches: list[_Batch] = []
        self._searches: deque[Row] = deque()  # answers that want beams; the first one is being searched
        self._search: BeamSearch | None = None
        self._starting: list[Group] = []  # taken from the queue, not yet in batches
        self._thread = threading.Thread(target=self._run, name="chat-engine", daemon=True)
        self._thread.start()

    def submit(self, requests: Sequence[ChatRequest]) -> Stream:
        """Ask for answers that are made together; one seed is drawn for all that bring none.

        Raises:
            WorkbenchError: H11 for a prompt that is empty or too long, or probabilities that cannot be had; M25 for an
                adapter that is not applied; A27 where the queue is full, A10 where the engine is closed.
        """
        if not 1 <= len(requests) <= MAX_ROWS:
            raise refusal("H11_too_many_columns", count=len(requests), limit=MAX_ROWS)
        drawn = secrets.randbelow(2**32)
        rows = [self._intake.row(request, self._trees.find(request.adapter), drawn) for request in requests]
        group = Group(rows, Stream([row.reply() for row in rows]))
        for row in rows:
            row.group = group
        with self._inbox.changed:
            self._refuse_if_closing()
            if len(self._inbox.waiting) >= MAX_WAITING:
                raise refusal("A27_chat_is_busy", waiting=len(self._inbox.waiting), limit=MAX_WAITING)
            self._inbox.waiting.append(group)
            group.publish(place=len(self._inbox.waiting))
            self._inbox.changed.notify_all()
        return group.stream

    def apply(self, name: str, folder: Path, strength: float = 1.0) -> Applied:
        """Apply an adapter under a name and in a strength, in place of one that has the name.

        Raises:
            WorkbenchError: as `ServingTrees.apply`; A10 where the engine is closed.
        """
        applied: Applied = self._on_thread(lambda: self._trees.apply(name, folder, strength))
        return applied

    def remove(self, name: str) -> None:
        """Remove an adapter: no new answer begins with it, running ones end with it.

        Raises:
            WorkbenchError: M25 where it is not applied; A10 where the engine is closed.
        """
        self._on_thread(lambda: self._trees.remove(name))

    @property
    def applied(self) -> tuple[Applied, ...]:
        """The applied adapters, in the order in which they were first applied."""
        return self._trees.applied

    def close(self) -> None:
        """End all answers and the thread; nothing holds the model afterwards. Closing twice is fine."""
        with self._inbox.changed:
            self._inbox.closing = True
            self._inbox.changed.notify_all()
        self._thread.join()

    def _on_thread(self, work: Callable[[], Any]) -> Any:
        done: Future[Any] = Future()
        with self._inbox.changed:
            self._refuse_if_closing()
            self._inbox.commands.append((work, done))
            self._inbox.changed.notify_all()
        return done.result()

    def _refuse_if_closing(self) -> None:
        if self._inbox.closing:
            raise refusal("A10_model_unloaded", Place(file=self._model.info.name), name=self._model.info.name)

    # From here on: the engine's thread.

    def _run(self) -> None:
        bug: Exception | None = None
        try:
            while self._wait_for_work():
                self._run_commands()
                self._take_groups()
                self._start(self._starting)
                self._starting = []
                for batch in list(self._batches):
                    self._step(batch)
                if self._searches:
                    self._step_search(self._searches[0])
                self._kept.forget(self._trees.drop_retired(self._adapters_in_use()))
        except Exception as error:
            log.exception("the chat engine broke; the model has to be loaded again")
            bug = error
        finally:
            self._end(bug)

    def _wait_for_work(self) -> bool:
        """Sleep until there is something to do; false where the engine is to end."""
        inbox = self._inbox
        with inbox.changed:
            inbox.changed.wait_for(lambda: inbox.closing or inbox.commands or inbox.waiting or self._is_busy())
            return not inbox.closing

    def _is_busy(self) -> bool:
        return bool(self._batches or self._searches)

    def _run_commands(self) -> None:
        while self._inbox.commands:
            work, done = self._inbox.commands.popleft()
            try:
                done.set_result(work())
            except Exception as error:  # noqa: BLE001  # the caller gets it; the thread lives on
                done.set_exception(error)

    def _take_groups(self) -> None:
        """Take the groups from the queue that may begin now: in turn, while their rows fit; cancelled ones at once."""
        free = MAX_ROWS - sum(not row.is_over for row in self._open_rows())
        taken: list[Group] = []
        staying: deque[Group] = deque()
        with self._inbox.changed:
            for group in self._inbox.waiting:
                if group.stream.is_cancelled or (not staying and len(group.rows) <= free):
                    free -= 0 if group.stream.is_cancelled else len(group.rows)
                    taken.append(group)
                else:
                    staying.append(group)
            self._inbox.waiting, self._starting = staying, taken
        if taken:
            for place, group in enumerate(staying, start=1):
                group.publish(place)

    def _start(self, groups: list[Group]) -> None:
        """Begin to answer groups: their rows join those of the tree that they need; beams are searched one by one."""
        rows = [row for group in groups if self._has_its_adapters(group) for row in group.rows]
        plain = [row for row in rows if row.request.sampling.num_beams == 1]
        for route in self._trees.routes([row.adapter for row in plain]):
            self._join([plain[i] for i in route.rows], route)
        self._searches.extend(row for row in rows if row.request.sampling.num_beams > 1)

    def _has_its_adapters(self, group: Group) -> bool:
        """Whether all adapters of a group are still there; one may have gone while it waited to be queued."""
        gone = [row.adapter.name for row in group.rows if row.adapter and not self._trees.holds(row.adapter)]
        if gone:
            group.stream.fail(refusal("M25_not_applied", Place(excerpt=gone[0]), name=gone[0], known="–"))
        return not gone

    def _join(self, rows: list[Row], route: Route) -> None:
        """Let rows join the batch of their route, or begin one."""
        batch = next((each for each in self._batches if each.own == route.own), None)
        if batch is None:
            batch = _Batch(route.own, Decoding(self._eos_ids, self._model.pad_id, route.prefix, self._kept))
            self._batches.append(batch)
        requests = [row.generation_request(adapter) for row, adapter in zip(rows, route.adapters, strict=True)]
        tree = self._trees.tree(route.own, route.adapters)
        try:
            numbers = batch.decoding.add(tree, requests)
        except Exception as error:  # noqa: BLE001  # the readers get it; the engine serves the others
            self._fail(rows, error)
            return
        for number, row in zip(numbers, rows, strict=True):
            batch.rows[number] = row
            row.remembered_tokens = batch.decoding.remembered.get(number, 0)

    def _step(self, batch: _Batch) -> None:
        """At most one token for every row of a batch; a batch whose rows are done is forgotten."""
        adapters = {row.adapter.id for row in batch.rows.values() if row.adapter and row.adapter.shares_batch}
        tokens = batch.decoding.step(self._trees.tree(batch.own, adapters), lambda number: batch.rows[number].is_over)
        stepped = [batch.rows[token.row] for token in tokens]
        for token, row in zip(tokens, stepped, strict=True):
            row.take(token)
            if token.finished:
                del batch.rows[token.row]
        for failure in batch.decoding.failures:
            self._fail([batch.rows.pop(number) for number in failure.rows], failure.error)
        _publish(stepped)
        if not batch.rows:
            self._batches.remove(batch)

    def _step_search(self, row: Row) -> None:
        """One token further in the beam search for a row; at its end the row has its answer."""
        (route,) = self._trees.routes([row.adapter])
        if self._search is None:
            request = row.generation_request(route.adapters[0])
            self._search = BeamSearch(self._eos_ids, self._model.pad_id, request, route.prefix)
        try:
            tokens = self._search.step(self._trees.tree(route.own, route.adapters), row.is_over)
        except Exception as error:  # noqa: BLE001  # the reader gets it; the engine serves the others
            self._end_search()
            self._fail([row], error)
            return
        for token in tokens:
            row.take(token)
        if tokens:
            self._end_search()
            _publish([row])

    def _end_search(self) -> None:
        self._searches.popleft()
        self._search = None

    def _fail(self, rows: list[Row], error: Exception) -> None:
        """Tell the readers of these rows; memory that ran out is given back, that of remembered answers first."""
        shown = error
        if is_out_of_memory(error):
            tokens = sum(len(row.prompt.input_ids) + row.tokens for row in rows)
            shown = refusal("A20_out_of_memory_in_chat", rows=len(rows), tokens=tokens)
            shown.__cause__ = error
            let_go(error)
            self._kept.clear()
            release()
        for group in _groups(rows):
            group.stream.cancel()  # its rows in other batches
            group.stream.fail(shown)

    def _open_rows(self) -> list[Row]:
        return [*(row for batch in self._batches for row in batch.rows.values()), *self._searches]

    def _adapters_in_use(self) -> set[str]:
        rows = self._open_rows()
        with self._inbox.changed:
            rows += [row for group in self._inbox.waiting for row in group.rows]
        return {row.adapter.id for row in rows if row.adapter}

    def _end(self, bug: Exception | None) -> None:
        """Tell everyone who waits that the model is gone, or of the bug that ended the engine."""
        gone = refusal("A10_model_unloaded", Place(file=self._model.info.name), name=self._model.info.name)
        if self._search is not None:
            self._search.close()
        with self._inbox.changed:
            self._inbox.closing = True
            groups = [*self._inbox.waiting, *self._starting, *_groups(self._open_rows())]
            self._inbox.waiting.clear()
            self._batches.clear()
            self._searches.clear()
            self._kept.clear()
            self._starting = []
            for _, done in self._inbox.commands:
                done.set_exception(gone)
            self._inbox.commands.clear()
        for group in groups:
            group.stream.fail(bug or gone)


def _groups(rows: Sequence[Row]) -> list[Group]:
    return list(dict.fromkeys(row.group for row in rows if row.group))


def _publish(rows: Sequence[Row]) -> None:
    for group in _groups(rows):
        group.publish()
