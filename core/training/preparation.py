"""From a spec to everything a run needs before weights matter: rows read, checked, rendered, split, planned.

Owns that order and the checks that compare a spec with what is really there: the data file's hash, the loaded base, the
adapter's name and modules. The page's plan and the run come through here, so that what is shown is what is done. It
reads the data file once; from then on the run works on that snapshot.

    read_data → check_spec → render_rows → make_plan → Preparation
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.adapters.base_shapes import shapes_of
from core.adapters.method_facts import METHODS
from core.adapters.methods import PROMPT_METHODS, method_problems
from core.adapters.validity import judge
from core.data.conversation import Example
from core.data.datasets import DatasetInfo, find_dataset, read_card
from core.data.library import DataLibrary
from core.data.options import RENDERING, DataOptions
from core.data.rendering import Rendered, RenderedSet, fitted, render_all
from core.data.report import DatasetReport, Resolve, report
from core.data.splitting import default_validation_rows, split
from core.errors import Place, Problem, WorkbenchError, refusal
from core.models.loader import LoadedModel
from core.settings import LoadSettings
from core.training.checkpoints import library_versions
from core.training.decisions import Decision, RowCounts
from core.training.lineage import starting_folder, starting_problems
from core.training.optimizers import optimizer_problems, schedule_free_problems
from core.training.plan import Plan, plan, row_limit, validation_share
from core.training.result_name import check_result_name
from core.training.samples import SamplePrompt, typed_prompts, usual_prompts
from core.training.sizing import disk_problems, machine_of, shape_of
from core.training.spec import OtherData, RunSpec
from core.training.token_cache import WORTH_KEEPING, TokenCache, cache_key
from core.training.trackers import tracker_problems
from core.workspace import Workspace, name_problem

PLANNED_WHOLE = 10_000_000  # characters of a data set up to which a plan on the page renders every row
PLANNED_ROWS = 2000  # of a bigger one
COMPARED_EXAMPLES = 50  # rendered a second time where prompts are trained too, to say what share they are


@dataclass(frozen=True)
class RenderedRows:
    """Examples set apart for training and for validation, and their rows as ids, whole.

    `stands_for` is how many rows each of them stands for: 1, or more where only a sample was rendered. `prompt_share`
    of the trained tokens are no answer.
    """

    train_examples: Sequence[Example]
    validation_examples: Sequence[Example]
    train: RenderedSet
    validation: RenderedSet
    share: Decision
    stands_for: float = 1.0
    prompt_share: float = 0.0


@dataclass(frozen=True)
class Preparation:
    """A run ready to train. `spec` is resolved; `system_prompt` is the one all its rows share, or None."""

    spec: RunSpec
    plan: Plan
    train: list[Rendered]
    validation: list[Rendered]
    samples: tuple[SamplePrompt, ...]
    system_prompt: str | None


class Planner:
    """Shows plans while a form is filled in: what the last plan read and rendered is not read and rendered again."""

    def __init__(self, workspace: Workspace, library: DataLibrary) -> None:
        self._workspace = workspace
        self._library = library
        self._lock = threading.Lock()
        self._last: tuple[object, DatasetReport, RenderedRows] | None = None

    def plan(self, spec: RunSpec, loaded: LoadedModel) -> Plan:
        """The plan of a run that would start now; see `prepare`."""
        return self.prepare(spec, loaded).plan

    def prepare(self, spec: RunSpec, loaded: LoadedModel) -> Preparation:
        """A run that would start now; of a big data set, worked out from a sample of its rows.

        Raises:
            WorkbenchError: as the steps below.
        """
        with self._lock:
            data = self._library.report(spec.dataset, spec.data)
            if spec.dataset_sha256 not in (None, data.info.sha256):
                raise _data_changed(data.info, str(spec.dataset_sha256), data.info.sha256)
            check_spec(spec, self._workspace, loaded, data)
            training = spec.training
            rendering = [getattr(spec.data, name) for name in RENDERING]
            key = (training.validation_share, training.validation_rows, training.seed, loaded.fingerprint, rendering)
            if self._last is None or self._last[0] != key or self._last[1] is not data:
                at_most = PLANNED_ROWS if data.characters > PLANNED_WHOLE else None
                cache = TokenCache(self._workspace.token_cache)
                self._last = (key, data, render_rows(spec, data, loaded, cache, at_most))
            rows = self._last[2]
        prepared = make_plan(spec, data, rows, loaded)
        made = prepared.plan
        too_full = disk_problems(spec, self._workspace, loaded, "warning", made.review_steps)
        return replace(prepared, plan=replace(made, warnings=(*made.warnings, *too_full)))


def read_data(spec: RunSpec, workspace: Workspace) -> DatasetReport:
    """The data set's rows, as one snapshot of its file, and those of the other sets that its recipe uses.

    Raises:
        WorkbenchError: A03 where there is no such data set; D45 where its content is not the one the spec names, or
            changed while it was read; the file's own problems where nothing can be read.
    """

    def other(name: str) -> DatasetReport:
        pinned = spec.other_data.get(name)
        options = pinned.data if pinned else _plain_recipe(workspace, name)
        return _read_whole(workspace, name, options, pinned.sha256 if pinned else None)

    return _read_whole(workspace, spec.dataset, spec.data, spec.dataset_sha256, other)


def _plain_recipe(workspace: Workspace, name: str) -> DataOptions:
    """The recipe saved with another data set, as far as it concerns that alone."""
    find_dataset(workspace, name)
    return read_card(workspace, name).options.alone()


def _read_whole(
    workspace: Workspace, name: str, options: DataOptions, sha256: str | None, resolve: Resolve | None = None
) -> DatasetReport:
    info = find_dataset(workspace, name)
    before = info.sha256
    expected = sha256 or before
    data = report(info, options, resolve)
    found = find_dataset(workspace, name).sha256
    if not expected == before == found:
        raise _data_changed(info, expected, found)
    return data


def check_spec(
    spec: RunSpec, workspace: Workspace, loaded: LoadedModel, data: DatasetReport, resumes: bool = False
) -> None:
    """Compare the spec with the data, the base and the adapters there are. Warnings are for the caller to show.

    The name of a run that `resumes` may be taken: perhaps by itself, and it is settled when the adapter is kept.

    Raises:
        WorkbenchError: every problem found: the data's, A07, M14, M19, M20, M25 or D42, H05, H06, H09, H12, H13, H14.
    """
    problems = [*data.errors, *(each for each in base_problems(spec, loaded) if each.severity == "error")]
    against = name_problem(spec.name) if resumes else check_result_name(workspace, spec.method.method, spec.name)
    problems += [against] if against else []
    problems += [] if resumes else starting_problems(spec, workspace) or _misfits_of_start(spec, workspace, loaded)
    problems += [Problem("M14_training_refused", each.place, each.values) for each in _damage(loaded.problems)]
    problems += method_problems(spec.method, loaded.model, loaded.precision.precision)
    problems += [] if problems else disk_problems(spec, workspace, loaded, "error")
    problems += optimizer_problems(spec.training.optimizer, loaded.precision.device)
    problems += schedule_free_problems(spec.training, spec.method.method)
    problems += [*_packing_problems(spec, loaded), *tracker_problems(spec.training.trackers)]
    if spec.training.activation_checkpointing and not METHODS[spec.method.method].can_checkpoint:
        problems.append(Problem("H12_checkpointing_with_prefix", Place(field="activation_checkpointing")))
    if problems:
        raise WorkbenchError(problems, len(problems) - len(data.errors) + data.error_count)


def _misfits_of_start(spec: RunSpec, workspace: Workspace, loaded: LoadedModel) -> list[Problem]:
    """What the loaded base lacks, or has in another shape, for the adapter that is trained further."""
    folder = starting_folder(spec, workspace)
    if folder is None:
        return []
    return [*judge(folder, shapes_of(loaded.model), loaded.fingerprint, loaded.info.name).errors]


def _packing_problems(spec: RunSpec, loaded: LoadedModel) -> list[Problem]:
    """Why rows cannot be packed: virtual tokens before each row, or a model that would let rows see each other."""
    if not spec.training.packing:
        return []
    if spec.method.method in PROMPT_METHODS:
        key = "H12_packing_with_virtual_tokens"
    elif not loaded.keeps_rows_apart:
        key = "H12_packing_not_on_model"
    else:
        return []
    values = {"method": spec.method.method, "name": loaded.info.name, "suggested": False}
    return [Problem(key, Place(field="packing"), values)]


def base_problems(spec: RunSpec, loaded: LoadedModel) -> list[Problem]:
    """What speaks against training on the loaded base: another name (A07), another structure (M19).

    Other weights of the same structure are a warning.
    """
    if spec.base != loaded.info.name:
        return [
            Problem("A07_other_base_loaded", Place(field="base"), {"wanted": spec.base, "loaded": loaded.info.name})
        ]
    expected, found = spec.base_fingerprint, loaded.fingerprint
    if expected is None or expected == found:
        return []
    values = {"expected": expected, "found": found}
    if expected.rpartition("-")[0] != found.rpartition("-")[0]:
        return [Problem("M19_other_structure_in_spec", Place(field="base_fingerprint"), values)]
    return [Problem("M19_other_weights_in_spec", Place(field="base_fingerprint"), values, "warning")]


def set_apart(spec: RunSpec, data: DatasetReport) -> tuple[Sequence[Example], Sequence[Example], Decision]:
    """The examples that a run trains on, those that it holds out, and what share of all the latter are to be."""
    count = len(data.examples)
    share = validation_share(spec, count, default_validation_rows(count))
    train, validation = split(data.examples, data.groups, share.value, spec.training.seed)
    return train, data.validation if spec.data.validation_dataset else validation, share


def render_rows(
    spec: RunSpec, data: DatasetReport, loaded: LoadedModel, cache: TokenCache, at_most: int | None = None
) -> RenderedRows:
    """Set validation examples apart and turn every example into ids and labels; with `at_most`, only so many.

    What the `cache` holds of a large data set is not rendered again.

    Raises:
        WorkbenchError: the rows the template refuses, unless bad rows are to be skipped; D27 where there are none.
    """
    train, validation, share = set_apart(spec, data)
    stands_for = 1.0
    if at_most is not None and len(data.examples) > at_most:
        stands_for = len(data.examples) / at_most
        train, validation = _evenly(train, stands_for), _evenly(validation, stands_for)

    def render(examples: Sequence[Example]) -> RenderedSet:
        if data.characters < WORTH_KEEPING:
            return render_all(loaded.tokenizer, examples, options=spec.data)
        key = cache_key(loaded.tokenizer, examples, spec.data)
        return cache.rendered(key, lambda: render_all(loaded.tokenizer, examples, options=spec.data))

    prompts = _prompt_share(spec.data, train, loaded) if spec.data.train_prompt else 0.0
    rows = RenderedRows(train, validation, render(train), render(validation), share, stands_for, prompts)
    errors = (*rows.train.errors, *rows.validation.errors)
    if errors and not spec.data.skip_bad_rows:
        raise WorkbenchError(errors)
    return rows


def _prompt_share(options: DataOptions, examples: Sequence[Example], loaded: LoadedModel) -> float:
    """What share of the trained tokens is no answer, where prompts are trained too; from a sample."""
    some = _evenly(examples, max(1.0, len(examples) / COMPARED_EXAMPLES))
    answers_alone = options.model_copy(update={"train_prompt": False})
    both, answers = (
        sum(render_all(loaded.tokenizer, some, options=each).trained_tokens) for each in (options, answers_alone)
    )
    return 1 - answers / both if both else 0.0


def _evenly(examples: Sequence[Example], step: float) -> list[Example]:
    """Every so-many-th of them."""
    return [examples[int(at)] for at in np.arange(0, len(examples), step)]


def make_plan(spec: RunSpec, data: DatasetReport, rows: RenderedRows, loaded: LoadedModel) -> Preparation:
    """Leave out or cut long rows, and plan.

    Raises:
        WorkbenchError: D30, H04, H07.
    """
    machine, shape = machine_of(loaded), shape_of(spec, loaded)
    lengths = [*rows.train.lengths, *rows.validation.lengths]
    limit = row_limit(spec, lengths, shape, machine, _are_documents(rows.train_examples))
    try:
        train = _fitted(rows.train, limit, spec)
    except WorkbenchError as error:
        raise _nothing_left(error, spec, (data, rows, loaded)) from error
    validation = _fitted(rows.validation, limit, spec, may_be_empty=True)
    before, after = (rows.train, rows.validation), (train, validation)
    left_out = sum(map(_conversations, before)) - sum(map(_conversations, after))
    counts = RowCounts(
        max_length=limit,
        validation_share=rows.share,
        train_lengths=_as_many(train.lengths, rows.stands_for),
        train_trained=_as_many(train.trained_tokens, rows.stands_for),
        validation_lengths=_as_many(validation.lengths, rows.stands_for),
        left_out=round(left_out * rows.stands_for),
        cut=round((len(train.cut) + len(validation.cut)) * rows.stands_for),
        rendered=len(train.rows) + len(validation.rows) if rows.stands_for > 1 else None,
        longest=max(lengths, default=0),
        trained_lost=_trained_lost(rows.train, train),
        prompt_share=rows.prompt_share,
    )
    chosen = plan(spec, counts, shape, machine)
    chosen = replace(chosen, warnings=(*chosen.warnings, *_said_once(after)))
    resolved = _resolved(chosen.resolve(spec), data, loaded)
    prompts = typed_prompts(loaded.tokenizer, spec.sample_prompts, data.system_prompt)
    prompts = prompts or usual_prompts(loaded.tokenizer, [*rows.validation_examples, *rows.train_examples])
    return Preparation(resolved, chosen, train.rows, validation.rows, prompts, data.system_prompt)


def _resolved(spec: RunSpec, data: DatasetReport, loaded: LoadedModel) -> RunSpec:
    """The spec with what was found: data, base, tokenizer, device and libraries."""
    others = {each.info.name: OtherData(sha256=each.info.sha256, data=each.options) for each in data.others}
    found = {
        "base_fingerprint": loaded.fingerprint,
        "tokenizer_sha256": loaded.tokenizer_sha256,
        "device": loaded.precision.device,
        "dataset_sha256": data.info.sha256,
        "other_data": others,
        "data": spec.data.model_copy(update={"format": data.format}),
        "load": LoadSettings(precision=loaded.precision.precision),
        "versions": library_versions(),
    }
    return spec.model_copy(update=found)


def _nothing_left(
    error: WorkbenchError, spec: RunSpec, found: tuple[DatasetReport, RenderedRows, LoadedModel]
) -> WorkbenchError:
    """That no row is short enough, with the length that would do and what else would be warned of then."""
    if spec.training.max_length is None:
        return error
    training = spec.training.model_copy(update={"max_length": None})
    usual = make_plan(spec.model_copy(update={"training": training}), *found).plan
    place = Place(field="max_length")
    shorts = [
        replace(each, place=place, values={**each.values, "suggested": usual.max_length}) for each in error.problems
    ]
    return WorkbenchError([*shorts, *usual.warnings])


def _trained_lost(whole: RenderedSet, fit: RenderedSet) -> float:
    """The share of the conversations' trained tokens that is lost with the rows that were left out or cut."""
    before, after = (sum(each.trained_tokens[: _conversations(each)]) for each in (whole, fit))
    return 1 - after / before if before else 0.0


