"""M13, M18-M23: an adapter folder is judged from its configuration and header, before anything is loaded."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from core.adapters.adapter_types import LAYOUTS
from core.adapters.base_shapes import BaseShapes, shapes_of
from core.adapters.config_file import CONFIG_FILE
from core.adapters.tensor_file import WEIGHTS_FILE
from core.adapters.validity import judge, read_adapter
from core.errors import Problem
from core.models.catalog import fingerprint, inspect
from core.settings import MethodSettings, fields_of
from tests.core.adapters.building import ALL_TYPES, edit_json, save_random_adapter, save_random_adapter_of

KINDS = [kind for kind in ALL_TYPES if "/" not in kind]
PROMPTS = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
Change = Callable[[Path], None]


class Base(NamedTuple):
    shapes: BaseShapes
    fingerprint: str
    name: str


def judged(folder: Path, base: Base) -> list[Problem]:
    return list(judge(folder, *base).problems)


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Any, base: Base) -> Path:
    return save_random_adapter(tiny_model, tmp_path / "polite", seed=1, fingerprint=base.fingerprint)


@pytest.fixture
def base(tiny_model_dir: Path, tiny_model: Any) -> Base:
    return Base(shapes_of(tiny_model), fingerprint(inspect(tiny_model_dir)), "tiny")


def keys(folder: Path, base: Base, severity: str = "error") -> list[str]:
    problems = judged(folder, base)
    for problem in problems:
        assert str(problem.describe("zh"))
        assert str(problem.describe("en"))
    return [problem.key for problem in problems if problem.severity == severity]


def test_a_good_adapter_has_no_problem(folder: Path, base: Base) -> None:
    assert judged(folder, base) == []


@pytest.mark.parametrize("options", [{"use_rslora": True}, {"use_dora": True}, {"rank_pattern": {"q_proj": 2}}])
def test_the_lora_variants_have_no_problem(
    tmp_path: Path, tiny_model: Any, base: Base, options: dict[str, Any]
) -> None:
    made = save_random_adapter(tiny_model, tmp_path / "a", seed=1, **options)
    assert judged(made, base) == []


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [
        ("peft_type", "VERA", "M18_type_not_applicable"),
        ("peft_type", None, "M18_type_not_applicable"),
        ("peft_type", ["LORA"], "M18_type_not_applicable"),
        ("r", 0, "M18_field"),
        ("r", -1, "M18_field"),
        ("r", 10**9, "M18_field"),
        ("r", "8", "M18_field"),
        ("r", True, "M18_field"),
        ("r", 8.0, "M18_field"),
        ("lora_alpha", float("nan"), "M18_field"),
        ("lora_alpha", 0, "M18_field"),
        ("lora_alpha", 10**400, "M18_field"),
        ("lora_dropout", 1.0, "M18_field"),
        ("lora_dropout", "x", "M18_field"),
        ("task_type", "SEQ_CLS", "M18_field"),
        ("bias", "all", "M18_field"),
        ("use_rslora", "yes", "M18_field"),
        ("use_dora", 1, "M18_field"),
        ("target_modules", {"a": 1}, "M18_field"),
        ("layers_to_transform", ["0"], "M18_field"),
        ("rank_pattern", [1], "M18_field"),
        ("rank_pattern", {"q_proj": 0}, "M18_field"),
        ("rank_pattern", {"(a+)+$": 8}, "M22_pattern_refused"),
        ("alpha_pattern", {"(a+)+$": 8}, "M22_pattern_refused"),
        ("modules_to_save", ["lm_head"], "M18_field_not_supported"),
        ("layer_replication", [[0, 2]], "M18_field_not_supported"),
        ("a_field_of_tomorrow", {"x": 1}, "M18_field_not_supported"),
        ("init_lora_weights", "pissa_niter_16", "M18_initialiser_changes_base"),
        ("init_lora_weights", "olora", "M18_initialiser_changes_base"),
        ("init_lora_weights", 3, "M18_field"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(
    folder: Path, base: Base, field: str, value: object, key: str
) -> None:
    edit_json(folder / CONFIG_FILE, **{field: value})
    problems = judged(folder, base)
    assert [problem.key for problem in problems] == [key]
    assert field in problems[0].describe().what + problems[0].describe().where or field == "peft_type"


def test_every_wrong_field_is_named_at_once(folder: Path, base: Base) -> None:
    edit_json(folder / CONFIG_FILE, r=0, lora_alpha="x", bias="all")
    assert keys(folder, base) == ["M18_field"] * 3


@pytest.mark.parametrize("value", [None, [], {}, False, ""])
def test_an_unknown_field_without_effect_is_no_problem(folder: Path, base: Base, value: object) -> None:
    edit_json(folder / CONFIG_FILE, a_field_of_tomorrow=value)
    assert keys(folder, base) == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "[" * 100_000, '{"r": ' + "9" * 5000 + "}", "\ufeffx", " " * 2_000_000]
)
def test_a_configuration_that_is_no_object_is_refused(folder: Path, base: Base, content: str) -> None:
    (folder / CONFIG_FILE).write_text(content, "utf-8")
    assert len(keys(folder, base)) == 1


def remove_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()


def remove_config(folder: Path) -> None:
    (folder / CONFIG_FILE).unlink()


def only_pickle(folder: Path) -> None:
    remove_weights(folder)
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")


def truncated(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:-10])


def huge_header(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes((2**40).to_bytes(8, "little") + b"{}" * 6_000_000)


def lfs_pointer(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def changed_tensors(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS_FILE).items()}
    save_file({name: tensor.contiguous() for name, tensor in change(tensors).items()}, folder / WEIGHTS_FILE)


def no_tensors(folder: Path) -> None:
    changed_tensors(folder, lambda tensors: {})


def without_one_matrix(folder: Path) -> None:
    changed_tensors(folder, lambda tensors: dict(list(tensors.items())[1:]))


def with_a_foreign_tensor(folder: Path) -> None:
    changed_tensors(folder, lambda all_: all_ | {"base_model.model.lm_head.weight": next(iter(all_.values())).clone()})


def without_a_layer(folder: Path) -> None:
    changed_tensors(folder, lambda all_: {name: tensor for name, tensor in all_.items() if ".layers.1." not in name})


def with_a_layer_more(folder: Path) -> None:
    changed_tensors(
        folder,
        lambda all_: all_ | {name.replace("layers.1", "layers.2"): tensor.clone() for name, tensor in all_.items()},
    )


def of_a_wider_base(folder: Path) -> None:
    def widened(tensors: dict[str, Any]) -> dict[str, Any]:
        return {name: tensor.repeat(1, 2) if "lora_A" in name else tensor for name, tensor in tensors.items()}

    changed_tensors(folder, widened)


def with_another_rank(folder: Path) -> None:
    edit_json(folder / CONFIG_FILE, r=8)


def called_dora(folder: Path) -> None:
    edit_json(folder / CONFIG_FILE, use_dora=True)


def with_fewer_targets(folder: Path) -> None:
    edit_json(folder / CONFIG_FILE, target_modules=["q_proj"])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (remove_config, "M18_no_config"),
        (remove_weights, "M18_no_weights"),
        (only_pickle, "M13_only_pickle"),
        (truncated, "M07_truncated"),
        (huge_header, "M08_header_too_big"),
        (lfs_pointer, "M10_lfs_pointer"),
        (no_tensors, "M20_strange_tensors"),
        (without_one_matrix, "M20_broken_modules"),
        (with_a_foreign_tensor, "M20_strange_tensors"),
        (without_a_layer, "M20_incomplete"),
        (with_a_layer_more, "M19_does_not_fit"),
        (of_a_wider_base, "M19_does_not_fit"),
        (with_another_rank, "M20_rank_differs"),
        (called_dora, "M20_variant_differs"),
        (with_fewer_targets, "M20_untargeted_modules"),
    ],
)
def test_a_folder_that_is_no_adapter_for_this_base_is_refused(
    folder: Path, base: Base, change: Change, key: str
) -> None:
    change(folder)
    assert keys(folder, base) == [key]


def test_a_mismatch_names_modules_with_both_shapes(folder: Path, base: Base) -> None:
    of_a_wider_base(folder)
    said = str(judged(folder, base)[0].describe())
    assert "q_proj: [64, 128] ≠ [64, 64]" in said


def test_an_adapter_of_another_structure_is_refused_with_both_fingerprints(folder: Path, base: Base) -> None:
    edit_json(folder / "workbench.json", base_fingerprint="llama-576x30-v49152-0123456789abcdef", base_name="Smol")
    problems = judged(folder, base)
    assert [problem.key for problem in problems] == ["M19_other_base"]
    said = str(problems[0].describe())
    assert "llama-576x30-v49152" in said
    assert base.fingerprint in said
    assert "Smol" in said


def test_other_weights_of_the_same_structure_warn(folder: Path, base: Base) -> None:
    structure = base.fingerprint.rpartition("-")[0]
    edit_json(folder / "workbench.json", base_fingerprint=f"{structure}-0000000000000000")
    assert keys(folder, base) == []
    assert keys(folder, base, "warning") == ["M19_other_weights"]


def test_a_hostile_pattern_is_never_matched_and_named(folder: Path, base: Base) -> None:
    edit_json(folder / CONFIG_FILE, target_modules="(.*a+)+$", exclude_modules="(b+)+$")
    started = time.process_time()
    assert keys(folder, base) == []
    assert keys(folder, base, "warning") == ["M22_pattern_ignored"] * 2
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "value", ["https://evil.example/model", "/etc/passwd", "../../secret", "C:\\models\\x", "~/models/x"]
)
def test_a_base_that_is_a_path_is_shown_and_not_opened(folder: Path, base: Base, value: str) -> None:
    edit_json(folder / CONFIG_FILE, base_model_name_or_path=value, tokenizer_name_or_path=value)
    assert keys(folder, base) == []
    assert keys(folder, base, "warning") == ["M23_base_path_ignored"] * 2
    fields = read_adapter(folder).fields
    assert fields
    assert "/" not in fields.base_name


def test_pickles_beside_the_weights_are_ignored_and_named(folder: Path, base: Base) -> None:
    for name in ("optimizer.pt", "training_args.bin"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    problems = judged(folder, base)
    assert [problem.key for problem in problems] == ["M13_pickle_ignored"]
    assert "optimizer.pt, training_args.bin" in str(problems[0].describe())


def test_an_adapter_limited_to_some_layers_is_complete_without_the_others(folder: Path, base: Base) -> None:
    without_a_layer(folder)
    edit_json(folder / CONFIG_FILE, layers_to_transform=[0])
    assert keys(folder, base) == []


def test_every_bit_of_the_header_may_be_wrong_without_a_crash(folder: Path, base: Base) -> None:
    whole = (folder / WEIGHTS_FILE).read_bytes()
    header_end = 8 + int.from_bytes(whole[:8], "little")
    for position in range(0, header_end, 37):
        broken = bytearray(whole)
        broken[position] ^= 1 << (position % 8)
        (folder / WEIGHTS_FILE).write_bytes(broken)
        json.dumps([problem.key for problem in judged(folder, base)])


@pytest.fixture(scope="module")
def folders(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One adapter of each type."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()
    root, print_ = tmp_path_factory.mktemp("types"), fingerprint(inspect(tiny_model_dir))
    return {kind: save_random_adapter_of(model, kind, root / kind, print_) for kind in KINDS}


def copy_of(folders: dict[str, Path], kind: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders[kind], tmp_path / "it"))


def test_every_type_of_the_allow_list_is_tried() -> None:
    assert set(KINDS) == set(LAYOUTS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_of_each_type_is_good(folders: dict[str, Path], base: Base, kind: str) -> None:
    assert judged(folders[kind], base) == []


@pytest.mark.parametrize(
    ("kind", "field", "value", "key"),
    [
        ("ADALORA", "init_r", 0, "M18_field"),
        ("ADALORA", "init_r", 1e9, "M18_field"),
        ("ADALORA", "lora_alpha", "nan", "M18_field"),
        ("ADALORA", "use_dora", True, "M18_field_not_supported"),
        ("ADALORA", "init_r", 3, "M20_rank_differs"),
        ("LOHA", "r", "4", "M18_field"),
        ("LOHA", "alpha", -1, "M18_field"),
        ("LOHA", "alpha_pattern", {"(a+)+$": 8}, "M22_pattern_refused"),
        ("LOHA", "rank_pattern", {}, "M20_rank_differs"),
        ("LOKR", "decompose_both", "yes", "M18_field"),
        ("LOKR", "decompose_factor", 10**9, "M18_field"),
        ("LOKR", "r", 5, "M20_rank_differs"),
        ("IA3", "feedforward_modules", {"a": 1}, "M18_field"),
        ("IA3", "feedforward_modules", [], "M20_variant_differs"),
        ("IA3", "modules_to_save", ["lm_head"], "M18_field_not_supported"),
        ("OFT", "oft_block_size", -1, "M18_field"),
        ("OFT", "num_cayley_neumann_terms", 10**9, "M18_field"),
        ("OFT", "coft", True, "M18_field_not_supported"),
        ("OFT", "bias", "all", "M18_field"),
        ("LN_TUNING", "target_modules", ["norm"], "M20_untargeted_modules"),
        ("LN_TUNING", "target_modules", ["layernorm", 3], "M18_field"),
        ("LN_TUNING", "task_type", "SEQ_CLS", "M18_field"),
        ("TRAINED_WEIGHTS", "format_version", 2, "M18_field"),
        ("TRAINED_WEIGHTS", "format_version", True, "M18_field"),
        ("TRAINED_WEIGHTS", "a_field_of_tomorrow", 1, "M18_field_not_supported"),
        *((kind, "num_virtual_tokens", value, "M18_field") for kind in PROMPTS for value in (0, 10**9, "5", None, 513)),
        *((kind, "num_virtual_tokens", 6, "M20_virtual_tokens_differ") for kind in PROMPTS),
        *((kind, "num_transformer_submodules", 2, "M18_field") for kind in PROMPTS),
        *((kind, "peft_type", "LORA", "M20_strange_tensors") for kind in KINDS if kind != "LORA"),
    ],
)
def test_a_field_that_cannot_be_is_refused_for_each_type(
    folders: dict[str, Path], base: Base, tmp_path: Path, kind: str, field: str, value: object, key: str
) -> None:
    folder = copy_of(folders, kind, tmp_path)
    edit_json(folder / CONFIG_FILE, **{field: value})
    found = keys(folder, base)
    assert found[:1] == [key] if field != "peft_type" else found


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("PROMPT_TUNING", {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "x" * 9999}),
        ("PROMPT_TUNING", {"tokenizer_kwargs": {"trust_remote_code": True}}),
        ("PREFIX_TUNING", {"prefix_projection": True, "num_layers": 10**9, "token_dim": -1}),
        ("P_TUNING", {"encoder_reparameterization_type": "LSTM", "encoder_hidden_size": 10**12}),
        ("LOKR", {"init_weights": "lycoris", "rank_dropout": 7}),
        ("ADALORA", {"total_step": "never", "rank_pattern": {"(a+)+$": [True]}}),
        ("OFT", {"init_weights": "x", "eps": "NaN"}),
    ],
)
def test_what_only_training_used_is_not_acted_on(
    folders: dict[str, Path], base: Base, tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    folder = copy_of(folders, kind, tmp_path)
    edit_json(folder / CONFIG_FILE, **changes)
    assert keys(folder, base) == []


def narrowed(folder: Path) -> None:
    changed_tensors(folder, lambda all_: {name: tensor[..., :-1] for name, tensor in all_.items()})


def integers(folder: Path) -> None:
    changed_tensors(folder, lambda all_: {name: tensor.int() for name, tensor in all_.items()})


def without_one(folder: Path) -> None:
    changed_tensors(folder, lambda all_: dict(list(all_.items())[1:]))


def with_another(folder: Path) -> None:
    changed_tensors(folder, lambda all_: all_ | {"lm_head.other/..": next(iter(all_.values())).clone()})


@pytest.mark.parametrize(
    "change", [narrowed, integers, with_another, no_tensors, truncated, only_pickle, remove_config]
)
@pytest.mark.parametrize("kind", KINDS)
def test_no_type_gets_past_with_tensors_that_do_not_fit(
    folders: dict[str, Path], base: Base, tmp_path: Path, kind: str, change: Change
) -> None:
    folder = copy_of(folders, kind, tmp_path)
    change(folder)
    assert keys(folder, base)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "TRAINED_WEIGHTS"])
def test_no_type_gets_past_with_a_tensor_missing(
    folders: dict[str, Path], base: Base, tmp_path: Path, kind: str
) -> None:
    """Of freely chosen weights none is missing: what is not in the file stays the base's."""
    folder = copy_of(folders, kind, tmp_path)
    without_one(folder)
    assert keys(folder, base)


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_with_any_bit_wrong_crashes_no_type(
    folders: dict[str, Path], base: Base, tmp_path: Path, kind: str
) -> None:
    folder = copy_of(folders, kind, tmp_path)
    whole = (folder / WEIGHTS_FILE).read_bytes()
    header_end = 8 + int.from_bytes(whole[:8], "little")
    for position in range(8, header_end, max(1, header_end // 12)):
        broken = bytearray(whole)
        broken[position] ^= 1 << (position % 7)
        (folder / WEIGHTS_FILE).write_bytes(broken)
        judged(folder, base)


def test_a_deep_prompt_needs_a_base_that_remembers_by_keys_and_values(folders: dict[str, Path], base: Base) -> None:
    other = base._replace(shapes=replace(base.shapes, past=None))
    assert keys(folders["PREFIX_TUNING"], other) == ["M19_no_learned_past"]
    assert keys(folders["PROMPT_TUNING"], other) == []


@pytest.mark.parametrize(
    ("changes", "key"), [({"quantised": "nf4"}, "M19_not_on_quantised"), ({"transposed": True}, "M19_not_on_conv1d")]
)
def test_layers_that_a_type_cannot_go_with_are_refused(
    folders: dict[str, Path], base: Base, changes: dict[str, Any], key: str
) -> None:
    other = base._replace(shapes=replace(base.shapes, **changes))
    assert keys(folders["LOHA"], other) == [key]
    assert keys(folders["LORA"], other) == []


def test_the_largest_rank_that_can_be_trained_can_be_applied(tmp_path: Path, tiny_model: Any, base: Base) -> None:
    """PiSSA and OLoRA are saved with twice the rank that was set."""
    largest = 2 * int(fields_of(MethodSettings)["rank"].maximum or 0)
    made = save_random_adapter(tiny_model, tmp_path / "a", seed=1, r=largest, target_modules=["q_proj"])
    assert judged(made, base) == []


def test_many_names_and_many_modules_are_judged_at_once(folder: Path) -> None:
    def many(tensors: dict[str, Any]) -> dict[str, Any]:
        (a, b) = (next(each for name, each in tensors.items() if part in name) for part in ("lora_A", "lora_B"))
        paths = [f"base_model.model.model.layers.{number}.q_proj" for number in range(500)]
        return {f"{path}.lora_{x}.weight": each.clone() for path in paths for x, each in (("A", a), ("B", b))}

    changed_tensors(folder, many)
    edit_json(folder / CONFIG_FILE, target_modules=[*(f"a{number}" for number in range(50_000)), "q_proj"])
    started = time.process_time()
    assert read_adapter(folder).problems == ()
    assert time.process_time() - started < 5


def test_a_layer_number_too_long_to_read_is_no_layer(folder: Path, base: Base) -> None:
    edit_json(folder / CONFIG_FILE, layers_to_transform=[0])
    changed_tensors(
        folder, lambda all_: {name.replace("layers.1.", f"layers.{'1' * 5000}."): all_[name] for name in all_}
    )
    assert keys(folder, base) == ["M20_untargeted_modules"]
