"""How failures of the page's handlers reach the person."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from core.i18n import LANGUAGES, Language, text
from core.workspace import Workspace
from webui.notices import guarded
from webui.style import TOASTS, toast_titles


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "A13"), (errno.EDQUOT, "A13"), (errno.EROFS, "A14"), (errno.EIO, "A14"), (errno.ENOENT, "")],
)
@pytest.mark.parametrize("streams", [True, False])
def test_what_the_disk_refuses_is_said_in_words_and_is_no_bug(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, number: int, said: str, streams: bool
) -> None:
    def handler(workbench: Any, lang: Language) -> Any:
        raise OSError(number, "the disk says no")

    def growing(workbench: Any, lang: Language) -> Any:
        yield handler(workbench, lang)

    shown: list[str] = []
    monkeypatch.setattr("gradio.helpers.log_message", lambda message, *_, **__: shown.append(message))
    called: Any = guarded(growing if streams else handler, SimpleNamespace(workspace=workspace))  # type: ignore[arg-type]
    with pytest.raises(gr.Error):
        list(called("en")) if streams else called("en")
    assert len(shown) == 1
    assert said in shown[0] if said else "unexpected" in shown[0]


def test_every_kind_of_notice_has_its_title_in_the_pages_language() -> None:
    rules = toast_titles()
    for lang in LANGUAGES:
        assert rules.count(f'value="{lang}"') == len(TOASTS)
        assert all(text(f"page.toast.{kind}", lang) in rules for kind in TOASTS)
