"""A run as a file: everything that decides what a training run does, read from and written to YAML.

Owns the spec's fields and its text form. The form on the page, the file and the command line all make a `RunSpec`; a
run writes the one it used, resolved, into its folder. What automatic (`None`) values become is `plan`'s business.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from core.data.options import DataOptions
from core.errors import Place, excerpt, refusal
from core.settings import LoadSettings, MethodSettings, Settings, TrainingSettings
from core.small_yaml import MAX_BYTES, read_mapping, write_mapping
from core.workspace import write_bytes

MAX_SAMPLE_PROMPTS = 3


class StartingAdapter(Settings):
    """The adapter that a run trains further: its name in `loras/` and the hash of its weights as the run found them."""

    adapter: str
    sha256: str | None = None


class OtherData(Settings):
    """Another data set that the recipe uses (mixed in, or for validation), as the run found it."""

    sha256: str
    data: DataOptions = DataOptions()


class RunSpec(Settings):
    """What a run is made of. `base` and `dataset` are names in the registries, never paths.

    A hash that is given must match what is found; one that is not is filled in by the run. `tokenizer_sha256` (with the
    chat template), `device` and `versions` say what the file was written with: they decide nothing, and resuming
    compares them.
    """

    name: str
    base: str
    base_fingerprint: str | None = None
    tokenizer_sha256: str | None = None
    dataset: str
    dataset_sha256: str | None = None
    data: DataOptions = DataOptions()
    other_data: dict[str, OtherData] = Field(default={})
    load: LoadSettings = LoadSettings()
    method: MethodSettings = MethodSettings()
    training: TrainingSettings = TrainingSettings()
    start_from: StartingAdapter | None = None
    sample_prompts: Annotated[tuple[str, ...], Field(max_length=MAX_SAMPLE_PROMPTS)] = ()
    device: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Every data set that the run reads."""
        return (self.dataset, *self.data.other_datasets)


def read_spec(path: Path) -> RunSpec:
    """The spec in a YAML file.

    Raises:
        WorkbenchError: A03 where there is no such file; else as `spec_from_yaml`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refusal("A03_no_spec_file", Place(file=excerpt(path)), name=excerpt(path.name)) from error
    return spec_from_yaml(content, path.name)


def spec_from_yaml(content: bytes, file_name: str) -> RunSpec:
    """The spec in a YAML text, named as errors should name it.

    Raises:
        WorkbenchError: H01 where it is too large, is no YAML mapping, uses anchors, or has unknown keys or values that
            are not allowed (all of them at once).
    """
    return RunSpec.checked(read_mapping(content, file_name))


def write_spec(path: Path, spec: RunSpec) -> None:
    """Write a spec so that `read_spec` gives it back."""
    write_bytes(path, spec_text(spec).encode())


def spec_text(spec: RunSpec) -> str:
    """The spec as YAML, as shown and copied."""
    return write_mapping(spec.model_dump(mode="json")).decode()
