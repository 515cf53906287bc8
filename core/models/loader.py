"""A base model from its folder into memory: everything checkable first, then the one pristine tree.

Owns checking before loading, building tokenizer and model without remote code or pickles, and what must be done to the
tree right after loading so that twins of it are safe. The tree it returns is never wrapped: chat and training work on
twins (`twin.make_twin`).

    ModelInfo + LoadSettings → checks → tokenizer → weights → checks on weights → LoadedModel
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.jobs import let_go
from core.models import memory
from core.models.catalog import ModelInfo, fingerprint
from core.models.configuration import MAX_CONFIG_BYTES, cleaned
from core.models.generation_config import sampling_defaults, stated_end_tokens
from core.models.packing import keeps_rows_apart
from core.models.plain_files import read_json_object
from core.models.precision import BYTES_PER_WEIGHT, PrecisionChoice, choose_precision
from core.models.template_trial import survives_trial
from core.models.tokenizer_files import read_tokenizer
from core.settings import LoadSettings

Report = Callable[[str, float], None]

SHOWN_TENSORS = 5


@dataclass
class LoadedModel:
    """A base model in memory. `model` is the pristine tree: eval mode, nothing trainable, wrapped by nobody.

    `template` names the built-in chat template that was chosen where the model has none. `eos_ids` end an answer,
    `pad_id` fills up batches. `generation_defaults` are sampling settings of the model's own generation config.
    `problems` are warnings found while loading.
    """

    info: ModelInfo
    model: Any
    tokenizer: Any
    precision: PrecisionChoice
    template: str | None
    fingerprint: str
    eos_ids: frozenset[int]
    pad_id: int
    max_length: int | None
    load_s: float
    memory_before_gb: float
    memory_after_gb: float
    generation_defaults: dict[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @cached_property
    def tokenizer_sha256(self) -> str:
        """What identifies the tokenizer with its chat template: with another one the same rows are other ids."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        parts = [backend.to_str() if backend is not None else self.tokenizer.get_vocab(), self.tokenizer.chat_template]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def keeps_rows_apart(self) -> bool:
        """Whether rows may be packed into one without seeing each other; tried out when first asked."""
        return keeps_rows_apart(self.model)


def load(
    info: ModelInfo, settings: LoadSettings, report: Report | None = None, state: Path | None = None
) -> LoadedModel:
    """Load a base model; `report` is told a phase (`models.phase.<phase>`) and the share done.

    `state` is the folder in which hashes of weight files are remembered.

    Raises:
        WorkbenchError: what `catalog.inspect` found wrong, M04, M14, M15, M16, M17; before any weight is read, except
            for what only the weights show; A20 where the memory did not suffice after all, which is given back.
    """
    tell = report or (lambda phase, share: None)
    started = time.monotonic()
    tell("checking", 0.0)
    precision = check_before_loading(info, settings)
    tell("tokenizer", 0.05)
    tokenizer, template, problems = _load_tokenizer(info)
    eos_ids = _end_tokens(info, tokenizer)
    tell("weights", 0.15)
    before_gb = memory.used_memory_gb(precision.device)
    with _memory_for(info, precision):
        model, found = _build(info, precision, tell)
    problems += found
    tell("fingerprint", 0.95)
    return LoadedModel(
        info=info,
        model=model,
        tokenizer=tokenizer,
        precision=precision,
        template=template,
        fingerprint=fingerprint(info, state),
        eos_ids=eos_ids,
        pad_id=int(tokenizer.pad_token_id),
        max_length=info.max_length,
        load_s=time.monotonic() - started,
        memory_before_gb=before_gb,
        memory_after_gb=memory.used_memory_gb(precision.device),
        generation_defaults=sampling_defaults(info.folder),
        problems=tuple(problems),
    )


def check_before_loading(info: ModelInfo, settings: LoadSettings) -> PrecisionChoice:
    """Everything that files, settings and free memory tell.

    Raises:
        WorkbenchError: the model's own errors; M11, M16, M17.
    """
    place = Place(file=info.name)
    quiet_libraries()
    if info.gguf:
        raise refusal("M11_gguf_not_converted", place, name=info.name)
    if info.errors:
        raise WorkbenchError(info.errors)
    precision = choose_precision(settings, info)
    if info.quantization and settings.precision not in ("auto", precision.precision):
        raise refusal("M16_already_quantised", place, name=info.name, wish=settings.precision, stored=info.dtype)
    template = read_tokenizer(info.folder).template
    if template and not survives_trial(template):
        raise refusal("M06_chat_template_endless", place, name=info.name)
    if precision.quantized and find_spec("bitsandbytes") is None:
        raise refusal("M16_no_bitsandbytes", place, wish=precision.precision)
    needed_gb = needed_memory_gb(info, precision)
    free_gb = memory.free_memory_gb(precision.device)
    if needed_gb > free_gb:
        shown = {"name": info.name, "needed": f"{needed_gb:.1f}", "free": f"{free_gb:.1f}", "used": precision.precision}
        raise refusal("M17_too_big", place, **shown)
    return precision


def _build(info: ModelInfo, precision: PrecisionChoice, tell: Report) -> tuple[Any, list[Problem]]:
    """The pristine tree, and what its weights show."""
    model = _load_weights(info, precision)
    tell("checking_weights", 0.85)
    problems = _weight_problems(model, info)
    _prepare(model, precision)
    return model, problems


