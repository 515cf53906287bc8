"""How Hugging Face and ModelScope take files: both as one commit, with large files sent to their store before it.

Owns the two hubs' requests, as their own open clients make them: huggingface_hub's `_commit_api.py` and `lfs.py`
(https://huggingface.co/docs/hub/api, https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md) and
modelscope-hub's `_legacy_api.py` and `_upload.py`. What goes wrong is raised as it comes; `push` has the words.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from core.models.hub_listing import Source

Sent = Callable[[int], None]
SAMPLE_BYTES = 512  # by which Hugging Face tells text from other files
INLINE_BYTES = 64 * 1024  # ModelScope: larger files go to its store
ALWAYS_INLINE = ("README.md", "config.json", "configuration.json")  # ModelScope reads them itself
PIECE_BYTES = 1 << 20
LFS_HEADERS = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}
SUMMARY = "Upload from LoRA Workbench"
MODELSCOPE_PRIVATE, MODELSCOPE_PUBLIC = 1, 5


class NotWhatWasAskedError(Exception):
    """The repository is public where it was to be private."""


@dataclass(frozen=True)
class Target:
    """A repository on a hub. The token is never shown."""

    endpoint: str
    repo_id: str
    private: bool
    token: str = field(repr=False)

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True)
class Outgoing:
    """One file to send: a file, or bytes made for it."""

    name: str
    content: Path | bytes
    size: int
    sha256: str

    def read(self, most: int = -1) -> bytes:
        """The content, or no more than its beginning."""
        if isinstance(self.content, bytes):
            return self.content if most < 0 else self.content[:most]
        with self.content.open("rb") as source:
            return source.read(most)


async def to_huggingface(client: httpx.AsyncClient, target: Target, files: Sequence[Outgoing], sent: Sent) -> None:
    """Make the repository where it is missing, send what is large, commit all."""
    hub = _Hub(client, target, target.authorization)
    repo = f"{target.endpoint}/api/models/{target.repo_id}"
    owner, _, name = target.repo_id.partition("/")
    visibility = "private" if target.private else "public"
    made = {"name": name, "organization": owner, "type": "model", "visibility": visibility}
    await hub.ask("POST", f"{target.endpoint}/api/repos/create", allowed=(httpx.codes.CONFLICT,), json=made)
    _refuse_public(target, is_private=(await hub.ask("GET", repo))["private"] is True)
    samples = [(file, base64.b64encode(file.read(SAMPLE_BYTES)).decode()) for file in files]
    asked = {"files": [{"path": file.name, "sample": sample, "size": file.size} for file, sample in samples]}
    modes = (await hub.ask("POST", f"{repo}/preupload/main", json=asked))["files"]
    large = {mode["path"] for mode in modes if mode["uploadMode"] == "lfs"}
    await _send_large(hub, f"{target.endpoint}/{target.repo_id}.git", [f for f in files if f.name in large], sent)
    lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": SUMMARY, "description": ""}}]
    for file in files:
        if file.name in large:
            value = {"path": file.name, "algo": "sha256", "oid": file.sha256, "size": file.size}
            lines.append({"key": "lfsFile", "value": value})
        else:
            encoded = base64.b64encode(file.read()).decode()
            lines.append({"key": "file", "value": {"content": encoded, "path": file.name, "encoding": "base64"}})
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    await hub.ask("POST", f"{repo}/commit/main", content=body, headers={"Content-Type": "application/x-ndjson"})
    sent(sum(file.size for file in files))


async def to_modelscope(client: httpx.AsyncClient, target: Target, files: Sequence[Outgoing], sent: Sent) -> None:
    """The same in ModelScope's form."""
    hub = _Hub(client, target, {**target.authorization, "Cookie": f"m_session_id={target.token}"})
    base = f"{target.endpoint}/api/v1"
    repo = f"{base}/models/{target.repo_id}"
    found = await hub.ask("GET", repo, allowed=(httpx.codes.NOT_FOUND,))
    if not found.get("Data"):
        owner, _, name = target.repo_id.partition("/")
        visibility = MODELSCOPE_PRIVATE if target.private else MODELSCOPE_PUBLIC
        await hub.ask("POST", f"{base}/models", json={"Path": owner, "Name": name, "Visibility": visibility})
        found = await hub.ask("GET", repo)
    _refuse_public(target, is_private=found["Data"]["Visibility"] == MODELSCOPE_PRIVATE)
    large = [f for f in files if f.size > INLINE_BYTES and f.name not in ALWAYS_INLINE]
    await _send_large(hub, f"{base}/repos/models/{target.repo_id}", large, sent)
    actions = []
    for file in files:
        stored = file in large
        content = "" if stored else base64.b64encode(file.read()).decode()
        kind = {"type": "lfs", "sha256": file.sha256} if stored else {"type": "normal", "sha256": ""}
        encoding = {"content": content, "encoding": "" if stored else "base64"}
        actions.append({"action": "create", "path": file.name, "size": file.size, **kind, **encoding})
    commit = {"commit_message": SUMMARY, "actions": actions}
    await hub.ask("POST", f"{base}/repos/models/{target.repo_id}/commit/master", json=commit)
    sent(sum(file.size for file in files))


