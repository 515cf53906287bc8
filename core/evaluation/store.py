"""The evaluations of a data directory on disk: which there are, what each asked for, how each ended.

Owns `training/evaluations/<id>/`:

    spec.yaml        what was asked for, written first
    answers.jsonl    every answer as it came, one a line
    ended.json       how an evaluation ended that has no result: cancelled, or what went wrong
    result.json      written last, as a whole: its existence means "finished"

One that has neither of the last two and is not in progress was interrupted. Ids are looked up among those there are.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.evaluation.results import EvaluationResult, result_from_json, result_to_json
from core.evaluation.spec import EvaluationSpec, read_spec, write_spec
from core.training.progress import Status
from core.workspace import Workspace, new_timed_folder, read_json, remove_folder, write_json

SPEC_FILE, ANSWERS_FILE, ENDED_FILE, RESULT_FILE = "spec.yaml", "answers.jsonl", "ended.json", "result.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationStatus:
    """How far an evaluation is, or how it ended.

    `phase` (`evaluation.phase.<phase>`) is "" where none is in progress; `done` of `total` are units of that phase (0
    of 0 where they cannot be counted), `eta_s` the seconds until its end at its speed so far. `problem` is why it
    failed.
    """

    status: Status
    phase: str = ""
    done: int = 0
    total: int = 0
    eta_s: float | None = None
    elapsed_s: float = 0.0
    problem: Problem | None = None

    @property
    def is_over(self) -> bool:
        return not self.status.active

    @property
    def share(self) -> float:
        """How much of the phase is done, 0 to 1."""
        return self.done / self.total if self.total else 0.0


class EvaluationStore:
    """The folders of evaluations."""

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.evaluations

    def ids(self) -> list[str]:
        """All ids, the newest first; without folders that hold no spec."""
        if not self._root.is_dir():
            return []
        return sorted((file.parent.name for file in self._root.glob(f"[!.]*/{SPEC_FILE}")), reverse=True)

    def folder(self, evaluation_id: str) -> Path:
        """The folder of an evaluation.

        Raises:
            WorkbenchError: A30 where there is no such evaluation.
        """
        if evaluation_id not in self.ids():
            raise refusal("A30_no_such_evaluation", id=excerpt(evaluation_id))
        return self._root / evaluation_id

    def new(self, spec: EvaluationSpec) -> str:
        """Make the folder of a new evaluation; its id.

        Raises:
            WorkbenchError: A14 where it cannot be written.
        """
        try:
            folder = new_timed_folder(self._root)
            write_spec(folder / SPEC_FILE, spec)
        except OSError as error:
            raise refusal("A14_cannot_write_evaluation", reason=error.strerror or "") from error
        return folder.name

    def spec(self, evaluation_id: str) -> EvaluationSpec:
        """What was asked for.

        Raises:
            WorkbenchError: A30 where there is no such evaluation; H01 where its file is damaged.
        """
        return read_spec(self.folder(evaluation_id) / SPEC_FILE)

    def answers_file(self, evaluation_id: str) -> Path:
        return self.folder(evaluation_id) / ANSWERS_FILE

    def status(self, evaluation_id: str) -> EvaluationStatus:
        """How an evaluation ended that is not in progress."""
        folder = self.folder(evaluation_id)
        if (folder / RESULT_FILE).exists():
            return EvaluationStatus(Status.FINISHED)
        try:
            ended = read_json(folder / ENDED_FILE)
            problem = ended["problem"]
            told = Problem(problem["key"], Place(**problem["place"]), problem["values"]) if problem else None
            return EvaluationStatus(Status(ended["status"]), elapsed_s=ended["elapsed_s"], problem=told)
        except (OSError, ValueError, KeyError, TypeError):
            return EvaluationStatus(Status.INTERRUPTED)

    def end(self, evaluation_id: str, status: EvaluationStatus) -> None:
        """Write down how an evaluation ended that has no result."""
        problem = dataclasses.asdict(status.problem) if status.problem else None
        value = {"status": status.status.value, "elapsed_s": status.elapsed_s, "problem": problem}
        write_json(self.folder(evaluation_id) / ENDED_FILE, value)

    def result(self, evaluation_id: str) -> EvaluationResult:
        """What came of a finished evaluation.

        Raises:
            WorkbenchError: A30 where there is no such evaluation, or it has no result.
        """
        try:
            return result_from_json(read_json(self.folder(evaluation_id) / RESULT_FILE))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise refusal("A30_no_result", id=excerpt(evaluation_id)) from error

    def keep(self, result: EvaluationResult) -> None:
        """Write the result, which finishes the evaluation."""
        write_json(self.folder(result.id) / RESULT_FILE, result_to_json(result))

    def delete(self, evaluation_id: str) -> None:
        remove_folder(self.folder(evaluation_id))


def first_problem(error: WorkbenchError) -> Problem:
    """The problem that stands for a refusal; values that JSON lacks become text."""
    problem = error.problems[0]
    plain = {name: each if isinstance(each, int | float | bool) else str(each) for name, each in problem.values.items()}
    return dataclasses.replace(problem, values=plain)
