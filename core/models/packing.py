"""Whether a model keeps rows apart that are packed into one, told by positions alone: found out by trying.

Owns that trial. Attention is told by positions that start anew; recurrent and state-space layers carry on regardless,
and some architectures take no positions at all.
"""

from __future__ import annotations

import inspect
from typing import Any

FIRST, SECOND = (3, 5, 7, 9, 11, 13), (4, 6, 8, 10, 12, 14)
KEPT_APART = 0.1  # of the difference that the row before makes where it is seen; rounding is far below


def keeps_rows_apart(model: Any) -> bool:
    """Whether a row packed behind another gets the logits that it gets alone; three forwards of a few tokens."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    alone = _last_logits(model, SECOND, None)
    packed = _last_logits(model, FIRST + SECOND, [*range(len(FIRST)), *range(len(SECOND))])
    mixed = _last_logits(model, FIRST + SECOND, None)
    return float((packed - alone).abs().max()) <= KEPT_APART * float((mixed - alone).abs().max())


def _last_logits(model: Any, ids: tuple[int, ...], positions: list[int] | None) -> Any:
    """Logits of the second row in fp32, (6, vocabulary)."""
    import torch

    inputs = {"input_ids": torch.tensor([ids], device=model.device)}
    if positions is not None:
        inputs["position_ids"] = torch.tensor([positions], device=model.device)
    with torch.no_grad():
        return model(**inputs, use_cache=False).logits[0, -len(SECOND) :].float()