def _as_many(numbers: Sequence[int], stands_for: float) -> tuple[int, ...]:
    """The numbers, each standing for so many: repeated until there are as many as there would be."""
    return tuple(numbers) if stands_for == 1 else tuple(np.resize(numbers, round(len(numbers) * stands_for)).tolist())


def _data_changed(info: DatasetInfo, expected: str, found: str) -> WorkbenchError:
    return refusal("D45_data_changed", Place(file=info.name), expected=expected[:12], found=found[:12])


def _fitted(rendered: RenderedSet, limit: Decision, spec: RunSpec, *, may_be_empty: bool = False) -> RenderedSet:
    """The rows within the limit; the set itself where all are. Documents are packed into blocks of it."""
    if max(rendered.lengths, default=0) <= limit.value and not rendered.documents:
        return rendered
    try:
        return fitted(rendered, int(limit.value), spec.training.long_rows, spec.data.text_overlap)
    except WorkbenchError:
        if may_be_empty:
            return RenderedSet([])
        raise


def _conversations(rendered: RenderedSet) -> int:
    return len(rendered.rows) - rendered.documents


def _said_once(rendered: Iterable[RenderedSet]) -> list[Problem]:
    """What rendering has to say, each kind once; rows that a template refuses are told where they are to be skipped."""
    kinds: dict[str, Problem] = {}
    for each in (problem for found in rendered for problem in found.problems):
        kinds.setdefault(each.key, replace(each, severity="warning"))
    return list(kinds.values())


def _are_documents(examples: Sequence[Example]) -> bool:
    """Whether a data set is one for continued pre-training; its own rows come first."""
    return len(examples) > 0 and examples[0].kind == "text"


def _damage(problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.code == "M14"]