@dataclass(frozen=True)
class _Hub:
    """Requests to one hub; `secret` are the headers that only its own address is sent."""

    client: httpx.AsyncClient
    target: Target
    secret: Mapping[str, str]

    async def ask(self, method: str, url: str, allowed: Sequence[int] = (), **options: Any) -> dict[str, Any]:
        """A request that is answered with JSON; redirects are not followed, as they could lead the token away."""
        headers = {**(self.secret if self._is_own(url) else {}), **options.pop("headers", {})}
        response = await self.client.request(method, url, headers=headers, **options)
        if response.status_code in allowed:
            return {}
        response.raise_for_status()
        answer = response.json() if response.content else {}
        if not isinstance(answer, dict) or answer.get("Success") is False:
            raise ValueError(str(answer)[:200])
        return answer

    async def put(self, url: str, file: Outgoing, start: int, size: int, sent: Sent) -> httpx.Response:
        """Send a part of a file to a store, whose address carries its own permission."""
        headers = {"Content-Length": str(size), **(self.secret if self._is_own(url) else {})}
        response = await self.client.put(url, content=_pieces(file, start, size, sent), headers=headers)
        response.raise_for_status()
        return response

    def _is_own(self, url: str) -> bool:
        """Whether an address is the hub's own, or of one of its own machines."""
        own, asked = urlsplit(self.target.endpoint), urlsplit(url)
        host = (own.hostname or "").removeprefix("www.")
        return asked.scheme == own.scheme and (asked.hostname == host or (asked.hostname or "").endswith(f".{host}"))


async def _send_large(hub: _Hub, repo: str, files: Sequence[Outgoing], sent: Sent) -> None:
    """Ask the store which large files it lacks, and send those."""
    if not files:
        return
    objects = [{"oid": file.sha256, "size": file.size} for file in files]
    asked = {"operation": "upload", "transfers": ["basic", "multipart"], "objects": objects, "hash_algo": "sha256"}
    answer = await hub.ask("POST", f"{repo}/info/lfs/objects/batch", content=json.dumps(asked), headers=LFS_HEADERS)
    wanted = {entry["oid"]: entry.get("actions") or {} for entry in (answer.get("Data") or answer)["objects"]}
    before = 0
    for file in files:
        actions = wanted[file.sha256]

        def arrived(count: int, base: int = before) -> None:
            sent(base + count)

        if actions.get("upload"):
            await _send(hub, file, actions["upload"], arrived)
        if actions.get("verify"):
            asked_again = {"oid": file.sha256, "size": file.size}
            await hub.ask("POST", actions["verify"]["href"], json=asked_again)
        before += file.size
        sent(before)


async def _send(hub: _Hub, file: Outgoing, action: Mapping[str, Any], sent: Sent) -> None:
    """Send one file whole, or in the parts that the store asks for."""
    header = action.get("header") or {}
    if "chunk_size" not in header:
        await hub.put(action["href"], file, 0, file.size, sent)
        return
    size = int(header["chunk_size"])
    addresses = [header[number] for number in sorted((key for key in header if key.isdecimal()), key=int)]
    if size <= 0 or len(addresses) != math.ceil(file.size / size):
        raise ValueError("the parts are not the file")
    parts = []
    for number, address in enumerate(addresses):
        start = number * size

        def arrived(count: int, base: int = start) -> None:
            sent(base + count)

        response = await hub.put(address, file, start, min(size, file.size - start), arrived)
        parts.append({"partNumber": number + 1, "etag": response.headers["etag"]})
    done = {"oid": file.sha256, "parts": parts}
    response = await hub.client.post(action["href"], json=done, headers={"Accept": LFS_HEADERS["Accept"]})
    response.raise_for_status()


async def _pieces(file: Outgoing, start: int, size: int, sent: Sent) -> AsyncIterator[bytes]:
    if isinstance(file.content, bytes):
        yield file.content[start : start + size]
        return
    with file.content.open("rb") as source:
        source.seek(start)
        done = 0
        while piece := source.read(min(PIECE_BYTES, size - done)):
            yield piece
            done += len(piece)
            sent(done)


def _refuse_public(target: Target, is_private: bool) -> None:
    if target.private and not is_private:
        raise NotWhatWasAskedError(target.repo_id)


Protocol = Callable[[httpx.AsyncClient, Target, Sequence[Outgoing], Sent], Awaitable[None]]
PROTOCOLS: dict[Source, Protocol] = {"huggingface": to_huggingface, "modelscope": to_modelscope}
