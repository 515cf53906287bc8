"""How strongly an applied adapter acts: 0 is the base exactly, 1 what was learned, 2 twice as much.

Owns the range, who has a strength at all, and which tensors it changes. What is proportional to the change (`factors`
of a layout, less the value at which they change nothing) is multiplied; weights in the place of the base's move on the
line from the base's. DoRA divides by the norm of the whole weight and virtual tokens are there or not: neither has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.adapters.layouts import ReplacedWeights, TunerLayers
from core.adapters.validity import AdapterFiles
from core.errors import Place, excerpt, refusal

if TYPE_CHECKING:
    import torch

MAX_STRENGTH = 2.0


def checked_strength(strength: object) -> float:
    """A strength within 0 and `MAX_STRENGTH`.

    Raises:
        WorkbenchError: H01 where it is none.
    """
    if isinstance(strength, int | float) and not isinstance(strength, bool) and 0 <= strength <= MAX_STRENGTH:
        return float(strength)
    shown = {"field": "strength", "seen": excerpt(strength), "allowed": f"0 ≤ strength ≤ {MAX_STRENGTH:g}"}
    raise refusal("H01_out_of_range", Place(field="strength"), **shown, usual="0.5 – 1")


def check_has_strength(files: AdapterFiles) -> None:
    """Refuse an adapter that can only be applied as it was trained.

    Raises:
        WorkbenchError: M18 where its type has no strength.
    """
    assert files.fields, "judged files have fields"
    if not files.fields.has_strength:
        raise refusal("M18_no_strength", Place(file=files.folder.name), method=files.method)


def in_strength(
    files: AdapterFiles,
    tensors: Mapping[str, torch.Tensor],
    base: Mapping[str, torch.Tensor],
    strength: float,
) -> Mapping[str, torch.Tensor]:
    """The tensors of an adapter in a strength; `base` are the weights of the model by name. None replaced at 0.

    Raises:
        WorkbenchError: as `check_has_strength`, unless the strength is 1.
    """
    if strength == 1:
        return tensors
    check_has_strength(files)
    assert files.fields, "judged files have fields"
    layout = files.fields.layout
    places = {name: layout.locate(name) or ("", "") for name in tensors}
    if isinstance(layout, ReplacedWeights):
        if strength == 0:
            return {}
        old = {name: base[".".join(place)].to(tensors[name]) for name, place in places.items()}
        return {name: old[name].lerp(tensor, strength) for name, tensor in tensors.items()}
    assert isinstance(layout, TunerLayers), "virtual tokens have no strength"
    rest = layout.rest
    return {
        name: (tensor - rest) * strength + rest if places[name][1] in layout.factors else tensor
        for name, tensor in tensors.items()
    }
