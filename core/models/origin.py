"""Where a model of this workbench comes from: what its maker says of it in its folder's `workbench.json`.

Owns reading that file for show. It decides nothing: a model whose card is damaged, or which has none, loads all the
same. Full fine-tuning and merging write the card (`core.adapters.card`), in the form that adapters have too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Problem, excerpt
from core.models.plain_files import read_json_object

CARD_FILE = "workbench.json"
MAX_CARD_BYTES = 256 * 1024
MERGED = "merged"  # the method of a model that was not trained, but made of a base and an adapter


@dataclass(frozen=True)
class Origin:
    """The base that was trained, the data, the run and the day; empty where the card does not say.

    `adapter` is the one that was merged into the base; "" where the base itself was trained.
    """

    base: str
    dataset: str
    run_id: str
    created: str
    adapter: str = ""


def read_origin(folder: Path) -> Origin | None:
    """Where the model in a folder comes from; None for one that was made elsewhere."""
    if not (folder / CARD_FILE).is_file():
        return None
    values = read_json_object(folder / CARD_FILE, MAX_CARD_BYTES, "M18_card_damaged")
    if isinstance(values, Problem):
        return None
    keys = ("base_name", "dataset", "run_id", "created")
    said = [values[key] if isinstance(values.get(key), str) else "" for key in keys]
    return Origin(*map(excerpt, (*said, _merged_adapter(values)))) if said[0] else None


def _merged_adapter(values: dict[str, Any]) -> str:
    """The name of the adapter that the card of a merged model begins its lineage with."""
    lineage = values.get("lineage")
    first = lineage[0] if isinstance(lineage, list) and lineage and isinstance(lineage[0], dict) else {}
    name = first.get("adapter")
    return name if values.get("method") == MERGED and isinstance(name, str) else ""
