"""The list of models: whatever lies in the folders, it never fails, and says what is wrong with what."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.errors import WorkbenchError
from core.models.catalog import find_model, fingerprint, inspect, list_models, structure, structure_of
from core.models.configuration import causal_models, known_model_types
from core.workspace import Workspace
from tests.core.models.conftest import assert_shown_in_both_languages, edit_json, keys_of


def test_a_model_is_described_from_its_files(tiny_model_dir: Path) -> None:
    info = inspect(tiny_model_dir)
    assert info.loadable and info.problems == ()
    assert (info.architecture, info.model_type, info.dtype, info.template) == (
        "LlamaForCausalLM",
        "llama",
        "fp32",
        "own",
    )
    assert (info.hidden_size, info.layers, info.vocab_size, info.max_length) == (64, 2, 512, 512)
    assert info.parameters == 106_816
    assert info.bytes == (tiny_model_dir / "model.safetensors").stat().st_size


def test_looking_at_models_imports_no_torch(workspace_with_tiny: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path; from core.workspace import Workspace; "
        "from core.models import catalog, downloads, hub, starter; "
        f"found = catalog.list_models(Workspace(Path({str(workspace_with_tiny.root)!r}))); "
        "assert len(found) == 1 and found[0].loadable, found; "
        "assert not {'torch', 'transformers', 'peft', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3], timeout=60)


def test_the_types_read_from_the_librarys_source_are_the_librarys() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    assert causal_models() == {
        key: (value,) if isinstance(value, str) else tuple(value)
        for key, value in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()
    }
    assert known_model_types() > set(causal_models()) | {"vit", "t5", "whisper", "clip"}


def remove(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: str | bytes) -> Any:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def configure(**changes: Any) -> Any:
    return lambda folder: edit_json(folder / "config.json", changes)


def turn_into_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def turn_into_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def turn_into_gguf(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tiny.gguf")


DAMAGES = [
    (remove("config.json"), "M02_no_config"),
    (write("config.json", ""), "M02_config_not_json"),
    (write("config.json", '{"model_type": "llama",'), "M02_config_not_json"),
    (write("config.json", "[" * 100_000), "M02_config_not_json"),
    (write("config.json", "[1]"), "M02_config_not_json"),
    (write("config.json", b"\xff\xfe\x00"), "M02_config_not_json"),
    (write("config.json", " " * 1_000_001), "M02_file_too_big"),
    (write("config.json", "version https://git-lfs.github.com/spec/v1\noid sha256:00"), "M10_lfs_pointer"),
    (configure(model_type=...), "M02_no_model_type"),
    (configure(model_type=["llama"]), "M02_no_model_type"),
    (configure(model_type="lama"), "M02_unknown_model_type"),
    (configure(model_type="chatglm", auto_map={"AutoModel": "modeling_chatglm.X"}), "M12_needs_own_code"),
    (configure(model_type="vit", architectures=["ViTForImageClassification"]), "M03_not_causal_lm"),
    (configure(model_type="bert", architectures=["BertForMaskedLM"]), "M03_not_causal_lm"),
    (configure(architectures=["LlamaForSequenceClassification"]), "M03_not_causal_lm"),
    (configure(model_type="gemma3", architectures=["Gemma3ForConditionalGeneration"]), "M03_not_causal_lm"),
    (configure(model_type="t5", architectures=["T5ForConditionalGeneration"]), "M03_not_causal_lm"),
    (turn_into_adapter, "M03_is_an_adapter"),
    (write("adapter_config.json", "{}"), "M03_adapter_inside"),
    (configure(quantization_config={"quant_method": "gptq", "bits": 4}), "M16_foreign_quantization"),
    (remove("tokenizer.json"), "M04_no_tokenizer"),
    (write("tokenizer_config.json", "{"), "M04_tokenizer_config_broken"),
    (write("chat_template.jinja", "{{ x" + "x" * 70_000), "M06_chat_template_too_big"),
    (write("chat_template.jinja", "{% for %}"), "M06_chat_template_broken"),
    (remove("model.safetensors"), "M11_no_weights"),
    (turn_into_pickle, "M11_pickle_only"),
    (turn_into_gguf, "M11_gguf_only"),
    (write("model.safetensors", ""), "M07_empty"),
    (configure(vocab_size=600), "M15_shapes"),
    (configure(hidden_size=32), "M15_shapes"),
    (configure(num_hidden_layers=3), "M15_shapes"),
    (configure(intermediate_size=64), "M15_shapes"),
]


@pytest.mark.parametrize(("damage", "key"), DAMAGES, ids=[f"{i}-{key}" for i, (_, key) in enumerate(DAMAGES)])
def test_a_damaged_model_is_listed_with_its_error(tiny_copy: Path, workspace: Workspace, damage: Any, key: str) -> None:
    damage(tiny_copy)
    (info,) = [info for info in list_models(workspace) if not info.gguf]
    assert not info.loadable
    assert key in keys_of(info.errors)
    assert_shown_in_both_languages(info.problems)


def own_code(folder: Path) -> None:
    edit_json(folder / "config.json", {"auto_map": {"AutoModelForCausalLM": "evil.X"}, "_attn_implementation": "a/b"})
    (folder / "evil.py").write_text("raise SystemExit")


WARNINGS = [
    (own_code, "M12_code_ignored", ("auto_map", "_attn_implementation", "evil.py")),
    (write("training_args.bin", b"\x80\x04"), "M13_pickle_ignored", ("training_args.bin",)),
    (remove("chat_template.jinja"), "M05_no_template", ()),
]


@pytest.mark.parametrize(("change", "key", "named"), WARNINGS, ids=[key for _, key, _ in WARNINGS])
def test_a_danger_is_named_and_does_not_keep_the_model_from_loading(
    tiny_copy: Path, change: Any, key: str, named: tuple[str, ...]
) -> None:
    change(tiny_copy)
    info = inspect(tiny_copy)
    assert info.loadable
    (problem,) = info.problems
    assert problem.key == key and problem.severity == "warning"
    assert all(name in str(problem.describe()) for name in named)
    assert_shown_in_both_languages(info.problems)


def test_a_model_without_a_template_says_so(tiny_copy: Path) -> None:
    (tiny_copy / "chat_template.jinja").unlink()
    assert inspect(tiny_copy).template is None


def test_one_broken_model_does_not_hide_the_others(workspace_with_tiny: Workspace) -> None:
    models = workspace_with_tiny.models
    (models / "broken").mkdir()
    (models / "file.txt").write_text("no model")
    (models / ".tiny.123.tmp").mkdir()
    found = list_models(workspace_with_tiny)
    assert [(info.name, info.loadable) for info in found] == [("broken", False), ("tiny", True)]


def test_links_that_lead_nowhere_in_a_circle_or_outside_are_refused(workspace: Workspace, tiny_model_dir: Path) -> None:
    models = workspace.models
    (models / "gone").symlink_to(models / "nowhere")
    (models / "circle").symlink_to(models / "circle")
    (models / "outside").symlink_to(tiny_model_dir)
    inside = models / "inner"
    inside.mkdir()
    (inside / "config.json").symlink_to(tiny_model_dir / "config.json")
    found = {info.name: keys_of(info.errors) for info in list_models(workspace)}
    assert found["gone"] == found["circle"] == ["M01_unreadable"]
    assert found["outside"] == found["inner"] == ["M01_link_outside"]
    for info in list_models(workspace):
        assert_shown_in_both_languages(info.problems)


def test_extra_folders_are_listed_and_allow_links_into_them(workspace: Workspace, tiny_model_dir: Path) -> None:
    wider = Workspace(workspace.root, extra_models=(tiny_model_dir.parent,))
    (wider.models / "link").symlink_to(tiny_model_dir)
    assert [(info.name, info.loadable) for info in list_models(wider)] == [("link", True), ("tiny", True)]


def test_the_same_folder_name_in_two_places_gives_two_names(
    workspace_with_tiny: Workspace, tiny_model_dir: Path
) -> None:
    wider = Workspace(workspace_with_tiny.root, extra_models=(tiny_model_dir.parent,))
    assert [info.name for info in list_models(wider)] == ["tiny", "tiny (2)"]
    assert find_model(wider, "tiny (2)").folder == tiny_model_dir


def test_gguf_files_are_listed_as_convertible_wherever_they_lie(workspace: Workspace) -> None:
    (workspace.models / "one.gguf").write_bytes(b"GGUF")
    (workspace.models / "folder").mkdir()
    (workspace.models / "folder" / "two.GGUF").write_bytes(b"GGUF")
    convertible = [info.name for info in list_models(workspace) if info.gguf]
    assert convertible == ["one.gguf", "two.GGUF"]
    assert not any(info.loadable for info in list_models(workspace))


@pytest.mark.parametrize("name", ["nope", "../tiny", "/etc", "", "tiny/", "TINY"])
def test_a_name_that_is_not_listed_is_refused_with_the_names_there_are(
    workspace_with_tiny: Workspace, name: str
) -> None:
    with pytest.raises(WorkbenchError) as caught:
        find_model(workspace_with_tiny, name)
    assert caught.value.key == "M01_no_such_model"
    assert "tiny" in str(caught.value)


def test_a_fingerprint_tells_structure_and_weights_and_not_the_folders_name(tiny_copy: Path) -> None:
    first = fingerprint(inspect(tiny_copy))
    assert first.startswith("llama-64x2-v512-") and len(first.rpartition("-")[2]) == 16
    assert structure_of(first) == structure(inspect(tiny_copy)) == "llama-64x2-v512"
    renamed = tiny_copy.rename(tiny_copy.with_name("other"))
    assert fingerprint(inspect(renamed)) == first
    weights = renamed / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert fingerprint(inspect(renamed)) != first


def test_hashes_of_unchanged_files_are_remembered(tiny_copy: Path, workspace: Workspace, monkeypatch: Any) -> None:
    info = inspect(tiny_copy)
    first = fingerprint(info, workspace.state)
    monkeypatch.setattr("core.models.catalog.hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert fingerprint(info, workspace.state) == first


def test_a_broken_memory_of_hashes_is_rebuilt(tiny_copy: Path, workspace: Workspace) -> None:
    info = inspect(tiny_copy)
    first = fingerprint(info, workspace.state)
    (workspace.state / "weight_hashes.json").write_text("{broken")
    assert fingerprint(info, workspace.state) == first


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ('{"base_name": "tiny", "dataset": "jokes.json", "run_id": "r1", "created": "2026-01-02"}', True),
        ('{"base_name": "tiny", "dataset": 3}', True),
        ("{", False),
        ("[]", False),
        ('{"base_name": {"x": 1}}', False),
        (" " * 300_000, False),
    ],
)
def test_a_model_made_here_says_where_it_comes_from_and_a_damaged_card_keeps_nobody_out(
    tmp_path: Path, tiny_model_dir: Path, content: str, shown: bool
) -> None:
    folder = Path(shutil.copytree(tiny_model_dir, tmp_path / "tuned"))
    assert inspect(folder).origin is None
    (folder / "workbench.json").write_text(content, "utf-8")
    info = inspect(folder)
    assert info.loadable
    assert info.problems == ()
    assert (info.origin.base if info.origin else "") == ("tiny" if shown else "")
