"""The sampling form between the Parameters tab, which shows it, and the Chat tab, which sends with it.

Owns the order of its values and how stop strings are written in a text box: one a line, with \\n for a line break.
What a value may be is `core.settings.SamplingSettings`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.settings import SamplingSettings
from webui.fields import settings_from

STOP = "stop"
FIELDS = tuple(name for name in SamplingSettings.model_fields if name != STOP)
SIZE = len(FIELDS) + 1  # the stop strings come last


def sampling_of(values: Sequence[Any]) -> SamplingSettings:
    """The settings of a form's raw values.

    Raises:
        WorkbenchError: H01 for each value of the wrong type or out of range.
    """
    stop = values[len(FIELDS)]
    chosen = settings_from(SamplingSettings, FIELDS, values[: len(FIELDS)])
    return SamplingSettings.checked({**chosen, STOP: stop_strings(stop) if isinstance(stop, str | None) else stop})


def form_of(settings: SamplingSettings) -> list[Any]:
    """The form's values for these settings."""
    return [*(getattr(settings, name) for name in FIELDS), stop_text(settings.stop)]


def stop_strings(lines: str | None) -> list[str]:
    return [line.replace("\\n", "\n").replace("\\t", "\t") for line in (lines or "").splitlines() if line]


def stop_text(stop: Sequence[str]) -> str:
    return "\n".join(words.replace("\n", "\\n").replace("\t", "\\t") for words in stop)
