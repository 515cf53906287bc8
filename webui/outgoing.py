"""Where files lie that a browser may fetch: the one place from which they may go to it."""

from __future__ import annotations

from pathlib import Path

from gradio.utils import get_upload_folder


def outbox() -> Path:
    """The folder, which is there."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder
