from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from core.chat.conversation_store import ConversationStore
from core.chat.conversations import (
    BASE,
    Answer,
    Conversation,
    add_answer,
    add_turn,
    choose_variant,
    chosen_text,
    columns_of,
    edit_user,
    export_json,
    export_markdown,
    messages_for,
    replace_answer,
    undo,
)
from core.errors import WorkbenchError


@pytest.fixture
def store(tmp_path: Path) -> ConversationStore:
    return ConversationStore(tmp_path / "conversations")


def talk(store: ConversationStore) -> Conversation:
    """Two turns side by side; the base was asked twice in the second."""
    conversation = store.new(model="tiny", greeting="Welcome.")
    conversation = add_turn(conversation, "Who are you?")
    conversation = add_answer(conversation, BASE, Answer(text="SmolLM", tokens=3, seed=1))
    conversation = add_answer(conversation, "polite", Answer(text="Your servant", adapter="polite"))
    conversation = add_turn(conversation, "And your\nname?")
    conversation = add_answer(conversation, BASE, Answer(text="none"))
    return add_answer(conversation, BASE, Answer(text="Smol", finished="length"))


def said(conversation: Conversation, column: str, **options: int) -> list[str]:
    return [message["content"] for message in messages_for(conversation, column, **options)]


def test_each_column_continues_its_own_story(store: ConversationStore) -> None:
    conversation = talk(store)
    assert said(conversation, BASE) == ["Who are you?", "SmolLM", "And your\nname?"]
    assert said(conversation, "polite") == ["Who are you?", "Your servant", "And your\nname?"]
    assert columns_of(conversation) == (BASE, "polite")


def test_a_column_that_joins_later_takes_over_what_was_answered(store: ConversationStore) -> None:
    assert said(talk(store), "new") == ["Who are you?", "SmolLM", "And your\nname?"]


def test_an_earlier_turn_can_be_asked_again(store: ConversationStore) -> None:
    assert said(talk(store), BASE, turn=0) == ["Who are you?"]


def test_the_system_prompt_comes_first_and_a_turn_nobody_answered_is_left_out(store: ConversationStore) -> None:
    conversation = add_turn(add_turn(store.new(greeting="Hi"), "first"), "second")
    messages = messages_for(conversation, BASE, system_prompt="Be kind.")
    assert [(message["role"], message["content"]) for message in messages] == [
        ("system", "Be kind."),
        ("user", "second"),
    ]


def test_a_retry_adds_a_variant_and_the_newest_counts(store: ConversationStore) -> None:
    conversation = talk(store)
    assert chosen_text(conversation, BASE) == "Smol"
    assert [answer.text for answer in conversation.turns[1].columns[BASE].variants] == ["none", "Smol"]
    chosen = choose_variant(conversation, BASE, 0)
    assert chosen_text(chosen, BASE) == "none"
    assert said(add_turn(chosen, "go on"), BASE)[-2:] == ["none", "go on"]
    assert chosen_text(choose_variant(conversation, BASE, 99), BASE) == "Smol"
    assert chosen_text(conversation, BASE) == "Smol"


def test_continuing_replaces_the_chosen_variant_only(store: ConversationStore) -> None:
    conversation = choose_variant(talk(store), BASE, 0)
    longer = replace_answer(conversation, BASE, Answer(text="none, or many"))
    assert [answer.text for answer in longer.turns[1].columns[BASE].variants] == ["none, or many", "Smol"]


def test_editing_a_question_drops_what_followed_from_it(store: ConversationStore) -> None:
    edited = edit_user(talk(store), 0, "What are you?")
    assert len(edited.turns) == 1
    assert edited.turns[0].columns == {}
    assert said(edited, BASE) == ["What are you?"]


def test_undo_gives_the_last_question_back(store: ConversationStore) -> None:
    conversation, question = undo(talk(store))
    assert question == "And your\nname?"
    assert len(conversation.turns) == 1
    assert undo(store.new())[1] == ""


def test_the_first_question_becomes_the_title(store: ConversationStore) -> None:
    assert talk(store).title == "Who are you?"
    assert len(add_turn(store.new(), "x " * 500).title) <= 60


