"""The adapters of `loras/`: listing, finding, naming, deleting and saving their folders.

Owns the folders as a whole. What makes one valid is `validity`'s; whether an adapter is in use is known by the caller,
who says so. A folder that cannot be read is listed with its problems and never keeps the others from being listed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.adapters.card import AdapterCard, write_card
from core.adapters.config_file import CONFIG_FILE
from core.adapters.tensor_file import WEIGHTS_FILE
from core.adapters.validity import AdapterFiles, read_adapter
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.workspace import Workspace, free_name, name_problem, new_folder, remove_folder, sync_folder, write_json

Limit = Literal["alone", "not_mergeable", "no_strength"]


@dataclass(frozen=True)
class AdapterInfo:
    """One adapter as its files describe it; None where a file made elsewhere says nothing.

    `limits` are what it cannot do, to be shown before it is applied: `alone`, it shares no batch with others,
    `no_strength`, it acts as it was trained or not at all.
    """

    name: str
    folder: Path
    base_name: str
    base_fingerprint: str | None
    method: str
    rank: int | None
    virtual_tokens: int | None
    limits: tuple[Limit, ...]
    dataset: str | None
    created: str
    train_loss: float | None
    eval_loss: float | None
    problems: tuple[Problem, ...]
    card: AdapterCard | None
    bytes: int

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")


def list_adapters(workspace: Workspace) -> list[AdapterInfo]:
    """All adapters by name. Broken ones are flagged by their problems; hidden folders are unfinished and left out."""
    folders = workspace.adapters.iterdir() if workspace.adapters.is_dir() else iter(())
    return sorted(
        (_inspect(folder) for folder in folders if folder.is_dir() and not folder.name.startswith(".")),
        key=lambda info: info.name.casefold(),
    )


def find_adapter(workspace: Workspace, name: str) -> AdapterInfo:
    """The adapter of that name.

    Raises:
        WorkbenchError: M25 with the names there are.
    """
    names = _names(workspace)
    if name not in names:
        known = excerpt(", ".join(names)) or "–"
        raise refusal("M25_no_such_adapter", Place(excerpt=excerpt(name)), name=excerpt(name), known=known)
    return _inspect(workspace.adapters / name)


def check_adapter_name(workspace: Workspace, name: str, promised: Collection[str] = ()) -> Problem | None:
    """Why a new adapter may not be called so, with a name that is free; None where it may.

    `promised` are names of adapters that are still being made.
    """
    problem = name_problem(name)
    if problem is None and name.casefold() in {taken.casefold() for taken in (*_names(workspace), *promised)}:
        shown = {"name": excerpt(name), "suggestion": free_name(workspace.adapters, name, promised=promised)}
        problem = Problem("M25_name_taken", Place(field="name"), shown)
    return problem


def rename_adapter(
    workspace: Workspace, old: str, new: str, user: str = "", promised: Collection[str] = ()
) -> AdapterInfo:
    """Give an adapter another name. `user` names who uses it just now, `promised` as in `check_adapter_name`.

    Raises:
        WorkbenchError: A04 while it is in use; M25 or D42 where the new name is not free or not allowed.
    """
    folder = _unused(workspace, old, user).folder
    only_case = old != new and old.casefold() == new.casefold() and name_problem(new) is None
    problem = None if only_case else check_adapter_name(workspace, new, promised)
    if problem:
        raise WorkbenchError([problem])
    target = workspace.adapters / new
    folder.rename(target)
    sync_folder(workspace.adapters)
    info = _inspect(target)
    if info.card:
        write_card(target, info.card.model_copy(update={"name": new}))
    return _inspect(target)


def delete_adapter(workspace: Workspace, name: str, user: str = "") -> None:
    """Delete an adapter's folder. It vanishes from the list at once, also where deleting its files is interrupted.

    Raises:
        WorkbenchError: A04 while `user` uses it; M25 where there is none of that name.
    """
    folder = _unused(workspace, name, user).folder
    if folder.is_symlink():
        folder.unlink()
        return
    remove_folder(folder)


def save_adapter(
    peft_model: Any, adapter_name: str, target_folder: Path, card: AdapterCard, replace: bool = False
) -> None:
    """Write one adapter of a PeftModel as a new folder that peft itself can load; the model is not changed.

    With `replace` the folder may be there already: it is one or the other as a whole at any moment.
    """
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(peft_model, adapter_name=adapter_name, save_embedding_layers=False)
    write_adapter(target_folder, tensors, peft_model.peft_config[adapter_name].to_dict(), card, replace)


def write_adapter(
    target_folder: Path, tensors: Mapping[str, Any], config: Mapping[str, Any], card: AdapterCard, replace: bool = False
) -> None:
    """Write an adapter's tensors and configuration as a new folder; the card comes last.

    The tensors are copied to the CPU. The same adapter makes the same files: sets are sorted, no path of this machine
    is kept, and the base is named as people know it.
    """
    from safetensors.torch import save_file

    on_disk = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    plain = {name: sorted(value) if isinstance(value, set | frozenset) else value for name, value in config.items()}
    plain |= {"base_model_name_or_path": card.base_name, "revision": None, "inference_mode": True}
    with new_folder(target_folder, replace) as folder:
        save_file(on_disk, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        write_json(folder / CONFIG_FILE, dict(sorted(plain.items())))
        write_card(folder, card)


def _names(workspace: Workspace) -> list[str]:
    if not workspace.adapters.is_dir():
        return []
    return sorted(
        entry.name for entry in workspace.adapters.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _unused(workspace: Workspace, name: str, user: str) -> AdapterInfo:
    info = find_adapter(workspace, name)
    if user:
        raise refusal("A04_adapter_in_use", Place(excerpt=excerpt(name)), name=excerpt(name), user=user)
    return info


def _inspect(folder: Path) -> AdapterInfo:
    try:
        return _info(read_adapter(folder))
    except OSError as error:
        shown = {"name": excerpt(folder.name), "reason": excerpt(error.strerror or error)}
        problem = Problem("M01_unreadable", Place(file=folder.name), shown)
        return _info(AdapterFiles(folder, None, {}, None, (problem,)))


def _limits(files: AdapterFiles) -> tuple[Limit, ...]:
    fields = files.fields
    if fields is None:
        return ()
    found: dict[Limit, bool] = {
        "alone": not fields.shares_batch,
        "not_mergeable": bool(fields.virtual_tokens),
        "no_strength": not fields.has_strength,
    }
    return tuple(limit for limit, there in found.items() if there)


def _info(files: AdapterFiles) -> AdapterInfo:
    card, fields, folder = files.card, files.fields, files.folder
    weights = folder / WEIGHTS_FILE
    return AdapterInfo(
        name=folder.name,
        folder=folder,
        base_name=card.base_name if card else fields.base_name if fields else "",
        base_fingerprint=card.base_fingerprint if card else None,
        method=files.method,
        rank=fields.rank if fields else card.rank if card else None,
        virtual_tokens=fields.virtual_tokens if fields else None,
        limits=_limits(files),
        dataset=card.dataset if card else None,
        created=card.created if card else "",
        train_loss=card.metrics.train_loss if card else None,
        eval_loss=card.metrics.eval_loss if card else None,
        problems=files.problems,
        card=card,
        bytes=weights.stat().st_size if weights.is_file() else 0,
    )
