"""A run as a file: everything that decides what a training run does, read from and written to YAML.

Owns the spec's fields and its text form. The form on the page, the file and the command line all make a `RunSpec`; a
run writes the one it used, resolved, into its folder. What automatic (`None`) values become is `plan`'s business.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, field_validator

from core.data.datasets import DataOptions
from core.errors import Place, excerpt, refusal
from core.settings import LoadSettings, MethodSettings, Settings, TrainingSettings
from core.workspace import write_bytes

MAX_SPEC_BYTES = 256 * 1024
MAX_SAMPLE_PROMPTS = 3


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
    load: LoadSettings = LoadSettings()
    method: MethodSettings = MethodSettings()
    training: TrainingSettings = TrainingSettings()
    sample_prompts: Annotated[tuple[str, ...], Field(max_length=MAX_SAMPLE_PROMPTS)] = ()
    versions: dict[str, str] = Field(default_factory=dict)

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
    if path.stat().st_size > MAX_SPEC_BYTES:
        raise refusal("H01_spec_too_large", Place(file=path.name), limit_kb=MAX_SPEC_BYTES // 1024)
    return RunSpec.checked(_parse(path))


def write_spec(path: Path, spec: RunSpec) -> None:
    """Write a spec so that `read_spec` gives it back."""
    write_bytes(path, spec_text(spec).encode("utf-8"))


def spec_text(spec: RunSpec) -> str:
    """The spec as YAML, as shown and copied."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


class _SpecLoader(yaml.SafeLoader):
    """YAML's safe subset without anchors, in which `2e-4` is a number as everywhere else."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not used here")
        return super().compose_node(parent, index)


_SpecLoader.yaml_implicit_resolvers = {
    first: list(resolvers) for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_SpecLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _parse(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_SpecLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise refusal("H01_spec_not_readable", _place(path, error), reason=excerpt(error)) from error
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise refusal("H01_spec_not_readable", Place(file=path.name), reason="key: value")
    return tree


def _place(path: Path, error: Exception) -> Place:
    mark = getattr(error, "problem_mark", None)
    return Place(file=path.name, line=mark.line + 1 if mark else None)
