"""The endpoint that a judge answers at: any OpenAI-compatible one that a person typed, asked one question at a time.

Owns which URLs and keys are allowed, the request, trying again, and the words for what goes wrong. What is asked, and
what the reply means, is `judge`'s.

Only http and https, only to the host that was typed: redirects are refused, and no proxy, password file or key is taken
from the environment but the one variable that is named. Its name must end in API_KEY, so that no other secret of this
machine can be sent by naming it. Loopback and private addresses are fine: many judges run in the same house.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import httpx
import regex

from core.errors import Place, WorkbenchError, excerpt, refusal
from core.evaluation.spec import JudgeSettings

MAX_URL_CHARACTERS = 2000
MAX_REPLY_BYTES = 1_000_000
MAX_PORT = 65_535
HOST = regex.compile(r"[\p{L}\p{M}\p{N}._:-]+")  # a name of any script, or an address
TRIES = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
CONNECT_TIMEOUT_S, REPLY_TIMEOUT_S = 8.0, 180.0  # a judge may think for long
ROUTE = "/chat/completions"
KEY_VARIABLE = regex.compile(r"([A-Z][A-Z0-9_]*_)?API_KEY")

Messages = Sequence[dict[str, str]]


class DeclinedError(Exception):
    """The endpoint will not answer this one question (too long for it, say); its words are the message."""


@dataclass
class Endpoint:
    """A checked endpoint. `temperature` None: it takes none, as it turned out."""

    url: httpx.URL
    model: str
    key_variable: str
    key: str = field(repr=False)
    temperature: float | None = 0.0

    @classmethod
    def of(cls, settings: JudgeSettings) -> Endpoint:
        """What was typed is an endpoint's root (`…/v1`) or the whole URL.

        Raises:
            WorkbenchError: H01 where the URL or the name of the key's variable can't be used.
        """
        url = _checked_url(settings.url.strip())
        variable = settings.key_variable
        if variable and not KEY_VARIABLE.fullmatch(variable):
            place = Place(field="judge.key_variable", excerpt=excerpt(variable))
            raise refusal("H01_judge_key_variable", place, seen=excerpt(variable))
        path = url.path.rstrip("/")
        url = url.copy_with(path=path if path.endswith(ROUTE) else path + ROUTE, fragment=None)
        return cls(url, settings.model, variable, os.environ.get(variable, "").strip() if variable else "")

    @property
    def host(self) -> str:
        return self.url.host if self.url.port is None else f"{self.url.host}:{self.url.port}"

    @property
    def is_this_machine(self) -> bool:
        address = _address(self.url.host)
        return address.is_loopback if address else self.url.host == "localhost"


@asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[httpx.AsyncClient]:
    """A client for this endpoint alone."""
    headers = {"User-Agent": "lora-workbench"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    timeout = httpx.Timeout(REPLY_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    async with httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=False) as client:
        yield client


async def ask(client: httpx.AsyncClient, endpoint: Endpoint, messages: Messages) -> str:
    """The reply. An endpoint that is busy (429, 5xx) or breaks off is asked again, ever more patiently.

    Raises:
        DeclinedError: this question is refused, others may not be.
        WorkbenchError: A24 where the endpoint is out of reach, redirects, wants another key, does not know the model,
            stays busy, or answers in another form than OpenAI's; H01 where its name leads to a link-local address.
    """
    went_wrong: WorkbenchError | None = None
    for attempt in range(TRIES):
        wait_s = FIRST_WAIT_S * 2**attempt
        temperature = endpoint.temperature
        try:
            status, headers, content = await _post(client, endpoint, messages, temperature)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _unreachable(endpoint, error) from error
        except httpx.HTTPError as error:
            went_wrong = _unreachable(endpoint, error)
        else:
            if status == httpx.codes.OK:
                return _reply(endpoint, content)
            if temperature is not None and status == httpx.codes.BAD_REQUEST and b"temperature" in content:
                endpoint.temperature = None  # models that think take none
                continue
            if status != httpx.codes.TOO_MANY_REQUESTS and status < httpx.codes.INTERNAL_SERVER_ERROR:
                raise _refused(endpoint, status, headers, content)
            went_wrong = refusal("A24_judge_busy", _place(endpoint), host=endpoint.host, status=status, tries=TRIES)
            asked_s = headers.get("Retry-After", "")
            wait_s = float(asked_s) if asked_s.isascii() and asked_s.isdigit() else wait_s
        if attempt + 1 < TRIES:
            await asyncio.sleep(min(LONGEST_WAIT_S, wait_s))
    assert went_wrong
    raise went_wrong


async def _post(
    client: httpx.AsyncClient, endpoint: Endpoint, messages: Messages, temperature: float | None
) -> tuple[int, httpx.Headers, bytes]:
    """Status, headers and content of what came back."""
    body: dict[str, Any] = {"model": endpoint.model, "messages": list(messages)}
    if temperature is not None:
        body["temperature"] = temperature
    content = b""
    async with client.stream("POST", endpoint.url, json=body, extensions={"trace": _refuse_link_local}) as response:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_REPLY_BYTES:
                raise _unexpected(endpoint)
    return response.status_code, response.headers, content


async def _refuse_link_local(event: str, info: dict[str, Any]) -> None:
    """A name may lead where `_checked_url` lets no address lead: seen when connected, before anything is sent."""
    if event == "connection.connect_tcp.complete":
        stream = info["return_value"]
        server = stream.get_extra_info("server_addr")  # None where the other end has hung up already
        address = _address(server[0]) if server else None
        if address and address.is_link_local:
            await stream.aclose()
            raise _bad_url(server[0])


def _reply(endpoint: Endpoint, content: bytes) -> str:
    try:
        reply = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise _unexpected(endpoint) from error
    if not isinstance(reply, str):
        raise _unexpected(endpoint)
    return reply


def _refused(endpoint: Endpoint, status: int, headers: httpx.Headers, content: bytes) -> Exception:
    """What a status says that no other try will change."""
    place, host = _place(endpoint), endpoint.host
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        if endpoint.key:
            return refusal("A24_judge_key_refused", place, host=host, variable=endpoint.key_variable)
        return refusal("A24_judge_needs_key", place, host=host, variable=endpoint.key_variable or "OPENAI_API_KEY")
    if status == httpx.codes.NOT_FOUND:
        return refusal("A24_judge_not_found", place, url=excerpt(endpoint.url), model=excerpt(endpoint.model))
    if httpx.codes.is_redirect(status):
        return refusal("A24_judge_redirects", place, host=host, target=excerpt(headers.get("Location", "")))
    try:
        words = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        words = ""
    return DeclinedError(f"HTTP {status} {excerpt(words)}".strip())


def _checked_url(typed: str) -> httpx.URL:
    """Link-local addresses are where clouds tell a machine its own secrets; no judge is there."""
    try:
        url = httpx.URL(typed)
    except (httpx.InvalidURL, ValueError) as error:
        raise _bad_url(typed) from error
    is_plain = HOST.fullmatch(url.host) and not url.userinfo and (url.port is None or 0 < url.port <= MAX_PORT)
    address = _address(url.host)
    if url.scheme not in ("http", "https") or not is_plain or len(typed) > MAX_URL_CHARACTERS:
        raise _bad_url(typed)
    if address and address.is_link_local:
        raise _bad_url(typed)
    return url


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is written as, in any form that systems take for one; None for a name."""
    try:
        numeric = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)[0][4][0]
    except OSError:
        return None
    address = ip_address(numeric)
    return getattr(address, "ipv4_mapped", None) or address


def _place(endpoint: Endpoint) -> Place:
    return Place(file=endpoint.host)


def _bad_url(typed: str) -> WorkbenchError:
    return refusal("H01_judge_url", Place(field="judge.url", excerpt=excerpt(typed)), url=excerpt(typed))


def _unreachable(endpoint: Endpoint, error: Exception) -> WorkbenchError:
    return refusal("A24_judge_unreachable", _place(endpoint), host=endpoint.host, reason=type(error).__name__)


def _unexpected(endpoint: Endpoint) -> WorkbenchError:
    return refusal("A24_judge_unexpected", _place(endpoint), host=endpoint.host)
