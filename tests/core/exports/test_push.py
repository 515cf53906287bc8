"""Pushing to a hub, against a stand-in on this machine that speaks both hubs' upload routes."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.errors import WorkbenchError
from core.exports import push_protocols
from core.exports.push import PushPlan, parts_of, plan_push, push
from core.workspace import Workspace
from tests.core.exports.conftest import Adapted

REPO = "someone/judge"
SECRET = "hf_canary_token"
TOKENS = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
HUBS = list(TOKENS)
PART = 3000


class Hub:
    """What the stand-in has been sent and how it behaves."""

    def __init__(self) -> None:
        self.private: bool | None = None  # None: there is no such repository
        self.makes_public = False
        self.multipart = False
        self.status: int | None = None
        self.stored: dict[str, bytes] = {}
        self.committed: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str | None]] = []  # method, path, Authorization
        self.stall = threading.Event()
        self.reached = threading.Event()

    @property
    def sent_bytes(self) -> int:
        return sum(map(len, self.stored.values())) + sum(map(len, self.committed.values()))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.note()
        if self.hub.private is None:
            self.answer({}, 404)
        elif self.path == f"/api/models/{REPO}":
            self.answer({"id": REPO, "private": self.hub.private})
        else:
            self.answer({"Data": {"Name": "judge", "Visibility": 1 if self.hub.private else 5}})

    def do_PUT(self) -> None:
        self.note()
        body = self.body()
        _, _, _, oid, *part = self.path.split("/")
        if self.hub.stall.is_set():
            self.hub.reached.set()
            threading.Event().wait(1)
        self.hub.stored[oid] = self.hub.stored.get(oid, b"") + body
        self.answer({}, headers={"ETag": f"tag-{part[0] if part else 0}"})

    def do_POST(self) -> None:
        self.note()
        body, hub = self.body(), self.hub
        if hub.status:
            self.answer({"error": "no"}, hub.status)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            assert (asked["organization"], asked["name"], asked["type"]) == ("someone", "judge", "model")
            exists = hub.private is not None
            hub.private = hub.private if exists else asked["visibility"] == "private" and not hub.makes_public
            self.answer({}, 409 if exists else 200)
        elif self.path == "/api/v1/models":
            asked = json.loads(body)
            assert (asked["Path"], asked["Name"]) == ("someone", "judge")
            hub.private = asked["Visibility"] == 1 and not hub.makes_public
            self.answer({"Success": True, "Data": {}})
        elif self.path == f"/api/models/{REPO}/preupload/main":
            files = json.loads(body)["files"]
            assert all(len(base64.b64decode(file["sample"])) == min(512, file["size"]) for file in files)
            modes = [(f["path"], "lfs" if f["path"].endswith(".safetensors") else "regular") for f in files]
            self.answer({"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [self.wanted(each) for each in json.loads(body)["objects"]]
            self.answer({"Data": {"objects": objects}} if "/api/v1/" in self.path else {"objects": objects})
        elif self.path.startswith("/verify/"):
            asked = json.loads(body)
            assert len(hub.stored[asked["oid"]]) == asked["size"]
            self.answer({})
        elif self.path.startswith("/complete/"):
            parts = json.loads(body)["parts"]
            assert [part["etag"] for part in parts] == [f"tag-{number + 1}" for number in range(len(parts))]
            self.answer({})
        elif self.path == f"/api/models/{REPO}/commit/main":
            assert self.headers["Content-Type"] == "application/x-ndjson"
            for line in map(json.loads, body.splitlines()[1:]):
                value = line["value"]
                content = hub.stored[value["oid"]] if line["key"] == "lfsFile" else base64.b64decode(value["content"])
                hub.committed[value["path"]] = content
            self.answer({"commitUrl": "x"})
        elif self.path == f"/api/v1/repos/models/{REPO}/commit/master":
            for action in json.loads(body)["actions"]:
                large = action["type"] == "lfs"
                content = hub.stored[action["sha256"]] if large else base64.b64decode(action["content"])
                hub.committed[action["path"]] = content
            self.answer({"Success": True})
        else:
            self.answer({}, 404)

    def wanted(self, asked: dict[str, Any]) -> dict[str, Any]:
        oid, size = asked["oid"], asked["size"]
        if oid in self.hub.stored:
            return {"oid": oid, "size": size}
        store = f"http://localhost:{self.server.server_address[1]}"  # another host than the hub's own
        upload: dict[str, Any] = {"href": f"{store}/store/lfs/{oid}"}
        if self.hub.multipart:
            parts = {str(n + 1): f"{store}/store/lfs/{oid}/{n + 1}" for n in range(-(-size // PART))}
            upload = {"href": f"{store}/complete/{oid}", "header": {"chunk_size": str(PART), **parts}}
        verify = {"href": f"http://127.0.0.1:{self.server.server_address[1]}/verify/{oid}"}
        return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}

    def note(self) -> None:
        self.hub.asked.append((self.command, self.path, self.headers.get("Authorization")))

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            raise AssertionError("stores want a length")
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, values: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(values).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": state}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{server.server_address[1]}")
    for variable in TOKENS.values():
        monkeypatch.setenv(variable, SECRET)
    monkeypatch.setattr(push_protocols, "INLINE_BYTES", 2000)
    yield state
    server.shutdown()
    thread.join(10)
    server.server_close()


def a_plan(place: Workspace, name: str, source: str, private: bool = True) -> PushPlan:
    return plan_push(place, name, "", source, REPO, private)


def pushed(place: Workspace, name: str, plan: PushPlan) -> tuple[str, list[int]]:
    told: list[int] = []
    return push(plan, parts_of(place, name, ""), told.append, lambda: False), told


@pytest.mark.parametrize("multipart", [False, True])
@pytest.mark.parametrize("source", HUBS)
def test_an_adapter_arrives_whole_in_a_private_repository(
    hub: Hub, place: Workspace, adapted: Adapted, source: str, multipart: bool
) -> None:
    hub.multipart = multipart
    name = adapted("LORA")
    plan = a_plan(place, name, source)
    assert hub.asked == [], "a plan asks nobody"
    assert (plan.private, plan.needs_token, plan.host) == (True, None, "127.0.0.1")
    url, told = pushed(place, name, plan)
    assert url.endswith(REPO) and hub.private is True
    wanted = {n: p if isinstance(p, bytes) else p.read_bytes() for n, p in parts_of(place, name, "").items()}
    assert hub.committed == wanted
    assert dict(plan.files) == {n: len(content) for n, content in wanted.items()}
    assert told[-1] == plan.bytes and told[:-1] == sorted(told[:-1])
    weights = hashlib.sha256(wanted["adapter_model.safetensors"]).hexdigest()
    assert weights in hub.stored
    assert {secret for _, path, secret in hub.asked if "/store/" in path or "/complete/" in path} == {None}
    assert {secret for _, path, secret in hub.asked if path.startswith("/api")} == {f"Bearer {SECRET}"}
    assert SECRET not in repr(plan)


@pytest.mark.parametrize("source", HUBS)
def test_what_is_there_already_is_not_sent_again(hub: Hub, place: Workspace, adapted: Adapted, source: str) -> None:
    name = adapted("LORA")
    pushed(place, name, a_plan(place, name, source))
    before = len([method for method, _, _ in hub.asked if method == "PUT"])
    pushed(place, name, a_plan(place, name, source))
    assert len([method for method, _, _ in hub.asked if method == "PUT"]) == before


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("source", HUBS)
def test_nothing_is_sent_to_a_public_repository_unless_that_was_asked_for(
    hub: Hub, place: Workspace, adapted: Adapted, source: str, exists: bool
) -> None:
    hub.private, hub.makes_public = (False if exists else None), True
    name = adapted("LORA")
    with pytest.raises(WorkbenchError) as refused:
        pushed(place, name, a_plan(place, name, source))
    assert refused.value.key == "A24_push_is_public"
    assert hub.sent_bytes == 0
    pushed(place, name, a_plan(place, name, source, private=False))
    assert hub.sent_bytes > 0


@pytest.mark.parametrize("source", HUBS)
@pytest.mark.parametrize(("status", "key"), [(403, "push_refused"), (302, "hub_error")])
def test_a_refusal_of_the_hub_is_told_in_words(
    hub: Hub, place: Workspace, adapted: Adapted, source: str, status: int, key: str
) -> None:
    hub.status = status
    name = adapted("LORA")
    with pytest.raises(WorkbenchError) as refused:
        pushed(place, name, a_plan(place, name, source))
    assert refused.value.key == f"A24_{key}"
    assert all(SECRET not in refused.value.describe(lang) for lang in ("en", "zh"))


@pytest.mark.parametrize("source", HUBS)
def test_without_a_token_or_a_network_nothing_is_tried(
    hub: Hub, place: Workspace, adapted: Adapted, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    name = adapted("LORA")
    plan = a_plan(place, name, source)
    monkeypatch.setenv(TOKENS[source], "")
    assert a_plan(place, name, source).needs_token == TOKENS[source]
    with pytest.raises(WorkbenchError, match=TOKENS[source]):
        pushed(place, name, plan)
    assert hub.asked == []
    monkeypatch.setenv(TOKENS[source], SECRET)
    for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with pytest.raises(WorkbenchError) as refused:
        pushed(place, name, plan)
    assert refused.value.key == "A24_push_no_network"


def test_a_push_is_cancelled_in_the_midst_and_commits_nothing(hub: Hub, place: Workspace, adapted: Adapted) -> None:
    hub.stall.set()
    name = adapted("LORA")
    plan = a_plan(place, name, "huggingface")
    with pytest.raises(WorkbenchError) as refused:
        push(plan, parts_of(place, name, ""), lambda count: None, hub.reached.is_set)
    assert refused.value.key == "A24_push_cancelled"
    assert hub.committed == {}


def test_a_model_folder_is_sent_as_it_is(hub: Hub, place: Workspace) -> None:
    plan = plan_push(place, "", "tiny", "huggingface", REPO, True)
    push(plan, parts_of(place, "", "tiny"), lambda count: None, lambda: False)
    folder: Path = place.models / "tiny"
    assert hub.committed == {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("repo", ["", "../x", "https://x/y", "a/b?x"])
def test_an_id_that_is_none_is_refused(place: Workspace, adapted: Adapted, repo: str) -> None:
    with pytest.raises(WorkbenchError, match="A24"):
        plan_push(place, adapted("LORA"), "", "huggingface", repo, True)