@contextmanager
def _memory_for(info: ModelInfo, precision: PrecisionChoice) -> Iterator[None]:
    """Within it, running out of memory is a refusal in plain words, and what was read so far is let go."""
    try:
        yield
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        let_go(error)
    else:
        return
    memory.release()
    needed, free = needed_memory_gb(info, precision), memory.free_memory_gb(precision.device)
    shown = {"name": info.name, "used": precision.precision, "needed": f"{needed:.1f}", "free": f"{free:.1f}"}
    raise refusal("A20_out_of_memory_loading", Place(file=info.name), **shown)


def needed_memory_gb(info: ModelInfo, precision: PrecisionChoice) -> float:
    """What the weights take in that precision; embeddings stay unquantised."""
    if info.quantization:
        return info.bytes / memory.GB
    embeddings = info.vocab_size * info.hidden_size
    wide = BYTES_PER_WEIGHT[precision.compute]
    inner = max(0, info.parameters - embeddings)
    return (embeddings * wide + inner * BYTES_PER_WEIGHT[precision.precision]) / memory.GB


def quiet_libraries() -> None:
    """Progress is ours to show; and bitsandbytes would log a line for each 8-bit layer and for kernels it lacks."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _load_tokenizer(info: ModelInfo) -> tuple[Any, str | None, list[Problem]]:
    """The tokenizer, the built-in template chosen for it or None, and remarks; a missing pad token is one."""
    from transformers import AutoTokenizer

    from core.data.rendering import ensure_template

    place = Place(file=info.name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(info.folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise refusal("M04_tokenizer_unusable", place, name=info.name, reason=excerpt(error)) from error
    if info.vocab_size and _largest_id(tokenizer) >= info.vocab_size:
        shown = {"tokens": _largest_id(tokenizer) + 1, "vocab_size": info.vocab_size}
        raise refusal("M04_vocabulary_too_large", place, **shown)
    if tokenizer.eos_token_id is None and not stated_end_tokens(info.folder, info.vocab_size):
        raise refusal("M04_no_end_token", place, name=info.name)
    problems = []
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
        problems.append(Problem("M04_pad_chosen", place, {"token": excerpt(tokenizer.pad_token)}, "warning"))
    return tokenizer, ensure_template(tokenizer), problems


def _largest_id(tokenizer: Any) -> int:
    return max(tokenizer.get_vocab().values(), default=-1)


def _load_weights(info: ModelInfo, precision: PrecisionChoice) -> Any:
    """The tree with its weights; a tensor that is missing or of another shape refuses the model."""
    import torch
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    from core.models.prefix import cache_name

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    # Built from cleaned values rather than by AutoConfig: keys that name code or kernels never reach the library (M12).
    values = cleaned(_config_values(info.folder))
    config = CONFIG_MAPPING[values.pop("model_type")].from_dict(values)
    if cache_name(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]) is None:
        raise refusal("M03_no_cache", Place(file=info.name), model_type=info.model_type)
    options: dict[str, Any] = {}
    if precision.quantized and not info.quantization:
        options["quantization_config"] = _quantization(precision, dtypes[precision.compute])
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            info.folder,
            config=config,
            dtype=dtypes[precision.compute],
            device_map={"": precision.device} if precision.device != "cpu" or precision.quantized else None,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        raise refusal("M15_not_loadable", Place(file=info.name), name=info.name, reason=excerpt(error)) from error
    wrong = sorted(found["missing_keys"]) + [str(entry[0]) for entry in found["mismatched_keys"]]
    if wrong:
        shown = {"count": len(wrong), "tensors": excerpt(", ".join(wrong[:SHOWN_TENSORS]))}
        raise refusal("M15_tensors_missing", Place(file=info.name), **shown)
    return model


def _config_values(folder: Path) -> dict[str, Any]:
    values = read_json_object(folder / "config.json", MAX_CONFIG_BYTES, "M02_config_not_json")
    if isinstance(values, Problem):
        raise WorkbenchError([values])
    return values


def _quantization(precision: PrecisionChoice, compute_dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig

    if precision.precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def _prepare(model: Any, precision: PrecisionChoice) -> None:
    """Make the tree safe to twin: frozen, in eval mode, quantised layers settled."""
    import torch

    model.eval()
    model.requires_grad_(False)
    if not precision.quantized:
        return
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            # Else the first eval forward on a CPU with AVX512-BF16 repacks the weights in place, and training on them
            # afterwards gets no gradient through the layer.
            module.support_avx512bf16_for_cpu = False
    with torch.no_grad():
        # The first forward of an 8-bit layer moves its weights; a twin made before it would compute nonsense.
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=precision.device))


def _weight_problems(model: Any, info: ModelInfo) -> list[Problem]:
    """M14: tensors with NaN or infinity are named; a model of nothing but such or zero tensors is refused."""
    import torch

    from core.models.twin import weights_of

    broken: list[str] = []
    dead = total = 0
    for name, tensor in weights_of(model):
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        low, high = torch.aminmax(tensor.detach())
        finite = bool(torch.isfinite(low) and torch.isfinite(high))
        if isinstance(tensor, torch.nn.Parameter):
            total += 1
            dead += not finite or bool(low == 0 and high == 0)
        if not finite:
            broken.append(name)
    shown = {"count": len(broken), "tensors": excerpt(", ".join(broken[:SHOWN_TENSORS]))}
    if dead == total:
        raise refusal("M14_no_usable_weights", Place(file=info.name), name=info.name)
    return [Problem("M14_not_finite", Place(file=info.name), shown, "warning")] if broken else []


def _end_tokens(info: ModelInfo, tokenizer: Any) -> frozenset[int]:
    own = () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
    return frozenset((*own, *stated_end_tokens(info.folder, info.vocab_size)))
