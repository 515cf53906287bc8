"""What the data panels draw: one data set under its recipe at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.data.options import DataOptions
from core.i18n import Language
from webui.data_recipe import MAX_PLACEHOLDERS, Patterns

if TYPE_CHECKING:
    from core.data.report import DatasetReport
    from core.errors import WorkbenchError

Properties = dict[str, dict[str, Any]]
"""Properties of the form's components by their name in `data_recipe.FORM`."""


@dataclass(frozen=True)
class DataView:
    """A data set as it is drawn. `report` is None while it is checked and where it is refused (`error`).

    `fresh` is true where the page showed another data set before: then nothing that stands there may stay. `kept` is
    true where the recipe is the data set's own; else it could not be read, and nothing may be saved over it.
    """

    name: str | None
    lang: Language
    recipe: DataOptions = DataOptions()
    report: DatasetReport | None = None
    error: WorkbenchError | None = None
    others: Sequence[str] = ()
    patterns: Patterns = field(default_factory=dict)
    fresh: bool = True
    kept: bool = True

    @property
    def placeholders(self) -> list[str]:
        """Those that have a field here."""
        return list(self.report.placeholders)[:MAX_PLACEHOLDERS] if self.report else []
