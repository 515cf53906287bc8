"""Who may talk to the server, and who may sign in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import WorkbenchError
from webui.security import RequestGuard, is_loopback, password_check, read_credentials


async def answered(scope: Any, receive: Any, send: Any) -> None:
    """The application behind the guard in these tests; it is never called."""


HERE = {"host": "127.0.0.1:7860"}


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", HERE),
        ("GET", {"host": "localhost:7860"}),
        ("GET", {"host": "[::1]:7860"}),
        ("POST", HERE),
        ("POST", {**HERE, "origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}),
        ("GET", {**HERE, "sec-fetch-site": "cross-site"}),
    ],
)
def test_this_servers_own_page_may_pass(method: str, headers: dict[str, str]) -> None:
    assert RequestGuard(answered, loopback=True).refused(method, headers) is None


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("GET", {"host": "evil.example"}),
        ("GET", {"host": "evil.example:7860"}),
        ("GET", {"host": "127.0.0.1.evil.example"}),
        ("GET", {"host": "localhost.evil.example:7860"}),
        ("GET", {"host": "192.168.0.7:7860"}),
        ("POST", {**HERE, "origin": "http://evil.example"}),
        ("POST", {**HERE, "origin": "null"}),
        ("POST", {**HERE, "origin": "http://127.0.0.1:8080"}),
        ("POST", {**HERE, "sec-fetch-site": "cross-site"}),
        ("DELETE", {**HERE, "sec-fetch-site": "same-site"}),
        ("POST", {"host": "evil.example", "origin": "http://evil.example"}),
    ],
)
def test_a_foreign_page_or_name_is_refused(method: str, headers: dict[str, str]) -> None:
    assert RequestGuard(answered, loopback=True).refused(method, headers) is not None


def test_a_server_for_others_answers_to_addresses_but_not_to_foreign_names() -> None:
    guard = RequestGuard(answered, loopback=False)
    assert guard.refused("GET", {"host": "192.168.0.7:7860"}) is None
    assert guard.refused("GET", {"host": "evil.example:7860"}) is not None


def test_a_name_of_a_proxy_is_answered_only_when_it_was_named() -> None:
    guard = RequestGuard(answered, loopback=True, names=["Lora.example.com"])
    assert guard.refused("GET", {"host": "lora.example.com"}) is None
    assert guard.refused("POST", {**HERE, "origin": "https://lora.example.com"}) is None
    assert guard.refused("POST", {**HERE, "origin": "https://evil.example"}) is not None
    assert guard.refused("GET", {"host": "box.example.com"}) is not None


def test_the_public_link_is_answered_only_when_it_was_asked_for() -> None:
    link = {"host": "abc.gradio.live"}
    assert RequestGuard(answered, loopback=True, share=True).refused("GET", link) is None
    assert RequestGuard(answered, loopback=True).refused("GET", link) is not None


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.1.2.3", False), ("::", False)],
)
def test_loopback_is_told_from_all_else(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_users_are_read_and_passwords_compared(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("# people\n\nanna:se:cret\n李老师:密码\n", encoding="utf-8")
    check = password_check(read_credentials(file))
    assert check("anna", "se:cret")
    assert check("李老师", "密码")
    assert not check("anna", "密码")
    assert not check("", "")


@pytest.mark.parametrize(
    ("content", "key", "line"),
    [
        ("", "A25_auth_file_empty", None),
        ("# nobody\n", "A25_auth_file_empty", None),
        ("anna:x\nbert\n", "A25_auth_line_malformed", 2),
        (":x\n", "A25_auth_line_malformed", 1),
    ],
)
def test_a_file_of_users_that_lets_nobody_in_is_refused(
    tmp_path: Path, content: str, key: str, line: int | None
) -> None:
    file = tmp_path / "users"
    file.write_text(content)
    with pytest.raises(WorkbenchError) as refused:
        read_credentials(file)
    assert refused.value.key == key
    assert refused.value.problems[0].place.line == line


def test_a_missing_file_of_users_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError) as refused:
        read_credentials(tmp_path / "none")
    assert refused.value.key == "A25_auth_file_unreadable"
