"""What a new adapter looks like: the configuration of one of peft's own methods, made of a person's settings.

Owns one function a method. Does not inject anything: training does, into a twin of its own. What is asked of the model
comes from `methods`, which has checked it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.adapters.method_facts import METHODS
from core.adapters.methods import (
    PTUNING_WIDTH,
    adalora_start,
    adapted_shapes,
    alpha_of,
    feedforward_names,
    has_conv1d,
    norm_names,
    oft_block,
    target_names,
)
from core.settings import Method, MethodSettings


def peft_config(settings: MethodSettings, model: Any, steps: int | None = None) -> Any:
    """The configuration of a new adapter of one of peft's own methods, with its modules as a list of names.

    `steps` is how long it will be trained, which AdaLoRA's budget depends on; None where it will not be.
    """
    return _CONFIGS[settings.method](settings, model, steps)


def _where(settings: MethodSettings, model: Any) -> dict[str, Any]:
    layers = list(settings.layers) or None
    return {"target_modules": target_names(settings, model), "layers_to_transform": layers, "task_type": "CAUSAL_LM"}


def _low_rank(settings: MethodSettings, model: Any) -> dict[str, Any]:
    return {
        "lora_alpha": alpha_of(settings),
        "lora_dropout": settings.dropout,
        "bias": "none",
        "fan_in_fan_out": has_conv1d(model),
        **_where(settings, model),
    }


def _lora(settings: MethodSettings, model: Any, steps: int | None) -> Any:
    """LoRA (https://arxiv.org/abs/2106.09685) and those who change its scale, its start or its learning rates:

    rsLoRA (https://arxiv.org/abs/2312.03732), DoRA (https://arxiv.org/abs/2402.09353), LoRA+
    (https://arxiv.org/abs/2402.12354), PiSSA (https://arxiv.org/abs/2404.02948), OLoRA (https://arxiv.org/abs/2406.01775).
    """
    from peft import LoraConfig

    starts: dict[str, Any] = {"pissa": "pissa_niter_16", "olora": "olora"}
    return LoraConfig(
        r=settings.rank,
        use_rslora=settings.method == "rslora",
        use_dora=settings.method == "dora",
        lora_bias=settings.lora_bias and "lora_bias" in METHODS[settings.method].settings,
        init_lora_weights=starts.get(settings.method, True),
        **_low_rank(settings, model),
    )


def _adalora(settings: MethodSettings, model: Any, steps: int | None) -> Any:
    """AdaLoRA (https://arxiv.org/abs/2303.10512): the budget shrinks from a sixth of the run to two thirds of it.

    It is trained without a given length only to be measured, and keeps its budget then.
    """
    from peft import AdaLoraConfig

    total = steps if steps is not None else 2**31
    return AdaLoraConfig(
        init_r=adalora_start(settings.rank),
        target_r=settings.rank,
        total_step=total,
        tinit=total // 6,
        tfinal=total // 3,
        deltaT=1,
        orth_reg_weight=0.1,
        **_low_rank(settings, model),
    )


def _loha(settings: MethodSettings, model: Any, steps: int | None) -> Any:
    """LoHa: products of two low-rank products, number by number (https://arxiv.org/abs/2108.06098)."""
    from peft import LoHaConfig

    rank, alpha = settings.rank, alpha_of(settings)
    return LoHaConfig(r=rank, alpha=alpha, rank_dropout=settings.dropout, **_where(settings, model))


def _lokr(settings: MethodSettings, model: Any, steps: int | None) -> Any:
    """LoKr: Kronecker products (https://arxiv.org/abs/2309.14859)."""
    from peft import LoKrConfig

    rank, alpha = settings.rank, alpha_of(settings)
    return LoKrConfig(r=rank, alpha=alpha, rank_dropout=settings.dropout, **_where(settings, model))


def _ia3(settings: MethodSettings, model: Any, steps: int | None) -> Any:
    """(IA)³: a learned factor for each output, or input, of a layer (https://arxiv.org/abs/2205.05638)."""
    from peft import IA3Config

    feedforward = feedforward_names(settings, model)
    return IA3Config(
        target_modules=target_names(settings, model),
        feedforward_modules=feedforward,
        fan_in_fan_out=has_conv1d(model),
        task_type="CAUSAL_LM",
    )


def _oft(settings: MethodSettings, model: Any, steps: int | None) -> Any:
    """OFT: rotations of blocks of a layer's input (https://arxiv.org/abs/2306.07280)."""
    from peft import OFTConfig

    block = oft_block(adapted_shapes(settings, model))
    return OFTConfig(oft_block_size=block, module_dropout=settings.dropout, **_where(settings, model))


def _layernorm(settings: MethodSettings, model: Any, steps: int | None) -> Any:
    """LayerNorm tuning (https://arxiv.org/abs/2312.11420)."""
    from peft import LNTuningConfig

    return LNTuningConfig(target_modules=norm_names(model), task_type="CAUSAL_LM")


def _prompt(settings: MethodSettings, model: Any, steps: int | None) -> Any:
    """Prompt tuning (https://arxiv.org/abs/2104.08691), from tokens of the vocabulary drawn at random."""
    from peft import PromptTuningConfig, PromptTuningInit

    count = settings.virtual_tokens
    start = PromptTuningInit.SAMPLE_VOCAB
    return PromptTuningConfig(num_virtual_tokens=count, prompt_tuning_init=start, task_type="CAUSAL_LM")


def _prefix(settings: MethodSettings, model: Any, steps: int | None) -> Any:
    """Prefix tuning (https://arxiv.org/abs/2101.00190); its deep prompts are P-tuning v2 (https://arxiv.org/abs/2110.07602)."""
    from peft import PrefixTuningConfig

    return PrefixTuningConfig(num_virtual_tokens=settings.virtual_tokens, task_type="CAUSAL_LM")


def _ptuning(settings: MethodSettings, model: Any, steps: int | None) -> Any:
    """P-tuning (https://arxiv.org/abs/2103.10385)."""
    from peft import PromptEncoderConfig

    count, width = settings.virtual_tokens, PTUNING_WIDTH
    return PromptEncoderConfig(num_virtual_tokens=count, encoder_hidden_size=width, task_type="CAUSAL_LM")


_CONFIGS: dict[Method, Callable[[MethodSettings, Any, int | None], Any]] = {
    **dict.fromkeys(("lora", "rslora", "dora", "loraplus", "pissa", "olora"), _lora),
    "adalora": _adalora,
    "loha": _loha,
    "lokr": _lokr,
    "ia3": _ia3,
    "oft": _oft,
    "layernorm": _layernorm,
    "prompt": _prompt,
    "prefix": _prefix,
    "ptuning": _ptuning,
}
