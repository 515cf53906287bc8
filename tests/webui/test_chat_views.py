"""What a conversation looks like in a pane; every test is of pure functions."""

from __future__ import annotations

import pytest

from core.chat.conversation_store import ConversationSummary
from core.chat.conversations import BASE, Answer, Conversation, add_answer, add_turn
from core.chat.system_prompt import SystemPrompt
from core.i18n import LANGUAGES, Language
from webui.chat_views import (
    column_choices,
    conversation_choices,
    foot_html,
    head_html,
    pane_view,
    turn_at,
    waiting_html,
    window_messages,
)

NO_PROMPT = SystemPrompt("", "none")


def conversation(*turns: tuple[str, dict[str, str]], greeting: str = "") -> Conversation:
    talk = Conversation(id="0" * 32, created="", updated="", greeting=greeting)
    for user, answers in turns:
        talk = add_turn(talk, user)
        for column, text in answers.items():
            talk = add_answer(talk, column, Answer(text=text))
    return talk


def said(talk: Conversation, column: str, answering: bool = False) -> list[tuple[str, str]]:
    return [(each["role"], each["content"][0]["text"]) for each in window_messages(talk, column, "en", answering)]


def test_a_pane_shows_the_greeting_then_each_turn_with_its_own_columns_answer() -> None:
    talk = conversation(("q1", {BASE: "b1", "poet": "p1"}), ("q2", {BASE: "b2", "poet": "p2"}), greeting="Hi")
    assert said(talk, "poet") == [
        ("assistant", "Hi"),
        ("user", "q1"),
        ("assistant", "p1"),
        ("user", "q2"),
        ("assistant", "p2"),
    ]


def test_an_answer_taken_over_from_another_column_stands_folded_under_its_name() -> None:
    message = window_messages(conversation(("q", {"poet": "p"})), BASE, "en")[1]
    assert message["content"][0]["text"] == "p"
    assert message["metadata"] == {"title": "Answered by: poet", "status": "done"}


def test_reasoning_is_folded_also_while_it_is_written() -> None:
    talk = conversation(("q", {BASE: "<think>so far"}))
    growing = window_messages(talk, BASE, "en", answering=True)[1]
    assert growing["metadata"] == {"title": "Thinking…", "status": "done"}
    assert window_messages(talk, BASE, "zh")[1]["metadata"] == {"title": "思考过程", "status": "done"}


def test_an_answer_without_words_yet_is_shown_as_such() -> None:
    assert said(conversation(("q", {})), BASE, answering=True)[-1] == ("assistant", "…")
    assert said(conversation(("q", {BASE: ""})), BASE)[-1] == ("assistant", "(no words)")
    assert said(conversation(("q", {})), BASE) == [("user", "q")]


@pytest.mark.parametrize(
    ("message", "turn"), [(0, None), (1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, None), (-1, None), (99, None)]
)
def test_a_message_of_the_window_is_found_in_its_turn(message: int, turn: int | None) -> None:
    talk = conversation(("q1", {BASE: "<think>t</think>a1"}), ("q2", {BASE: "a2"}), greeting="Hi")
    assert turn_at(talk, BASE, message) == turn


def test_indentation_is_kept_because_text_goes_out_as_a_part_not_as_a_string() -> None:
    assert said(conversation(("q", {BASE: "    x = 1\n        y"})), BASE)[1][1] == "    x = 1\n        y"


def test_the_chosen_variant_is_counted_from_one() -> None:
    talk = add_answer(conversation(("q", {BASE: "a"})), BASE, Answer(text="b"))
    assert pane_view(talk, BASE, "", "en").variant == (2, 2)
    assert pane_view(conversation(), BASE, "", "en").variant == (0, 0)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_foot_names_context_speed_first_token_and_seed(lang: Language) -> None:
    answer = Answer(
        text="x", seed=42, tokens=24, prompt_tokens=1000, context_tokens=8192, tokens_per_s=12.34, first_token_s=0.5
    )
    html = foot_html(answer, lang)
    for shown in ("1,024", "8,192", "12.3", "0.50", "42", "width:12%"):
        assert shown in html


def test_the_foot_says_how_many_turns_were_left_out_and_why_an_answer_ended() -> None:
    answer = Answer(text="x", dropped_turns=3, finished="length")
    assert "3" in foot_html(answer, "en")
    assert "maximum" in foot_html(answer, "en")
    assert "maximum" not in foot_html(answer, "en", answering=True)


def test_the_place_in_the_queue_is_shown_while_others_are_asked_first() -> None:
    waiting = pane_view(conversation(("q", {})), BASE, "", "en", answering=True, place=2)
    assert "place 2" in waiting.foot
    assert "前面" not in waiting_html(1, "zh"), "the next in line has place 1"


def test_the_head_shows_the_system_prompt_in_force_with_its_source() -> None:
    html = head_html("poet", SystemPrompt("Be brief.", "adapter"), "en")
    assert "poet" in html
    assert "Be brief." in html
    assert "from the adapter" in html
    assert "No system prompt" in head_html(BASE, NO_PROMPT, "en")
    assert ">poet × 0.5<" in head_html("poet", NO_PROMPT, "en", 0.5)


@pytest.mark.parametrize("hostile", ["<img src=x onerror=alert(1)>", "</details><script>", "${1+1}"])
def test_names_and_prompts_are_inert_in_html(hostile: str) -> None:
    html = head_html(hostile, SystemPrompt(hostile, "typed"), "en")
    assert hostile not in html


def test_everything_that_can_answer_is_offered() -> None:
    applied = {"poet": 1.0, "cook": 0.5, "run @ 40": 1.0}
    choices = column_choices(applied, ["cook", "judge", "poet"], ("r1", "run", 1040), "en")
    assert choices == [
        ("Base model", ""),
        ("poet", "poet"),
        ("cook × 0.5", "cook"),
        ("judge (is applied when chosen)", "judge"),
        ("run (training, step 1,040)", "run:r1"),
    ]


def test_a_conversation_without_a_title_can_still_be_chosen() -> None:
    summaries = [ConversationSummary("1", "", "", 0), ConversationSummary("2", "a\u202eb", "", 1)]
    assert conversation_choices(summaries, "en") == [("New chat", "1"), ("a\\u202eb", "2")]
