"""A run as a file: everything that decides what a training run does, read from and written to YAML.

Owns the spec's fields and its text form. The form on the page, the file and the command line all make a `RunSpec`; a
run writes the one it used, resolved, into its folder. What automatic (`None`) values become is `plan`'s business.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from core.data.options import DataOptions
from core.errors import Place, excerpt, refusal
from core.settings import LoadSettings, MethodSettings, Settings, TrainingSettings
from core.small_yaml import MAX_BYTES, read_mapping, write_mapping
from core.workspace import write_bytes

MAX_SAMPLE_PROMPTS = 3


class OtherData(Settings):
    """Another data set that the recipe uses (mixed in, or for validation), as the run found it."""

    sha256: str
    data: DataOptions = DataOptions()


class RunSpec(Settings):
    """What a run is made of. `base` and `dataset` are names in the registries, never paths.

    A hash that is given must match what is found; one that is not is filled in by the run. `versions` says what wrote
    the file and decides nothing.
    """

    name: str
    base: str
    base_fingerprint: str | None = None
    dataset: str
    dataset_sha256: str | None = None
    data: DataOptions = DataOptions()
    other_data: dict[str, OtherData] = Field(default={})
    load: LoadSettings = LoadSettings()
    method: MethodSettings = MethodSettings()
    training: TrainingSettings = TrainingSettings()
    sample_prompts: Annotated[tuple[str, ...], Field(max_length=MAX_SAMPLE_PROMPTS)] = ()
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Every data set that the run reads."""
        return (self.dataset, *self.data.other_datasets)

    @field_validator("sample_prompts", mode="before")
    @classmethod
    def _list_becomes_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


def read_spec(path: Path) -> RunSpec:
    """The spec in a YAML file.

    Raises:
        WorkbenchError: A03 where there is no such file; H01 where it is too large, is no YAML mapping, uses anchors,
            or has unknown keys or values that are not allowed (all of them at once).
    """
    if not path.is_file():
        raise refusal("A03_no_spec_file", Place(file=str(path)), name=excerpt(path.name))
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    return RunSpec.checked(read_mapping(content, path.name))


def write_spec(path: Path, spec: RunSpec) -> None:
    """Write a spec so that `read_spec` gives it back."""
    write_bytes(path, spec_text(spec).encode())


def spec_text(spec: RunSpec) -> str:
    """The spec as YAML, as shown and copied."""
    return write_mapping(spec.model_dump(mode="json")).decode()
