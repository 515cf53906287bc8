"""One file from a URL to disk: in pieces, resumed where it stopped, checked at the end.

Owns moving bytes. Which files, from where, and what to tell a person when it fails is `hub`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import httpx

from core.models.hub_listing import RemoteFile
from core.workspace import file_sha256


class ContentDiffersError(Exception):
    """A file arrived whole and is not the one that was promised; what arrived is thrown away."""


async def fetch_file(client: httpx.AsyncClient, file: RemoteFile, folder: Path, arrived: Callable[[int], None]) -> None:
    """Fetch one file into `folder`; `arrived` is told how many bytes of it are there, also those of an earlier try.

    The file has its own name only when it is complete and right; until then it is `<name>.part`.

    Raises:
        httpx.HTTPError: no answer, a refusal, or a connection that broke (the part stays for the next try).
        ContentDiffersError: length or hash are not what the hub said.
    """
    target, part = folder / file.name, _part(file, folder)
    start = bytes_there(file, folder)
    if target.exists():
        arrived(start)
        return
    headers = {"Range": f"bytes={start}-"} if start else {}
    async with client.stream("GET", file.url, headers=headers) as response:
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            start = 0  # the server sends the whole file
        done = start
        with part.open("ab" if start else "wb") as output:
            async for chunk in response.aiter_bytes():
                output.write(chunk)
                done += len(chunk)
                if file.bytes and done > file.bytes:
                    break
                arrived(done)
            output.flush()
            os.fsync(output.fileno())
    _check(part, file)
    part.replace(target)


def bytes_there(file: RemoteFile, folder: Path) -> int:
    """How many bytes of a file need not be fetched again."""
    part = _part(file, folder)
    if (folder / file.name).exists():
        return file.bytes
    size = part.stat().st_size if part.exists() else 0
    return size if size < file.bytes else 0


def _part(file: RemoteFile, folder: Path) -> Path:
    return folder / f"{file.name}.part"


def _check(part: Path, file: RemoteFile) -> None:
    size = part.stat().st_size
    right = size == file.bytes or not file.bytes
    if right and file.sha256:
        right = file_sha256(part) == file.sha256
    if size < file.bytes:
        raise httpx.RemoteProtocolError(f"{file.name} ended after {size} of {file.bytes} bytes")
    if not right:
        part.unlink()
        raise ContentDiffersError(file.name)
