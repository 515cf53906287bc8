"""Which adapters other programs take for what they are: a LoRA with one rank, one alpha and no bias.

Owns that check alone; what a program makes of such an adapter is in `llama_cpp` and `serving_commands`.
"""

from __future__ import annotations

from core.adapters.config_file import AdapterFields, read_config
from core.adapters.store import AdapterInfo

MORE_THAN_PLAIN = ("use_dora", "lora_bias", "rank_pattern", "alpha_pattern")


def plain_lora(info: AdapterInfo) -> AdapterFields | None:
    """The fields of a plain LoRA, rank-stabilised or not; None for anything that would answer otherwise elsewhere.

    Other programs read one `r` and one `lora_alpha` from the configuration and scale every layer by them.
    """
    fields, _ = read_config(info.folder)
    if fields is None or fields.type != "LORA" or any(fields.values[name] for name in MORE_THAN_PLAIN):
        return None
    return fields
