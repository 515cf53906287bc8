"""Who may talk to the server: checks of Host, Origin and Sec-Fetch-Site, and the headers that fence the page in.

Owns the ASGI middleware that stands before every route, and the check of user and password. It does not know what a
route does. Why: a page on another site must not drive this one (CSRF), and a name that resolves to this machine must
not read it (DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from pathlib import Path
from typing import Any

from core.errors import Place, excerpt, refusal

log = logging.getLogger("workbench.page")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

READING_METHODS = {"GET", "HEAD", "OPTIONS"}
API_ROOT = "/v1/"
LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}
SHARE_SUFFIX = ".gradio.live"
# gradio's own page needs inline scripts, and its charts compile expressions; nothing may come from or go elsewhere.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self' blob:; frame-src 'none'; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
RESPONSE_HEADERS = [
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class RequestGuard:
    """ASGI middleware: refuses a request with 403 unless it comes from this server's own page, or from no page at all.

    The API is for programs: a page of another site may not even read it.

    `loopback` says whether the server listens on this machine only; then only its own names are answered, and those in
    `names`, by which a proxy or the local network knows it.
    """

    def __init__(self, app: App, loopback: bool, share: bool = False, names: Collection[str] = ()) -> None:
        self.app = app
        self.loopback = loopback
        self.share = share
        self.names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path = str(scope["path"])
        reason = self.refused(str(scope["method"]), headers, path)
        if reason:
            await _answer(send, 403, reason, path)
            return

        answered = False

        async def send_fenced(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                message["headers"] = [*message.get("headers", []), *RESPONSE_HEADERS]
            await send(message)

        try:
            await self.app(scope, receive, send_fenced)
        except Exception:
            if answered:
                raise
            # gradio looks up what a request names without checking it; the page itself sends no such request.
            reference = secrets.token_hex(4)
            log.exception("request %s %s, bug or bad request %s", scope["method"], excerpt(scope["path"]), reference)
            await _answer(send, 400, f"request not understood ({reference})", path)

    def refused(self, method: str, headers: dict[str, str], path: str = "/") -> str | None:
        """Why a request with this method and these headers (lower-case names) is refused; None where it may pass."""
        host = headers.get("host", "")
        if not self._known_host(_host_name(host)):
            return "unknown Host"
        if method in READING_METHODS and not path.startswith(API_ROOT):
            return None
        origin = headers.get("origin")
        if origin is not None:
            source = origin.split("://", 1)[-1]
            if source != host and _host_name(source) not in self.names:  # a proxy may not hand its own name on
                return "foreign Origin"
        if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
            return "cross-site request"
        return None

    def _known_host(self, name: str) -> bool:
        if name in LOOPBACK_NAMES or name in self.names:
            return True
        if self.share and name.endswith(SHARE_SUFFIX):
            return True
        return not self.loopback and (_is_address(name) or name == socket.gethostname().lower())


def read_credentials(path: Path) -> list[tuple[str, str]]:
    """The `user:password` lines of an `--auth-file`; blank lines and `#` comments are passed over.

    Raises:
        WorkbenchError: A25 where the file cannot be read, has no line, or a line is not `user:password`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise refusal("A25_auth_file_unreadable", Place(file=str(path)), reason=str(error)) from error
    users: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, password = line.strip().partition(":")
        if not (user and colon and password):
            raise refusal("A25_auth_line_malformed", Place(file=str(path), line=number))
        users.append((user, password))
    if not users:
        raise refusal("A25_auth_file_empty", Place(file=str(path)))
    return users


def password_check(users: list[tuple[str, str]]) -> Callable[[str, str], bool]:
    """A check of user and password that takes the same time whatever is wrong."""

    def known(user: str, password: str) -> bool:
        matches = [
            hmac.compare_digest(user.encode(), name.encode()) & hmac.compare_digest(password.encode(), secret.encode())
            for name, secret in users
        ]
        return any(matches)

    return known


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    """The name in a Host header, without its port; `[::1]:7860` → `::1`."""
    if host.startswith("["):
        return host[1:].split("]", 1)[0].lower()
    return host.rsplit(":", 1)[0].lower() if ":" in host else host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _answer(send: Send, status: int, reason: str, path: str) -> None:
    """A short refusal; to a program in the shape that OpenAI's clients read."""
    words, kind = f"{status}: {reason}", "text/plain; charset=utf-8"
    if path.startswith(API_ROOT):
        error = {"message": words, "type": "invalid_request_error", "param": None, "code": "A25"}
        words, kind = json.dumps({"error": error}), "application/json"
    body = words.encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