def test_a_conversation_is_read_as_it_was_saved(store: ConversationStore) -> None:
    saved = store.save(talk(store))
    assert store.load(saved.id) == saved


def test_half_a_character_is_kept_as_a_question_mark(store: ConversationStore) -> None:
    saved = store.save(add_turn(store.new(), "a\ud800b"))
    assert store.load(saved.id).turns[0].user == "a?b"


def test_the_list_has_the_last_changed_first_and_search_finds_words_anywhere(store: ConversationStore) -> None:
    first = store.save(talk(store))
    second = store.save(add_turn(store.new(), "讲个笑话"))
    first = store.save(first)
    assert [each.id for each in store.list().summaries] == [first.id, second.id]
    assert [each.id for each in store.search("笑话").summaries] == [second.id]
    assert [each.id for each in store.search("SERVANT smol").summaries] == [first.id]
    assert store.search("servant nobody").summaries == ()
    assert store.list().summaries[0].turns == 2


def test_renaming_and_deleting(store: ConversationStore) -> None:
    saved = store.save(talk(store))
    assert store.rename(saved.id, "  New\nname ").title == "New name"
    assert store.rename(saved.id, " ").title == "New name"
    store.delete(saved.id)
    store.delete(saved.id)
    assert store.list().summaries == ()


@pytest.mark.parametrize("bad_id", ["", "nobody", "../../etc/passwd", "A" * 32, "0" * 33, "0" * 31 + "\n", "0" * 32])
def test_an_id_that_is_none_is_refused(store: ConversationStore, bad_id: str) -> None:
    with pytest.raises(WorkbenchError, match="A30"):
        store.load(bad_id)


def test_deleting_takes_ids_only(store: ConversationStore) -> None:
    with pytest.raises(WorkbenchError, match="A30"):
        store.delete("../secret")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"id": "x"}',
        b'{"format_version": 99}',
        b'{"id": "%s", "created": "", "updated": "", "turns": [{"user": "a", "columns": '
        b'{"base": {"variants": [], "chosen": 0}}}]}' % (b"0" * 32),
        b'{"id": "11111111111111111111111111111111", "created": "", "updated": ""}',
    ],
)
def test_a_damaged_file_is_reported_and_the_others_are_listed(
    store: ConversationStore, tmp_path: Path, content: bytes
) -> None:
    good = store.save(talk(store))
    (tmp_path / "conversations" / f"{'0' * 32}.json").write_bytes(content)
    (tmp_path / "conversations" / "notes.json").write_bytes(b"not ours")
    found = store.list()
    assert [each.id for each in found.summaries] == [good.id]
    assert [problem.code for problem in found.problems] == ["A21"]
    assert found.problems[0].describe("zh").what
    with pytest.raises(WorkbenchError, match="A21"):
        store.load("0" * 32)


def test_many_threads_save_one_conversation_without_breaking_it(store: ConversationStore) -> None:
    saved = store.save(talk(store))
    failures: list[Exception] = []

    def save() -> None:
        try:
            for _ in range(10):
                store.save(saved)
                store.load(saved.id)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=save) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []


def test_the_json_export_has_everything_and_plain_messages(store: ConversationStore) -> None:
    exported = json.loads(export_json(talk(store)))
    assert exported["turns"][1]["columns"][BASE]["variants"][0]["text"] == "none"
    assert exported["messages"]["polite"][:2] == [
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "Your servant"},
    ]
    assert exported["messages"][BASE][-1] == {"role": "assistant", "content": "Smol"}
    assert json.loads(export_json(store.new()))["turns"] == []


@pytest.mark.parametrize(("lang", "words"), [("en", ["## You", "### Base model"]), ("zh", ["## 用户", "### 基础模型"])])
def test_the_markdown_export_reads_in_both_languages(store: ConversationStore, lang: str, words: list[str]) -> None:
    exported = export_markdown(talk(store), lang)  # type: ignore[arg-type]
    for part in ["# Who are you?", "> And your\n> name?", "### polite", "Smol\n", "> Welcome.", *words]:
        assert part in exported
