"""The card of an adapter: `workbench.json`, what the workbench knows about it beyond peft's own file.

Owns the card's fields, reading and writing. Does not judge whether the adapter fits a base (`validity` does). The card
is written last, so its presence says that the folder is complete.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import Place, excerpt, refusal
from core.settings import MethodSettings
from core.workspace import write_json

CARD_FILE = "workbench.json"
FORMAT_VERSION = 1
MAX_CARD_BYTES = 256 * 1024


@dataclass(frozen=True)
class Ancestor:
    """An adapter that another one was trained on from: its name then, its weights' hash, its run and data if known."""

    adapter: str
    sha256: str
    run_id: str = ""
    dataset: str = ""


@dataclass(frozen=True)
class Ingredient:
    """An adapter that a combination was made of: its name then, its weights' hash, and the strength it has in it."""

    adapter: str
    sha256: str
    strength: float


class AdapterMetrics(BaseModel):
    """How the training that made the adapter ended; losses are token means."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    train_loss: float | None = None
    eval_loss: float | None = None
    best_step: int | None = None
    steps: int | None = None


class AdapterCard(BaseModel):
    """Where an adapter comes from. `template` names a built-in chat template where the base had none of its own.

    `base_fingerprint` is `core.models.catalog.fingerprint` of the base; `created` is ISO 8601 with its offset.
    `system_prompt` is the one that all rows of the data shared, offered again in chat. `settings` are those it was
    trained with; `lineage` are the adapters it was trained on from, the nearest first, and `made_of` those that a
    combination puts together.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = FORMAT_VERSION
    name: str = Field(max_length=200)
    base_name: str = Field(max_length=500)
    base_fingerprint: str | None = Field(default=None, max_length=500)
    template: str | None = Field(default=None, max_length=200)
    run_id: str | None = Field(default=None, max_length=200)
    dataset: str | None = Field(default=None, max_length=500)
    dataset_sha256: str | None = Field(default=None, max_length=64)
    system_prompt: str | None = None
    method: str = Field(default="lora", max_length=50)
    rank: int | None = None
    settings: MethodSettings | None = None
    lineage: tuple[Ancestor, ...] = ()
    made_of: tuple[Ingredient, ...] = ()
    created: str = Field(default="", max_length=50)
    metrics: AdapterMetrics = AdapterMetrics()


def read_card(folder: Path) -> AdapterCard | None:
    """The card of an adapter folder; None where it has none (made elsewhere).

    Raises:
        WorkbenchError: M18 where the card is damaged or too large; A21 where a newer workbench wrote it.
    """
    file = folder / CARD_FILE
    place = Place(file=f"{folder.name}/{CARD_FILE}")
    if not file.is_file():
        return None
    if file.stat().st_size > MAX_CARD_BYTES:
        raise refusal("M18_card_damaged", place, reason=f"> {MAX_CARD_BYTES} B")
    try:
        values: Any = json.loads(file.read_text(encoding="utf-8"))
        version = values.get("format_version", 1) if isinstance(values, dict) else 1
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise refusal("A21_card_is_newer", place, found=version, known=FORMAT_VERSION)
        return AdapterCard.model_validate(values)
    except (OSError, ValueError, RecursionError) as error:
        raise refusal("M18_card_damaged", place, reason=_reason(error)) from error


def write_card(folder: Path, card: AdapterCard) -> None:
    write_json(folder / CARD_FILE, card.model_dump())


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        details = error.errors()[0]
        return excerpt(f"{'.'.join(str(part) for part in details['loc'])}: {details['msg']}")
    return excerpt(error)
