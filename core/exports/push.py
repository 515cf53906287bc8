"""An adapter or a merged model to Hugging Face or ModelScope: what would leave the machine first, then the upload.

Owns the upload as a whole, the choice of files, and the words for what can go wrong. The token comes from the
environment and goes to the hub's own address alone. A new repository is private unless the person chose otherwise, and
whether it is what was chosen is asked of the hub before a byte of a file is sent. The connection lives as long as one
call. How each hub takes files is `push_protocols`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from core.cancelling import GivenUpError, run_until
from core.errors import Place, WorkbenchError, refusal
from core.exports.adapter_zip import adapter_files, size_of
from core.exports.push_protocols import PROTOCOLS, NotWhatWasAskedError, Outgoing, Target
from core.models.catalog import find_model
from core.models.hub import checked_repo_id, checked_source
from core.models.hub_listing import TOKENS, Source, endpoint, token
from core.workspace import Workspace, file_sha256

CONNECT_S = 8.0
ANSWER_S = 60.0  # a hub hashes what it was sent before it answers


@dataclass(frozen=True)
class PushPlan:
    """What would leave the machine. `needs_token` names the environment variable that is empty."""

    source: Source
    repo_id: str
    host: str
    private: bool
    files: tuple[tuple[str, int], ...]
    needs_token: str | None

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.files)


def plan_push(workspace: Workspace, adapter: str, model: str, source: str, repo_id: str, private: bool) -> PushPlan:
    """What pushing an adapter, or where one is named a model of `models/`, would send and to where. Asks nobody.

    Raises:
        WorkbenchError: A24 where hub or id is none; M25, M01 where there is no such adapter or model.
    """
    hub, repo = checked_source(source), checked_repo_id(repo_id)
    sizes = tuple((name, size_of(part)) for name, part in parts_of(workspace, adapter, model).items())
    missing = None if token(hub) else TOKENS[hub]
    return PushPlan(hub, repo, urlsplit(endpoint(hub)).hostname or endpoint(hub), private, sizes, missing)


def parts_of(workspace: Workspace, adapter: str, model: str) -> dict[str, Path | bytes]:
    """The files of an adapter as it is given away, or of a model's folder, by name."""
    if not model:
        return adapter_files(workspace, adapter)
    info = find_model(workspace, model)
    if info.errors or info.gguf:
        raise WorkbenchError(info.errors or refusal("M11_gguf_not_converted", name=info.name).problems)
    files = sorted(file for file in info.folder.iterdir() if file.is_file() and not file.name.startswith("."))
    return {file.name: file for file in files}


def push(
    plan: PushPlan, parts: dict[str, Path | bytes], sent: Callable[[int], None], cancelled: Callable[[], bool]
) -> str:
    """Upload and return the repository's address; `sent` is told how many bytes are there in all.

    Raises:
        WorkbenchError: A24 without a token, where the hub is out of reach, refuses, or has the repository public where
            it was to be private (then nothing was sent); A24 when cancelled.
    """
    secret = token(plan.source)
    if not secret:
        raise refusal("A24_push_needs_token", Place(file=plan.repo_id), variable=TOKENS[plan.source], host=plan.host)
    outgoing = [_outgoing(name, part) for name, part in parts.items()]
    target = Target(endpoint(plan.source), plan.repo_id, plan.private, secret)
    try:
        return run_until(_pushed(plan, target, outgoing, sent), cancelled)
    except GivenUpError as error:
        raise refusal("A24_push_cancelled", Place(file=plan.repo_id), repo=plan.repo_id) from error
    except NotWhatWasAskedError as error:
        raise refusal("A24_push_is_public", Place(file=plan.repo_id), repo=plan.repo_id, host=plan.host) from error
    except httpx.HTTPStatusError as error:
        raise _refused(plan, error.response.status_code) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        shown = {"host": plan.host, "reason": type(error).__name__}
        raise refusal("A24_push_no_network", Place(file=plan.repo_id), **shown) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise refusal("A24_unexpected_answer", Place(file=plan.repo_id), host=plan.host) from error


async def _pushed(plan: PushPlan, target: Target, files: list[Outgoing], sent: Callable[[int], None]) -> str:
    timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
    async with httpx.AsyncClient(headers={"User-Agent": "lora-workbench"}, timeout=timeout) as client:
        await PROTOCOLS[plan.source](client, target, files, sent)
    prefix = "models/" if plan.source == "modelscope" else ""
    return f"{target.endpoint}/{prefix}{plan.repo_id}"


def _outgoing(name: str, part: Path | bytes) -> Outgoing:
    if isinstance(part, bytes):
        return Outgoing(name, part, len(part), hashlib.sha256(part).hexdigest())
    return Outgoing(name, part, part.stat().st_size, file_sha256(part))


def _refused(plan: PushPlan, status: int) -> WorkbenchError:
    place, shown = Place(file=plan.repo_id), {"host": plan.host, "repo": plan.repo_id}
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND):
        return refusal("A24_push_refused", place, **shown, variable=TOKENS[plan.source])
    return refusal("A24_hub_error", place, host=plan.host, status=status)
