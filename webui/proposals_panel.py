"""Settings that need less memory, offered by the open run that found none: a click fills the form with them.

The buttons are in the head of the run (`run_views`). Nothing starts by itself, and the run stays as it is.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from core.i18n import Language
from core.settings import TrainingSettings
from core.workbench import Workbench
from webui import run_panel
from webui.forecast_views import proposed
from webui.plan_panel import PRECISION, suggested
from webui.run_form import FORM


def fill(workbench: Workbench, lang: Language, event: gr.EventData, run_id: str | None) -> list[Any]:
    """The settings of the run in the form, with a proposal's instead of its own; its id; the tab and precision to load.

    What is no proposal of the run, as it stands now, changes nothing. Another precision of the base model is for the
    Model tab, which is then opened.

    Raises:
        WorkbenchError: H01 where the log of the run proposes what no run can have.
    """
    wanted = suggested(getattr(event, "values", None))
    problems = workbench.runs.snapshot(run_id).problems if run_id and wanted else ()
    if wanted not in [change for problem in problems for change in proposed(problem)]:
        return [gr.skip()] * (len(FORM) + 4)  # the form, the note under it, the run that it repeats, tab, precision
    spec = workbench.runs.spec(run_id or "")
    changes = {name: value for name, value in wanted.items() if name != PRECISION}
    training = TrainingSettings.checked({**spec.training.model_dump(), **changes})
    filled = [*run_panel.fill(workbench, lang, spec.model_copy(update={"training": training})), run_id]
    if PRECISION not in wanted:
        return [*filled, gr.skip(), gr.skip()]
    return [*filled, gr.Tabs(selected="model"), gr.update(value=wanted[PRECISION])]
