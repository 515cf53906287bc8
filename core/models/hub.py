"""A model from Hugging Face or ModelScope into `models/`: described first, then downloaded, resumable and cancellable.

Owns the download as a whole and the words for what can go wrong. Ids are checked against an allow-list, tokens come
from the environment, files are safetensors, JSON and tokenizer files only. The connection is this module's own and
lives as long as one call: the libraries' offline switch stays on, so nothing else can reach the network meanwhile.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from core.cancelling import GivenUpError, run_until
from core.errors import Place, WorkbenchError, excerpt, refusal
from core.models.arrival import SPARE_BYTES, Cancelled, Progress, Report, check_disk, never, silent, write_problem
from core.models.catalog import inspect
from core.models.configuration import CONFIG_FILE, read_config
from core.models.hub_listing import ENDPOINTS, TOKENS, Listing, RemoteFile, Source, endpoint, fetch_listing, token
from core.models.transfer import ContentDiffersError, bytes_there, fetch_file
from core.workspace import Workspace, free_name, read_json, sync_folder, write_json

REPO_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
MAX_ID_CHARACTERS = 200
ANSWER_TIMEOUT_S = 8.0
STALL_TIMEOUT_S = 10.0
STATE_FILE = "download.json"
STAGING = ".downloads"  # in `models/`, so that a finished download is renamed on one disk; hidden, so it is no model
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class RemoteInfo:
    """What a download would bring. `needs_token` names the environment variable that a gated repository lacks."""

    source: Source
    repo_id: str
    bytes: int
    free_bytes: int
    licence: str
    gated: bool
    needs_token: str | None
    files: tuple[RemoteFile, ...]


def describe_remote(source: Source, repo_id: str, workspace: Workspace) -> RemoteInfo:
    """Ask a hub about a repository: size, licence, whether it is gated. Ends within 10 s.

    Raises:
        WorkbenchError: A24 where the id is none, the hub is out of reach or refuses; M11 where it has no safetensors.
    """
    checked_source(source)
    repo_id = checked_repo_id(repo_id)
    listing = _run(_with_client(source, repo_id, lambda client: _listing(client, source, repo_id)), never)
    missing = TOKENS[source] if listing.gated and not token(source) else None
    free = shutil.disk_usage(workspace.models).free
    return RemoteInfo(source, repo_id, listing.bytes, free, listing.licence, listing.gated, missing, listing.files)


def download(
    source: Source, repo_id: str, workspace: Workspace, report: Report = silent, cancelled: Cancelled = never
) -> str:
    """Download a repository into `models/` and return the folder's name.

    What arrived before a break or a cancel is kept and used by the next download of the same repository. The
    configuration comes first: a model that cannot be loaded here is refused before its weights.

    Raises:
        WorkbenchError: A24 (see `describe_remote`; broken, cancelled, wrong content), A13, and what `catalog` finds.
    """
    checked_source(source)
    repo_id = checked_repo_id(repo_id)
    workspace.create()
    folder = workspace.models / STAGING / f"{source}--{repo_id.replace('/', '--')}"
    try:
        _run(_with_client(source, repo_id, lambda client: _fetch(client, source, repo_id, folder, report)), cancelled)
        report(Progress("checking"))
        (folder / STATE_FILE).unlink()
        problems = inspect(folder).errors
        if problems:
            raise WorkbenchError(problems)
        name = free_name(workspace.models, repo_id.partition("/")[2])
        folder.rename(workspace.models / name)
        sync_folder(workspace.models)
    except OSError as error:
        raise write_problem(workspace.models, SPARE_BYTES, error) from error
    return name


def checked_repo_id(repo_id: object) -> str:
    """The id without blanks around it, where it has the form `owner/name`: ASCII, no URL, no path.

    Raises:
        WorkbenchError: A24 where it has not.
    """
    if isinstance(repo_id, str) and len(repo_id) <= MAX_ID_CHARACTERS:
        plain = repo_id.strip()
        if REPO_ID.fullmatch(plain) and ".." not in plain:
            return plain
    raise refusal("A24_bad_repo_id", Place(excerpt=excerpt(repo_id)), repo=excerpt(repo_id))


def checked_source(source: object) -> Source:
    """The hub of that name.

    Raises:
        WorkbenchError: A24 with the hubs there are.
    """
    hub = next((known for known in ENDPOINTS if known == source), None)
    if hub is None:
        raise refusal("A24_unknown_hub", hub=excerpt(source), known=", ".join(ENDPOINTS))
    return hub


async def _listing(client: httpx.AsyncClient, source: Source, repo_id: str) -> Listing:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            listing = await fetch_listing(client, source, repo_id)
    except TimeoutError as error:
        raise _unreachable(source, "timeout") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise refusal("A24_unexpected_answer", Place(file=endpoint(source)), host=_host(source)) from error
    names = [file.name for file in listing.files]
    if CONFIG_FILE not in names or not any(name.endswith(".safetensors") for name in names):
        key = "M11_remote_pickle_only" if listing.has_pickles else "M11_remote_no_model"
        raise refusal(key, Place(file=repo_id), repo=repo_id)
    return listing


async def _fetch(client: httpx.AsyncClient, source: Source, repo_id: str, folder: Path, report: Report) -> None:
    report(Progress("asking"))
    listing = await _listing(client, source, repo_id)
    _prepare_folder(folder, listing)
    there = {file.name: bytes_there(file, folder) for file in listing.files}
    check_disk(folder, listing.bytes - sum(there.values()))

    def arrived(name: str, done: int) -> None:
        there[name] = done
        report(Progress("downloading", sum(there.values()), listing.bytes))

    # Smallest first, the configuration before all: what makes a model unusable is known before its weights move.
    for file in sorted(listing.files, key=lambda file: file.name != CONFIG_FILE):
        try:
            await fetch_file(client, file, folder, partial(arrived, file.name))
        except OSError as error:
            raise write_problem(folder, listing.bytes - sum(there.values()) + SPARE_BYTES, error) from error
        if file.name == CONFIG_FILE:
            errors = [problem for problem in read_config(folder).problems if problem.severity == "error"]
            if errors:
                raise WorkbenchError(errors)


def _prepare_folder(folder: Path, listing: Listing) -> None:
    """Keep the parts of an earlier try of the same revision; throw away those of another."""
    state = folder / STATE_FILE
    revision = read_json(state).get("revision") if state.exists() else None
    if revision != listing.revision:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(state, {"revision": listing.revision})


async def _with_client(
    source: Source, repo_id: str, work: Callable[[httpx.AsyncClient], Awaitable[ResultT]]
) -> ResultT:
    """Run `work` with a connection to a hub; what goes wrong on the way becomes a refusal in words."""
    timeout = httpx.Timeout(STALL_TIMEOUT_S, connect=ANSWER_TIMEOUT_S)
    secret = token(source)
    # "identity": a compressed answer could not be resumed at a byte.
    headers = {"User-Agent": "lora-workbench", "Accept-Encoding": "identity"}
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    cookies = httpx.Cookies()
    if secret and source == "modelscope":
        cookies.set("m_session_id", secret, domain=urlsplit(endpoint(source)).hostname or "")
    options: dict[str, Any] = {"headers": headers, "cookies": cookies, "timeout": timeout, "follow_redirects": True}
    try:
        async with httpx.AsyncClient(**options) as client:
            return await work(client)
    except httpx.HTTPStatusError as error:
        raise _refused(source, repo_id, error.response) from error
    except ContentDiffersError as error:
        raise refusal("A24_content_differs", Place(file=repo_id), file=str(error)) from error
    except (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError) as error:
        raise refusal("A24_broken_off", Place(file=repo_id), repo=repo_id, host=_host(source)) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _unreachable(source, type(error).__name__) from error


def _run(work: Coroutine[Any, Any, ResultT], cancelled: Cancelled) -> ResultT:
    """Run to the end, or until `cancelled` says so: also a connection that is waiting ends at once.

    Raises:
        WorkbenchError: A24 when cancelled.
    """
    try:
        return run_until(work, cancelled)
    except GivenUpError as error:
        raise refusal("A24_cancelled") from error


def _refused(source: Source, repo_id: str, response: httpx.Response) -> WorkbenchError:
    place, host = Place(file=repo_id), _host(source)
    status = response.status_code
    if status == httpx.codes.NOT_FOUND:
        return refusal("A24_not_found", place, repo=repo_id, host=host)
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        # Hugging Face answers 401 for repositories that don't exist, too.
        page = f"{endpoint(source)}/{'models/' if source == 'modelscope' else ''}{repo_id}"
        key = "A24_no_access" if token(source) else "A24_needs_token"
        return refusal(key, place, repo=repo_id, host=host, variable=TOKENS[source], page=page)
    return refusal("A24_hub_error", place, host=host, status=status)


def _unreachable(source: Source, reason: str) -> WorkbenchError:
    return refusal("A24_no_network", Place(file=endpoint(source)), host=_host(source), reason=reason)


def _host(source: Source) -> str:
    return urlsplit(endpoint(source)).hostname or endpoint(source)
