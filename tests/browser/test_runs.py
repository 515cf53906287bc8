"""Runs as a person deals with them: queue, reorder, stop, resume, compare, repeat; with a reload at every turn."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SOON_MS, Server, Visitor, load_model, open_tab, upload_rows, write_rows

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

# Epochs: of a run that is still going on whenever it is stopped, and of one that soon ends.
LONG, SHORT = "1000", "1"


def test_runs_are_queued_reordered_stopped_resumed_compared_and_repeated(
    serve: Callable[..., Server], visit: Callable[..., Visitor], screenshot: Callable[[Page, str], None], tmp_path: Path
) -> None:
    page = visit().open(serve().url)
    load_model(page, "tiny")
    open_tab(page, "Training")
    upload_rows(page, write_rows(tmp_path / "sums.json", 39))
    for name, epochs in (("first", LONG), ("second", SHORT), ("third", SHORT)):
        queue(page, name, epochs)
    expect(page.locator("#run-progress")).to_contain_text("first")
    reload(page)

    expect(waiting(page)).to_have_text(["second", "third"])
    page.locator("#run-queue li", has_text="third").locator("[data-do=up]").click()
    expect(waiting(page)).to_have_text(["third", "second"])
    reload(page)
    expect(waiting(page)).to_have_text(["third", "second"])
    screenshot(page, "runs-queue-en")

    expect(page.locator("#run-progress")).to_contain_text("step ", timeout=SOON_MS)
    page.locator("#stop-run").click()
    page.locator("#stop-keep").click()
    for name in ("third", "second"):  # they begin by themselves
        expect(run(page, name)).to_contain_text("Finished", timeout=SOON_MS)
    expect(waiting(page)).to_have_count(0)
    reload(page)

    open_run(page, "first")
    expect(page.locator("#resume-run")).to_contain_text("Resume after step")
    page.locator("#resume-run").click()
    expect(run(page, "first")).to_contain_text("in progress")
    reload(page)
    expect(page.locator("#run-progress")).to_contain_text("first")
    expect(page.locator("#run-progress")).to_contain_text("left", timeout=SOON_MS)  # a time: it trains again
    page.locator("#stop-run").click()
    page.locator("#stop-keep").click()
    expect(run(page, "first")).to_contain_text("Stopped", timeout=SOON_MS)
    reload(page)

    for name in ("second", "third"):
        run(page, name).locator("[data-do=compare]").click()
        expect(run(page, name).locator("[data-do=compare]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#plot-compare .main-svg").first).to_be_visible()
    expect(page.locator("#compare-tables")).to_contain_text("How they ended")
    screenshot(page, "runs-compared-en")
    reload(page)

    open_run(page, "second")
    page.locator("#run-reuse").click()
    expect(name_field(page)).to_have_value(re.compile("^second."))  # the name itself is taken
    name = name_field(page).input_value()
    fill(page, "#run-rank input", "4")
    start = page.locator("#start-run")
    expect(start).to_contain_text("Start training", timeout=SOON_MS)
    start.click()
    expect(run(page, name)).to_contain_text("Finished", timeout=SOON_MS)
    reload(page)
    open_run(page, name)
    page.locator("#spec-part > button").click()
    expect(page.locator("#run-spec")).to_contain_text("rank: 4")
    expect(page.locator("#run-command")).to_contain_text("app.py train")
    expect(run(page, name)).to_contain_text("repeats second")
    screenshot(page, "runs-repeated-en")


def queue(page: Page, name: str, epochs: str) -> None:
    """Fill the form's two fields and add the run to the queue."""
    name_field(page).fill(name)
    fill(page, "#run-epochs input", epochs)
    expect(page.locator("#plan-card")).to_contain_text(f"({epochs} epochs)", timeout=SOON_MS)
    button = page.locator("#queue-run")
    expect(button).to_be_visible()
    button.click()
    expect(page.locator("#run-said")).to_contain_text(name, timeout=SOON_MS)  # the form has the next name by now
    expect(run(page, name)).to_be_visible(timeout=SOON_MS)


def name_field(page: Page) -> Locator:
    return page.locator("#run-name textarea, #run-name input")


def fill(page: Page, field: str, value: str) -> None:
    page.locator(field).fill(value)
    page.locator(field).blur()


def reload(page: Page) -> None:
    page.reload()
    open_tab(page, "Training")
    expect(page.locator("#run-history li").first).to_be_visible()


def waiting(page: Page) -> Locator:
    """The names in the queue, in its order."""
    return page.locator("#run-queue li .wb-run-open")


def run(page: Page, name: str) -> Locator:
    """A run in the list of all."""
    return page.locator("#run-history li").filter(has=page.get_by_role("button", name=name, exact=True))


def open_run(page: Page, name: str) -> None:
    run(page, name).get_by_role("button", name=name, exact=True).click()
    expect(page.locator("#run-progress")).to_contain_text(name)
    expect(run(page, name)).to_have_attribute("aria-current", "true")
