"""Adapters that come in: a zip that peft reads too, hostile zips, folders with links."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.adapters.card import read_card
from core.adapters.intake import import_folder, import_zip
from core.adapters.store import find_adapter
from core.errors import WorkbenchError
from core.exports.adapter_zip import write_adapter_zip
from core.exports.model_card import adapter_readme
from core.models.catalog import find_model, fingerprint
from core.workspace import Workspace
from core.zip_output import EARLIEST
from tests.core.adapters.building import save_random_adapter
from tests.core.exports.conftest import greedy

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "workbench.json"
Pack = Callable[..., Path]


@pytest.fixture
def place(workspace_with_tiny: Workspace, tiny_model: Any) -> Workspace:
    """A data directory with the tiny model and the adapter `judge` on it."""
    info = find_model(workspace_with_tiny, "tiny")
    save_random_adapter(tiny_model, workspace_with_tiny.adapters / "judge", 1, fingerprint(info))
    return workspace_with_tiny


@pytest.fixture
def files(place: Workspace) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (place.adapters / "judge").iterdir()}


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Writes a zip of (name or ZipInfo, content) pairs."""

    def write(*members: tuple[str | zipfile.ZipInfo, bytes], name: str = "new.zip") -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members:
                archive.writestr(member, content)
        return tmp_path / name

    return write


def nothing_came(place: Workspace) -> bool:
    left = [*(place.state / "scratch").glob("*")]
    return [entry.name for entry in place.adapters.iterdir()] == ["judge"] and left == []


def test_a_zip_works_in_plain_peft_and_comes_back_as_it_was(
    place: Workspace, files: dict[str, bytes], tmp_path: Path, tiny_model: Any, tiny_tokenizer: Any
) -> None:
    from peft import PeftModel

    from core.models.twin import make_twin

    (place.models / "tiny" / "LICENSE").write_text("Apache-2.0")
    file = write_adapter_zip(place, "judge", tmp_path)
    assert write_adapter_zip(place, "judge", tmp_path).read_bytes() == file.read_bytes()
    assert (file.name, file.parent.parent) == ("judge.zip", tmp_path)
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["README.md", CONFIG, WEIGHTS, CARD, "BASE_LICENSE"]
        assert {info.date_time for info in archive.infolist()} == {EARLIEST}
        readme = archive.read("README.md").decode()
        archive.extractall(tmp_path / "elsewhere")
    assert 'base_model: "tiny"' in readme and "--max-lora-rank 8" in readme and "BASE_LICENSE" in readme
    assert str(place.root) not in readme
    arrived = import_zip(place, file, "back")
    assert arrived.left_out == ("BASE_LICENSE", "README.md")
    assert {name: (place.adapters / "back" / name).read_bytes() for name in (CONFIG, WEIGHTS)} == {
        name: files[name] for name in (CONFIG, WEIGHTS)
    }
    card = read_card(place.adapters / "back")
    assert card and (card.name, card.dataset) == ("back", "jokes.json")
    texts = [
        greedy(PeftModel.from_pretrained(make_twin(tiny_model), folder).eval(), tiny_tokenizer)
        for folder in (tmp_path / "elsewhere", place.adapters / "judge")
    ]
    assert texts[0] == texts[1] != greedy(tiny_model, tiny_tokenizer)


def test_one_folder_deep_is_found_and_what_is_beside_it_is_named(
    place: Workspace, files: dict[str, bytes], pack: Pack
) -> None:
    inner = [(f"out/run 1/{name}", content) for name, content in files.items() if name != CARD]
    other = [("out/run 1/evil.py", b"raise"), ("out/run 1/training_args.bin", b"pickle"), ("__MACOSX/x", b"")]
    arrived = import_zip(place, pack(*inner, *other, name="my judge.zip"))
    assert arrived.info.name == "my-judge"
    assert {file.name for file in arrived.info.folder.iterdir()} == {CONFIG, WEIGHTS}
    assert arrived.left_out == ("__MACOSX/x", "out/run 1/evil.py", "out/run 1/training_args.bin")
    assert import_zip(place, pack(*inner, name="my judge.zip")).info.name == "my-judge-2"


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def bomb() -> bytes:
    return b"\0" * 3_000_000


