"""Counting the tokens of a whole data set in the background: one count at a time, kept until something changes.

Owns the count in progress. What is counted is `statistics.py`'s affair.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from core.data.library import DataLibrary
from core.data.statistics import TokenTable, measure
from core.errors import WorkbenchError
from core.jobs import Cancelled, Job, Watch


@dataclass(frozen=True)
class TokenStatus:
    """How far the count is, as a share of the rows; in the end there is a table, or the error that ended it."""

    running: bool
    share: float
    table: TokenTable | None = None
    error: WorkbenchError | None = None


class TokenTables:
    """The tokens of one data set under one tokenizer. May be used from any thread."""

    def __init__(self, library: DataLibrary) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._counted: object = None
        self._job: Job[float, TokenTable] | None = None

    def status(self, name: str, tokenizer: Any, model: str, wait_s: float = 0.0) -> TokenStatus:
        """Begin the count, or join it; waits at most so long for its end. `model` tells tokenizers apart.

        Raises:
            WorkbenchError: A03, D45 where there is no such data set.
        """
        options = self._library.recipe(name)
        wanted = (self._library.state(name, options), options, model)

        def count(watch: Watch[float]) -> TokenTable:
            examples = self._library.report(name, options).examples
            return measure(tokenizer, examples, options, lambda rows: watch(rows / max(1, len(examples))))

        with self._lock:
            if self._job is None or self._counted != wanted:
                if self._job:
                    self._job.cancel()
                self._counted, self._job = wanted, Job(f"tokens of {name}", count)
            job = self._job
        job.wait(wait_s)
        if job.running:
            return TokenStatus(True, job.progress or 0.0)
        try:
            return TokenStatus(False, 1.0, job.result())
        except Cancelled:
            return TokenStatus(True, job.progress or 0.0)  # a newer one has taken its place; ask again
        except WorkbenchError as error:
            with self._lock:
                if self._job is job:  # whoever asks again means it: a check that was cancelled may have begun anew
                    self._job = None
            return TokenStatus(False, 1.0, error=error)
