"""The module trees that chat runs on: twins of the pristine base model with the applied adapters in them.

Owns which tree answers with which adapter. Adapters that are plain low-rank products share one tree, so that base and
any of them can answer in one batch; one that peft cannot mix (DoRA, and types with other layers or with weights of the
model) gets a tree of its own, and virtual tokens stand before the rows of the plain one. Every tree is a twin: it costs
no weight memory, and the pristine tree is never wrapped. What putting an adapter in means is `injection`'s.

One thread, the engine's, uses it; `find` and `applied` may be called from any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.adapters.base_shapes import shapes_of
from core.adapters.card import AdapterCard
from core.adapters.layouts import ReplacedWeights, VirtualTokens
from core.adapters.strength import in_strength
from core.adapters.tensor_values import Tensors, load_tensors
from core.adapters.validity import AdapterFiles, judge
from core.chat import injection
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.models.loader import LoadedModel
from core.models.prefix import Prefix
from core.models.tree import Tree
from core.models.twin import make_twin


@dataclass(frozen=True)
class Applied:
    """An adapter that answers. `id` is its name inside peft; `shares_batch` is false for one that answers by itself.

    `virtual_tokens` are those that it puts before every prompt, which take their share of the model's context;
    `strength` is what its change of the base is multiplied by.
    """

    name: str
    id: str
    folder: Path
    card: AdapterCard | None
    method: str
    shares_batch: bool
    virtual_tokens: int = 0
    strength: float = 1.0
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Route:
    """Where rows are answered: a tree, and for each row (by its index) the adapter's id in it, None for the base.

    `prefix` are virtual tokens that stand before every row. `own` is the id of the adapter that answers alone there,
    None where base and adapters answer together.
    """

    tree: Any
    rows: tuple[int, ...]
    adapters: tuple[str | None, ...]
    prefix: Prefix | None = None
    own: str | None = None


class ServingTrees:
    """The trees over one loaded model. Without adapters there is only a plain twin."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._plain = make_twin(model.model)
        self._shared: Any | None = None  # a PeftModel; None while no adapter that shares the batch is applied
        self._own: dict[str, tuple[Any, Prefix | None]] = {}  # a bare tree, by the id of the only adapter in it
        self._seen: dict[int, Tree] = {}  # trees as decoding sees them, by the identity of the model
        self._applied: dict[str, Applied] = {}  # replaced, never changed: other threads look into it
        self._retired: set[str] = set()  # ids in trees that have no name any more
        self._count = 0

    @property
    def applied(self) -> tuple[Applied, ...]:
        return tuple(self._applied.values())

    def apply(self, name: str, folder: Path, strength: float = 1.0) -> Applied:
        """Put an adapter into a tree; one that is applied under this name is replaced (its rows end undisturbed).

        Raises:
            WorkbenchError: M13, M18-M23 where the folder is no adapter for this base, or has no strength but 1. Nothing
                is left registered.
        """
        files = self._judged(folder)
        fields = files.fields
        assert fields, "judged files have fields"
        self._seen.clear()  # also where it fails half-way
        tensors, warnings = load_tensors(files, next(self._plain.parameters()).device)
        tensors = in_strength(files, tensors, dict(self._plain.named_parameters()), strength)
        adapter = Applied(
            name=name,
            id=self._new_id(name),
            folder=folder,
            card=files.card,
            method=files.method,
            shares_batch=fields.shares_batch,
            virtual_tokens=fields.virtual_tokens or 0,
            strength=strength,
            warnings=tuple(problem for problem in (*files.problems, *warnings) if problem.severity == "warning"),
        )
        if adapter.shares_batch:
            self._shared = injection.with_layers(self._shared or self._twin(), adapter.id, files, tensors)
        else:
            self._own[adapter.id] = self._own_tree(adapter.id, files, tensors)
        if name in self._applied:
            self._retired.add(self._applied[name].id)
        self._applied = {**self._applied, name: adapter}
        return adapter

    def remove(self, name: str) -> None:
        """Take an adapter's name away at once. Its weights go with the next `drop_retired`; rows that use them end.

        Raises:
            WorkbenchError: M25 where no adapter of this name is applied.
        """
        adapter = self._find(name)
        self._applied = {other: each for other, each in self._applied.items() if other != name}
        self._retired.add(adapter.id)

    def drop_retired(self, in_use: Collection[str]) -> Collection[str]:
        """Delete the weights of removed adapters that no row uses any more; returns their ids."""
        gone = self._retired - set(in_use)
        if gone:
            self._retired -= gone
            self._seen.clear()
            self._delete(gone)
        return gone

    def _delete(self, gone: set[str]) -> None:
        for adapter_id in self._own.keys() & gone:
            del self._own[adapter_id]
        in_shared = self._shared_ids() & gone
        staying = sorted(self._shared_ids() - in_shared)
        if self._shared is None or not in_shared:
            return
        if not staying:
            self._shared = None
            return
        self._shared.set_adapter(staying[0], inference_mode=True)
        for adapter_id in in_shared:
            self._shared.delete_adapter(adapter_id)

    def holds(self, adapter: Applied) -> bool:
        """Whether the weights of an adapter are still in a tree."""
        return adapter.id in self._own or adapter.id in self._shared_ids()

    def find(self, name: str | None) -> Applied | None:
        """The applied adapter of that name, None for the base.

        Raises:
            WorkbenchError: M25 where no adapter of this name is applied.
        """
        return None if name is None else self._find(name)

    def routes(self, adapters: Sequence[Applied | None]) -> list[Route]:
        """The trees that answer these rows together: one for the base and all that share it, one for each other."""
        shared = tuple(i for i, adapter in enumerate(adapters) if adapter is None or adapter.shares_batch)
        ids = tuple(adapter.id if adapter else None for adapter in adapters)
        routes: list[Route] = []
        if shared:
            tree = self._shared if any(ids[i] for i in shared) else self._plain
            routes.append(Route(tree, shared, tuple(ids[i] for i in shared)))
        for adapter_id in dict.fromkeys(adapter.id for adapter in adapters if adapter and not adapter.shares_batch):
            rows = tuple(i for i, row_id in enumerate(ids) if row_id == adapter_id)
            tree, prefix = self._own[adapter_id]
            routes.append(Route(tree, rows, (None,) * len(rows), prefix, adapter_id))
        return routes

    def tree(self, own: str | None, adapters: Collection[str | None]) -> Tree:
        """The tree of rows that are under way, as decoding sees it now: of those of one route, `own`, with these ids.

        Rows of the base and of adapters that share a batch are the same in either tree, so they may change it.
        """
        model = self._own[own][0] if own else self._shared if any(adapters) else self._plain
        if id(model) not in self._seen:
            self._seen[id(model)] = Tree.of(model)
        return self._seen[id(model)]

    def _find(self, name: str) -> Applied:
        adapter = self._applied.get(name)
        if adapter is None:
            known = excerpt(", ".join(tuple(self._applied))) or "–"
            raise refusal("M25_not_applied", Place(excerpt=excerpt(name)), name=excerpt(name), known=known)
        return adapter

    def _shared_ids(self) -> set[str]:
        return set(self._shared.peft_config) if self._shared is not None else set()

    def _new_id(self, name: str) -> str:
        self._count += 1
        return f"ad_{hashlib.sha256(f'{self._count}/{name}'.encode()).hexdigest()[:16]}"

    def _own_tree(self, adapter_id: str, files: AdapterFiles, tensors: Tensors) -> tuple[Any, Prefix | None]:
        """The tree in which one adapter answers alone. It is a bare one, in which rows name no adapter."""
        assert files.fields, "judged files have fields"
        match files.fields.layout:
            case VirtualTokens():
                return self._plain, injection.prefix_of(self._plain, files, tensors)
            case ReplacedWeights():
                return injection.with_weights(self._twin(), files, tensors), None
            case _:
                return injection.with_layers(self._twin(), adapter_id, files, tensors).get_base_model(), None

    def _twin(self) -> Any:
        return make_twin(self._model.model)

    def _judged(self, folder: Path) -> AdapterFiles:
        """The folder's files, its warnings about this base among the problems; raises on any error."""
        base = shapes_of(self._model.model)
        files = judge(folder, base, self._model.fingerprint, self._model.info.name)
        if files.errors:
            raise WorkbenchError(files.errors)
        return files
