"""The server that `app.py` starts, over HTTP: who gets an answer, which files leave it, how it takes nonsense."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

import app
from core.chat import conversations as talk
from core.data.datasets import list_datasets
from core.settings import LoadSettings
from core.workbench import Workbench
from core.workspace import Workspace
from tests.conftest import ROOT, build_tiny_model
from webui.security import CONTENT_POLICY
from webui.serving import open_page

# gradio's queue asks pandas for an option that pandas is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
JSON = {"content-type": "application/json"}
NAMES = [
    "../../x",
    "..",
    "/etc/passwd",
    "a/../b",
    "a\\..\\b",
    "%2e%2e%2fx",
    "~root",
    "nul.txt",
    "\ud800",
    "x\u0000",
    "",
]


@dataclass
class Server:
    """A server, a client of it, its data directory, and the number of each handler."""

    url: str
    client: httpx.Client
    workspace: Workspace
    functions: dict[str, int]

    def join(self, body: dict[str, Any], **headers: str) -> httpx.Response:
        return self.client.post("/gradio_api/queue/join", content=json.dumps(body), headers={**JSON, **headers})

    def call(self, function: int, data: Any, **more: Any) -> dict[str, Any]:
        """What the page would get: the end of the call, with the notices before it under `log`."""
        session = uuid.uuid4().hex
        answer = self.join({"fn_index": function, "data": data, "session_hash": session, **more})
        assert answer.status_code == 200, answer.text
        log: list[str] = []
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {"msg": ""}
                if message["msg"] == "log":
                    log.append(message["log"])
                if message["msg"] == "process_completed":
                    return {"success": message["success"], "log": log, **message["output"]}
        raise AssertionError("the stream ended without an answer")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    workspace = Workspace(tmp_path_factory.mktemp("served"))
    workspace.create()
    build_tiny_model(workspace.models / "tiny")
    (workspace.runs / "run-1").mkdir()
    (workspace.runs / "run-1" / "events.jsonl").write_text("{}\n")
    (workspace.datasets / "rows.jsonl").write_text('{"prompt": "Who?", "completion": "Me"}\n')
    (workspace.state / "secret.json").write_text("{}")
    options = app.parse(["--port", str(_free_port()), "--lang", "en"])
    with Workbench(workspace) as workbench, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(workspace.state / "browser-files"))
        workbench.load_model("tiny", LoadSettings(precision="fp32"))
        saved = workbench.conversations.new(model="tiny")
        workbench.conversations.save(talk.add_turn(saved, "Hello"))
        page, url, _ = asyncio.run(_opened(workbench, options))
        with httpx.Client(base_url=url, timeout=120) as client:
            yield Server(url, client, workspace, _functions(page))
        page.close(verbose=False)


async def _opened(workbench: Workbench, options: argparse.Namespace) -> tuple[gr.Blocks, str, str | None]:
    return open_page(workbench, options, None)  # where a loop is running, gradio makes none that it never closes


def _functions(page: gr.Blocks) -> dict[str, int]:
    """The number of each handler by its name; of one that is wired more than once, the first."""
    found: dict[str, int] = {}
    for number, entry in page.fns.items():
        cells = dict(zip(entry.fn.__code__.co_freevars, entry.fn.__closure__ or (), strict=True)) if entry.fn else {}
        if "handler" in cells:
            found.setdefault(getattr(cells["handler"].cell_contents, "__name__", ""), number)
    return found


def _free_port() -> int:
    """One below those that systems give to connections, so that no other test gets it before the server has it."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("a hundred ports are taken")


# ---- who gets an answer ----


def test_the_page_is_answered_and_fenced_in(server: Server) -> None:
    answer = server.client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == CONTENT_POLICY
    assert "frame-ancestors 'none'" in CONTENT_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.9:7860", ""])
def test_a_foreign_host_is_refused(server: Server, host: str) -> None:
    assert server.client.get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
@pytest.mark.parametrize("route", ["/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/cancel", "/login"])
def test_a_foreign_page_changes_nothing(server: Server, route: str, headers: dict[str, str]) -> None:
    assert server.client.post(route, json={}, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "route", ["/docs", "/redoc", "/openapi.json", "/gradio_api/runs", "/gradio_api/mcp/sse", "/gradio_api/vibe-code"]
)
def test_what_we_do_not_offer_is_off(server: Server, route: str) -> None:
    assert server.client.get(route).status_code in (403, 404)


def test_no_endpoint_is_offered_by_name(server: Server) -> None:
    offered = server.client.get("/gradio_api/info?all_endpoints=true").json()
    assert offered == {"named_endpoints": {}, "unnamed_endpoints": {}}


# ---- files ----


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "app.py",
        f"{ROOT}/app.py",
        f"{ROOT}/README.md",
        "{data}/training/runs/run-1/events.jsonl",
        "{data}/training/datasets/rows.jsonl",
        "{data}/models/tiny/config.json",
        "{data}/state/secret.json",
        "{data}/state/browser-files/../secret.json",
        "http://127.0.0.1:1/x",
    ],
)
def test_no_file_of_the_machine_is_served(server: Server, path: str) -> None:
    named = path.replace("{data}", str(server.workspace.root))
    assert server.client.get(f"/gradio_api/file={named}").status_code == 403


