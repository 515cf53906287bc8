"""The real server in a process of its own and the real page in real Chromium.

Every page records where its requests go; a test that leaves the machine fails when its page is closed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent.parent
READY_S = 180.0
PATIENCE_MS = 60_000  # for what takes a moment on a quiet machine
SOON_MS = 240_000  # for what takes seconds on one: a plan, a short run
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
]
# Chromium says so of its own connection when a page is reloaded or its server is gone; it is no error of the page.
USUAL_CONSOLE = (
    "Vega-Lite",
    "Connection errored out",
    "ERR_CONNECTION",
    "ERR_INCOMPLETE_CHUNKED",
    "Failed to fetch",
    "TypeError: network error",  # a stream whose server was killed
    "Unexpected error 404: Not Found",  # gradio's queue has forgotten the session of a page that is going away
    "AbortError: signal is aborted without reason",
)


@dataclass
class Server:
    """`python app.py` over a data directory; it can be killed and started again on the same port."""

    data_dir: Path
    port: int
    options: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None
    listener: threading.Thread = field(default_factory=threading.Thread)
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, str(ROOT / "app.py"), "--data-dir", str(self.data_dir), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, "--no-starter", *self.options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        ready = threading.Event()

        def listen(output: IO[str]) -> None:
            with output:
                for line in output:
                    self.said.append(line)
                    if self.url.rstrip("/") in line:
                        ready.set()
            ready.set()

        assert self.process.stdout is not None
        self.listener = threading.Thread(target=listen, args=(self.process.stdout,), daemon=True)
        self.listener.start()
        assert ready.wait(READY_S), "".join(self.said)
        assert self.process.poll() is None, "".join(self.said)

    def kill(self) -> None:
        """As a power cut does: nothing is tidied up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(READY_S)
        self.listener.join(READY_S)

    def stop(self) -> int:
        """As `kill` does. (A test run in the background hands its children a Ctrl-C that is ignored.)"""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(READY_S)
        self.listener.join(READY_S)
        return status


@pytest.fixture
def serve(tmp_path: Path, tiny_model_dir: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server over a fresh data directory that knows the tiny model and, if asked, the starter model."""
    servers: list[Server] = []

    def start(*options: str, with_starter: bool = False) -> Server:
        data_dir = tmp_path / f"data-{len(servers)}"
        shutil.copytree(tiny_model_dir, data_dir / "models" / "tiny")
        more = ("--models-dir", str(ROOT / "models")) if with_starter else ()
        server = Server(data_dir, free_port(), (*options, *more))
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@dataclass
class Visitor:
    """A person with a browser of their own: opens pages, and is told at the end what went wrong unseen."""

    context: BrowserContext
    strangers: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, url: str) -> Page:
        page = self.context.new_page()
        page.on("request", lambda request: self._record(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.goto(url)
        page.locator("#tabs").wait_for()
        return page

    def _record(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("127.0.0.1", "localhost"):
            self.strangers.append(url)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors; at the end no page may have asked another machine for anything or have thrown an error."""
    visitors: list[Visitor] = []

    def arrive(locale: str = "en-GB", width: int = 1280, height: int = 900) -> Visitor:
        context = browser.new_context(locale=locale, viewport={"width": width, "height": height})
        context.set_default_timeout(PATIENCE_MS)
        visitors.append(Visitor(context))
        return visitors[-1]

    yield arrive
    for visitor in visitors:
        visitor.context.close()
        assert visitor.strangers == []
        assert [said for said in visitor.complaints if not any(usual in said for usual in USUAL_CONSOLE)] == []


@pytest.fixture
def screenshot() -> Callable[[Page, str], None]:
    """Keeps a picture of the page in the folder that `WORKBENCH_SCREENSHOTS` names; without it, does nothing."""
    folder = os.environ.get("WORKBENCH_SCREENSHOTS")

    def take(page: Page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return take


def free_port() -> int:
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        return int(finder.getsockname()[1])


def write_rows(file: Path, count: int) -> Path:
    """A data file of sums, in the Alpaca format."""
    rows = [{"instruction": f"What is {n} plus {n}?", "input": "", "output": f"It is {2 * n}."} for n in range(count)]
    file.write_text(json.dumps(rows))
    return file


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def choose(page: Page, elem_id: str, words: str) -> None:
    """One of a list's choices."""
    page.locator(f"#{elem_id} input").click()
    page.locator(f"#{elem_id}").get_by_role("option", name=words, exact=True).click()


def load_model(page: Page, name: str) -> None:
    """On the Model tab: choose a model, load it, and wait until the status line names it."""
    choice = page.locator("#model-name input")
    if choice.input_value() != name:
        choice.click()
        page.get_by_role("option", name=name, exact=True).click()
    page.locator("#load-model").click()
    page.locator("#model-status", has_text=name).wait_for(timeout=SOON_MS)


def upload_rows(page: Page, file: Path) -> None:
    """On the Training tab: upload a data file as a person does."""
    with page.expect_file_chooser() as chooser:
        page.locator("#dataset-upload").click()
    chooser.value.set_files(file)
