"""The key of the API, and what a failure looks like to a program."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.api.access import KEY_VARIABLE, Access, read_key
from core.api.refusals import error_answer, language_of
from core.errors import WorkbenchError, refusal

KEY = "a-key-of-sixteen-or-more"


@pytest.mark.parametrize(
    ("access", "state"),
    [
        (Access(), "open"),
        (Access(KEY), "key"),
        (Access(KEY, guarded=True), "key"),
        (Access(guarded=True), "closed"),
    ],
)
def test_a_server_for_others_is_closed_without_a_key(access: Access, state: str) -> None:
    assert access.state == state


def test_only_the_holder_of_the_key_passes() -> None:
    Access().check("")
    Access(KEY).check(f"Bearer {KEY}")
    Access(KEY).check(f"bearer  {KEY} ")


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("", "A25_api_key_missing"),
        ("Bearer ", "A25_api_key_missing"),
        (f"Basic {KEY}", "A25_api_key_missing"),
        (KEY, "A25_api_key_missing"),
        (f"Bearer {KEY}x", "A25_api_key_wrong"),
        (f"Bearer {KEY[:-1]}", "A25_api_key_wrong"),
        ("Bearer \ud800密", "A25_api_key_wrong"),
    ],
)
def test_nobody_else_does(sent: str, key: str) -> None:
    with pytest.raises(WorkbenchError) as error:
        Access(KEY).check(sent)
    assert error.value.key == key
    with pytest.raises(WorkbenchError) as error:
        Access(guarded=True).check(f"Bearer {KEY}")
    assert error.value.key == "A25_api_closed"


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_key(None) is None
    monkeypatch.setenv(KEY_VARIABLE, "from-the-environment")
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert read_key(None) == "from-the-environment"
    assert read_key(tmp_path / "key") == KEY


@pytest.mark.parametrize("content", ["", "short", "two words of it all", "schlüssel-zum-haus", "a\x00" * 20])
def test_a_key_that_cannot_be_one_is_refused_at_the_start(content: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(WorkbenchError) as error:
        read_key(tmp_path / "key")
    assert error.value.key == "A25_api_key_weak"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError) as error:
        read_key(tmp_path / "none")
    assert error.value.key == "A25_api_key_unreadable"


@pytest.mark.parametrize(
    ("key", "values", "status", "code"),
    [
        ("A03_no_such_model", {"name": "x", "known": "y"}, 404, "model_not_found"),
        ("A04_dataset_in_use", {"name": "x", "run": "y"}, 409, "A04"),
        ("A27_chat_is_busy", {"waiting": 64, "limit": 64}, 429, "rate_limit_exceeded"),
        ("D38_kind_of_file", {"known": "x"}, 400, "D38"),
        ("H11_prompt_too_long", {"tokens": 9, "limit": 5}, 400, "context_length_exceeded"),
        ("A25_api_key_wrong", {}, 401, "invalid_api_key"),
    ],
)
def test_a_refusal_has_openais_shape(key: str, values: dict[str, object], status: int, code: str) -> None:
    told = error_answer(refusal(key, **values), "zh")
    assert told.status == status
    assert told.body["error"].keys() == {"message", "type", "param", "code"}
    assert told.body["error"]["code"] == code
    assert told.headers["x-should-retry"] == ("true" if status == 429 else "false")
    assert any("\u4e00" <= character <= "\u9fff" for character in told.body["error"]["message"])


def test_a_bug_is_told_by_its_reference_only() -> None:
    told = error_answer(ZeroDivisionError("secret"), "en")
    assert told.status == 500
    assert told.body["error"]["type"] == "server_error"
    assert "secret" not in str(told.body)


@pytest.mark.parametrize(
    ("accepted", "lang"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("fr;q=0.9, zh-Hans", "zh"),
        ("*", "en"),
        ("\ud800;;;,,,q=", "en"),
    ],
)
def test_the_words_are_in_the_language_asked_for(accepted: str, lang: str) -> None:
    assert language_of(accepted) == lang
