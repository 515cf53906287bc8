"""safetensors headers: everything a hostile or damaged file can claim."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from core.errors import Problem
from core.models.catalog import inspect
from core.models.weight_files import MAX_HEADER_BYTES, read_header
from tests.core.models.conftest import assert_shown_in_both_languages, keys_of, safetensors_bytes


def tensor(shape: Any, span: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": span}


GOOD = {
    "__metadata__": {"format": "pt"},
    "b": tensor([2], [8, 16]),
    "a": tensor([1, 2], [0, 8]),
    "c": tensor([0], [16, 16]),
}


def test_a_good_header_is_read_in_the_order_of_the_data(tmp_path: Path) -> None:
    path = tmp_path / "good.safetensors"
    path.write_bytes(safetensors_bytes(GOOD, b"\0" * 16))
    found = read_header(path)
    assert not isinstance(found, Problem)
    assert [(entry.name, entry.shape, entry.size) for entry in found] == [
        ("a", (1, 2), 8),
        ("b", (2,), 8),
        ("c", (0,), 0),
    ]


BAD = [
    (b"", "M07_empty"),
    (b"\x01\x02", "M07_truncated"),
    (b"<!DOCTYPE html><html>", "M07_web_page"),
    (b"\n  <html>", "M07_web_page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "M10_lfs_pointer"),
    (struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{", "M08_header_too_big"),
    (struct.pack("<Q", 2**64 - 1) + b"{}", "M08_header_too_big"),
    (struct.pack("<Q", 100) + b"{}", "M07_truncated"),
    (struct.pack("<Q", 0), "M07_truncated"),
    (safetensors_bytes(b"[1, 2]"), "M08_header_broken"),
    (safetensors_bytes(b"{'a': 1}"), "M08_header_broken"),
    (safetensors_bytes(b"\xff\xff\xff"), "M08_header_broken"),
    (safetensors_bytes(b"[" * 100_000), "M08_header_broken"),
    (safetensors_bytes(b'{"a": 1, "a": 2}'), "M08_header_broken"),
    (safetensors_bytes({"a": 5}), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([1], [0, 4], "F99")}, b"\0" * 4), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([1], [0, 4], ["F32"])}, b"\0" * 4), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([2], [0, 4])}, b"\0" * 4), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([-1], [0, 4])}, b"\0" * 4), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([True], [0, 4])}, b"\0" * 4), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([1], [4, 0])}, b"\0" * 4), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([1], [0])}, b"\0" * 4), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([1], None)}, b"\0" * 4), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([2**62, 2**62], [0, 4])}, b"\0" * 4), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([1], [0, 4]), "b": tensor([1], [2, 6])}, b"\0" * 6), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([1], [0, 4]), "b": tensor([1], [8, 12])}, b"\0" * 12), "M08_bad_tensor"),
    (safetensors_bytes({"a": tensor([2], [0, 8])}, b"\0" * 7), "M07_truncated"),
    (safetensors_bytes({"a": tensor([2], [0, 8])}, b"\0" * 9), "M08_trailing_bytes"),
    (safetensors_bytes({str(i): tensor([0], [0, 0]) for i in range(100_000)}), "M08_too_many_tensors"),
]


@pytest.mark.parametrize(("content", "key"), BAD, ids=[f"{i}-{key}" for i, (_, key) in enumerate(BAD)])
def test_a_bad_file_is_refused_from_its_header(tmp_path: Path, content: bytes, key: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    found = read_header(path)
    assert isinstance(found, Problem)
    assert found.key == key
    assert_shown_in_both_languages([found])


def test_a_truncated_file_is_named_with_both_sizes(tiny_copy: Path) -> None:
    path = tiny_copy / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    (problem,) = inspect(tiny_copy).errors
    assert problem.key == "M07_truncated"
    assert str(len(whole)) in str(problem.describe()) and str(len(whole) - 100) in str(problem.describe())


def shard(folder: Path, index: Any) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(index if isinstance(index, str) else json.dumps(index))


def test_shards_are_found_through_their_index(tiny_copy: Path) -> None:
    whole = inspect(tiny_copy)
    shard(tiny_copy, {"weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}})
    info = inspect(tiny_copy)
    assert info.loadable and info.parameters == whole.parameters
    assert [file.name for file in info.weight_files] == ["model-00001-of-00001.safetensors"]


@pytest.mark.parametrize(
    ("index", "key"),
    [
        ({"weight_map": {"a": "model-00002-of-00002.safetensors"}}, "M09_shard_missing"),
        ({"weight_map": {"a": "../other/model.safetensors"}}, "M09_shard_outside"),
        ({"weight_map": {"a": "/etc/passwd"}}, "M09_shard_outside"),
        ({"weight_map": {"a": "weights.bin"}}, "M09_shard_outside"),
        ({"weight_map": {"a": 5}}, "M09_index_broken"),
        ({"weight_map": {}}, "M09_index_broken"),
        ({}, "M09_index_broken"),
        ("{", "M09_index_broken"),
    ],
)
def test_a_bad_index_is_refused_with_the_shard_named(tiny_copy: Path, index: Any, key: str) -> None:
    shard(tiny_copy, index)
    problems = inspect(tiny_copy).errors
    assert key in keys_of(problems)
    assert_shown_in_both_languages(problems)


def test_at_most_five_wrong_tensors_are_named_and_all_counted(tiny_copy: Path) -> None:
    config = tiny_copy / "config.json"
    config.write_text(config.read_text().replace('"intermediate_size": 128', '"intermediate_size": 96'))
    (problem,) = inspect(tiny_copy).errors
    assert problem.key == "M15_shapes"
    assert problem.values["count"] == 6 and problem.values["tensors"].count("≠") == 5
