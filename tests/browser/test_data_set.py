"""Data as it comes in real life: broken, in another encoding, with unknown columns; and a length that fits no row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SOON_MS, Server, Visitor, choose, load_model, open_tab, upload_rows
from tests.conftest import STARTER

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

ROWS = 40
TUTORIALS_LENGTH = "192"  # with which nothing of an answer is left


def write_broken_table(file: Path) -> Path:
    """GB18030, semicolons, columns of no known format; too many cells, an empty answer, spaces, a repeated row."""
    lines = ["编号;提的问;给的答"]
    lines += [f"{number};{number} 加 {number} 等于多少？;等于 {2 * number}。" for number in range(ROWS)]
    lines[5] = "4;4 加 4 等于多少？;"
    lines[9] = "8;8 加 8 等于多少？;  等于 16。  "
    lines += ["坏;行;多;了", lines[12]]
    file.write_bytes("\n".join(lines).encode("gb18030"))
    return file


def test_a_broken_table_is_mapped_mended_and_trained_on(
    serve: Callable[..., Server], visit: Callable[..., Visitor], screenshot: Callable[[Page, str], None], tmp_path: Path
) -> None:
    server, visitor = serve(), visit()
    page = visitor.open(server.url)
    load_model(page, "tiny")
    open_tab(page, "Training")
    upload_rows(page, write_broken_table(tmp_path / "口语.csv"))
    report = page.locator("#dataset-report")
    expect(report).to_contain_text("GB18030")
    expect(report).to_contain_text("semicolon")
    expect(report).to_contain_text("not recognised")
    expect(page.locator("#mapping-samples-1")).to_contain_text("0 加 0 等于多少")

    choose(page, "mapping-role-1", "Question")
    choose(page, "mapping-role-2", "Answer (is learned)")
    page.locator("#mapping-apply").click()
    expect(report).to_contain_text("Columns that I name")
    expect(page.locator("#dataset-preview mark").first).to_be_visible()
    expect(page.locator("#dataset-preview [title*='learned']").first).to_be_attached()
    expect(report).to_contain_text("Errors stop a run")
    screenshot(page, "data-mapped-en")

    walk_to_the_empty_answer(page)
    page.locator("#skip-bad-rows input").check()
    expect(report).not_to_contain_text("Errors stop a run")
    usable = report.locator("dt:has-text('Usable') + dd")
    expect(usable).to_have_text(str(ROWS))
    page.locator("#fix-drop_duplicates input").check()
    expect(usable).to_have_text(str(ROWS - 1))
    page.locator("#fix-trim_text input").check()
    expect(page.locator("#fix-trim_text")).to_contain_text("rows changed: 1")
    page.locator("#fix-drop_duplicates input").uncheck()
    expect(usable).to_have_text(str(ROWS))
    screenshot(page, "data-mended-en")

    page.reload()  # the recipe is the server's
    open_tab(page, "Training")
    expect(page.locator("#fix-trim_text input")).to_be_checked()
    expect(page.locator("#fix-drop_duplicates input")).not_to_be_checked()
    page.locator("#run-name textarea, #run-name input").fill("mended")
    page.locator("#run-epochs input").fill("1")
    page.locator("#run-epochs input").blur()
    expect(page.locator("#start-run")).to_contain_text("Start training", timeout=SOON_MS)
    page.locator("#start-run").click()
    expect(page.locator("#run-progress")).to_contain_text("Finished", timeout=SOON_MS)
    spec = next((server.data_dir / "training" / "runs").glob("*/spec.yaml")).read_text(encoding="utf-8")
    assert "trim_text" in spec
    assert "drop_duplicates" not in spec


def walk_to_the_empty_answer(page: Page) -> None:
    """From the list of problems to the row, and on to the next."""
    page.locator("#dataset-findings button", has_text="Show row").first.click()
    expect(page.locator("#problem-position")).to_contain_text("Problem 1 of 1, line 6")
    expect(page.locator("#dataset-preview")).to_contain_text("line 6 is not among the usable ones")
    expect(page.locator("#dataset-preview figcaption").first).to_contain_text("Line 7")


def test_rows_are_found_rewritten_left_out_and_exported(
    serve: Callable[..., Server], visit: Callable[..., Visitor], screenshot: Callable[[Page, str], None], tmp_path: Path
) -> None:
    rows = [{"prompt": f"Question {number}", "completion": f"<b>مرحبا {number}</b> 👩‍👧 ${{x}}"} for number in range(9)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    page = visit(locale="zh-CN").open(serve().url)
    open_tab(page, "训练")
    upload_rows(page, file)
    preview = page.locator("#dataset-preview")
    expect(preview).to_contain_text("<b>مرحبا 0</b> 👩‍👧 ${x}")  # as text, not as markup
    page.locator("#preview-search textarea, #preview-search input").fill("question 7")
    page.locator("#preview-find").click()
    expect(preview.locator("figcaption").first).to_contain_text("第 8 行")
    preview.get_by_role("button", name="编辑").first.click()
    answer = page.locator("#row-turn-1 textarea")
    expect(answer).to_have_value(rows[7]["completion"])
    answer.fill("改过的回答")
    page.locator("#row-save").click()
    expect(preview).to_contain_text("改过的回答")
    preview.get_by_role("button", name="去掉").nth(1).click()
    expect(page.locator("#dataset-report")).to_contain_text("1 行手动去掉")
    screenshot(page, "data-edited-zh")
    page.locator("#making-part > button").click()
    page.locator("#data-export").click()
    with page.expect_download() as download:
        page.locator("#data-download").click()
    exported = [json.loads(line) for line in download.value.path().read_text(encoding="utf-8").splitlines()]
    answers = [row["messages"][-1]["content"] for row in exported]
    assert len(answers) == 8
    assert answers[7] == "改过的回答"
    assert file.read_text(encoding="utf-8") == (
        next(tmp_path.glob("data-*/training/datasets/rows.jsonl")).read_text(encoding="utf-8")
    )


@pytest.mark.starter
def test_a_length_that_cuts_off_every_answer_is_refused_with_the_one_that_fits(
    serve: Callable[..., Server],
    visit: Callable[..., Visitor],
    screenshot: Callable[[Page, str], None],
    starter_dir: Path,
    shared_data: Path,
) -> None:
    page = visit().open(serve(with_starter=True).url)
    load_model(page, STARTER)
    open_tab(page, "Training")
    upload_rows(page, shared_data / "oral_grading_full.jsonl")
    expect(page.locator("#dataset-report")).to_contain_text("200")
    plan = page.locator("#plan-card")
    expect(plan).to_contain_text("190 to train on", timeout=SOON_MS)
    page.locator("#run-name textarea, #run-name input").fill("grader")
    page.locator("#run-max_length input").fill(TUTORIALS_LENGTH)
    expect(page.locator("#start-run")).to_contain_text("Start training")  # the page has taken in what was typed
    page.locator("#run-max_length input").blur()
    expect(plan).to_contain_text(
        "With a maximum length of 192 tokens no row has anything left to learn", timeout=SOON_MS
    )
    expect(page.locator("#start-run")).to_contain_text("Not ready")
    screenshot(page, "data-too-long-en")
    page.locator("#plan-card .wb-use").first.click()
    expect(page.locator("#start-run")).to_contain_text("Start training", timeout=SOON_MS)
    expect(page.locator("#run-max_length input")).not_to_have_value(TUTORIALS_LENGTH)
    expect(plan).to_contain_text("200")
