"""Where sampling settings come from: the model's own generation config, presets, and files of Text Generation WebUI.

Owns those starting values and the presets, shipped and the person's own in `state/presets`. What the settings are is
`core.settings.SamplingSettings`; what they do is `core.models.token_choice`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.settings import SamplingSettings
from core.small_yaml import read_mapping, write_mapping
from core.workspace import checked_name, free_name, sync_folder, write_bytes

# Text Generation WebUI leaves out of a preset whatever has its neutral value.
NEUTRAL = SamplingSettings(temperature=1.0, top_p=1.0)
_OUR_NAMES = {"max_tokens": "max_new_tokens", "stop_strings": "stop", "stop_sequences": "stop"}


@dataclass(frozen=True)
class TakenSettings:
    """Settings made of a file's values. `ignored` names the keys that were not used, with their values."""

    settings: SamplingSettings
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset:
    """Named sampling settings. A shipped one has its name in the catalogue under `label_key`."""

    name: str
    settings: SamplingSettings
    origin: Literal["shipped", "own"] = "own"

    @property
    def label_key(self) -> str:
        return f"chat.presets.{self.name}"


@dataclass(frozen=True)
class PresetList:
    """Presets by name, the shipped ones first, and the files that could not be read."""

    presets: tuple[Preset, ...]
    problems: tuple[Problem, ...] = ()


class PresetStore:
    """The presets one can choose: the shipped ones and the person's own, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self) -> PresetList:
        own: list[Preset] = []
        problems: list[Problem] = []
        for file in sorted(self._folder.glob("*.yaml")) if self._folder.is_dir() else ():
            try:
                own.append(Preset(file.stem, read_preset(file.read_bytes(), file.name).settings))
            except WorkbenchError as error:
                problems += error.problems
            except OSError as error:
                shown = {"reason": excerpt(error.strerror or error)}
                problems.append(Problem("H01_settings_file_unreadable", Place(file=file.name), shown))
        return PresetList((*shipped_presets(), *own), tuple(problems))

    def find(self, name: str) -> Preset:
        """The preset of that name.

        Raises:
            WorkbenchError: H01 with the names there are.
        """
        presets = self.list().presets
        for preset in presets:
            if preset.name == name:
                return preset
        raise _unknown(name, [preset.name for preset in presets])

    def save(self, name: str, settings: SamplingSettings) -> Preset:
        """Keep settings under a name; replaces the person's own preset of that name.

        Raises:
            WorkbenchError: D42 where the name is not allowed; H01 where it is a shipped preset's.
        """
        if checked_name(name) in {preset.name for preset in shipped_presets()}:
            raise refusal("H01_preset_is_shipped", Place(field="name"), name=excerpt(name))
        values = settings.model_dump() | {"stop": list(settings.stop)}
        write_bytes(self._folder / f"{name}.yaml", write_mapping(values))
        return Preset(name, settings)

    def delete(self, name: str) -> None:
        """Delete a person's own preset.

        Raises:
            WorkbenchError: H01 where the person has none of that name.
        """
        file = self._folder / f"{checked_name(name)}.yaml"
        if not file.is_file():
            raise _unknown(name, [preset.name for preset in self.list().presets if preset.origin == "own"])
        file.unlink()
        sync_folder(self._folder)

    def add_file(self, content: bytes, file_name: str) -> tuple[Preset, tuple[str, ...]]:
        """Import a preset file under its file's name made allowed; also the keys of it that mean nothing here.

        Raises:
            WorkbenchError: H01 where the file cannot be read or has no usable setting in it.
        """
        taken = read_preset(content, file_name)
        wish = Path(file_name).stem
        shipped = {preset.name for preset in shipped_presets()}
        name = free_name(self._folder, f"{wish}-2" if wish in shipped else wish, ".yaml")
        return self.save(name, taken.settings), taken.ignored


def read_preset(content: bytes, file_name: str) -> TakenSettings:
    """The settings of a preset file, ours or Text Generation WebUI's.

    Raises:
        WorkbenchError: H01 where the file cannot be read, has a value out of range, or no setting at all.
    """
    values = read_mapping(content, file_name)
    known, ignored = _known(values)
    if not known:
        raise refusal("H01_no_preset", Place(file=excerpt(file_name)), keys=excerpt(", ".join(ignored)) or "–")
    return TakenSettings(SamplingSettings.checked(NEUTRAL.model_dump() | known), tuple(ignored))


def shipped_presets() -> tuple[Preset, ...]:
    """The presets that come with the workbench."""
    folder = resources.files("core.chat") / "presets"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return tuple(
        Preset(file.name.removesuffix(".yaml"), read_preset(file.read_bytes(), file.name).settings, "shipped")
        for file in files
    )


def model_defaults(generation_defaults: Mapping[str, Any]) -> TakenSettings:
    """The starting values for a model: its generation config over our defaults.

    A value out of range is named in `ignored` and ours is kept. A config that names a temperature or a filter means
    sampling; `do_sample: false` or a temperature of 0 means greedy.
    """
    known, _ = _known(generation_defaults)
    sampling = {"temperature", "top_p", "top_k", "min_p"} & known.keys()
    taken: dict[str, Any] = {"do_sample": True} if sampling and "do_sample" not in known else {}
    ignored: list[str] = []
    for name, value in known.items():
        try:
            SamplingSettings.checked({name: value})
        except WorkbenchError:
            ignored.append(f"{name}: {excerpt(value)}")
        else:
            taken[name] = value
    return TakenSettings(SamplingSettings.checked(taken), tuple(ignored))


def _known(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values that are settings of ours, with their quirks undone, and the other keys."""
    known: dict[str, Any] = {}
    ignored: list[str] = []
    for key, value in values.items():
        name = _OUR_NAMES.get(key, key)
        if name not in SamplingSettings.model_fields:
            ignored.append(f"{excerpt(key)}: {excerpt(value)}")
        elif value is not None:
            known[name] = _plain(name, value)
    if known.get("temperature") == 0:
        known = {name: value for name, value in known.items() if name != "temperature"} | {"do_sample": False}
    if known.get("seed") == -1:
        del known["seed"]
    return known, ignored


def _plain(name: str, value: Any) -> Any:
    """A whole number written as 50.0 is the integer it means; a lone stop string is a list of one."""
    if isinstance(value, float) and value.is_integer() and SamplingSettings.model_fields[name].annotation is int:
        return int(value)
    return [value] if name == "stop" and isinstance(value, str) else value


def _unknown(name: str, known: list[str]) -> WorkbenchError:
    shown = excerpt(", ".join(known)) or "–"
    return refusal("H01_no_such_preset", Place(excerpt=excerpt(name)), name=excerpt(name), known=shown)
