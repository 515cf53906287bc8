"""GGUF files: judged by their header, converted to ordinary folders."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from core.errors import WorkbenchError
from core.models import gguf_import, memory
from core.models.arrival import Progress
from core.models.catalog import inspect, list_models
from core.models.gguf_header import read_gguf_header
from core.models.gguf_import import check_gguf, convert_gguf
from core.workspace import Workspace
from tests.conftest import CHATML
from tests.core.models.conftest import assert_shown_in_both_languages


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def entry(key: str, text: str) -> bytes:
    return string(key) + struct.pack("<I", 8) + string(text)


def gguf(entries: list[bytes], tensors: list[bytes] | None = None, version: int = 3) -> bytes:
    tensors = tensors or []
    return b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries + tensors)


def tensor(name: str, *shape: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, 0)


ARRAYS = [
    string("tokenizer.tokens") + struct.pack("<IIQ", 9, 8, 3) + string("a") + string("b") + string("ü"),
    string("tokenizer.scores") + struct.pack("<IIQ3f", 9, 6, 3, 0.0, 1.0, 2.0),
    string("flag") + struct.pack("<I?", 7, True),
]


def test_a_header_is_read_past_arrays_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    entries = [*ARRAYS, entry("general.architecture", "llama"), entry("tokenizer.chat_template", CHATML)]
    path.write_bytes(gguf(entries, [tensor("a", 4, 8), tensor("b", 10)]))
    header = read_gguf_header(path)
    assert (header.architecture, header.template, header.parameters) == ("llama", CHATML, 42)


def array(kind: int, count: int) -> bytes:
    return string("x") + struct.pack("<IIQ", 9, kind, count)


BAD = [
    (b"", "M11_not_gguf"),
    (b"<html>", "M11_not_gguf"),
    (b"GGUF", "M11_gguf_header"),
    (gguf([], version=1), "M11_gguf_header"),
    (b"GGUF" + struct.pack("<IQQ", 3, 10**12, 0), "M11_gguf_header"),
    (b"GGUF" + struct.pack("<IQQ", 3, 0, 10**12), "M11_gguf_header"),
    (b"GGUF" + struct.pack("<IQQ", 3, 0, 5), "M11_gguf_header"),
    (gguf([struct.pack("<Q", 2**63)]), "M11_gguf_header"),
    (gguf([string("x") + struct.pack("<I", 77)]), "M11_gguf_header"),
    (gguf([array(4, 2**60)]), "M11_gguf_header"),
    (gguf([array(9, 2)]), "M11_gguf_header"),
    (gguf([array(8, 3) + struct.pack("<Q", 2**62)]), "M11_gguf_header"),
    (gguf([], [string("t") + struct.pack("<I", 10**6)]), "M11_gguf_header"),
    (gguf([], [tensor("t", 2**40, 2**40)]), "M11_gguf_header"),
    (gguf([entry("general.architecture", "clip")]), "M11_gguf_architecture"),
    (
        gguf([entry("general.architecture", "llama"), entry("tokenizer.chat_template", "{% for")]),
        "M06_chat_template_broken",
    ),
]


@pytest.mark.parametrize(("content", "key"), BAD, ids=[f"{i}-{key}" for i, (_, key) in enumerate(BAD)])
def test_a_bad_file_is_refused_from_its_header(workspace: Workspace, content: bytes, key: str) -> None:
    path = workspace.models / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(WorkbenchError) as caught:
        convert_gguf(path, workspace)
    assert caught.value.key == key
    assert_shown_in_both_languages(caught.value.problems)
    assert [entry.name for entry in workspace.models.iterdir()] == ["bad.gguf"], "nothing half-made is left"


def test_a_file_too_big_for_memory_or_disk_is_refused_with_the_numbers(workspace: Workspace, monkeypatch: Any) -> None:
    path = workspace.models / "big.gguf"
    path.write_bytes(gguf([entry("general.architecture", "llama")], [tensor("t", 2**30)]))
    monkeypatch.setattr(memory, "free_memory_gb", lambda device="cpu": 1.0)
    with pytest.raises(WorkbenchError) as caught:
        check_gguf(path, workspace)
    assert caught.value.key == "M17_too_big" and "6.4" in str(caught.value)
    path.write_bytes(gguf([entry("general.architecture", "llama")], [tensor("t", 2**45)]))
    with pytest.raises(WorkbenchError) as caught:
        check_gguf(path, workspace)
    assert caught.value.key == "A13_disk_full"
    assert_shown_in_both_languages(caught.value.problems)


def test_a_failing_conversion_leaves_nothing_behind(workspace: Workspace) -> None:
    path = workspace.models / "hollow.gguf"
    path.write_bytes(gguf([entry("general.architecture", "llama")]))
    with pytest.raises(WorkbenchError) as caught:
        convert_gguf(path, workspace)
    assert caught.value.key == "M11_gguf_conversion"
    assert [entry.name for entry in workspace.models.iterdir()] == ["hollow.gguf"]


def fake_conversion(monkeypatch: Any, tiny_model_dir: Path) -> None:
    import shutil

    def convert(file: Path, target: Path, report: Any, cancelled: Any) -> None:
        report(Progress("converting"))
        shutil.copytree(tiny_model_dir, target, dirs_exist_ok=True)

    monkeypatch.setattr(gguf_import, "_convert", convert)


def test_the_folder_is_named_after_the_file_and_never_overwrites(
    workspace: Workspace, monkeypatch: Any, tiny_model_dir: Path
) -> None:
    fake_conversion(monkeypatch, tiny_model_dir)
    path = workspace.models / "some model.Q4_1.gguf"
    path.write_bytes(gguf([entry("general.architecture", "llama")]))
    told: list[Progress] = []
    assert convert_gguf(path, workspace, report=told.append) == "some-model.Q4_1"
    assert convert_gguf(path, workspace) == "some-model.Q4_1-2"
    assert [info.name for info in list_models(workspace) if info.loadable] == ["some-model.Q4_1", "some-model.Q4_1-2"]
    assert told == [Progress("converting")]


def test_a_result_that_cannot_be_loaded_is_not_installed(
    workspace: Workspace, monkeypatch: Any, tiny_model_dir: Path
) -> None:
    monkeypatch.setattr(gguf_import, "_convert", lambda *_: None)
    path = workspace.models / "a.gguf"
    path.write_bytes(gguf([entry("general.architecture", "llama")]))
    with pytest.raises(WorkbenchError):
        convert_gguf(path, workspace)
    assert not (workspace.models / "a").exists()


def write_tiny_gguf(path: Path, tiny_model_dir: Path) -> None:
    """The tiny model as a GGUF file of fp32 tensors, with its tokenizer and template."""
    import json

    import gguf as format_library
    from safetensors.numpy import load_file

    tokenizer = json.loads((tiny_model_dir / "tokenizer.json").read_text())
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    special = {entry["content"] for entry in tokenizer["added_tokens"]}
    writer = format_library.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(512)
    writer.add_tokenizer_model("gpt2")
    tokens = [token for token, _ in vocabulary]
    tokens += [f"<unused-{i}>" for i in range(512 - len(tokens))]
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template((tiny_model_dir / "chat_template.jinja").read_text())
    names = format_library.get_tensor_name_map(format_library.MODEL_ARCH.LLAMA, 2)
    for name, values in load_file(tiny_model_dir / "model.safetensors").items():
        writer.add_tensor(names.get_name(name, (".weight",)), permuted(name, values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def permuted(name: str, values: Any) -> Any:
    """llama.cpp keeps query and key rows in another order (convert_hf_to_gguf.py, `LlamaModel.permute`)."""
    heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2])
    if heads is None:
        return values
    rows, width = values.shape
    return values.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def test_a_converted_model_is_the_model_that_was_packed(workspace: Workspace, tiny_model_dir: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = workspace.models / "tiny.gguf"
    write_tiny_gguf(path, tiny_model_dir)
    told: list[str] = []
    name = convert_gguf(path, workspace, "Tiny", lambda progress: told.append(progress.phase))
    folder = workspace.models / name
    info = inspect(folder)
    assert info.loadable and info.dtype == "bf16" and info.template == "own"
    assert told == ["converting", "saving"]
    ids = torch.tensor([[5, 17, 300, 41, 8]])
    original = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.bfloat16)
    converted = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    with torch.no_grad():
        assert torch.allclose(converted(input_ids=ids).logits, original(input_ids=ids).logits, atol=1e-2)
    words = "Hello, who are you?"
    first, second = (AutoTokenizer.from_pretrained(place)(words).input_ids for place in (tiny_model_dir, folder))
    assert first == second
