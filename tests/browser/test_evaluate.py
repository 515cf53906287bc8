"""Evaluations as a person deals with them: from a finished run's page to its report, and the report as a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.evaluation.results import result_to_json
from core.evaluation.spec import write_spec
from core.workspace import Workspace, write_json
from tests.browser.conftest import SOON_MS, Server, Visitor, load_model, open_tab
from tests.core.evaluation.report_scene import RESULT

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

ROWS = 44  # from 40 rows up some are held out


def test_data_is_evaluated_and_the_report_is_read_kept_and_deleted(
    serve: Callable[..., Server], visit: Callable[..., Visitor], screenshot: Callable[[Page, str], None], tmp_path: Path
) -> None:
    server = serve()
    place = Workspace(server.data_dir)
    rows = [{"prompt": f"Rate answer {n}.", "completion": f"speed: {n % 3 + 1}"} for n in range(ROWS)]
    (place.datasets / "marks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    folder = place.evaluations / RESULT.id
    folder.mkdir(parents=True)
    write_spec(folder / "spec.yaml", RESULT.spec)
    write_json(folder / "result.json", result_to_json(RESULT))
    page = visit().open(server.url)
    load_model(page, "tiny")
    open_tab(page, "Training")

    page.locator("#evaluate-part > button").click()
    start = page.locator("#evaluate-start")
    expect(start).to_contain_text("Choose a data set")
    page.locator("#evaluate-dataset input").click()
    page.get_by_role("option", name="marks.jsonl").click()
    expect(page.locator("#evaluate-rows-of input")).to_have_value("Held-out rows, the usual ones (4)", timeout=SOON_MS)
    expect(page.locator("#evaluate-explained")).to_contain_text("in 4 of 4 answers")
    page.locator("#evaluate-measured").get_by_text("What was forgotten").click()  # the tiny model forgets nothing
    page.locator("#evaluate-longest input").fill("4")
    page.locator("#evaluate-longest input").blur()
    expect(start).to_contain_text("Start evaluation")
    start.click()
    expect(page.locator("#evaluation-headline")).to_contain_text("measured alone", timeout=SOON_MS)
    screenshot(page, "evaluated-en")
    page.reload()
    open_tab(page, "Training")

    finished = page.locator("#evaluations li")
    expect(finished).to_have_count(2)
    finished.nth(1).locator("[data-do=open]").click()
    expect(page.locator("#evaluation-headline")).to_contain_text("better than the base model on 10 of 12 rows")
    for plot in ("rows", "fields", "confusion"):
        expect(page.locator(f"#plot-evaluation-{plot} .main-svg").first).to_be_visible()
    screenshot(page, "evaluation-report-en")
    with page.expect_download() as taken:
        page.locator("#evaluation-save-html").click()
    file = tmp_path / "report.html"
    taken.value.save_as(file)
    finished.nth(1).locator("[data-do=delete]").click()
    page.locator("#delete-evaluation-yes").click()
    expect(finished).to_have_count(1)
    expect(page.locator("#evaluation-headline")).to_be_hidden()

    page.goto("about:blank")  # the app's page asks its server once a second
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    assert asked == [file.as_uri()]
