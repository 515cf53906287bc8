"""Loading: refused before the weights where it can be known, and safe to twin afterwards."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from core.chat.sampling import model_defaults
from core.errors import WorkbenchError
from core.models import loader, memory
from core.models.catalog import ModelInfo, inspect
from core.models.loader import load
from core.models.twin import make_twin
from core.settings import LoadSettings
from tests.core.models.conftest import assert_shown_in_both_languages, edit_json, keys_of

FP32 = LoadSettings(precision="fp32")
IDS = torch.tensor([[5, 17, 300, 41, 8]])


def change_weights(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def refused(info: ModelInfo, settings: LoadSettings = FP32) -> WorkbenchError:
    with pytest.raises(WorkbenchError) as caught:
        load(info, settings)
    assert_shown_in_both_languages(caught.value.problems)
    return caught.value


def test_a_loaded_model_is_frozen_and_complete(tiny_model_dir: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    loaded = load(inspect(tiny_model_dir), FP32, lambda phase, share: told.append((phase, share)), tmp_path)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.model.dtype == torch.float32
    assert (loaded.eos_ids, loaded.pad_id, loaded.max_length, loaded.template) == (frozenset({2}), 2, 512, None)
    assert loaded.fingerprint.startswith("llama-64x2-v512-")
    assert loaded.load_s > 0 and loaded.memory_after_gb > 0.1 and loaded.problems == ()
    assert [phase for phase, _ in told] == ["checking", "tokenizer", "weights", "checking_weights", "fingerprint"]
    assert [share for _, share in told] == sorted(share for _, share in told)


def test_the_process_wide_generator_is_not_touched(tiny_model_dir: Path) -> None:
    before = torch.random.get_rng_state()
    load(inspect(tiny_model_dir), FP32)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_weights_are_in_the_precision_that_was_chosen(
    tiny_model_dir: Path, monkeypatch: Any, precision: Any, dtype: Any
) -> None:
    from core.models.precision import Hardware

    monkeypatch.setattr("core.models.precision.this_hardware", lambda: Hardware("cpu", "CPU", bf16=True, fp16=False))
    loaded = load(inspect(tiny_model_dir), LoadSettings(precision=precision))
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {dtype}


def forbid_weights(monkeypatch: Any) -> None:
    monkeypatch.setattr(loader, "_load_weights", lambda *_: pytest.fail("weights were read"))


def test_what_the_catalog_found_refuses_before_a_weight_is_read(tiny_copy: Path, monkeypatch: Any) -> None:
    forbid_weights(monkeypatch)
    edit_json(tiny_copy / "config.json", {"vocab_size": 600})
    assert refused(inspect(tiny_copy)).key == "M15_shapes"


def test_a_model_without_a_cache_is_refused(tiny_copy: Path) -> None:
    edit_json(
        tiny_copy / "config.json",
        {"model_type": "rwkv", "architectures": ["RwkvForCausalLM"], "num_attention_heads": ..., "head_dim": ...},
    )
    assert refused(inspect(tiny_copy)).key == "M03_no_cache"


def test_a_gguf_file_must_be_converted_first(monkeypatch: Any) -> None:
    forbid_weights(monkeypatch)
    assert refused(ModelInfo("a.gguf", Path("a.gguf"), gguf=True)).key == "M11_gguf_not_converted"


def test_a_model_larger_than_the_free_memory_is_refused_with_the_numbers(tiny_copy: Path, monkeypatch: Any) -> None:
    forbid_weights(monkeypatch)
    monkeypatch.setattr(memory, "free_memory_gb", lambda device="cpu": 0.0001)
    error = refused(inspect(tiny_copy))
    assert error.key == "M17_too_big"
    assert error.problems[0].values["free"] == "0.0"


def test_four_bits_without_the_library_are_refused(tiny_copy: Path, monkeypatch: Any) -> None:
    forbid_weights(monkeypatch)
    monkeypatch.setattr(loader, "find_spec", lambda name: None)
    assert refused(inspect(tiny_copy), LoadSettings(precision="nf4")).key == "M16_no_bitsandbytes"


def test_a_quantised_model_is_not_quantised_again(tiny_copy: Path, monkeypatch: Any) -> None:
    forbid_weights(monkeypatch)
    edit_json(
        tiny_copy / "config.json", {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    )
    assert refused(inspect(tiny_copy), LoadSettings(precision="int8")).key == "M16_already_quantised"


@pytest.mark.parametrize("stored", ["nf4", "int8"])
def test_a_quantised_model_may_be_asked_for_as_it_is_stored(tiny_copy: Path, stored: Any) -> None:
    """Specs of runs on it name the precision that it was loaded in."""
    info = replace(inspect(tiny_copy), dtype=stored, quantization="bitsandbytes")
    for wish in ("auto", stored):
        assert loader.check_before_loading(info, LoadSettings(precision=wish)).precision == stored


def test_a_model_saved_in_four_bits_loads_as_it_is(tiny_model_dir: Path, tmp_path: Path) -> None:
    first = load(inspect(tiny_model_dir), LoadSettings(precision="nf4"))
    folder = tmp_path / "packed"
    first.model.save_pretrained(folder)
    first.tokenizer.save_pretrained(folder)
    info = inspect(folder)
    assert info.loadable and info.quantization == "bitsandbytes"
    again = load(info, LoadSettings())
    assert again.precision.precision == "nf4"
    with torch.no_grad():
        assert torch.equal(again.model(input_ids=IDS).logits, first.model(input_ids=IDS).logits)


def test_an_endless_template_is_refused_before_a_weight_is_read(tiny_copy: Path, monkeypatch: Any) -> None:
    forbid_weights(monkeypatch)
    (tiny_copy / "chat_template.jinja").write_text("{{ 'a' * 2000000000 }}")
    assert refused(inspect(tiny_copy)).key == "M06_chat_template_endless"


def test_a_tokenizer_of_another_model_is_refused_before_a_weight_is_read(tiny_copy: Path, monkeypatch: Any) -> None:
    forbid_weights(monkeypatch)
    tokenizer = AutoTokenizer.from_pretrained(tiny_copy)
    tokenizer.add_tokens([f"<new-{i}>" for i in range(300)])
    tokenizer.save_pretrained(tiny_copy)
    assert refused(inspect(tiny_copy)).key == "M04_vocabulary_too_large"


def test_a_broken_tokenizer_is_refused_before_a_weight_is_read(tiny_copy: Path, monkeypatch: Any) -> None:
    forbid_weights(monkeypatch)
    (tiny_copy / "tokenizer.json").write_text("{}")
    assert refused(inspect(tiny_copy)).key == "M04_tokenizer_unusable"


def test_a_missing_padding_token_is_chosen_visibly(tiny_copy: Path) -> None:
    edit_json(tiny_copy / "tokenizer_config.json", {"pad_token": ...})
    loaded = load(inspect(tiny_copy), FP32)
    assert keys_of(loaded.problems) == ["M04_pad_chosen"]
    assert loaded.pad_id == 2
    assert_shown_in_both_languages(loaded.problems)


def test_a_model_without_any_end_token_is_refused(tiny_copy: Path, monkeypatch: Any) -> None:
    forbid_weights(monkeypatch)
    edit_json(tiny_copy / "tokenizer_config.json", {"eos_token": ...})
    edit_json(tiny_copy / "generation_config.json", {"eos_token_id": ...})
    edit_json(tiny_copy / "config.json", {"eos_token_id": ...})
    assert refused(inspect(tiny_copy)).key == "M04_no_end_token"


def test_end_tokens_come_from_tokenizer_and_generation_config(tiny_copy: Path) -> None:
    edit_json(tiny_copy / "generation_config.json", {"eos_token_id": [0, 1, 9999, "x"]})
    assert load(inspect(tiny_copy), FP32).eos_ids == {0, 1, 2}


def test_a_model_without_a_template_gets_a_built_in_one(tiny_copy: Path) -> None:
    (tiny_copy / "chat_template.jinja").unlink()
    loaded = load(inspect(tiny_copy), FP32)
    assert loaded.template == "chatml"
    assert loaded.tokenizer.chat_template


def test_sampling_defaults_are_the_models_own_as_they_are_stated(tiny_copy: Path) -> None:
    edit_json(
        tiny_copy / "generation_config.json",
        {"do_sample": True, "temperature": 0, "top_p": 7, "top_k": 20, "min_p": None, "transformers_version": "5"},
    )
    stated = load(inspect(tiny_copy), FP32).generation_defaults
    assert stated == {"do_sample": True, "temperature": 0, "top_p": 7, "top_k": 20}
    taken = model_defaults(stated)
    assert (taken.settings.do_sample, taken.settings.top_k, taken.ignored) == (False, 20, ("top_p: 7",))


def set_value(name: str, value: float) -> Any:
    return lambda tensors: tensors[name].view(-1)[3:4].fill_(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(tiny_copy: Path, value: float) -> None:
    change_weights(tiny_copy, set_value("model.norm.weight", value))
    loaded = load(inspect(tiny_copy), FP32)
    assert keys_of(loaded.problems) == ["M14_not_finite"]
    assert "model.norm.weight" in str(loaded.problems[0].describe())
    assert_shown_in_both_languages(loaded.problems)


def test_a_model_of_nothing_but_zeros_is_refused(tiny_copy: Path) -> None:
    change_weights(tiny_copy, lambda tensors: [tensor.zero_() for tensor in tensors.values()])
    assert refused(inspect(tiny_copy)).key == "M14_no_usable_weights"


def test_a_missing_tensor_is_refused_rather_than_drawn_at_random(tiny_copy: Path) -> None:
    change_weights(tiny_copy, lambda tensors: tensors.pop("model.layers.1.self_attn.q_proj.weight"))
    error = refused(inspect(tiny_copy))
    assert error.key == "M15_tensors_missing"
    assert "model.layers.1.self_attn.q_proj.weight" in str(error)


def test_code_beside_the_weights_is_never_run(tiny_copy: Path, tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    (tiny_copy / "evil.py").write_text(f"import pathlib; pathlib.Path({str(canary)!r}).touch()\nclass X: pass\n")
    auto_map = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"), "evil.X")
    hostile = {"auto_map": auto_map, "trust_remote_code": True, "_attn_implementation_internal": "evil/kernel",
               "attn_implementation": "evil/kernel", "_experts_implementation": "evil/kernel"}  # fmt: skip
    edit_json(tiny_copy / "config.json", hostile)
    edit_json(tiny_copy / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.X", "evil.X"]}})
    edit_json(tiny_copy / "generation_config.json", {"custom_generate": "evil", "trust_remote_code": True})
    info = inspect(tiny_copy)
    assert keys_of(info.problems) == ["M12_code_ignored"]
    loaded = load(info, FP32)
    assert type(loaded.model).__module__.startswith("transformers.models.llama")
    assert not hasattr(loaded.model.config, "auto_map")
    assert loaded.model.config._attn_implementation == "sdpa"
    assert not canary.exists()


class Canary:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickles_beside_the_weights_are_never_opened(tiny_copy: Path, tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "rng_state.pth"):
        (tiny_copy / name).write_bytes(pickle.dumps(Canary(canary)))
    info = inspect(tiny_copy)
    assert keys_of(info.problems) == ["M13_pickle_ignored"]
    load(info, FP32)
    assert not canary.exists()
    (tiny_copy / "model.safetensors").unlink()
    assert refused(inspect(tiny_copy)).key == "M11_pickle_only"
    assert not canary.exists()


def gradient(model: Any) -> dict[str, torch.Tensor]:
    """Gradients of an adapter under a fixed start, after the model was given to training."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(11)
        tree = get_peft_model(
            make_twin(model), LoraConfig(r=4, target_modules="all-linear", init_lora_weights="gaussian")
        )
    tree.train()
    tree(input_ids=IDS, labels=IDS).loss.backward()
    return {name: p.grad.clone() for name, p in tree.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("precision", ["nf4", "int8"])
def test_gradients_are_equal_before_and_after_an_evaluation_pass(tiny_model_dir: Path, precision: Any) -> None:
    model = load(inspect(tiny_model_dir), LoadSettings(precision=precision)).model
    before = gradient(model)
    with torch.no_grad():
        model(input_ids=IDS)
        make_twin(model).eval()(input_ids=IDS)
    after = gradient(model)
    assert before.keys() == after.keys() and before
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_four_bit_layers_never_repack_their_weights(tiny_model_dir: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    model = load(inspect(tiny_model_dir), LoadSettings(precision="nf4")).model
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 14
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


@pytest.mark.starter
def test_the_starter_model_loads_and_answers(starter_dir: Path) -> None:
    from core.models.generation import GenerationRequest, decode
    from core.settings import SamplingSettings

    loaded = load(inspect(starter_dir), FP32)
    prompt = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True
    )["input_ids"]
    request = GenerationRequest(prompt, SamplingSettings(do_sample=False, max_new_tokens=40))
    tokens = [step[0] for step in decode(loaded.model, loaded.eos_ids, loaded.pad_id, [request])]
    answer = loaded.tokenizer.decode([token.token_id for token in tokens if token.token_id is not None])
    assert "Paris" in answer
    assert tokens[-1].finished == "stop"
