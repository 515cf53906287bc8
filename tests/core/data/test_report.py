from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data.options import DataOptions, FixName, MixIn, RowEdit
from core.data.report import DatasetReport, report
from core.errors import WorkbenchError
from core.jobs import Cancelled
from tests.conftest import ROOT

ROWS = [{"instruction": f"question {number}", "output": f"answer {number}"} for number in range(20)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.jsonl", ROWS)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def questions(found: DatasetReport) -> list[str]:
    return [example.messages[-2]["content"] for example in found.examples]


SHARED: dict[
    str, tuple[str | None, int, int]
] = {  # format, rows, examples; what is found in them: checks/test_real_data.py
    "alpaca_en_demo.json": ("alpaca", 999, 999),
    "alpaca_zh_demo.json": ("alpaca", 1000, 1000),
    "c4_demo.jsonl": ("text", 100, 100),
    "chinese_med.json": ("alpaca", 3, 3),
    "dpo_en_demo.json": ("preference", 200, 0),
    "glaive_toolcall_en_demo.json": ("sharegpt", 100, 100),
    "identity.json": ("alpaca", 91, 91),
    "kto_en_demo.json": ("kto", 200, 0),
    "oral_grading_full.jsonl": ("messages", 200, 200),
    "oral_grading_short.jsonl": ("messages", 200, 200),
    "ruozhiba.json": ("alpaca", 240, 240),
    "ruozhiba_sharegpt_300.json": ("sharegpt", 300, 300),
    "seed_tasks.jsonl": (None, 175, 0),
    "wiki_demo.txt": ("text", 1, 1),
}


@pytest.mark.parametrize("name", SHARED)
def test_real_files_are_reported_as_what_they_are(shared_data: Path, name: str) -> None:
    found = report(shared_data / name)
    assert (found.format, found.rows, len(found.examples)) == SHARED[name]
    assert bool(found.errors) == (len(found.examples) == 0)


def test_every_real_file_has_its_expectation_here(shared_data: Path) -> None:
    assert {file.name for file in shared_data.iterdir()} - {"README.md"} == set(SHARED)


@pytest.mark.parametrize(
    ("name", "fix", "examples"), [("dpo_en_demo.json", "keep_chosen", 200), ("kto_en_demo.json", "keep_liked", 107)]
)
def test_a_file_that_cannot_be_trained_yet_is_made_one_that_can(
    shared_data: Path, name: str, fix: FixName, examples: int
) -> None:
    found = report(shared_data / name, DataOptions(fixes=(fix,)))
    assert (len(found.examples), found.errors) == (examples, ())
    assert all(example.kind == "chat" and example.messages[-1]["role"] == "assistant" for example in found.examples)


def test_a_file_of_no_usual_format_is_read_through_its_mapping(shared_data: Path) -> None:
    columns = {column.path for column in report(shared_data / "seed_tasks.jsonl").columns}
    assert {"instruction", "instances[0].input", "instances[0].output"} <= columns
    mapping = {"instruction": "user", "instances[0].input": "user", "instances[0].output": "assistant"}
    found = report(shared_data / "seed_tasks.jsonl", DataOptions.checked({"mapping": mapping}))
    assert (found.format, len(found.examples)) == ("mapped", 175)


def test_a_mapping_that_is_not_complete_is_an_error_beside_the_columns(shared_data: Path) -> None:
    found = report(shared_data / "seed_tasks.jsonl", DataOptions(mapping={"instruction": "user"}))
    assert [problem.key for problem in found.errors] == ["D21_mapping_incomplete"]
    assert found.columns


def test_the_lines_of_a_real_file_are_those_of_its_rows(shared_data: Path) -> None:
    lines = (shared_data / "alpaca_zh_demo.json").read_text(encoding="utf-8").split("\n")
    for example in report(shared_data / "alpaca_zh_demo.json").examples:
        assert lines[example.line - 1].strip() == "{"
        question = json.loads("{" + lines[example.line].strip().rstrip(",") + "}")["instruction"]
        assert example.messages[0]["content"].startswith(question)


def test_placeholders_of_a_real_file_are_found_and_filled(shared_data: Path) -> None:
    options = DataOptions(placeholders={"name": "小艾", "author": "Ada"})
    found = report(shared_data / "identity.json", options)
    assert found.placeholders == {"name": 77, "author": 60}
    assert [finding.key for finding in found.findings] == ["D51_contradictions"]
    assert found.examples[0].messages[1]["content"].startswith("Hello! I am 小艾, an AI assistant developed by Ada.")


def test_the_shipped_files_are_ready_to_train() -> None:
    folder = ROOT / "training" / "datasets"
    assert report(folder / "identity.json").errors == ()
    assert len(report(folder / "oral_grading_short.jsonl").examples) == 200
    assert "Apache License" in (folder / "NOTICE").read_text(encoding="utf-8")


def test_a_system_prompt_is_given_to_rows_without_one(tmp_path: Path) -> None:
    mixed = write(tmp_path / "rows.jsonl", [*ROWS, {"instruction": "q", "output": "a", "system": "own"}])
    found = report(mixed, DataOptions(system_prompt="given {{x}}", placeholders={"x": "to all"}))
    assert Counter(example.system_prompt for example in found.examples) == {"given to all": 20, "own": 1}
    assert found.system_prompt is None, "two different ones are shared by nobody"


def test_the_system_prompt_that_all_rows_share_is_known(file: Path, shared_data: Path) -> None:
    assert report(file).system_prompt is None
    assert report(file, DataOptions(system_prompt="s")).system_prompt == "s"
    assert (report(shared_data / "oral_grading_short.jsonl").system_prompt or "").startswith("你是给留学生")


BAD = [
    {"instruction": "q", "output": ""},
    {"instruction": "q", "output": 3},
    {"messages": [{"role": "user", "content": "q"}]},
    "text",
]


def test_bad_rows_are_all_named_and_left_out(tmp_path: Path) -> None:
    bad = write(tmp_path / "rows.jsonl", [*ROWS, *BAD])
    found = report(bad)
    assert (len(found.examples), found.error_count) == (20, 4)
    assert [(problem.code, problem.place.line, problem.place.file) for problem in found.errors] == [
        ("D22", 21, "rows.jsonl"),
        ("D23", 22, "rows.jsonl"),
        ("D19", 23, "rows.jsonl"),
        ("D23", 24, "rows.jsonl"),
    ]


def test_bad_rows_are_no_errors_where_they_are_to_be_skipped(tmp_path: Path) -> None:
    bad = write(tmp_path / "rows.jsonl", [*ROWS, *BAD])
    found = report(bad, DataOptions(skip_bad_rows=True))
    assert (len(found.examples), found.errors, found.left_out) == (20, (), {"bad": 3})


def test_where_no_row_is_good_there_is_nothing_to_skip_to(tmp_path: Path) -> None:
    bad = write(tmp_path / "rows.jsonl", [{"instruction": "q", "output": ""}] * 3)
    found = report(bad, DataOptions(skip_bad_rows=True))
    assert (list(found.examples), found.error_count) == ([], 3)


def test_a_row_without_an_answer_is_left_out_also_where_rows_share_a_line(tmp_path: Path) -> None:
    asked = {"role": "user", "content": "q"}
    good = {"messages": [asked, {"role": "assistant", "content": "a"}]}
    minified = tmp_path / "rows.json"
    minified.write_text(json.dumps([good, {"messages": [asked]}, good]), encoding="utf-8")
    found = report(minified)
    assert [example.line for example in found.examples] == [1, 3]
    assert [(problem.key, problem.place.line) for problem in found.errors] == [("D27_no_answer", 2)]


def test_a_chosen_format_is_used_instead_of_the_detected_one(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "m"}, {"role": "assistant", "content": "a"}]
    both = write(tmp_path / "rows.jsonl", [{"instruction": "i", "output": "o", "messages": turns}])
    formats = [report(both, DataOptions(format=name)) for name in ("alpaca", "messages")]
    assert [(found.format, questions(found)) for found in formats] == [("alpaca", ["i"]), ("messages", ["m"])]


