"""What a run leaves in `loras/`: its adapter with its card, under a name that nobody else has.

Owns that card and that name. An adapter that an earlier part of the same run left is replaced as a whole; anybody
else's never is. Which weights are kept is the run's decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.adapters.card import AdapterCard, AdapterMetrics, read_card
from core.adapters.store import save_adapter
from core.errors import WorkbenchError
from core.models.loader import LoadedModel
from core.training.checkpoints import ADAPTER
from core.training.preparation import Preparation
from core.workspace import Workspace, free_name, now

FINAL_LOSS_STEPS = 10


def adapter_card(
    run_id: str,
    prepared: Preparation,
    model: LoadedModel,
    step: int,
    losses: Mapping[int, float],
    evals: Mapping[int, float],
) -> AdapterCard:
    """The card of a run's adapter as of a step; losses and validation losses by step."""
    spec = prepared.spec
    recent = [loss for at, loss in losses.items() if step - FINAL_LOSS_STEPS < at <= step]
    return AdapterCard(
        name=spec.name,
        base_name=model.info.name,
        base_fingerprint=model.fingerprint,
        template=model.template,
        run_id=run_id,
        dataset=spec.dataset,
        dataset_sha256=spec.dataset_sha256,
        system_prompt=prepared.system_prompt,
        rank=spec.method.rank,
        created=now(),
        metrics=AdapterMetrics(
            train_loss=sum(recent) / len(recent) if recent else None,
            eval_loss=evals.get(step),
            best_step=min(evals, key=lambda at: evals[at], default=None),
            steps=max(losses, default=0),
        ),
    )


def keep_adapter(model: Any, workspace: Workspace, card: AdapterCard, earlier: str | None) -> str:
    """Save a run's adapter and return the name it got; `earlier` is that of the one it left before it was resumed."""
    name = earlier if earlier and _is_own(workspace, earlier, card) else card.name
    own = _is_own(workspace, name, card)
    if not own and (workspace.adapters / name).exists():  # it was free when the run began
        name = free_name(workspace.adapters, name)
    save_adapter(model, ADAPTER, workspace.adapters / name, card.model_copy(update={"name": name}), replace=own)
    return name


def _is_own(workspace: Workspace, name: str, card: AdapterCard) -> bool:
    """Whether the adapter of this name was made by the run of this card."""
    folder = workspace.adapters / name
    try:
        found = read_card(folder) if not folder.is_symlink() else None
    except WorkbenchError:
        return False
    return found is not None and found.run_id == card.run_id
