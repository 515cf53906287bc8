"""An adapter as one zip to give away: peft's layout, its card, a README, the licence of its base.

Owns which files go in, here and when an adapter is pushed to a hub. The same adapter makes the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from core.adapters.card import CARD_FILE
from core.adapters.config_file import CONFIG_FILE
from core.adapters.store import AdapterInfo, find_adapter
from core.adapters.tensor_file import WEIGHTS_FILE
from core.errors import WorkbenchError
from core.exports.model_card import README, adapter_readme, base_licence_files
from core.exports.plan import base_of
from core.models.arrival import check_disk
from core.models.catalog import ModelInfo
from core.workspace import Workspace
from core.zip_output import add_file, entry, new_zip

OWN_FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)


def write_adapter_zip(workspace: Workspace, name: str, target_folder: Path) -> Path:
    """Write the zip into a new folder within one that there is, and return it.

    Raises:
        WorkbenchError: M25 where there is no such adapter, its own errors; A13, A14.
    """
    parts = adapter_files(workspace, name)
    check_disk(target_folder, sum(size_of(part) for part in parts.values()))
    with new_zip(target_folder, f"{name}.zip") as archive:
        for inner, part in parts.items():
            if isinstance(part, Path):
                add_file(archive, part, inner)
            else:
                with entry(archive, inner) as written:
                    written.write(part)
    return Path(str(archive.filename))


def adapter_files(workspace: Workspace, name: str) -> dict[str, Path | bytes]:
    """What is given away of an adapter, by the name it gets: files of its folder, and a README made for it.

    Raises:
        WorkbenchError: M25 where there is no such adapter; its own errors.
    """
    info = find_adapter(workspace, name)
    if info.errors:
        raise WorkbenchError(info.errors)
    base = _base(workspace, info)
    parts: dict[str, Path | bytes] = {README: adapter_readme(info, base).encode()}
    parts |= {file: info.folder / file for file in OWN_FILES if (info.folder / file).is_file()}
    return parts | {f"BASE_{file.name}": file for file in base_licence_files(base)}


def size_of(part: Path | bytes) -> int:
    return len(part) if isinstance(part, bytes) else part.stat().st_size


def _base(workspace: Workspace, info: AdapterInfo) -> ModelInfo | None:
    try:
        return base_of(workspace, info)
    except WorkbenchError:  # it is given away all the same
        return None