@pytest.mark.parametrize(
    "values",
    [{"format": "csv"}, {"placeholders": {"a": 1}}, {"system_prompt": 3}, {"skip_bad_rows": "yes"}, {"unknown": 1}],
)
def test_options_that_are_none_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(WorkbenchError, match="H01"):
        DataOptions.checked(values)


def test_an_edit_rewrites_a_row_and_heals_a_bad_one(tmp_path: Path) -> None:
    mixed = write(tmp_path / "rows.jsonl", [*ROWS, {"instruction": "q", "output": ""}])
    turns = [{"role": "user", "content": "new q"}, {"role": "assistant", "content": "new a"}]
    edits = [{"row": 2, "messages": turns}, {"row": 3}, {"row": 21, "messages": turns}]
    found = report(mixed, DataOptions.checked({"edits": edits}))
    assert questions(found)[:3] == ["question 0", "new q", "question 3"]
    assert (questions(found)[-1], found.errors, found.left_out) == ("new q", (), {"edits": 1})
    assert json.loads(mixed.read_text(encoding="utf-8").splitlines()[1]) == ROWS[1], "the file stays as it is"


def test_an_edit_that_is_no_conversation_is_named(file: Path) -> None:
    bad = RowEdit(row=4, messages=({"role": "bot", "content": "x"},))
    found = report(file, DataOptions(edits=(bad,)))
    assert [(problem.code, problem.place.line) for problem in found.errors] == [("D25", 4)]


