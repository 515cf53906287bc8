"""What a model repository on a hub holds: its files, licence, and whether access must be asked for.

Owns the two hubs' listing interfaces and the choice of files that are worth fetching. Bytes are moved by `transfer`,
the whole is put together by `hub`. Interfaces: https://huggingface.co/docs/hub/api and ModelScope's
`/api/v1/models/<id>/repo/files`, `/api/v1/models/<id>/repo`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

import httpx

Source = Literal["huggingface", "modelscope"]

ENDPOINTS: dict[Source, tuple[str, str]] = {
    "huggingface": ("HF_ENDPOINT", "https://huggingface.co"),
    "modelscope": ("MODELSCOPE_ENDPOINT", "https://modelscope.cn"),
}
TOKENS: dict[Source, str] = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
_FILE = re.compile(r"\w[\w.-]*", re.ASCII)
_WANTED_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".jinja")
_WANTED_NAMES = ("LICENSE", "NOTICE")
_MAIN_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch. `sha256` is None where the hub does not tell it (small files)."""

    name: str
    bytes: int
    sha256: str | None
    url: str


@dataclass(frozen=True)
class Listing:
    """A repository at one revision; `files` are only those worth fetching."""

    revision: str
    files: tuple[RemoteFile, ...]
    licence: str
    gated: bool
    has_pickles: bool

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def endpoint(source: Source) -> str:
    """The hub's address: its own, or the mirror that the environment names."""
    variable, default = ENDPOINTS[source]
    return (os.environ.get(variable) or default).rstrip("/")


def token(source: Source) -> str | None:
    """The access token, from the environment only; it is never stored or shown."""
    return os.environ.get(TOKENS[source]) or None


async def fetch_listing(client: httpx.AsyncClient, source: Source, repo_id: str) -> Listing:
    """Ask the hub what a repository holds.

    Raises:
        httpx.HTTPError: no answer, or a refusal (`HTTPStatusError`).
        ValueError, TypeError, KeyError, AttributeError: an answer that is not what the interface promises.
    """
    base = endpoint(source)
    if source == "huggingface":
        return _huggingface(base, repo_id, await _json(client, f"{base}/api/models/{repo_id}/revision/main?blobs=true"))
    details = await _json(client, f"{base}/api/v1/models/{repo_id}")
    files = await _json(client, f"{base}/api/v1/models/{repo_id}/repo/files?Revision=master&Recursive=False")
    return _modelscope(base, repo_id, _object(details.get("Data")), _object(files.get("Data")))


async def _json(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    response = await client.get(url)
    response.raise_for_status()
    return _object(response.json())


def _huggingface(base: str, repo_id: str, answer: dict[str, Any]) -> Listing:
    revision = str(answer["sha"]) if re.fullmatch(r"[0-9a-f]{7,64}", str(answer.get("sha"))) else "main"
    found = []
    for entry in answer.get("siblings") or []:
        name, lfs = str(entry.get("rfilename", "")), entry.get("lfs") or {}
        url = f"{base}/{repo_id}/resolve/{revision}/{quote(name)}"
        found.append(RemoteFile(name, _size(lfs.get("size", entry.get("size"))), _sha256(lfs.get("sha256")), url))
    licences = [tag.partition(":")[2] for tag in answer.get("tags") or [] if str(tag).startswith("license:")]
    return _listing(revision, found, licences[0] if licences else "", bool(answer.get("gated")))


def _modelscope(base: str, repo_id: str, details: dict[str, Any], listing: dict[str, Any]) -> Listing:
    found = []
    revision = ""
    for entry in listing.get("Files") or []:
        if entry.get("Type") == "tree":
            continue
        name = str(entry.get("Path") or "")
        query = urlencode({"Revision": "master", "FilePath": name})
        url = f"{base}/api/v1/models/{repo_id}/repo?{query}"
        found.append(RemoteFile(name, _size(entry.get("Size")), _sha256(entry.get("Sha256")), url))
        revision = max(revision, str(entry.get("CommittedDate") or ""))
    gated = details.get("ApprovalMode") in (1, 2) or bool(details.get("ProtectedMode") == 1)
    return _listing(revision or "master", found, str(details.get("License") or ""), gated)


def _listing(revision: str, found: list[RemoteFile], licence: str, gated: bool) -> Listing:
    wanted = [file for file in found if _is_wanted(file.name)]
    if any(_MAIN_WEIGHTS.fullmatch(file.name) for file in wanted):
        # Some repositories carry the same weights a second time in another layout.
        wanted = [f for f in wanted if not f.name.endswith(".safetensors") or _MAIN_WEIGHTS.fullmatch(f.name)]
    pickles = any(file.name.endswith((".bin", ".pt", ".pth")) for file in found)
    return Listing(revision, tuple(sorted(wanted, key=lambda file: file.bytes)), licence, gated, pickles)


def _is_wanted(name: str) -> bool:
    """Weights as safetensors, configuration, tokenizer, template, all at the top: no code, no pickles, no folders."""
    return bool(_FILE.fullmatch(name)) and (name.endswith(_WANTED_SUFFIXES) or name in _WANTED_NAMES)


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return value


def _size(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**50 else 0


def _sha256(value: object) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) else None