HOSTILE: dict[str, tuple[str, list[tuple[Any, bytes | str]]]] = {
    "slip": ("D40_unsafe_name", [("../" + CONFIG, CONFIG), (WEIGHTS, WEIGHTS)]),
    "absolute": ("D40_unsafe_name", [("/tmp/" + CONFIG, CONFIG)]),
    "drive": ("D40_unsafe_name", [("C:\\x\\" + CONFIG, CONFIG)]),
    "slip of another": ("D40_unsafe_name", [(CONFIG, CONFIG), (WEIGHTS, WEIGHTS), ("a/../../x", b"")]),
    "link": ("D40_link", [(link(CONFIG), b"/etc/passwd"), (WEIGHTS, WEIGHTS)]),
    "link beside": ("D40_link", [(CONFIG, CONFIG), (WEIGHTS, WEIGHTS), (link("x"), b"/etc/passwd")]),
    "bomb": ("D39_ratio", [(CONFIG, CONFIG), (WEIGHTS, bomb())]),
    "bomb beside": ("D39_ratio", [(CONFIG, CONFIG), (WEIGHTS, WEIGHTS), ("x.txt", bomb())]),
    "nested": ("D39_nested", [(CONFIG, CONFIG), (WEIGHTS, WEIGHTS), ("more.zip", b"PK")]),
    "many": ("D39_too_many_members", [(f"{number}.txt", b"") for number in range(2001)]),
    "no adapter": ("M24_no_adapter", [("readme.txt", b"hello")]),
    "two adapters": ("M24_several_adapters", [(f"{one}/{name}", name) for one in "ab" for name in (CONFIG, WEIGHTS)]),
    "pickle": ("M13_only_pickle", [(CONFIG, CONFIG), ("adapter_model.bin", b"cos\nsystem\n(S'false'\ntR.")]),
    "no weights": ("M18_no_weights", [(CONFIG, CONFIG)]),
    "no safetensors": ("M07", [(CONFIG, CONFIG), (WEIGHTS, b"<html>")]),
    "oversize config": ("M20_too_large", [(CONFIG, b" " * (4 * 2**20 + 1)), (WEIGHTS, WEIGHTS)]),
    "pattern": ("M22", [(CONFIG, b'{"peft_type": "LORA", "r": 4, "rank_pattern": {"(a+)+$": 4}}'), (WEIGHTS, WEIGHTS)]),
    "type": ("M18_type_not_applicable", [(CONFIG, b'{"peft_type": "XLORA"}'), (WEIGHTS, WEIGHTS)]),
    "rank": ("M20", [(CONFIG, b'{"peft_type": "LORA", "r": 9, "lora_alpha": 16}'), (WEIGHTS, WEIGHTS)]),
    "damaged card": ("M18_card_damaged", [(CONFIG, CONFIG), (WEIGHTS, WEIGHTS), (CARD, b"{")]),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_zip_is_refused_whole_and_leaves_nothing(
    place: Workspace, files: dict[str, bytes], pack: Pack, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, members = HOSTILE[case]
    if case == "oversize config":  # spaces pack tightly; it is the size that is judged here
        monkeypatch.setattr("core.data.reading.zips.MAX_RATIO", 10**9)
    packed = pack(*((name, files[part] if isinstance(part, str) else part) for name, part in members))
    with pytest.raises(WorkbenchError) as refused:
        import_zip(place, packed)
    assert refused.value.key.startswith(key)
    assert all(refused.value.describe(lang) for lang in ("en", "zh"))
    assert nothing_came(place)


def test_a_damaged_or_lying_zip_leaves_nothing(place: Workspace, files: dict[str, bytes], pack: Pack) -> None:
    whole = pack(*files.items()).read_bytes()
    at = whole.index(b"PK\x01\x02")
    for damaged in (whole[:-30], whole[:2000] + b"\xff" * 40 + whole[2040:], b"", b"hello", whole[:at]):
        file = pack(name="damaged.zip")
        file.write_bytes(damaged)
        with pytest.raises(WorkbenchError, match=r"D40|M07|M20"):
            import_zip(place, file)
    shorter = io.BytesIO(whole)
    with zipfile.ZipFile(shorter, "a") as archive:
        size = archive.getinfo(WEIGHTS).file_size
    lying = whole.replace(size.to_bytes(4, "little"), (size - 100).to_bytes(4, "little"))
    file.write_bytes(lying)
    with pytest.raises(WorkbenchError):
        import_zip(place, file)
    assert nothing_came(place)


@pytest.mark.parametrize("name", ["judge", "JUDGE", "default", "../x", ".hidden", "x" * 200, "nul.txt", "\u202ex"])
def test_a_name_is_judged_as_everywhere(place: Workspace, files: dict[str, bytes], pack: Pack, name: str) -> None:
    with pytest.raises(WorkbenchError, match=r"D42|M25"):
        import_zip(place, pack(*files.items()), name)
    assert nothing_came(place)


def test_a_name_that_a_run_will_use_is_taken(place: Workspace, files: dict[str, bytes], pack: Pack) -> None:
    with pytest.raises(WorkbenchError, match="M25"):
        import_zip(place, pack(*files.items()), "soon", promised=["soon"])
    assert import_zip(place, pack(*files.items(), name="soon.zip"), promised=["soon"]).info.name == "soon-2"


def test_a_folder_is_copied_also_where_its_files_are_links(place: Workspace, tmp_path: Path) -> None:
    cache = tmp_path / "snapshot"
    cache.mkdir()
    for file in (place.adapters / "judge").iterdir():
        (cache / file.name).symlink_to(file)
    (cache / "notes.txt").write_text("x")
    arrived = import_folder(place, cache, "copied")
    assert arrived.left_out == ("notes.txt",)
    assert not any(file.is_symlink() for file in arrived.info.folder.iterdir())
    assert find_adapter(place, "copied").errors == ()


def test_a_folder_without_an_adapter_is_refused(place: Workspace, tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="M01"):
        import_folder(place, tmp_path / "nowhere")
    (tmp_path / "pickled").mkdir()
    with pytest.raises(WorkbenchError, match="M24"):
        import_folder(place, tmp_path / "pickled")
    (tmp_path / "pickled" / CONFIG).write_text(json.dumps({"peft_type": "LORA"}))
    (tmp_path / "pickled" / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(WorkbenchError, match="M13"):
        import_folder(place, tmp_path / "pickled")
    (tmp_path / "pickled" / WEIGHTS).symlink_to(tmp_path / "gone")
    with pytest.raises(WorkbenchError, match="D40"):
        import_folder(place, tmp_path / "pickled")
    assert nothing_came(place)


def test_what_a_foreign_adapter_calls_its_base_stays_on_one_line_of_the_readme(place: Workspace) -> None:
    info = replace(find_adapter(place, "judge"), base_name="tiny\nimport os", dataset="a\nb")
    assert "\nimport os" not in adapter_readme(info, None)
    assert "tiny\\u000aimport os" in adapter_readme(info, None)


def test_a_full_disk_is_named_before_anything_is_written(
    place: Workspace, files: dict[str, bytes], pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.models.arrival.SPARE_BYTES", 10**18)
    with pytest.raises(WorkbenchError, match="A13"):
        import_zip(place, pack(*files.items()))
    assert nothing_came(place)