@pytest.mark.parametrize("path", ["/etc/passwd", f"{ROOT}/README.md", "http://127.0.0.1:1/rows.jsonl", "{data}/x"])
@pytest.mark.parametrize("function", ["add_datasets", "import_preset", "show_details", "restore"])
def test_no_file_of_the_machine_is_taken_for_an_upload(server: Server, function: str, path: str) -> None:
    named = path.replace("{data}", str(server.workspace.root))
    sent = {"path": named, "meta": {"_type": "gradio.FileData"}}
    told = server.call(server.functions[function], ["en", {"run-name": [sent]} if function == "restore" else sent])
    assert "A26" in told["error"]
    assert ("by its address" in told["error"]) == ("://" in path)  # refused before anything could be fetched
    assert [file.name for file in server.workspace.datasets.iterdir()] == ["rows.jsonl"]


def test_an_uploaded_file_of_another_kind_is_refused(server: Server) -> None:
    answer = server.client.post("/gradio_api/upload", files={"files": ("../../x.py", b"print()")})
    path = Path(answer.json()[0])
    assert path.is_relative_to(server.workspace.state / "browser-files")
    sent = {"path": str(path), "orig_name": "../../x.py", "meta": {"_type": "gradio.FileData"}}
    told = server.call(server.functions["add_datasets"], ["en", [sent]])
    assert "D38" in str(told["data"])
    assert [info.name for info in list_datasets(server.workspace)] == ["rows.jsonl"]


# ---- nonsense ----


@pytest.mark.parametrize("function", [999, -1, None, "x", 2**70, 1.5, [1]])
def test_a_function_that_there_is_not_is_a_bad_request(server: Server, function: Any) -> None:
    assert 400 <= server.join({"fn_index": function, "data": [], "session_hash": "s"}).status_code < 500
    assert server.client.get("/").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"5",
        b'{"fn_index": 1, "data": {"a": 1}}',
        b'{"fn_index": 1, "data": null}',
        b'{"fn_index": 4, "session_hash": "s", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"fn_index": 4, "session_hash": "s", "data": [' + b"9" * 5000 + b"]}",
    ],
)
def test_a_body_that_is_no_call_is_a_bad_request(server: Server, body: bytes) -> None:
    assert 400 <= server.client.post("/gradio_api/queue/join", content=body, headers=JSON).status_code < 500
    assert server.client.get("/").status_code == 200


@pytest.mark.parametrize("data", [[], ["en"], [{"a": 1}, ["x"]], ["en", None], ["zh", True, 5, "more"]])
@pytest.mark.parametrize("function", ["apply_adapter", "rename_adapter", "add_datasets", "start_gguf"])
def test_missing_additional_and_wrong_values_get_a_refusal_with_its_code(
    server: Server, function: str, data: list[Any]
) -> None:
    told = server.call(server.functions[function], data)
    if told["success"]:
        assert function == "add_datasets"  # without a file it does nothing
        assert data[1] is None
    else:
        assert told["error"].startswith(("A", "D", "H", "M", "<b>A26"))
        assert "bug" not in told["error"]


@pytest.mark.parametrize("event", [None, 5, [], "x", {"row_value": 5}, {"row_value": ["../x"]}])
def test_a_click_on_nothing_does_nothing(server: Server, event: Any) -> None:
    told = server.call(server.functions["pick_model"], ["en"], event_data=event)
    assert told["success"]
    assert "value" not in told["data"][0]


def test_half_characters_and_huge_numbers_do_not_end_the_stream(server: Server) -> None:
    for value in ("\ud800", 2**80, ["\ud800"], {"\ud800": 2**80}):
        told = server.call(server.functions["apply_adapter"], ["en", value, 1.0])
        assert told["log"]
        assert not told["success"]


@pytest.mark.parametrize(
    ("function", "before", "after"),
    [
        ("load_model", [], ["auto"]),
        ("start_gguf", [], []),
        ("start_download", ["huggingface"], [None]),
        ("apply_adapter", [], [1.0]),
        ("show_details", [], []),
        ("delete_adapter", [], []),
        ("rename_adapter", [], ["y"]),
        ("stop_and_keep", [], []),
        ("chat_with_it", [], []),
        ("export_json", [None], []),
        ("delete_preset", [], []),
        ("delete_character", [], []),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused_everywhere(
    server: Server, function: str, before: list[Any], after: list[Any]
) -> None:
    there = sorted(str(path) for path in server.workspace.root.rglob("*"))
    for name in NAMES:
        told = server.call(server.functions[function], ["en", *before, name, *after])
        assert not told["success"], name
        assert any(words.startswith("<b>") for words in (*told["log"], told["error"])), name
    assert sorted(str(path) for path in server.workspace.root.rglob("*")) == there


def test_a_data_set_that_leads_elsewhere_is_refused(server: Server) -> None:
    for name in NAMES[:-1]:
        told = server.call(server.functions["choose"], ["en", name, ""])
        assert "A03" in str(told["data"] or told["error"])


# ---- starting ----


@pytest.mark.parametrize(
    "flags", [["--host", "0.0.0.0"], ["--host", "::"], ["--host", "192.168.0.9"], ["--share"], ["--host", "my-name"]]
)
def test_a_server_that_others_could_reach_does_not_start_without_a_password(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signal.signal", lambda *_: None)
        assert app.main([*flags, "--no-starter", "--data-dir", str(tmp_path)]) == 2
    assert "A25" in capsys.readouterr().err
