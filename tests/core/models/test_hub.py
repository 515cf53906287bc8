"""Downloads from hubs, against a stand-in server on this machine that speaks both hubs' routes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from core.errors import WorkbenchError
from core.models import hub
from core.models.arrival import Cancelled, Progress, Report
from core.models.catalog import find_model, list_models
from core.models.downloads import Downloads
from core.models.hub import checked_repo_id, describe_remote, download
from core.workspace import Workspace
from tests.core.models.conftest import assert_shown_in_both_languages

REPO = "someone/Tiny-1.0"
SECRET = "hf_canary_token"
HUBS = ["huggingface", "modelscope"]


class Hub:
    """What the stand-in holds and how it behaves; tests change it before they ask."""

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.files |= {
            "pytorch_model.bin": b"pickle",
            "README.md": b"#",
            "evil.py": b"raise",
            "consolidated.safetensors": b"x",
        }
        self.files["onnx/model.json"] = b"{}"
        self.gated = False
        self.needs_token = False
        self.status: int | None = None
        self.answer: bytes | None = None
        self.cut_after: int | None = None  # bytes of the weights after which the connection is cut, once
        self.stall = threading.Event()  # set: the weights stop coming half-way
        self.released = threading.Event()
        self.asked: list[tuple[str, str | None, str | None]] = []  # path, Range, Authorization
        self.lie = False

    def listing(self, source: str) -> Any:
        wrong = "0" * 64
        entries = [
            (name, len(data), wrong if self.lie else hashlib.sha256(data).hexdigest())
            for name, data in self.files.items()
        ]
        if source == "huggingface":
            siblings = [{"rfilename": n, "size": s, "lfs": {"size": s, "sha256": h}} for n, s, h in entries]
            tags = ["license:apache-2.0", "llama"]
            return {"id": REPO, "sha": "a" * 40, "gated": self.gated and "manual", "tags": tags, "siblings": siblings}
        files = [{"Path": n, "Name": n, "Size": s, "Sha256": h, "Type": "blob"} for n, s, h in entries]
        files.append({"Path": "onnx", "Name": "onnx", "Size": 0, "Type": "tree"})
        return {"Code": 200, "Data": {"Files": files}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        state, query = self.hub, parse_qs(parts.query)
        state.asked.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        if state.status:
            self.answer(b"no", state.status)
        elif state.answer is not None:
            self.answer(state.answer)
        elif parts.path == f"/api/models/{REPO}/revision/main" and "blobs" in query:
            self.answer(json.dumps(state.listing("huggingface")).encode())
        elif parts.path == f"/api/v1/models/{REPO}":
            self.answer(
                json.dumps({"Data": {"License": "Apache License 2.0", "ApprovalMode": int(state.gated)}}).encode()
            )
        elif parts.path == f"/api/v1/models/{REPO}/repo/files":
            self.answer(json.dumps(state.listing("modelscope")).encode())
        elif parts.path == f"/api/v1/models/{REPO}/repo":
            self.file(query["FilePath"][0])
        elif parts.path.startswith(f"/{REPO}/resolve/{'a' * 40}/"):
            # The real hub sends large files from another address.
            name = unquote(parts.path.rsplit("/", 1)[1])
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/cdn?FilePath={name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif parts.path == "/cdn":
            self.file(query["FilePath"][0])
        else:
            self.answer(b"nothing here", 404)

    def answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def file(self, name: str) -> None:
        state = self.hub
        redirected = self.path.startswith("/cdn")
        if state.needs_token and not redirected and not self.headers.get("Authorization"):
            return self.answer(b"gated", 401)
        data = state.files[name]
        start = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if name == "model.safetensors" and state.cut_after is not None:
            body, state.cut_after = body[: state.cut_after], None
            self.close_connection = True
        if name == "model.safetensors" and state.stall.is_set():
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            state.released.wait(30)
            return None
        self.wfile.write(body)
        return None


@pytest.fixture
def stand_in(tiny_model_dir: Path, monkeypatch: Any) -> Iterator[Hub]:
    state = Hub(tiny_model_dir)
    handler = type("BoundHandler", (Handler,), {"hub": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{server.server_address[1]}")
    for variable in ("HF_TOKEN", "MODELSCOPE_API_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    yield state
    state.released.set()
    server.shutdown()
    thread.join(10)
    server.server_close()


def refused(call: Callable[[], Any]) -> WorkbenchError:
    with pytest.raises(WorkbenchError) as caught:
        call()
    assert_shown_in_both_languages(caught.value.problems)
    return caught.value


@pytest.mark.parametrize("source", HUBS)
def test_a_repository_is_described_before_anything_is_fetched(stand_in: Hub, workspace: Workspace, source: Any) -> None:
    info = describe_remote(source, REPO, workspace)
    wanted = {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert {file.name for file in info.files} == wanted
    assert info.bytes == sum(len(stand_in.files[name]) for name in wanted)
    assert info.free_bytes > 0 and "apache" in info.licence.lower()
    assert (info.gated, info.needs_token) == (False, None)
    assert not any("resolve" in path or "FilePath" in path for path, _, _ in stand_in.asked)


@pytest.mark.parametrize(("source", "variable"), [("huggingface", "HF_TOKEN"), ("modelscope", "MODELSCOPE_API_TOKEN")])
def test_a_gated_repository_names_the_variable_its_token_belongs_in(
    stand_in: Hub, workspace: Workspace, monkeypatch: Any, source: Any, variable: str
) -> None:
    stand_in.gated = True
    info = describe_remote(source, REPO, workspace)
    assert (info.gated, info.needs_token) == (True, variable)
    monkeypatch.setenv(variable, SECRET)
    assert describe_remote(source, REPO, workspace).needs_token is None
    assert SECRET not in repr(info)


@pytest.mark.parametrize("source", HUBS)
def test_a_download_brings_the_wanted_files_and_nothing_else(
    stand_in: Hub, workspace: Workspace, tiny_model_dir: Path, source: Any
) -> None:
    told: list[Progress] = []
    assert download(source, REPO, workspace, told.append) == "Tiny-1.0"
    assert find_model(workspace, "Tiny-1.0").loadable
    for path in tiny_model_dir.iterdir():
        assert (workspace.models / "Tiny-1.0" / path.name).read_bytes() == path.read_bytes()
    assert {p.name for p in (workspace.models / "Tiny-1.0").iterdir()} == {p.name for p in tiny_model_dir.iterdir()}
    steps = [progress for progress in told if progress.phase == "downloading"]
    assert [step.done_bytes for step in steps] == sorted(step.done_bytes for step in steps)
    assert steps[-1].done_bytes == steps[-1].total_bytes == describe_remote(source, REPO, workspace).bytes
    assert [told[0].phase, told[-1].phase] == ["asking", "checking"]
    assert not list((workspace.models / hub.STAGING).iterdir())


def test_the_same_repository_twice_gives_two_folders(stand_in: Hub, workspace: Workspace) -> None:
    assert [download("huggingface", REPO, workspace) for _ in range(2)] == ["Tiny-1.0", "Tiny-1.0-2"]


@pytest.mark.parametrize("source", HUBS)
def test_a_broken_download_goes_on_where_it_stopped(stand_in: Hub, workspace: Workspace, source: Any) -> None:
    stand_in.cut_after = 100_000
    assert refused(lambda: download(source, REPO, workspace)).key == "A24_broken_off"
    assert not list_models(workspace)
    stand_in.asked.clear()
    assert download(source, REPO, workspace) == "Tiny-1.0"
    ranges = [asked for _, asked, _ in stand_in.asked if asked]
    assert ranges and set(ranges) == {"bytes=100000-"}
    assert not any("tokenizer.json" in path for path, _, _ in stand_in.asked), "complete files are not fetched again"
    assert find_model(workspace, "Tiny-1.0").loadable


def test_a_download_that_goes_on_counts_what_is_there_from_its_first_report(
    stand_in: Hub, workspace: Workspace
) -> None:
    stand_in.cut_after = 100_000
    refused(lambda: download("huggingface", REPO, workspace))
    kept = sum(file.stat().st_size for file in (workspace.models / hub.STAGING).rglob("*") if file.is_file())
    kept -= sum(file.stat().st_size for file in workspace.models.rglob(hub.STATE_FILE))
    told: list[Progress] = []
    download("huggingface", REPO, workspace, told.append)
    assert next(step.done_bytes for step in told if step.phase == "downloading") >= kept > 100_000


def test_a_disk_that_fills_up_says_how_much_must_be_free(stand_in: Hub, workspace: Workspace, monkeypatch: Any) -> None:
    async def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(hub, "fetch_file", full)
    error = refused(lambda: download("huggingface", REPO, workspace))
    assert error.code == "A13" and float(error.problems[0].values["needed"]) >= 0.2


def test_parts_of_another_revision_are_thrown_away(stand_in: Hub, workspace: Workspace) -> None:
    stand_in.cut_after = 100_000
    refused(lambda: download("huggingface", REPO, workspace))
    (state,) = (workspace.models / hub.STAGING).rglob("download.json")
    state.write_text('{"revision": "other"}')
    stand_in.asked.clear()
    download("huggingface", REPO, workspace)
    assert not any(asked for _, asked, _ in stand_in.asked)


@pytest.mark.parametrize("source", HUBS)
def test_cancelling_ends_at_once_even_while_nothing_arrives(stand_in: Hub, workspace: Workspace, source: Any) -> None:
    stand_in.stall.set()
    cancelled = threading.Event()
    stopped_at: list[float] = []

    def report(progress: Progress) -> None:
        if progress.done_bytes > 200_000 and not cancelled.is_set():
            stopped_at.append(time.monotonic())
            cancelled.set()

    assert refused(lambda: download(source, REPO, workspace, report, cancelled.is_set)).key == "A24_cancelled"
    assert time.monotonic() - stopped_at[0] < hub.STALL_TIMEOUT_S
    assert not list_models(workspace)
    stand_in.stall.clear()
    assert download(source, REPO, workspace) == "Tiny-1.0"


def test_one_that_is_cancelled_between_two_reports_goes_on_where_it_stopped(
    stand_in: Hub, workspace: Workspace
) -> None:
    downloads = Downloads()

    def work(report: Report, cancelled: Cancelled) -> str:
        def told(progress: Progress) -> None:
            if progress.done_bytes > 200_000:
                downloads.cancel()
            report(progress)

        return download("huggingface", REPO, workspace, told, cancelled)

    downloads.start(REPO, work)
    status = downloads.wait(60)
    assert status and status.state == "cancelled"
    assert not list_models(workspace)
    stand_in.asked.clear()
    assert download("huggingface", REPO, workspace) == "Tiny-1.0"
    assert any(asked for _, asked, _ in stand_in.asked)


def test_a_connection_that_stands_still_is_given_up(stand_in: Hub, workspace: Workspace, monkeypatch: Any) -> None:
    monkeypatch.setattr(hub, "STALL_TIMEOUT_S", 0.3)
    stand_in.stall.set()
    assert refused(lambda: download("huggingface", REPO, workspace)).key == "A24_broken_off"


def test_a_file_that_is_not_the_promised_one_is_thrown_away(stand_in: Hub, workspace: Workspace) -> None:
    stand_in.lie = True
    assert refused(lambda: download("huggingface", REPO, workspace)).key == "A24_content_differs"
    assert not list((workspace.models / hub.STAGING).rglob("*.part"))


@pytest.mark.parametrize("source", HUBS)
@pytest.mark.parametrize(
    ("status", "key"),
    [
        (401, "A24_needs_token"),
        (403, "A24_needs_token"),
        (404, "A24_not_found"),
        (503, "A24_hub_error"),
        (429, "A24_hub_error"),
    ],
)
def test_a_hubs_refusal_is_put_in_words(
    stand_in: Hub, workspace: Workspace, source: Any, status: int, key: str
) -> None:
    stand_in.status = status
    assert refused(lambda: describe_remote(source, REPO, workspace)).key == key
    assert refused(lambda: download(source, REPO, workspace)).key == key


def test_a_token_without_access_is_told_so_and_not_shown(stand_in: Hub, workspace: Workspace, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    stand_in.status = 403
    error = refused(lambda: describe_remote("huggingface", REPO, workspace))
    assert error.key == "A24_no_access" and "HF_TOKEN" in str(error) and SECRET not in str(error)


def test_a_token_opens_a_gated_repository_and_is_not_sent_elsewhere(
    stand_in: Hub, workspace: Workspace, monkeypatch: Any
) -> None:
    stand_in.needs_token = True
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert download("huggingface", REPO, workspace) == "Tiny-1.0"
    sent = {path.startswith("/cdn"): secret for path, _, secret in stand_in.asked}
    assert sent == {False: f"Bearer {SECRET}", True: None}
    kept = [path for path in workspace.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert kept == []


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[]", b'{"siblings": 5}', b"\xff", b'{"siblings": ["a"]}'])
def test_an_answer_from_something_else_is_said_to_be_one(stand_in: Hub, workspace: Workspace, body: bytes) -> None:
    stand_in.answer = body
    assert refused(lambda: describe_remote("huggingface", REPO, workspace)).key == "A24_unexpected_answer"


@pytest.mark.parametrize("source", HUBS)
def test_a_hub_out_of_reach_is_said_within_ten_seconds(workspace: Workspace, monkeypatch: Any, source: Any) -> None:
    for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    started = time.monotonic()
    assert refused(lambda: describe_remote(source, REPO, workspace)).key == "A24_no_network"
    assert time.monotonic() - started < 10


def test_a_hub_that_never_answers_is_given_up(stand_in: Hub, workspace: Workspace, monkeypatch: Any) -> None:
    monkeypatch.setattr(hub, "ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(Handler, "do_GET", lambda self: self.hub.released.wait(30))
    assert refused(lambda: describe_remote("huggingface", REPO, workspace)).key == "A24_no_network"


def test_a_repository_with_pickles_only_is_refused(stand_in: Hub, workspace: Workspace) -> None:
    for name in ("model.safetensors", "consolidated.safetensors"):
        stand_in.files.pop(name)
    assert refused(lambda: describe_remote("huggingface", REPO, workspace)).key == "M11_remote_pickle_only"
    stand_in.files.pop("pytorch_model.bin")
    assert refused(lambda: describe_remote("modelscope", REPO, workspace)).key == "M11_remote_no_model"


def test_a_model_that_cannot_be_loaded_is_refused_before_its_weights(stand_in: Hub, workspace: Workspace) -> None:
    config = json.loads(stand_in.files["config.json"])
    stand_in.files["config.json"] = json.dumps(
        {**config, "model_type": "chatglm", "auto_map": {"AutoModel": "x.Y"}}
    ).encode()
    assert refused(lambda: download("huggingface", REPO, workspace)).key == "M12_needs_own_code"
    assert not any("safetensors" in path for path, _, _ in stand_in.asked)


def test_a_disk_too_full_is_refused_before_the_first_file(
    stand_in: Hub, workspace: Workspace, monkeypatch: Any
) -> None:
    monkeypatch.setattr("core.models.arrival.SPARE_BYTES", 10**18)
    assert refused(lambda: download("huggingface", REPO, workspace)).key == "A13_disk_full"
    assert not any("resolve" in path for path, _, _ in stand_in.asked)


def test_a_write_that_fails_for_want_of_space_is_named_and_the_parts_kept(
    stand_in: Hub, workspace: Workspace, monkeypatch: Any
) -> None:
    import errno

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("core.models.transfer.os.fsync", full)
        assert refused(lambda: download("huggingface", REPO, workspace)).key == "A13_disk_full"
    assert download("huggingface", REPO, workspace) == "Tiny-1.0"


NO_IDS = [
    "", "tiny", "a/b/c", "../etc/passwd", "a/..", "a/b..c", "http://evil/x", "https://huggingface.co/a/b", "file:///etc/passwd",
    "//evil/x", "a/b?x=1", "a/b#c", "a b/c", "а/b", "a/b\n", "\\\\host/share", "a/%2e%2e", ".a/b", "a/.b",
    "a/" + "b" * 300, None, 5, ["a/b"], "a@evil.com/b", "a/b;touch x",
]  # fmt: skip


@pytest.mark.parametrize("repo_id", NO_IDS, ids=repr)
def test_what_is_no_repository_id_is_refused_before_any_connection(
    stand_in: Hub, workspace: Workspace, repo_id: Any
) -> None:
    if repo_id == "a/b\n":
        assert checked_repo_id(repo_id) == "a/b", "blanks around an id come from pasting"
        return
    for call in (describe_remote, download):
        assert refused(lambda call=call: call("huggingface", repo_id, workspace)).key == "A24_bad_repo_id"
    assert stand_in.asked == []


@pytest.mark.parametrize("source", ["github", "", None, "HuggingFace"])
def test_an_unknown_hub_is_refused(stand_in: Hub, workspace: Workspace, source: Any) -> None:
    assert refused(lambda: describe_remote(source, REPO, workspace)).key == "A24_unknown_hub"
    assert stand_in.asked == []


def test_the_libraries_stay_offline_during_a_download(stand_in: Hub, workspace: Workspace) -> None:
    from huggingface_hub import constants

    seen: list[bool] = []
    download("huggingface", REPO, workspace, lambda progress: seen.append(constants.HF_HUB_OFFLINE))
    assert seen and all(seen) and os.environ["HF_HUB_OFFLINE"] == "1"