def test_a_fix_is_offered_applied_and_undone(tmp_path: Path) -> None:
    spaced = write(tmp_path / "rows.jsonl", [*ROWS, {"instruction": "  q ", "output": "\u200ba"}, ROWS[0]])
    before = report(spaced)
    offers = {offer.name: offer for offer in before.offers}
    assert {name: (offer.applied, offer.rows) for name, offer in offers.items()} == {
        "trim_text": (False, 1),
        "drop_duplicates": (False, 1),
    }
    was, becomes = offers["trim_text"].samples[0]
    assert becomes is not None
    assert (was.messages[0]["content"], becomes.messages[0]["content"]) == ("  q ", "q")
    after = report(spaced, DataOptions(fixes=("drop_duplicates", "trim_text")))
    assert (len(before.examples), len(after.examples), after.left_out) == (22, 21, {"fixes": 1})
    assert after.examples[20].messages[1]["content"] == "a"
    assert {offer.name: (offer.applied, offer.rows) for offer in after.offers} == {
        "trim_text": (True, 1),
        "drop_duplicates": (True, 1),
    }
    assert not after.findings, "what a fix cured is no problem any more"
    assert list(report(spaced).examples) == list(before.examples)


def test_rows_are_filtered_by_their_characters_and_sampled(tmp_path: Path) -> None:
    rows = [{"instruction": "q" * length, "output": "a"} for length in range(1, 31)]
    file = write(tmp_path / "rows.jsonl", rows)
    found = report(file, DataOptions(min_characters=11, max_characters=20))
    assert [example.line for example in found.examples] == list(range(10, 20))
    assert found.left_out == {"length": 20}
    first = report(file, DataOptions(take=5))
    assert ([example.line for example in first.examples], first.left_out) == ([1, 2, 3, 4, 5], {"sample": 25})
    drawn = [report(file, DataOptions(take=5, take_at_random=True, seed=seed)) for seed in (1, 1, 2)]
    lines = [[example.line for example in found.examples] for found in drawn]
    assert lines[0] == lines[1] == sorted(lines[0]) != lines[2]


def test_shuffling_keeps_every_row_and_depends_on_the_seed(file: Path) -> None:
    orders = [questions(report(file, DataOptions(shuffle=True, seed=seed))) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(questions(report(file)))


def others(tmp_path: Path, rows: int) -> DatasetReport:
    return report(
        write(tmp_path / "general.jsonl", [{"prompt": f"general {n}", "completion": "c"} for n in range(rows)])
    )


@pytest.mark.parametrize(("share", "there", "mixed"), [(0.2, 50, 5), (0.5, 50, 20), (None, 7, 7), (0.5, 7, 7)])
def test_another_set_is_mixed_in_at_its_share(
    tmp_path: Path, file: Path, share: float | None, there: int, mixed: int
) -> None:
    general = others(tmp_path, there)
    options = DataOptions(mix=(MixIn(dataset="general.jsonl", share=share),))
    found = report(file, options, lambda name: general)
    assert found.composition == (("rows.jsonl", 20), ("general.jsonl", mixed))
    assert Counter(example.file for example in found.examples) == {"": 20, "general.jsonl": mixed}
    assert len(set(found.groups.tolist())) == 20 + mixed
    assert [problem.key for problem in found.warnings if problem.code == "D33"] == (
        ["D33_mix_short"] if share and mixed == there else []
    )


def test_shares_that_leave_nothing_are_refused(tmp_path: Path, file: Path) -> None:
    general = others(tmp_path, 9)
    mix = tuple(MixIn(dataset="general.jsonl", share=0.5) for _ in range(2))
    with pytest.raises(WorkbenchError, match="H02"):
        report(file, DataOptions(mix=mix), lambda name: general)


def test_rows_of_the_validation_set_that_are_trained_on_are_named(tmp_path: Path, file: Path) -> None:
    held_out = report(write(tmp_path / "held.jsonl", [{"instruction": "x", "output": "y"}, ROWS[3], ROWS[4]]))
    found = report(file, DataOptions(validation_dataset="held.jsonl"), lambda name: held_out)
    assert [(finding.key, list(finding.lines)) for finding in found.findings] == [("D32_rows_in_both", [2, 3])]
    assert {*found.findings[0].files, found.findings[0].problems[0].place.file} == {"held.jsonl"}
    assert [example.file for example in found.validation] == ["held.jsonl"] * 3


def test_a_recipe_that_names_other_sets_needs_a_registry(file: Path) -> None:
    with pytest.raises(WorkbenchError, match="A03"):
        report(file, DataOptions(validation_dataset="held.jsonl"))


def test_a_check_that_is_cancelled_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.intake.TOLD_EVERY_S", 0.0)
    file = write(tmp_path / "many.jsonl", ROWS * 100)
    seen: list[tuple[float, int]] = []

    def watch(progress: Any) -> None:
        seen.append((progress.share, progress.rows))
        if progress.rows > 1500:
            raise Cancelled

    with pytest.raises(Cancelled):
        report(file, watch=watch)
    assert seen == sorted(seen)
    assert 0 < seen[0][0] <= 1


def test_more_rows_than_anyone_can_check_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.intake.MAX_ROWS", 19)
    with pytest.raises(WorkbenchError, match="D18"):
        report(file)


def test_the_same_file_and_recipe_give_the_same_examples(shared_data: Path) -> None:
    options = DataOptions(take=50, take_at_random=True, shuffle=True, fixes=("drop_duplicates",))
    first, again = (report(shared_data / "alpaca_en_demo.json", options) for _ in range(2))
    assert list(first.examples) == list(again.examples)
    assert np.array_equal(first.groups, again.groups)
