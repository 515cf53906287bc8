"""The engine: one thread that answers chat requests, several at once, over the serving trees of one loaded model.

Owns the queue, what is answered together, and the thread. Requests that are submitted together (base and adapters
side by side) are one batch; groups that wait at the same time join it, up to `MAX_ROWS` rows. A group that comes while
others are answered is answered between their steps, so nobody waits for a long answer to end; only a beam search is one
step, from its beginning to its end or its cancelling. Applying and removing adapters happens on the same thread,
between two steps: an answer begun with an adapter ends with it.

    submit → prompt fitted (caller's thread) → queue → batch → decode step by step → Stream → caller

Randomness is each request's own (`core.models.token_choice`); the process-wide generator is not touched.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.chat.answer_text import AnswerText
from core.chat.context import UNLIMITED_CONTEXT_TOKENS, fit_prompt
from core.chat.rows import Group, Row
from core.chat.serving import Applied, Route, ServingTrees
from core.chat.streams import ChatRequest, Reply, Stream
from core.data.rendering import end_of_turn_ids
from core.errors import Place, refusal
from core.models.generation import Token, decode, generate_beams
from core.models.loader import LoadedModel
from core.models.memory import is_out_of_memory

__all__ = ["ChatRequest", "Engine", "Reply", "Stream"]

MAX_ROWS = 16
MAX_WAITING = 64
log = logging.getLogger("workbench.chat")
CONTEXT_IDS = 6  # of the prompt's end, enough to decode what follows a started reply


@dataclass(eq=False)
class _Batch:
    """Rows that one decode answers together, and the groups they came from."""

    rows: list[Row]
    groups: list[Group]
    steps: Iterator[list[Token]]


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
        self._context_tokens = model.max_length or UNLIMITED_CONTEXT_TOKENS
        self._inbox = _Inbox()
        self._batches: list[_Batch] = []
        self._starting: list[Group] = []  # taken from the queue, not yet in batches
        self._thread = threading.Thread(target=self._run, name="chat-engine", daemon=True)
        self._thread.start()

    def submit(self, requests: Sequence[ChatRequest]) -> Stream:
        """Ask for answers that are made together; one seed is drawn for all that bring none.

        Raises:
            WorkbenchError: H11 for a prompt that is empty or too long; M25 for an adapter that is not applied; A27
                where the queue is full, A10 where the engine is closed.
        """
        if not 1 <= len(requests) <= MAX_ROWS:
            raise refusal("H11_too_many_columns", count=len(requests), limit=MAX_ROWS)
        drawn = secrets.randbelow(2**32)
        rows = [self._row(request, drawn) for request in requests]
        group = Group(rows, Stream([row.reply() for row in rows]))
        for row in rows:
            row.stream = group.stream
        with self._inbox.changed:
            self._refuse_if_closing()
            if len(self._inbox.waiting) >= MAX_WAITING:
                raise refusal("A27_chat_is_busy", waiting=len(self._inbox.waiting), limit=MAX_WAITING)
            self._inbox.waiting.append(group)
            group.publish(place=len(self._inbox.waiting))
            self._inbox.changed.notify_all()
        return group.stream

    def apply(self, name: str, folder: Path) -> Applied:
        """Apply an adapter under a name, in place of one that has it.

        Raises:
            WorkbenchError: as `ServingTrees.apply`; A10 where the engine is closed.
        """
        applied: Applied = self._on_thread(lambda: self._trees.apply(name, folder))
        return applied

    def remove(self, name: str) -> None:
        """Remove an adapter: no new answer begins with it, running ones end with it.

        Raises:
            WorkbenchError: M25 where it is not applied; A10 where the engine is closed.
        """
        self._on_thread(lambda: self._trees.remove(name))

    @property
    def applied(self) -> tuple[Applied, ...]:
        """The applied adapters, in the order in which they were applied."""
        return self._trees.applied

    def close(self) -> None:
        """End all answers and the thread; nothing holds the model afterwards. Closing twice is fine."""
        with self._inbox.changed:
            self._inbox.closing = True
            self._inbox.changed.notify_all()
        self._thread.join()

    def _row(self, request: ChatRequest, drawn_seed: int) -> Row:
        sampling, tokenizer = request.sampling, self._model.tokenizer
        adapter = self._trees.find(request.adapter)
        context_tokens = self._context_tokens - (adapter.virtual_tokens if adapter else 0)
        prompt = fit_prompt(tokenizer, request.messages, request.reply_start, context_tokens, sampling.max_new_tokens)
        before = prompt.input_ids[-CONTEXT_IDS:] if request.reply_start else []
        return Row(
            request=request,
            prompt=prompt,
            adapter=adapter,
            text=AnswerText(tokenizer, sampling.stop, request.reply_start, before),
            seed=drawn_seed if sampling.seed is None else sampling.seed,
            context_tokens=context_tokens,
            submitted_at=time.monotonic(),
        )

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
                self._trees.drop_retired(self._adapters_in_use())
        except Exception as error:
            log.exception("the chat engine broke; the model has to be loaded again")
            bug = error
        finally:
            self._end(bug)

    def _wait_for_work(self) -> bool:
        """Sleep until there is something to do; false where the engine is to end."""
        inbox = self._inbox
        with inbox.changed:
            inbox.changed.wait_for(lambda: inbox.closing or inbox.commands or inbox.waiting or self._batches)
            return not inbox.closing

    def _run_commands(self) -> None:
        while self._inbox.commands:
            work, done = self._inbox.commands.popleft()
            try:
                done.set_result(work())
            except Exception as error:  # noqa: BLE001  # the caller gets it; the thread lives on
                done.set_exception(error)

    def _take_groups(self) -> None:
        """Take the groups from the queue that may begin now: in turn, while their rows fit; cancelled ones at once."""
        free = MAX_ROWS - sum(not row.is_over for batch in self._batches for row in batch.rows)
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
        """Begin to answer groups together: one batch for each tree they need, one for each answer that wants beams."""
        able = [group for group in groups if self._has_its_adapters(group)]
        rows = [row for group in able for row in group.rows]
        plain = [row for row in rows if row.request.sampling.num_beams == 1]
        for route in self._trees.routes([row.adapter for row in plain]):
            self._add_batch([plain[i] for i in route.rows], route, able)
        for row in rows:
            if row.request.sampling.num_beams > 1:
                self._add_batch([row], self._trees.routes([row.adapter])[0], able)

    def _has_its_adapters(self, group: Group) -> bool:
        """Whether all adapters of a group are still there; one may have gone while it waited to be queued."""
        gone = [row.adapter.name for row in group.rows if row.adapter and not self._trees.holds(row.adapter)]
        if gone:
            group.stream.fail(refusal("M25_not_applied", Place(excerpt=gone[0]), name=gone[0], known="–"))
        return not gone

    def _add_batch(self, rows: list[Row], route: Route, groups: list[Group]) -> None:
        requests = [row.generation_request(adapter) for row, adapter in zip(rows, route.adapters, strict=True)]
        eos_ids, pad_id = self._eos_ids, self._model.pad_id
        steps: Iterator[list[Token]]
        if rows[0].request.sampling.num_beams > 1:

            def is_over(number: int) -> bool:
                return rows[0].is_over

            steps = (generate_beams(route.tree, eos_ids, pad_id, each, is_over, route.prefix) for each in requests)
        else:
            steps = decode(route.tree, eos_ids, pad_id, requests, lambda i: rows[i].is_over, route.prefix)
        own = [group for group in groups if any(row in rows for row in group.rows)]
        self._batches.append(_Batch(rows, own, steps))

    def _step(self, batch: _Batch) -> None:
        """One token for every row of a batch; a batch whose rows are done is forgotten."""
        try:
            for token in next(batch.steps):
                batch.rows[token.row].take(token)
        except Exception as error:  # noqa: BLE001  # the readers get it; the engine serves the others
            self._fail(batch, error)
            return
        for group in batch.groups:
            group.publish()
        if all(row.finished for row in batch.rows):
            self._batches.remove(batch)

    def _fail(self, batch: _Batch, error: Exception) -> None:
        self._batches.remove(batch)
        shown: Exception = error
        if is_out_of_memory(error):
            tokens = sum(len(row.prompt.input_ids) + row.tokens for row in batch.rows)
            shown = refusal("A20_out_of_memory_in_chat", rows=len(batch.rows), tokens=tokens)
            shown.__cause__ = error
        for group in batch.groups:
            group.stream.cancel()  # its rows in other batches
            group.stream.fail(shown)

    def _adapters_in_use(self) -> set[str]:
        rows = [row for batch in self._batches for row in batch.rows]
        with self._inbox.changed:
            rows += [row for group in self._inbox.waiting for row in group.rows]
        return {row.adapter.id for row in rows if row.adapter}

    def _end(self, bug: Exception | None) -> None:
        """Tell everyone who waits that the model is gone, or of the bug that ended the engine."""
        gone = refusal("A10_model_unloaded", Place(file=self._model.info.name), name=self._model.info.name)
        with self._inbox.changed:
            self._inbox.closing = True
            answered = [group for batch in self._batches for group in batch.groups]
            groups = [*self._inbox.waiting, *self._starting, *answered]
            self._inbox.waiting.clear()
            self._batches.clear()
            self._starting = []
            for _, done in self._inbox.commands:
                done.set_exception(gone)
            self._inbox.commands.clear()
        for group in groups:
            group.stream.fail(bug or gone)
