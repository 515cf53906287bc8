"""The fold of events: statuses, series, speed, the time that is left."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import get_args

import pytest

from core.adapters.method_facts import Makes
from core.errors import Problem
from core.i18n import LANGUAGES, Language, text
from core.training.events import (
    EvalDone,
    Event,
    Failed,
    Finished,
    Logged,
    Phase,
    PhaseStarted,
    Planned,
    Resumed,
    RunQueued,
    RunStarted,
    SampleDone,
    Saved,
    StepDone,
    StopAsked,
    Stopped,
    StopReason,
    from_line,
    to_line,
)
from core.training.progress import LOG_LINES, Progress, Snapshot, Status, fold
from tests.core.training.test_plan import planned

QUEUED = RunQueued("id", "a", "tiny", "rows.jsonl", "dora", "me", "2026-01-01T00:00:00+00:00", "id-0")
START = RunStarted("id", "a", "tiny", "rows.jsonl", "me", "2026-01-01T00:00:00+00:00", 1, 1.0)
PLAN = Planned(planned(80, validation=8, epochs=4.0, micro_batch_size=8), 1.0)  # 10 steps an epoch, 40 in all
TRAINING = PhaseStarted("training", 2.0)
BEGUN: list[Event] = [START, PhaseStarted("reading", 0.1), PLAN, TRAINING]


def step(number: int, step_s: float = 1.0, tokens: int = 800, loss: float = 1.0) -> StepDone:
    return StepDone(number, number / 10, loss, 0.5, 1e-4, tokens, step_s, 2.0, 2.0 + number)


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], Status.QUEUED),
        ([QUEUED], Status.QUEUED),
        ([QUEUED, START], Status.PREPARING),
        ([QUEUED, Failed((), "", 0.0)], Status.FAILED),
        ([START], Status.PREPARING),
        ([START, PLAN, PhaseStarted("sampling", 1.0)], Status.PREPARING),
        (BEGUN, Status.RUNNING),
        ([*BEGUN, PhaseStarted("evaluating", 3.0)], Status.RUNNING),
        ([*BEGUN, StopAsked(True, 3.0)], Status.STOPPING),
        ([START, StopAsked(True, 0.2), TRAINING], Status.STOPPING),
        ([StopAsked(True, 0.0), START, TRAINING], Status.STOPPING),
        ([*BEGUN, StopAsked(True, 3.0), Stopped("asked", "a", 1, 4.0)], Status.STOPPED),
        ([*BEGUN, Finished("a", 40, 50.0)], Status.FINISHED),
        ([*BEGUN, Finished("a", 40, 50.0), StopAsked(True, 50.0)], Status.FINISHED),
        ([*BEGUN, Failed((), "id/log.txt", 5.0)], Status.FAILED),
    ],
)
def test_a_run_has_exactly_one_status(events: list[Event], status: Status) -> None:
    assert fold(events).status == status


def test_a_run_that_waits_is_known_by_what_it_will_be() -> None:
    waiting, begun = fold([QUEUED]), fold([QUEUED, START])
    assert (waiting.run_id, waiting.name, waiting.method, waiting.repeats) == ("id", "a", "dora", "id-0")
    assert (waiting.started_at, waiting.pid, waiting.elapsed_s) == (QUEUED.queued_at, None, 0.0)
    assert (begun.started_at, begun.pid) == (START.started_at, 1)


def test_the_snapshot_holds_what_happened() -> None:
    problem = Problem("H02_not_finite", values={"step": 3, "lines": "1", "good": 2})
    snapshot = fold(
        [
            *BEGUN,
            SampleDone(0, "q", "base", "stop", 2.0),
            step(1, loss=3.0),
            step(2, loss=2.0),
            EvalDone(2, 2.5, True, 0.1, 5.0),
            SampleDone(2, "q", "now", "stop", 5.0),
            Saved(2, "step-000002", 5.1),
            step(3, loss=1.0),
            EvalDone(3, 2.75, False, 0.1, 6.0),
            Stopped("not_finite", None, 0, 7.0, (problem,)),
        ]
    )
    assert snapshot.losses == ((1, 3.0), (2, 2.0), (3, 1.0))
    assert snapshot.evals == ((2, 2.5), (3, 2.75))
    assert (snapshot.best_step, snapshot.best_loss, snapshot.checkpoint_step) == (2, 2.5, 2)
    assert [sample.answer for sample in snapshot.samples] == ["base", "now"]
    assert (snapshot.stop_reason, snapshot.problems) == ("not_finite", (problem,))
    assert (snapshot.step, snapshot.steps, snapshot.elapsed_s, snapshot.phase) == (3, 40, 7.0, None)
    assert (snapshot.adapter, snapshot.kept_step, snapshot.eta_s) == (None, None, None)


def test_events_one_by_one_give_the_same_snapshot_as_all_at_once() -> None:
    events = [*BEGUN, step(1), EvalDone(1, 2.5, True, 0.1, 5.0), step(2), Finished("a", 2, 9.0, "loss_target")]
    assert fold(events).finish_reason == "loss_target"
    progress = Progress()
    for count, event in enumerate(events, start=1):
        progress.add(event)
        assert progress.snapshot() == fold(events[:count])
        assert progress.version == progress.snapshot().version == count


def test_the_log_tells_of_phases_evaluations_checkpoints_the_stop_and_the_end_with_their_time() -> None:
    events: list[Event] = [
        *BEGUN,
        step(1),
        EvalDone(1, 2.5, True, 0.1, 5.0),
        Logged("training.log.best_restored", {"step": 1, "loss": "2.5"}, 5.5),
        EvalDone(2, 2.75, False, 0.1, 6.0),
        Saved(2, "step-000002", 6.5),
        StopAsked(True, 7.0),
        Stopped("asked", "a", 2, 8.0),
    ]
    log = fold(events).log
    keys = ["evaluated_best", "best_restored", "evaluated", "saved", "stop_asked_keep", "stopped_kept_adapter"]
    written = [line for line in log if line.key.startswith("training.log.")]
    assert [line.key.rpartition(".")[2] for line in written] == keys
    assert [line.elapsed_s for line in written] == [5.0, 5.5, 6.0, 6.5, 7.0, 8.0]
    assert [line.key for line in log[:2]] == ["training.phase.reading", "training.phase.training"]


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    "event",
    [
        *(PhaseStarted(phase, 1.0) for phase in get_args(Phase)),
        EvalDone(1, 2.5, True, 0.1, 5.0),
        EvalDone(1, float("nan"), False, 0.1, 5.0),
        EvalDone(1, None, False, 0.1, 5.0),  # type: ignore[arg-type]  # as read back from a file
        Saved(2, "x", 1.0),
        StopAsked(True, 1.0),
        StopAsked(False, 1.0),
        *(Finished("a", 2, 1.0, makes=makes) for makes in get_args(Makes)),
        *(Stopped("asked", "a", 2, 1.0, makes=makes) for makes in get_args(Makes)),
        *(Stopped(reason, adapter, 2, 1.0) for reason in get_args(StopReason) for adapter in ("a", None)),
        Failed((), "x", 1.0),
        Resumed(0, "", 1, 1.0, 1.0),
        Resumed(3, "", 1, 1.0, 1.0),
    ],
)
def test_every_line_of_the_log_has_words_in_both_languages(event: Event, lang: Language) -> None:
    progress = Progress()
    progress.add(event)
    assert progress._log
    assert all(text(line.key, lang, **line.values) for line in progress._log)


BY_ACCURACY = Planned(planned(80, validation=8, best_by="accuracy"), 1.0)
BETTER_LOSS = EvalDone(1, 2.0, True, 0.1, 5.0, accuracy=0.5)
BETTER_ACCURACY = EvalDone(2, 2.5, True, 0.1, 6.0, accuracy=0.625)
RESTORED = Logged("training.log.best_restored", {"step": 2, "loss": "2.5"}, 7.0)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_where_accuracy_decides_no_loss_is_called_the_lowest(lang: Language) -> None:
    snapshot = fold([START, BY_ACCURACY, TRAINING, BETTER_LOSS, BETTER_ACCURACY, RESTORED])
    assert (snapshot.best_by, snapshot.best_step, snapshot.best_accuracy) == ("accuracy", 2, 0.625)
    said = [text(line.key, lang, **line.values) for line in snapshot.log if line.key.startswith("training.log.")]
    assert len(said) == 3 and "50.0" in said[0] and "62.5" in said[1]
    assert not any(word in " ".join(said) for word in ("lowest", "最低"))


def test_a_run_of_before_accuracies_were_measured_goes_by_its_loss() -> None:
    earlier = replace(BETTER_LOSS, accuracy=None)
    snapshot = fold([START, BY_ACCURACY, TRAINING, earlier, replace(BETTER_ACCURACY, best=False)])
    assert (snapshot.best_by, snapshot.best_step, snapshot.best_loss) == ("loss", 1, 2.0)
    assert [line.key for line in snapshot.log[-2:]] == ["training.log.evaluated_best", "training.log.evaluated"]


def test_a_run_that_makes_a_model_speaks_of_no_adapter() -> None:
    ends: list[Event] = [Finished("a", 2, 8.0, makes="model"), Stopped("asked", "a", 2, 8.0, makes="model")]
    for end in ends:
        said = " ".join(text(line.key, "en", **line.values) for line in fold([*BEGUN, StopAsked(True, 7.0), end]).log)
        assert "The model “a” holds the weights of step 2." in said and "adapter" not in said


def test_a_long_log_keeps_its_newest_lines() -> None:
    log = fold([*BEGUN, *(Saved(number, "x", float(number)) for number in range(1000))]).log
    assert (len(log), log[-1].values) == (LOG_LINES, {"step": 999})


def eta_of(events: list[Event]) -> float:
    eta_s = fold(events).eta_s
    assert eta_s is not None
    return eta_s


def test_the_time_left_is_steps_and_evaluations_that_are_still_to_come() -> None:
    steps = [step(number) for number in range(1, 11)]
    evaluated: list[Event] = [*BEGUN, *steps, EvalDone(10, 2.0, True, 3.0, 20.0)]
    to_come = [at for at in PLAN.plan.review_steps if at > 10]
    # A step of the plan has 800 tokens, as the steps done have: 30 of 1 s and the evaluations of 3 s.
    assert eta_of(evaluated) == pytest.approx(30 + 3 * len(to_come))


def test_the_time_left_counts_tokens_because_batches_differ_in_length() -> None:
    short = [step(number, step_s=0.25, tokens=200) for number in range(1, 11)]
    evaluated: list[Event] = [*BEGUN, *short, EvalDone(10, 2.0, True, 0.0, 20.0)]
    assert eta_of(evaluated) == pytest.approx(30)


def reviewed(at: int, began_s: float, eval_s: float, sampling_s: float) -> list[Event]:
    """A review: its evaluation, where it has one, and its sample answers."""
    answers_s = began_s + eval_s
    evaluated: list[Event] = [PhaseStarted("evaluating", began_s), EvalDone(at, 2.0, True, eval_s, answers_s)]
    ends_s = answers_s + sampling_s
    return [
        *(evaluated if eval_s else []),
        PhaseStarted("sampling", answers_s),
        *(SampleDone(at, question, "a", "stop", ends_s) for question in ("p", "q")),
        PhaseStarted("training", ends_s),
    ]


@pytest.mark.parametrize("eval_s", [0.0, 3.0])
def test_the_time_left_counts_the_sample_answers_also_where_nothing_is_validated(eval_s: float) -> None:
    plan = PLAN if eval_s else Planned(planned(80, epochs=4.0, micro_batch_size=8), 1.0)
    first, *to_come = plan.plan.review_steps
    assert first and to_come
    steps = [step(number) for number in range(1, first + 1)]
    events = [START, plan, TRAINING, *steps, *reviewed(first, 20.0, eval_s, 5.0)]
    left_s = plan.plan.steps - first
    assert eta_of(events) == pytest.approx(left_s + (eval_s + 5.0) * len(to_come))
    second = [*events, *(step(number) for number in range(first + 1, to_come[0] + 1))]
    second += reviewed(to_come[0], 60.0, eval_s, 7.0)
    left_s = plan.plan.steps - to_come[0]
    assert eta_of(second) == pytest.approx(left_s + (eval_s + 6.0) * len(to_come[1:]))
    replayed = [from_line(to_line(event)) for event in second]
    assert eta_of([event for event in replayed if event]) == eta_of(second)
    again = fold([*second, resumed_at(first)])
    assert again.eta_s == pytest.approx(plan.plan.steps - first + (eval_s + 5.0) * len(to_come)), "they come again"


def test_before_the_first_review_the_answers_are_thought_to_take_as_long_as_the_base_models() -> None:
    plan = Planned(planned(80, epochs=4.0, micro_batch_size=8), 1.0)
    base = [PhaseStarted("sampling", 1.5), SampleDone(0, "q", "a", "stop", 3.5)]
    events = [START, plan, *base, TRAINING, step(1)]
    assert eta_of(events) == pytest.approx(39 + 2.0 * len(plan.plan.review_steps))


def test_a_closed_lid_does_not_change_speed_or_time_left() -> None:
    usual: list[Event] = [*BEGUN, *(step(number) for number in range(1, 11))]
    paused: list[Event] = [*usual[:-3], step(8, step_s=3600.0), *usual[-2:]]
    assert eta_of(paused) == pytest.approx(eta_of(usual))
    assert fold(paused).tokens_per_s == pytest.approx(800)


def test_nothing_is_said_about_the_time_left_before_the_first_step_or_after_the_end() -> None:
    assert fold(BEGUN).eta_s is None
    assert fold([*BEGUN, step(1), Finished("a", 40, 5.0)]).eta_s is None


def test_five_thousand_events_fold_quickly() -> None:
    events: list[Event] = [*BEGUN, *(step(number) for number in range(1, 5001))]
    began = time.process_time()
    snapshot: Snapshot = fold(events)
    assert snapshot.step == 5000
    assert time.process_time() - began < 0.5


# ---- resumed ----


def resumed_at(number: int) -> Resumed:
    return Resumed(number, "2026-01-02T00:00:00+00:00", 77, 5.0, elapsed_s=100.0)


def test_a_resumed_run_forgets_what_it_does_again_and_goes_on_with_the_rest() -> None:
    samples = [SampleDone(at, "Q", "A", "end", 1.0) for at in (0, 2, 3)]
    evals = [EvalDone(at, 1.0 / at, True, 1.0, 1.0) for at in (2, 3)]
    before = [*BEGUN, step(1), step(2), Saved(2, "x", 1.0), step(3), *samples, *evals, StopAsked(True, 9.0)]
    stopped = [*before, Stopped("disk_full", "a", 3, 9.5, (Problem("A13_disk_full_run", values={"free_mb": 1}),))]
    snapshot = fold([*stopped, resumed_at(2)])
    assert (snapshot.status, snapshot.step, snapshot.checkpoint_step) == (Status.PREPARING, 2, 2)
    assert [at for at, _ in snapshot.losses] == [1, 2] and [at for at, _ in snapshot.evals] == [2]
    assert [sample.step for sample in snapshot.samples] == [0, 2] and snapshot.best_step == 2
    assert (snapshot.stop_reason, snapshot.keep_asked, snapshot.problems) == (None, None, ())
    assert (snapshot.pid, snapshot.process_started, snapshot.elapsed_s) == (77, 5.0, 100.0)
    assert (snapshot.adapter, snapshot.kept_step) == ("a", 3), "what was kept before is still there"
    again = fold([*stopped, resumed_at(2), PhaseStarted("training", 101.0), step(3)])
    assert (again.status, again.step, len(again.losses)) == (Status.RUNNING, 3, 3)


def test_an_adapter_kept_before_resuming_is_named_where_the_rest_keeps_none() -> None:
    events = [*BEGUN, step(1), Stopped("asked", "a", 1, 2.0), resumed_at(1), Failed((), "x", 101.0)]
    assert (fold(events).adapter, fold(events).kept_step) == ("a", 1)
    discarded = [*events[:-1], StopAsked(False, 101.0), Stopped("asked", None, 0, 102.0)]
    assert (fold(discarded).adapter, fold(discarded).checkpoint_step) == ("a", None)


def test_after_resuming_the_time_left_goes_by_the_new_speed_as_soon_as_there_is_one() -> None:
    before = [*BEGUN, *(step(number, step_s=1.0) for number in range(1, 11))]
    at_once = fold([*before, resumed_at(8)])
    assert at_once.eta_s is not None and at_once.eta_s == pytest.approx(fold(before[:-2]).eta_s)
    slower = fold([*before, resumed_at(8), step(9, step_s=4.0)])
    assert slower.tokens_per_s == pytest.approx(800 / 4.0)
