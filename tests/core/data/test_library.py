"""The data sets of a workspace at work: recipes, checks in the background, searches, exports, format files."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from core.data import library as library_module
from core.data.datasets import CARDS
from core.data.library import DataLibrary
from core.data.options import DataOptions, MixIn
from core.data.report import DatasetReport, report
from core.errors import WorkbenchError
from core.workspace import Workspace

WAIT_S = 60.0
ROWS = [{"instruction": f"question {number}", "output": f"answer {number}"} for number in range(20)]


@pytest.fixture
def library(workspace: Workspace) -> DataLibrary:
    write(workspace.datasets / "rows.jsonl", ROWS)
    return DataLibrary(workspace)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_a_recipe_is_kept_with_its_data_set(library: DataLibrary, workspace: Workspace) -> None:
    assert library.recipe("rows.jsonl") == DataOptions()
    chosen = DataOptions(take=5, fixes=("trim_text",), mapping={"a": "user"}, placeholders={"name": "小艾"})
    library.change_recipe("rows.jsonl", lambda _: chosen)
    assert DataLibrary(workspace).recipe("rows.jsonl") == chosen


def test_an_added_file_has_a_card_and_a_deleted_one_leaves_none(
    library: DataLibrary, workspace: Workspace, tmp_path: Path
) -> None:
    info = library.add(write(tmp_path / "x", ROWS), "My file.jsonl")
    card = library.card(info.name)
    assert (card.source, card.added[:2]) == ("My file.jsonl", "20")
    library.change_recipe(info.name, lambda _: DataOptions(take=1))
    library.delete(info.name)
    assert [each.name for each in library.list()] == ["rows.jsonl"]
    again = library.add(write(tmp_path / "x", ROWS), "My file.jsonl")
    assert (again.name, library.recipe(again.name)) == (info.name, DataOptions())


def test_a_card_that_cannot_be_read_is_named_and_kept(library: DataLibrary, workspace: Workspace) -> None:
    card = workspace.datasets / CARDS / "rows.jsonl.json"
    card.parent.mkdir()
    for content in ("{", '{"options": {"take": "x"}}', '["x"]'):
        card.write_text(content, encoding="utf-8")
        with pytest.raises(WorkbenchError, match="D45"):
            library.recipe("rows.jsonl")
        assert card.read_text(encoding="utf-8") == content


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (DataOptions(mix=(MixIn(dataset="gone.json"),)), "A03"),
        (DataOptions(validation_dataset="gone.json"), "A03"),
        (DataOptions(validation_dataset="rows.jsonl"), "H02"),
        (DataOptions(mix=(MixIn(dataset="rows.jsonl", share=0.5),)), "H02"),
    ],
)
def test_a_recipe_that_cannot_work_is_not_saved(library: DataLibrary, options: DataOptions, code: str) -> None:
    with pytest.raises(WorkbenchError, match=code):
        library.change_recipe("rows.jsonl", lambda _: options)
    assert library.recipe("rows.jsonl") == DataOptions()


def test_of_two_sets_that_are_gone_one_can_be_let_go(library: DataLibrary, workspace: Workspace) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write(workspace.datasets / name, ROWS)
    used = DataOptions(mix=(MixIn(dataset="a.jsonl"),), validation_dataset="b.jsonl")
    library.change_recipe("rows.jsonl", lambda _: used)
    for name in ("a.jsonl", "b.jsonl"):
        library.delete(name)
    with pytest.raises(WorkbenchError) as refused:
        library.check("rows.jsonl", WAIT_S)
    assert refused.value.key == "A03_other_dataset"
    library.change_recipe("rows.jsonl", lambda _: used.model_copy(update={"mix": ()}))
    library.change_recipe("rows.jsonl", lambda _: DataOptions())
    assert library.check("rows.jsonl", WAIT_S).report is not None


def test_what_was_changed_after_a_runs_recipe_is_kept_when_the_one_before_is_put_back(
    library: DataLibrary, workspace: Workspace
) -> None:
    own, of_a_run, since = DataOptions(take=5), DataOptions(take=3), DataOptions(take=3, shuffle=True)
    library.change_recipe("rows.jsonl", lambda _: own)
    assert library.replace_recipe("rows.jsonl", of_a_run)
    library.change_recipe("rows.jsonl", lambda _: since)
    again = DataLibrary(workspace)  # also after a restart
    assert again.put_back_recipe("rows.jsonl") and again.recipe("rows.jsonl") == own
    assert again.put_back_recipe("rows.jsonl") and again.recipe("rows.jsonl") == since


def test_a_runs_recipe_that_stands_there_already_replaces_none(library: DataLibrary) -> None:
    assert not library.replace_recipe("rows.jsonl", DataOptions())
    assert not library.put_back_recipe("rows.jsonl")
    assert library.replace_recipe("rows.jsonl", DataOptions(take=3))
    assert not library.replace_recipe("rows.jsonl", DataOptions())  # as it was before
    assert library.card("rows.jsonl").replaced is None


def test_of_two_changes_at_once_neither_is_lost(library: DataLibrary) -> None:
    def shuffled(recipe: DataOptions) -> DataOptions:
        return recipe.model_copy(update={"shuffle": True})

    other = threading.Thread(target=lambda: library.change_recipe("rows.jsonl", shuffled), daemon=True)

    def shortened(recipe: DataOptions) -> DataOptions:
        other.start()
        other.join(0.2)  # it has to wait
        return recipe.model_copy(update={"take": 3})

    library.change_recipe("rows.jsonl", shortened)
    other.join(WAIT_S)
    assert library.recipe("rows.jsonl") == DataOptions(take=3, shuffle=True)


def test_a_row_is_rewritten_left_out_and_restored(library: DataLibrary) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    library.edit_row("rows.jsonl", 3, turns)
    library.edit_row("rows.jsonl", 1, None)
    edited = library.report("rows.jsonl").examples
    assert (len(edited), edited[1].messages[0]["content"], edited[1].row) == (19, "q", 3)
    library.restore_row("rows.jsonl", 1)
    library.restore_row("rows.jsonl", 3)
    assert library.recipe("rows.jsonl") == DataOptions()
    with pytest.raises(WorkbenchError, match="D25"):
        library.edit_row("rows.jsonl", 1, [{"role": "bot", "content": "a"}])
    with pytest.raises(WorkbenchError, match="H01"):
        library.edit_row("rows.jsonl", 0, turns)


def test_a_report_is_made_once_until_its_file_or_recipe_changes(library: DataLibrary, workspace: Workspace) -> None:
    first = library.report("rows.jsonl")
    assert library.report("rows.jsonl", DataOptions()) is first
    assert library.report("rows.jsonl", DataOptions(answers="last")) is first, "that decides tokens, not examples"
    assert library.report("rows.jsonl", DataOptions(take=2)) is not first
    write(workspace.datasets / "rows.jsonl", ROWS[:5])
    assert library.report("rows.jsonl").rows == 5


def test_a_report_changes_with_the_recipe_of_a_set_that_is_mixed_in(library: DataLibrary, workspace: Workspace) -> None:
    write(workspace.datasets / "general.jsonl", [{"prompt": f"g {n}", "completion": "c"} for n in range(9)])
    library.change_recipe("rows.jsonl", lambda _: DataOptions(mix=(MixIn(dataset="general.jsonl"),)))
    assert len(library.report("rows.jsonl").examples) == 29
    library.change_recipe("general.jsonl", lambda _: DataOptions(take=2, mix=(MixIn(dataset="rows.jsonl"),)))
    assert len(library.report("rows.jsonl").examples) == 22, "what the other one mixes in is not mixed in again"


def test_a_report_that_uses_many_other_sets_is_made_once_too(library: DataLibrary, workspace: Workspace) -> None:
    others = [f"other-{number}.jsonl" for number in range(4)]
    for name in others:
        write(workspace.datasets / name, [{"prompt": f"{name} {n}", "completion": "c"} for n in range(9)])
    mix = tuple(MixIn(dataset=name) for name in others[1:])
    library.change_recipe("rows.jsonl", lambda _: DataOptions(mix=mix, validation_dataset=others[0]))
    first = library.report("rows.jsonl")
    assert len(first.examples) == 20 + 3 * 9
    assert library.report("rows.jsonl") is first


class Held:
    """Stands in for `report`: each call waits until it is let go, and says when it began."""

    def __init__(self) -> None:
        self.began: list[DataOptions] = []
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __call__(self, info: Any, options: DataOptions, resolve: Any, watch: Any) -> DatasetReport:
        self.began.append(options)
        watch(library_module.CheckProgress(0.5, 7))
        self.begun.release()
        while not self.go_on.wait(0.01):
            watch(library_module.CheckProgress(0.5, 7))
        return report(info, options, resolve, watch)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    stand_in = Held()
    monkeypatch.setattr(library_module, "report", stand_in)
    return stand_in


def test_a_check_is_followed_while_it_goes_on(library: DataLibrary, held: Held) -> None:
    assert library.check("rows.jsonl").running
    assert held.begun.acquire(timeout=WAIT_S)
    status = library.check("rows.jsonl", wait_s=0.2)
    assert (status.running, status.share, status.rows, status.report) == (True, 0.5, 7, None)
    assert status.eta_s is not None and status.eta_s > 0
    held.go_on.set()
    ended = library.check("rows.jsonl", wait_s=WAIT_S)
    assert ended.report is not None
    assert (ended.running, ended.share, ended.rows, ended.eta_s, len(held.began)) == (False, 1.0, 20, None, 1)


def test_a_cancelled_check_says_so_and_begins_anew_when_it_is_asked_for(library: DataLibrary, held: Held) -> None:
    waited: list[str] = []

    def wait() -> None:
        try:
            library.report("rows.jsonl")
        except WorkbenchError as error:
            waited.append(error.key)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert held.begun.acquire(timeout=WAIT_S)
    library.cancel("rows.jsonl")
    thread.join(WAIT_S)
    assert waited == ["D18_check_cancelled"]
    held.go_on.set()
    assert library.check("rows.jsonl", wait_s=WAIT_S).report is not None


def test_a_newer_recipe_ends_the_check_of_the_older_unless_a_run_waits_for_it(library: DataLibrary, held: Held) -> None:
    library.check("rows.jsonl", options=DataOptions(take=1))
    assert held.begun.acquire(timeout=WAIT_S)
    library.check("rows.jsonl", options=DataOptions(take=2))
    assert held.begun.acquire(timeout=WAIT_S)
    found: list[int] = []
    thread = threading.Thread(
        target=lambda: found.append(len(library.report("rows.jsonl", DataOptions(take=3)).examples)), daemon=True
    )
    thread.start()
    assert held.begun.acquire(timeout=WAIT_S)
    library.check("rows.jsonl", options=DataOptions(take=4))
    held.go_on.set()
    thread.join(WAIT_S)
    assert found == [3]
    assert library.check("rows.jsonl", WAIT_S, DataOptions(take=4)).report is not None


def test_a_file_that_cannot_be_read_ends_its_check_with_the_reason(library: DataLibrary, workspace: Workspace) -> None:
    (workspace.datasets / "empty.jsonl").write_text("\n\n", encoding="utf-8")
    status = library.check("empty.jsonl", wait_s=WAIT_S)
    assert (status.running, status.report) == (False, None)
    assert status.error is not None and status.error.code == "D01"
    assert status.error.problems[0].place.file == "empty.jsonl"


def test_rows_are_found_by_their_words_and_lines(library: DataLibrary) -> None:
    assert [library.search("rows.jsonl", "ANSWER 1", start) for start in (0, 2, 11)] == [1, 10, 11]
    assert library.search("rows.jsonl", "answer 0", 5) == 0, "it goes on from the first row"
    assert library.search("rows.jsonl", "nowhere", 0) is None
    library.edit_row("rows.jsonl", 3, None)
    assert [library.index_of("rows.jsonl", "", line) for line in (1, 3, 4, 20, 21)] == [0, 2, 2, 18, None]


def test_rows_of_a_folder_are_found_by_their_file_and_its_lines(library: DataLibrary, workspace: Workspace) -> None:
    folder = workspace.datasets / "parts"
    folder.mkdir()
    write(folder / "a.jsonl", ROWS[:3])
    write(folder / "b.jsonl", ROWS[:10])
    wanted = (("a.jsonl", 2), ("b.jsonl", 2), ("", 2), ("", 8), ("c.jsonl", 1))
    assert [library.index_of("parts", *at) for at in wanted] == [1, 4, 1, 10, None]
    repeated = next(each for each in library.report("parts").findings if each.key == "D31_duplicates")
    assert list(zip(repeated.files, repeated.lines, strict=True)) == [("b.jsonl", line) for line in (1, 2, 3)]
    problem = repeated.problems[0]
    assert problem.place.file == "b.jsonl"
    assert problem.values["lines"] == "b.jsonl:1 = a.jsonl:1, b.jsonl:2 = a.jsonl:2, b.jsonl:3 = a.jsonl:3"


def test_a_line_is_one_of_the_set_itself_also_among_mixed_and_shuffled_rows(
    library: DataLibrary, workspace: Workspace
) -> None:
    write(workspace.datasets / "general.jsonl", [{"prompt": f"g {n}", "completion": "c"} for n in range(9)])
    library.change_recipe("rows.jsonl", lambda _: DataOptions(mix=(MixIn(dataset="general.jsonl"),), shuffle=True))
    at = library.index_of("rows.jsonl", "", 7)
    assert at is not None
    example = library.report("rows.jsonl").examples[at]
    assert (example.file, example.line) == ("", 7)


def test_what_is_exported_is_read_again_as_it_was(library: DataLibrary, shared_data: Path, tmp_path: Path) -> None:
    for name in ("glaive_toolcall_en_demo.json", "c4_demo.jsonl", "ruozhiba_sharegpt_300.json"):
        info = library.add(shared_data / name, name)
        file = library.export(info.name, tmp_path)
        before, after = library.report(info.name).examples, report(file).examples
        assert [example.key for example in before] == [example.key for example in after]


def test_what_is_saved_as_a_new_set_has_its_fixes_in_it(library: DataLibrary) -> None:
    library.change_recipe("rows.jsonl", lambda _: DataOptions(take=4))
    info = library.save_as("rows.jsonl", "four rows")
    assert info.name == "four-rows.jsonl"
    assert len(library.report(info.name).examples) == 4
    assert library.recipe(info.name) == DataOptions()
    with pytest.raises(WorkbenchError, match="D42"):
        library.save_as("rows.jsonl", "../x")
    library.change_recipe("rows.jsonl", lambda _: DataOptions(min_characters=10_000))
    with pytest.raises(WorkbenchError, match="D33"):
        library.save_as("rows.jsonl", "none")


def test_format_files_are_imported_by_name(library: DataLibrary, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"instruction,output": "Q: %instruction%\\nA: %output%"}', encoding="utf-8")
    names = [library.add_patterns(file, "my format.json") for _ in range(2)]
    assert names == ["my-format", "my-format-2"]
    patterns = library.patterns()["my-format"]
    examples = report(library.find("rows.jsonl"), DataOptions(format="patterns", patterns=patterns)).examples
    assert examples[0].messages[0]["content"] == "Q: question 0\nA:"
    file.write_text("[]", encoding="utf-8")
    with pytest.raises(WorkbenchError):
        library.add_patterns(file, "no.json")
    assert list(library.patterns()) == names
