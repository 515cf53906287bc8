"""The cache of rendered rows: the same rows as without it, made anew where anything that decides them has changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.data.conversation import Example
from core.data.options import DataOptions
from core.data.rendering import RenderedSet, render_all
from core.errors import Place, Problem
from core.training import token_cache
from core.training.plan import Plan
from core.training.preparation import Planner
from core.training.token_cache import TokenCache, cache_key
from core.workspace import Workspace
from tests.core.training.conftest import spec_of

USUAL = DataOptions()
EXAMPLES = [
    Example(({"role": "user", "content": f"Number {n}?"}, {"role": "assistant", "content": "Yes. " * n}), line=n)
    for n in range(1, 30)
] + [Example((), line=30, text="A document. " * 20)]


def never() -> RenderedSet:
    pytest.fail("it was rendered again")


@pytest.fixture
def cache(tmp_path: Path) -> TokenCache:
    return TokenCache(tmp_path / "cache")


def test_what_comes_back_is_what_was_rendered(cache: TokenCache, tiny_tokenizer: Any) -> None:
    problem = Problem("M05_no_end_of_turn", Place(line=3), {"count": 2}, "warning")
    made = replace(render_all(tiny_tokenizer, EXAMPLES), problems=(problem,))
    assert made.documents == 1
    assert cache.rendered("key", lambda: made) is made
    assert cache.rendered("key", never) == made
    assert cache.rendered("none", lambda: RenderedSet([])) == cache.rendered("none", never) == RenderedSet([])


def test_a_key_is_that_of_everything_that_decides_the_ids(tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = cache_key(tiny_tokenizer, EXAMPLES, USUAL)
    assert cache_key(tiny_tokenizer, list(EXAMPLES), DataOptions(seed=7)) == usual, "the rows' origin decides nothing"
    others = [
        cache_key(tiny_tokenizer, EXAMPLES[:-1], USUAL),
        cache_key(tiny_tokenizer, [replace(EXAMPLES[0], line=99), *EXAMPLES[1:]], USUAL),
        cache_key(tiny_tokenizer, EXAMPLES, DataOptions(answers="last")),
        cache_key(tiny_tokenizer, EXAMPLES, DataOptions(train_prompt=True)),
    ]
    tiny_tokenizer.chat_template += " "
    others.append(cache_key(tiny_tokenizer, EXAMPLES, USUAL))
    tiny_tokenizer.add_tokens(["<new>"])
    others.append(cache_key(tiny_tokenizer, EXAMPLES, USUAL))
    monkeypatch.setattr(token_cache, "_code_hash", lambda: "other code")
    others.append(cache_key(tiny_tokenizer, EXAMPLES, USUAL))
    assert len({usual, *others}) == 1 + len(others)


def test_a_damaged_file_is_made_anew(cache: TokenCache, tiny_tokenizer: Any) -> None:
    made = render_all(tiny_tokenizer, EXAMPLES)
    cache.rendered("key", lambda: made)
    path = cache.folder / "key.npz"
    whole = path.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        assert cache.rendered("key", lambda: made) == made, at
    for content in (b"", whole[: len(whole) // 2], b"\x80\x04pickle"):
        path.write_bytes(content)
        assert cache.rendered("key", lambda: made) == made
        assert path.read_bytes() == whole


def test_the_oldest_files_go_when_there_are_too_many_bytes(tmp_path: Path, tiny_tokenizer: Any) -> None:
    made = render_all(tiny_tokenizer, EXAMPLES)
    TokenCache(tmp_path).rendered("probe", lambda: made)
    size = (tmp_path / "probe.npz").stat().st_size
    cache = TokenCache(tmp_path / "small", kept_bytes=int(2.5 * size))
    for age, key in enumerate(("a", "b")):
        cache.rendered(key, lambda: made)
        os.utime(cache.folder / f"{key}.npz", (age, age))
    cache.rendered("a", never)
    cache.rendered("c", lambda: made)
    assert {path.stem for path in cache.folder.iterdir()} == {"a", "c"}, "what was used last is kept"


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path, tiny_tokenizer: Any) -> None:
    (tmp_path / "cache").write_text("a file stands in the way")
    made = render_all(tiny_tokenizer, EXAMPLES)
    assert TokenCache(tmp_path / "cache").rendered("key", lambda: made) == made


def test_plan_and_run_share_what_was_rendered_of_a_large_set(
    train: Any, place: Workspace, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.data.library import DataLibrary
    from core.training import preparation

    small: Plan = Planner(place, DataLibrary(place)).plan(spec_of(), loaded)
    assert not place.token_cache.exists(), "a small set is rendered faster than it is looked up"
    plain = train(spec_of(name="plain"))
    monkeypatch.setattr(preparation, "WORTH_KEEPING", 0)
    assert Planner(place, DataLibrary(place)).plan(spec_of(), loaded).steps == small.steps
    monkeypatch.setattr(preparation, "render_all", lambda *args, **named: never())
    cached = train(spec_of(name="cached"))
    assert cached.losses == plain.losses
