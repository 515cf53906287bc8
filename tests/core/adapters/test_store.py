from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.adapters.card import AdapterCard, read_card
from core.adapters.config_file import CONFIG_FILE
from core.adapters.store import (
    check_adapter_name,
    delete_adapter,
    find_adapter,
    list_adapters,
    rename_adapter,
    save_adapter,
)
from core.adapters.tensor_file import WEIGHTS_FILE
from core.errors import WorkbenchError
from core.models.twin import make_twin
from core.workspace import Workspace
from tests.core.adapters.building import card, random_adapter, save_random_adapter


@pytest.fixture
def with_adapters(workspace: Workspace, tiny_model: Any) -> Workspace:
    for number, name in enumerate(("polite", "jokes")):
        save_random_adapter(tiny_model, workspace.adapters / name, number, "llama-64x2-v512-abc")
    return workspace


def logits(model: Any, ids: list[int]) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits


def test_a_saved_adapter_loads_in_plain_peft_with_the_same_logits(tmp_path: Path, tiny_model: Any) -> None:
    from peft import PeftModel

    trained = random_adapter(tiny_model, seed=1)
    save_adapter(trained, "default", tmp_path / "a", card("a"))
    loaded = PeftModel.from_pretrained(make_twin(tiny_model), tmp_path / "a")
    ids = [1, 5, 9, 40, 7]
    assert logits(loaded, ids).equal(logits(trained, ids))
    assert not logits(loaded, ids).equal(logits(tiny_model, ids))


def test_a_merged_adapter_gives_the_same_greedy_text(tmp_path: Path, tiny_model: Any, tiny_model_dir: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    save_random_adapter(tiny_model, tmp_path / "a", seed=2)
    adapted = PeftModel.from_pretrained(make_twin(tiny_model), tmp_path / "a").eval()
    fresh = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    merged = PeftModel.from_pretrained(fresh, tmp_path / "a").merge_and_unload(safe_merge=True).eval()
    ids = torch.tensor([[1, 5, 9, 40, 7]])
    options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": 24}
    expected = adapted.generate(input_ids=ids, **options)
    assert merged.generate(input_ids=ids, **options).equal(expected)
    assert not tiny_model.generate(input_ids=ids, **options).equal(expected)


def test_a_saved_adapter_names_no_path_of_this_machine_and_is_the_same_each_time(
    tmp_path: Path, tiny_model: Any, tiny_model_dir: Path
) -> None:
    trained = random_adapter(tiny_model, seed=1)
    same_card = card("a")
    for name in ("a", "b"):
        save_adapter(trained, "default", tmp_path / name, same_card)
    config = json.loads((tmp_path / "a" / CONFIG_FILE).read_text("utf-8"))
    assert config["base_model_name_or_path"] == "tiny"
    assert config["target_modules"] == ["down_proj", "q_proj", "v_proj"]
    for file in (CONFIG_FILE, WEIGHTS_FILE, "workbench.json"):
        content = (tmp_path / "a" / file).read_bytes()
        assert str(tiny_model_dir).encode() not in content
        assert content == (tmp_path / "b" / file).read_bytes()


def test_an_adapter_that_could_not_be_saved_leaves_nothing(
    tmp_path: Path, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(folder: Path, card: AdapterCard) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.adapters.store.write_card", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_adapter(random_adapter(tiny_model, seed=1), "default", tmp_path / "loras" / "a", card("a"))
    assert list((tmp_path / "loras").iterdir()) == []


def test_the_list_shows_what_cards_and_configurations_say(with_adapters: Workspace) -> None:
    jokes, polite = list_adapters(with_adapters)
    assert (jokes.name, polite.name) == ("jokes", "polite")
    assert (polite.base_name, polite.method, polite.rank) == ("tiny", "lora", 4)
    assert (polite.dataset, polite.train_loss, polite.eval_loss) == ("jokes.json", 1.5, 1.75)
    assert polite.bytes > 1000
    assert polite.created
    assert polite.problems == ()


def test_a_broken_adapter_is_flagged_and_the_others_are_listed(with_adapters: Workspace) -> None:
    broken = with_adapters.adapters / "broken"
    broken.mkdir()
    (broken / CONFIG_FILE).write_text("{", "utf-8")
    (with_adapters.adapters / ".half.tmp").mkdir()
    (with_adapters.adapters / "README.md").write_text("text", "utf-8")
    infos = list_adapters(with_adapters)
    assert [(info.name, bool(info.errors)) for info in infos] == [("broken", True), ("jokes", False), ("polite", False)]


def test_an_unknown_adapter_is_refused_with_the_names_there_are(with_adapters: Workspace) -> None:
    for name in ("nobody", "../loras/polite", "..", ""):
        with pytest.raises(WorkbenchError) as caught:
            find_adapter(with_adapters, name)
        assert caught.value.key == "M25_no_such_adapter"
    assert "jokes, polite" in caught.value.describe()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("polite", "M25_name_taken"),
        ("POLITE", "M25_name_taken"),
        ("default", "D42_name_reserved"),
        ("base", "D42_name_reserved"),
        ("x" * 200, "D42_name_too_long"),
        ("a/b", "D42_name_not_allowed"),
        ("..", "D42_name_not_allowed"),
        (" ", "D42_name_empty"),
    ],
)
def test_a_name_that_cannot_be_given_comes_with_a_suggestion(with_adapters: Workspace, name: str, key: str) -> None:
    problem = check_adapter_name(with_adapters, name)
    assert problem
    assert problem.key == key
    suggestion = problem.values.get("suggestion")
    assert suggestion is None or check_adapter_name(with_adapters, str(suggestion)) is None


def test_renaming_moves_the_folder_and_the_card(with_adapters: Workspace) -> None:
    info = rename_adapter(with_adapters, "polite", "礼貌 2")
    assert info.name == "礼貌 2"
    renamed = read_card(with_adapters.adapters / "礼貌 2")
    assert renamed
    assert renamed.name == "礼貌 2"
    assert [each.name for each in list_adapters(with_adapters)] == ["jokes", "礼貌 2"]


def test_renaming_to_another_case_is_allowed(with_adapters: Workspace) -> None:
    assert rename_adapter(with_adapters, "polite", "Polite").name == "Polite"


def test_deleting_removes_the_folder(with_adapters: Workspace) -> None:
    delete_adapter(with_adapters, "polite")
    assert [entry.name for entry in with_adapters.adapters.iterdir()] == ["jokes"]


def test_an_adapter_in_use_is_neither_renamed_nor_deleted(with_adapters: Workspace) -> None:
    with pytest.raises(WorkbenchError, match="A04"):
        rename_adapter(with_adapters, "polite", "other", user="chat")
    with pytest.raises(WorkbenchError, match="A04"):
        delete_adapter(with_adapters, "polite", user="run 3")
    assert find_adapter(with_adapters, "polite").problems == ()
