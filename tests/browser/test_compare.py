"""Answers side by side as a person deals with them: a blind vote, a table of prompts, a walk through training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from core.training.events import EvalDone, EventLog, Finished, RunStarted, StepDone
from core.training.history import EVENTS_FILE
from core.training.spec import RunSpec, write_spec
from tests.browser.conftest import SOON_MS, Server, Visitor, load_model, open_tab
from tests.core.adapters.building import save_random_adapter

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

STEPS = (10, 20, 30)
SEED = "7"  # with which all answers differ
QUESTIONS = [f"Question {number}" for number in range(12)]


def test_a_blind_vote_a_prompt_set_and_a_walk_through_training(
    serve: Callable[..., Server],
    visit: Callable[..., Visitor],
    screenshot: Callable[[Page, str], None],
    tiny_model_dir: Path,
) -> None:
    server = serve()
    furnish(server.data_dir, tiny_model_dir)
    page = visit().open(server.url)
    load_model(page, "tiny")
    open_tab(page, "Parameters")
    for field, value in (("max_new_tokens", "16"), ("seed", SEED)):
        number = page.locator(f"#sampling-{field} input[type=number]")
        number.fill(value)
        number.blur()
    open_tab(page, "Chat")
    for name in ("fox", "owl"):
        answers_too(page, name)

    page.locator("#compare-blind input").check()
    page.locator("#chat-message textarea").fill("Who are you?")
    page.locator("#chat-message textarea").press("Enter")
    ballot = page.locator("#chat-compared [data-do=vote]")
    expect(ballot).to_have_text(["Answer A", "Answer B", "Answer C", "Equally good"], timeout=SOON_MS)
    nothing_tells(page, "fox", "owl", "Base model", "seed")
    page.reload()
    open_tab(page, "Chat")
    expect(ballot).to_have_count(4)
    nothing_tells(page, "fox", "owl", "Base model", "seed")
    screenshot(page, "compare-blind-en")
    ballot.nth(1).click()
    expect(page.locator("#chat-compared .compare-said")).to_contain_text("Your vote")
    names = page.locator(".chat-pane:visible .chat-who")
    expect(names.filter(has_text="Base model")).to_have_count(1)  # they are shown
    assert set(names.all_text_contents()) == {"fox", "owl", "Base model"}
    chosen = names.nth(1).text_content()
    expect(page.locator("#chat-compared [aria-pressed=true]")).to_have_text(str(chosen))
    page.locator("#compare-marked input").check()
    expect(page.locator(".compare-texts section")).to_have_count(3)
    expect(page.locator(".compare-texts mark").first).to_be_visible()
    opened(page, "votes")
    expect(page.locator("#votes-table tbody tr").first).to_contain_text(str(chosen))
    with page.expect_download() as saved:
        page.locator("#votes-csv").click()
    assert "Who are you?" in saved.value.path().read_text(encoding="utf-8")

    opened(page, "steps")
    place = page.locator("#steps-slider input[type=range]")
    expect(place).to_have_value(str(len(STEPS)))
    walked = []
    for number in (2, 1):
        place.press("ArrowLeft")
        expect(page.locator("#steps-head")).to_contain_text(f"Step {STEPS[number - 1]}")
        expect(answer_at(page, number)).to_be_visible(timeout=SOON_MS)
        walked.append(answer_at(page, number).text_content())
    assert walked[0] != walked[1]
    place.press("ArrowRight")
    expect(answer_at(page, 2)).to_have_text(str(walked[0]))
    screenshot(page, "compare-steps-en")
    page.locator("#steps-beside").click()
    expect(page.locator(".chat-pane:visible .chat-who").last).to_have_text("fox @ 20")

    opened(page, "prompt-set")
    page.locator("#prompt-set-prompts textarea").fill("\n".join(QUESTIONS))
    page.locator("#prompt-set-start").click()
    expect(page.locator("#prompt-set-status")).to_contain_text("48")  # the server has begun
    page.reload()
    open_tab(page, "Chat")
    opened(page, "prompt-set")
    expect(page.locator("#prompt-set-status")).to_contain_text("48 answers in", timeout=SOON_MS)
    expect(page.locator("#prompt-set-table tbody tr")).to_have_count(10)
    page.locator("#prompt-set-table [data-do=page]").last.click()
    expect(page.locator("#prompt-set-table tbody tr")).to_have_count(2)
    screenshot(page, "compare-prompt-set-en")
    with page.expect_download() as saved:
        page.locator("#prompt-set-jsonl").click()
    rows = [json.loads(line) for line in saved.value.path().read_text(encoding="utf-8").splitlines()]
    assert [row["messages"][-1]["content"] for row in rows] == QUESTIONS
    assert all(set(row["answers"]) == {"base", "fox", "owl", "fox @ 20"} for row in rows)

    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#language").get_by_text("简体中文").click()
    expect(page.locator("#prompt-set-status")).to_contain_text("个回答")
    for part in ("steps", "votes"):
        opened(page, part)
    expect(page.locator("#votes-table tbody tr").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "compare-zh-390")


def furnish(data_dir: Path, tiny_model_dir: Path) -> None:
    """Two adapters, and a run whose adapter was kept at some steps."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    for seed, name in enumerate(("fox", "owl")):
        save_random_adapter(model, data_dir / "loras" / name, seed + 1)
    run = data_dir / "training" / "runs" / "20260101-000000-000"
    for step in STEPS:
        save_random_adapter(model, run / "snapshots" / f"step-{step:06d}", 10 + step)
    log = EventLog(run / EVENTS_FILE)
    log.append(RunStarted(run.name, "fox", "tiny", "rows.jsonl", "page", "2026-01-01T00:00:00", 1, 0.0, "lora"))
    for step in STEPS:
        log.append(StepDone(step, step / 30, 3.0, 0.5, 1e-4, 100, 0.1, 0.5, step))
        log.append(EvalDone(step, 40 / step, True, 0.1, step))
    log.append(Finished("fox", STEPS[-1], 40.0))
    write_spec(run / "spec.yaml", RunSpec(name="fox", base="tiny", dataset="rows.jsonl"))


def answers_too(page: Page, name: str) -> None:
    """Choose one more who answers."""
    field = page.locator("#chat-columns input")
    field.click()
    field.fill(name)
    page.get_by_role("option", name=name).first.click()
    page.keyboard.press("Escape")
    field.blur()
    expect(page.locator(".chat-pane:visible .chat-who").last).to_have_text(name)


def nothing_tells(page: Page, *words: str) -> None:
    """Whose answers they are is nowhere in the panes nor under them, seen or unseen."""
    html = page.locator("#chat-panes").inner_html() + page.locator("#chat-compared").inner_html()
    assert [word for word in words if word in html] == []


def answer_at(page: Page, place: int) -> Locator:
    """The whole answer at a place of the slider."""
    return page.locator(f"#steps-answer .compare-text[data-place='{place}'][aria-busy=false]")


def opened(page: Page, part: str) -> Locator:
    """An accordion of the Chat tab, open."""
    page.locator(f"#{part}-part > button").click()
    return page.locator(f"#{part}-part")
