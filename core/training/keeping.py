"""What a run leaves: an adapter in `loras/` or a model in `models/`, with its card, under a name that nobody else has.

Owns that card and that name. What an earlier part of the same run left is replaced as a whole; anybody else's never
is. Which weights are kept is the run's decision.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.adapters.card import AdapterCard, AdapterMetrics, Ancestor, read_card
from core.adapters.method_facts import METHODS
from core.errors import WorkbenchError
from core.workspace import Workspace, free_name, now

if TYPE_CHECKING:
    from core.models.loader import LoadedModel
    from core.training.learner import Learner
    from core.training.preparation import Preparation
    from core.training.stopping import Stopper

FINAL_LOSS_STEPS = 10


def adapter_card(
    run_id: str,
    prepared: Preparation,
    model: LoadedModel,
    step: int,
    figures: Stopper,
    lineage: tuple[Ancestor, ...],
) -> AdapterCard:
    """The card of what a run makes as of a step of it; `figures` are those of the run."""
    spec = prepared.spec
    recent = [loss for at, loss in figures.losses.items() if step - FINAL_LOSS_STEPS < at <= step]
    return AdapterCard(
        name=spec.name,
        base_name=model.info.name,
        base_fingerprint=model.fingerprint,
        template=model.template,
        run_id=run_id,
        dataset=spec.dataset,
        dataset_sha256=spec.dataset_sha256,
        system_prompt=prepared.system_prompt,
        method=spec.method.method,
        rank=spec.method.rank if "rank" in METHODS[spec.method.method].settings else None,
        settings=spec.method,
        lineage=lineage,
        created=now(),
        metrics=AdapterMetrics(
            train_loss=sum(recent) / len(recent) if recent else None,
            eval_loss=figures.evals.get(step),
            best_step=figures.best_step,
            steps=max(figures.losses, default=0),
        ),
    )


def keep_result(learner: Learner, workspace: Workspace, card: AdapterCard, earlier: str | None) -> str:
    """Save what a run made and return the name it got; `earlier` is that of what it left before it was resumed."""
    folder = workspace.results(METHODS[learner.method].makes)
    name = earlier if earlier and _is_own(folder / earlier, card) else card.name
    own = _is_own(folder / name, card)
    if not own and (folder / name).exists():  # it was free when the run began
        name = free_name(folder, name)
    learner.save(folder / name, card.model_copy(update={"name": name}), replace=own)
    return name


def _is_own(folder: Path, card: AdapterCard) -> bool:
    """Whether what is in this folder was made by the run of this card."""
    try:
        found = read_card(folder) if not folder.is_symlink() else None
    except WorkbenchError:
        return False
    return found is not None and found.run_id == card.run_id
