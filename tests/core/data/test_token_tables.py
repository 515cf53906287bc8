"""The count of a set's tokens: made once, and made anew when what decides it has changed or it was refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.data.library import DataLibrary
from core.data.options import DataOptions, MixIn
from core.data.report import DatasetReport
from core.data.token_tables import TokenTables
from core.errors import Place, refusal
from core.workspace import Workspace

WAIT_S = 20


@pytest.fixture
def library(workspace: Workspace) -> DataLibrary:
    for name, rows in (("rows.jsonl", 6), ("general.jsonl", 4)):
        lines = [json.dumps({"prompt": f"{name} {row}", "completion": "c"}) for row in range(rows)]
        (workspace.datasets / name).write_text("\n".join(lines), encoding="utf-8")
    return DataLibrary(workspace)


def counted(tables: TokenTables, tokenizer: Any, model: str = "tiny") -> int:
    status = tables.status("rows.jsonl", tokenizer, model, WAIT_S)
    assert status.table is not None and not status.running
    return status.table.examples


def test_a_count_is_made_once_until_recipe_or_model_change(library: DataLibrary, tiny_tokenizer: Any) -> None:
    tables = TokenTables(library)
    assert counted(tables, tiny_tokenizer) == 6
    first = tables.status("rows.jsonl", tiny_tokenizer, "tiny").table
    assert tables.status("rows.jsonl", tiny_tokenizer, "tiny").table is first
    library.change_recipe("rows.jsonl", lambda _: DataOptions(take=2))
    assert counted(tables, tiny_tokenizer) == 2
    before = tables.status("rows.jsonl", tiny_tokenizer, "tiny").table
    assert tables.status("rows.jsonl", tiny_tokenizer, "other", WAIT_S).table is not before


def test_a_count_changes_with_the_recipe_of_a_set_that_is_mixed_in(library: DataLibrary, tiny_tokenizer: Any) -> None:
    tables = TokenTables(library)
    library.change_recipe("rows.jsonl", lambda _: DataOptions(mix=(MixIn(dataset="general.jsonl"),)))
    assert counted(tables, tiny_tokenizer) == 10
    library.change_recipe("general.jsonl", lambda _: DataOptions(take=1))
    assert counted(tables, tiny_tokenizer) == 7


def test_a_count_goes_on_after_the_check_it_needs_was_cancelled(
    library: DataLibrary, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(name: str, options: DataOptions | None = None) -> DatasetReport:
        raise refusal("D18_check_cancelled", Place(file=name))

    tables = TokenTables(library)
    with monkeypatch.context() as patched:
        patched.setattr(library, "report", cancelled)
        status = tables.status("rows.jsonl", tiny_tokenizer, "tiny", WAIT_S)
        assert status.error is not None and status.error.key == "D18_check_cancelled"
    assert counted(tables, tiny_tokenizer) == 6
