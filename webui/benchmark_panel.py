"""Standard benchmarks: whether lm-eval is there, how to get it, and the commands that run its tasks on what is chosen.

Its tasks take hours and download their data, so they are run from the command line, not from here.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.i18n import Language, text
from core.workbench import AT_STEP, Workbench
from webui.wiring import RAW, Wiring

LIST = "python app.py harness --list mmlu"
TASKS = "hellaswag arc_easy"
ROWS = 100


@dataclass(frozen=True)
class BenchmarkPanel:
    """The components."""

    part: gr.Accordion
    said: gr.Markdown
    commands: gr.Code

    @property
    def shown(self) -> list[Any]:
        """What `show` fills."""
        return [self.said, self.commands]


def build(wiring: Wiring) -> BenchmarkPanel:
    with wiring.say(gr.Accordion(open=False, elem_id="evaluate-benchmarks"), label="evaluate.benchmarks.title") as part:
        wiring.say(gr.Markdown(), value="evaluate.benchmarks.info")
        said = gr.Markdown(elem_id="benchmarks-said")
        commands = gr.Code(language="shell", interactive=False, wrap_lines=True, elem_id="benchmark-commands")
        wiring.say(commands, label="evaluate.benchmarks.commands")
    return BenchmarkPanel(part, said, commands)


def connect(wiring: Wiring, panel: BenchmarkPanel, columns: gr.Dropdown) -> None:
    """`columns` are those that the form compares with the base model."""
    wiring.on([panel.part.expand, columns.input, wiring.language.input], show, [columns], panel.shown, **RAW)


def show(workbench: Workbench, lang: Language, columns: Any) -> list[str]:
    """Whether lm-eval is installed, and what to type: to install it, to list its tasks, to run some."""
    from core.evaluation.harness import harness_status

    status, loaded = harness_status(), workbench.model_status()
    said = text(f"evaluate.benchmarks.{'there' if status.version else 'missing'}", lang, version=status.version)
    install = [] if status.version else [status.install_command]
    return [said, "\n".join([*install, LIST, *_runs(loaded.name if loaded else "MODEL", columns)])]


def _runs(model: str, columns: Any) -> list[str]:
    """The command for the base model, then for each adapter that is chosen; saved steps are no adapters yet."""
    names = [each for each in columns if isinstance(each, str)] if isinstance(columns, list) else []
    adapters = [["--adapter", name] for name in names if AT_STEP not in name]
    base = ["python", "app.py", "harness", *TASKS.split(), "--rows", str(ROWS), "--download", "--model", model]
    return [shlex.join([*base, *adapter]) for adapter in ([], *adapters)]
