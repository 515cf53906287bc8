"""The page and the API on a port: gradio's launch, all off that would leave the machine, behind the request guard."""

from __future__ import annotations

import argparse
import sys
import threading
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from core.api.access import Access
from core.api.server import routes
from core.i18n import text
from core.workbench import Workbench
from webui.notices import language_of
from webui.page import build_page
from webui.security import RequestGuard, is_loopback, password_check
from webui.style import CSS, STYLE_SHEETS, theme, toast_titles

MAX_UPLOAD = "500mb"
FENCED: dict[str, Any] = {  # what gradio offers beside the page: the fewer doors, the better
    "show_error": False,
    "run_history": False,
    "enable_monitoring": False,
    "strict_cors": True,
    "ssr_mode": False,
    "mcp_server": False,
    "pwa": False,
    "allowed_paths": [],
    "footer_links": [],
}
LOOKS_S = 0.01  # how often gradio looks whether an event waits; every millisecond, as usual, is work for an idle server
WAKES_S = 0.5  # a signal that the system gave to another thread does not wake a wait without an end
SWITCH_S = 0.0005  # how long a busy thread may keep Python from the others: while a big file is checked, 5 ms (the
# usual) add up to seconds for each click


def open_page(
    workbench: Workbench,
    options: argparse.Namespace,
    users: list[tuple[str, str]] | None,
    access: Access = Access(),
) -> tuple[gr.Blocks, str, str | None]:
    """The page, served in the background from now on; its address, and its public one where that was asked for.

    `options` are those of the command line that `app.py` declares for `serve`; `access` says who may use the API, which
    the same server offers.
    """
    sys.setswitchinterval(SWITCH_S)
    page = build_page(workbench, options.lang, access.state)
    page.queue(max_size=64, default_concurrency_limit=8, api_open=False)
    page._queue.sleep_when_free = LOOKS_S
    workspace = workbench.workspace
    guard = Middleware(RequestGuard, is_loopback(options.host), options.share, options.allow_host)
    _, local_url, share_url = page.launch(
        server_name=options.host,
        server_port=options.port,
        share=options.share,
        auth=password_check(users) if users else None,
        prevent_thread_lock=True,
        quiet=True,
        **FENCED,
        max_file_size=MAX_UPLOAD,
        blocked_paths=[str(folder) for folder in (workspace.models, workspace.adapters, workspace.root / "training")],
        app_kwargs={
            "middleware": [guard],
            "routes": routes(workbench, access),  # before the page's own: neither its catch-all nor its login gets them
            **dict.fromkeys(("docs_url", "redoc_url", "openapi_url")),
        },
        theme=theme(),
        css=CSS + toast_titles(),
        css_paths=STYLE_SHEETS,
    )
    return page, local_url, share_url


def serve_page(
    workbench: Workbench, options: argparse.Namespace, users: list[tuple[str, str]] | None, access: Access
) -> None:
    """Serve until Ctrl-C; prints the address when the page can be opened."""
    page, local_url, share_url = open_page(workbench, options, users, access)
    lang = language_of(options.lang)
    for url in filter(None, (local_url, share_url)):
        sys.stdout.write(text("cli.ready", lang, url=url) + "\n")
    sys.stdout.flush()
    for_ever = threading.Event()
    try:
        while not for_ever.wait(WAKES_S):
            pass
    except KeyboardInterrupt:
        sys.stdout.write(text("cli.closing", lang) + "\n")
    finally:
        page.close(verbose=False)
