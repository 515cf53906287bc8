"""The engine end to end on the tiny model: streaming, batching, stopping, adapters coming and going, failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.chat.context import fit_prompt
from core.chat.engine import MAX_ROWS, MAX_WAITING, ChatRequest, Engine
from core.chat.streams import MIN_INTERVAL_S, Reply, Stream
from core.data.rendering import render_prompt
from core.errors import WorkbenchError
from core.models.generation import Decoding
from core.models.loader import LoadedModel
from core.models.row_batch import Batch
from core.settings import SamplingSettings
from tests.core.adapters.building import save_random_adapter_of

TIMEOUT_S = 30
GREEDY = SamplingSettings(do_sample=False, max_new_tokens=12, repetition_penalty=2.0)
SAMPLED = SamplingSettings(temperature=1.2, top_p=1.0, max_new_tokens=12, seed=7)
ENDLESS = SamplingSettings(do_sample=False, max_new_tokens=400)  # greedy, the tiny model repeats itself and never ends


def ask(text: str = "Who are you?", sampling: SamplingSettings = GREEDY, **options: Any) -> ChatRequest:
    return ChatRequest(({"role": "user", "content": text},), sampling, **options)


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Decoding that takes one step each time the test lets it: `slow_steps(n)` allows n more."""
    permits = threading.Semaphore(0)
    original = Decoding.step

    def held(*args: Any) -> Any:
        tokens = original(*args)
        assert permits.acquire(timeout=TIMEOUT_S)
        return tokens

    monkeypatch.setattr(Decoding, "step", held)
    return permits.release


def test_an_answer_grows_and_ends(engine: Engine) -> None:
    states = [replies[0] for replies in engine.submit([ask()])]
    last = states[-1]
    assert last.finished == "length"
    assert last.tokens == 12
    assert last.prompt_tokens > 5
    assert last.context_tokens == 512
    assert last.first_token_s is not None
    assert last.tokens_per_s > 0
    assert all(last.text.startswith(state.text) for state in states)


def test_the_same_seed_gives_the_same_answer_alone_and_in_company(engine: Engine) -> None:
    alone = engine.submit([ask(sampling=SAMPLED)]).wait()[0]
    other = SAMPLED.model_copy(update={"seed": 8})
    together = engine.submit([ask("Hello", GREEDY), ask(sampling=SAMPLED), ask(sampling=other)]).wait()
    assert together[1].text == alone.text
    assert together[1].seed == 7
    assert together[2].text != alone.text


def test_without_a_seed_one_is_drawn_for_the_group_and_reproduces_the_answer(engine: Engine) -> None:
    free = SAMPLED.model_copy(update={"seed": None})
    first, second = engine.submit([ask(sampling=free), ask("Hello", free)]).wait()
    assert first.seed == second.seed
    again = engine.submit([ask(sampling=SAMPLED.model_copy(update={"seed": first.seed}))]).wait()[0]
    assert again.text == first.text


def test_chat_leaves_the_global_generator_alone(engine: Engine, adapters: dict[str, Path]) -> None:
    before = torch.get_rng_state()
    engine.apply("a", adapters["a"])
    engine.submit([ask(sampling=SAMPLED), ask(sampling=SAMPLED, adapter="a")]).wait()
    engine.submit([ask(sampling=GREEDY.model_copy(update={"num_beams": 2}))]).wait()
    engine.remove("a")
    assert torch.get_rng_state().equal(before)


def test_base_and_adapters_side_by_side_answer_as_each_alone(engine: Engine, adapters: dict[str, Path]) -> None:
    for name, folder in adapters.items():
        engine.apply(name, folder)
    names = [None, "a", "b", "c", "d"]
    together = [reply.text for reply in engine.submit([ask(adapter=name) for name in names]).wait()]
    alone = [engine.submit([ask(adapter=name)]).wait()[0].text for name in names]
    assert together == alone
    assert len(set(together)) == len(names)


def test_groups_that_wait_together_are_answered_in_one_batch(
    engine: Engine, rows_of_steps: list[int], slow_steps: Callable[[int], None]
) -> None:
    """One that comes while another is answered joins it at the next step; whatever adapters they use."""
    first = engine.submit([ask()])
    slow_steps(3)
    wait_for_tokens(first, 3)
    others = [engine.submit([ask("Hello"), ask("Bye")]) for _ in range(3)]
    slow_steps(1000)
    for stream in (first, *others):
        assert all(reply.finished == "length" for reply in stream.wait())
    assert rows_of_steps[:3] == [1] * 3
    assert set(rows_of_steps[4:12]) == {7}
    assert len(rows_of_steps) <= 17


@pytest.fixture
def rows_of_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each forward that made tokens read."""
    rows: list[int] = []
    original = Batch.next

    def counted(self: Batch, tree: Any) -> Any:
        rows.append(len(self.rows))
        return original(self, tree)

    monkeypatch.setattr(Batch, "next", counted)
    return rows


def test_rows_that_join_later_answer_as_alone_whatever_their_length_and_adapter(
    engine: Engine, adapters: dict[str, Path], rows_of_steps: list[int], slow_steps: Callable[[int], None]
) -> None:
    for name in ("a", "b", "c"):
        engine.apply(name, adapters[name])
    asked = [
        ask("Hello", GREEDY),
        ask("Who are you, and what does the tiny model say of it?", GREEDY, adapter="a"),
        ask("Bye", SAMPLED, adapter="b"),
        ask("Hello " * 40, GREEDY, adapter="c"),
        ask("Who?", SAMPLED),
    ]
    slow_steps(10**6)
    alone = [engine.submit([request]).wait()[0].text for request in asked]
    engine._on_thread(engine._kept.clear)
    assert set(rows_of_steps) == {1}
    rows_of_steps.clear()
    begun = threading.Event()
    streams: list[Stream] = []

    def later() -> None:  # at the engine's own steps, so that each meets the others in the middle of their answers
        for request in asked[1:]:
            wait_for_tokens(streams[-1], 3)
            streams.append(engine.submit([request]))
        begun.set()

    streams.append(engine.submit([asked[0]]))
    later()
    assert begun.is_set()
    assert [stream.wait()[0].text for stream in streams] == alone
    assert max(rows_of_steps) > 1


def test_a_long_prompt_is_read_in_pieces_between_the_steps_of_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = ask("Hello " * 60)
    whole = engine.submit([long]).wait()[0]
    engine._on_thread(engine._kept.clear)
    monkeypatch.setattr("core.models.generation.READ_AT_ONCE", 16)
    other = engine.submit([ask("Bye", ENDLESS)])
    wait_for_tokens(other, 2)
    before = other.replies[0].tokens
    stream = engine.submit([long])
    wait_for_tokens(stream, 1)
    assert other.replies[0].tokens - before >= whole.prompt_tokens // 16
    assert stream.wait()[0].text == whole.text
    other.cancel()


def test_a_text_is_continued_as_it_is(engine: Engine, loaded: LoadedModel) -> None:
    text = "<|im_start|>user\nHello, who"
    request = ChatRequest((), GREEDY.model_copy(update={"repetition_penalty": 1.0}), raw_prompt=text)
    reply = engine.submit([request]).wait()[0]
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    output = loaded.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, eos_token_id=None
    )
    assert reply.prompt_tokens == ids.shape[1]
    assert reply.text == loaded.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    for refused in ("", "Hello " * 600):
        with pytest.raises(WorkbenchError, match="H11"):
            engine.submit([ChatRequest((), GREEDY, raw_prompt=refused)])


def test_probabilities_come_with_the_bytes_of_their_tokens(engine: Engine, adapters: dict[str, Path]) -> None:
    engine.apply("a", adapters["a"])
    plain, chosen_alone, adapted, without = engine.submit(
        [ask(logprobs=3), ask(sampling=SAMPLED, logprobs=0), ask(logprobs=3, adapter="a"), ask()]
    ).wait()
    assert without.logprobs == () and plain.text == without.text
    assert [len(each.top) for each in chosen_alone.logprobs] == [0] * chosen_alone.tokens
    assert len(plain.logprobs) == plain.tokens == 12
    for reply in (plain, adapted):
        spelled = b"".join(each.token_bytes for each in reply.logprobs).decode(errors="ignore")
        assert reply.text.replace("\ufffd", "") in spelled
        for each in reply.logprobs:
            assert each.logprob <= each.top[0][2] < 0 and len(each.top) == 3
            assert each.token == each.token_bytes.decode(errors="replace")
    assert plain.logprobs != adapted.logprobs
    for wrong in (21, -1):
        with pytest.raises(WorkbenchError, match="H11"):
            engine.submit([ask(logprobs=wrong)])
    with pytest.raises(WorkbenchError, match="H11"):
        engine.submit([ask(logprobs=1, sampling=GREEDY.model_copy(update={"num_beams": 2}))])


def test_a_group_that_comes_later_need_not_wait_for_a_long_answer(
    engine: Engine, slow_steps: Callable[[int], None]
) -> None:
    long = engine.submit([ask(sampling=ENDLESS)])
    slow_steps(2)
    short = engine.submit([ask(sampling=GREEDY.model_copy(update={"max_new_tokens": 2}))])
    slow_steps(8)
    assert short.wait()[0].tokens == 2
    long.cancel()
    slow_steps(10)
    assert long.wait()[0].finished == "cancelled"


def test_cancelling_ends_within_two_tokens_and_frees_the_row(engine: Engine, slow_steps: Callable[[int], None]) -> None:
    stream = engine.submit([ask(sampling=ENDLESS), ask("Hello", ENDLESS)])
    slow_steps(5)
    wait_for_tokens(stream, 5)
    stream.cancel()
    slow_steps(3)
    last = stream.wait()
    assert [reply.finished for reply in last] == ["cancelled"] * 2
    assert last[0].tokens <= 7
    assert batches(engine) == 0


def test_a_reader_that_goes_away_cancels_its_answers(engine: Engine, slow_steps: Callable[[int], None]) -> None:
    stream = engine.submit([ask(sampling=ENDLESS)])
    slow_steps(2)
    for _ in stream:
        break
    assert stream.is_cancelled
    slow_steps(3)
    assert stream.wait()[0].finished == "cancelled"
    assert batches(engine) == 0


def test_a_cancelled_group_leaves_the_queue_while_others_are_answered(
    engine: Engine, slow_steps: Callable[[int], None]
) -> None:
    full = engine.submit([ask(sampling=ENDLESS)] * MAX_ROWS)
    slow_steps(1)
    waiting = engine.submit([ask()])
    assert waiting.place >= 1
    waiting.cancel()
    slow_steps(20)  # the full group is far from its end by then
    assert waiting.wait()[0].finished == "cancelled"
    full.cancel()
    slow_steps(50)
    assert {reply.finished for reply in full.wait()} == {"cancelled"}


def test_updates_come_at_most_twenty_times_a_second(engine: Engine) -> None:
    started = time.monotonic()
    states = list(engine.submit([ask(sampling=ENDLESS.model_copy(update={"max_new_tokens": 60}))]))
    elapsed_s = time.monotonic() - started
    assert states[-1][0].finished
    assert len(states) <= elapsed_s / MIN_INTERVAL_S + 2


def test_a_stop_string_ends_the_answer_before_it(engine: Engine) -> None:
    whole = engine.submit([ask(sampling=SAMPLED)]).wait()[0].text
    stop = whole[4:6]
    end = whole.index(stop)
    reply = engine.submit([ask(sampling=SAMPLED.model_copy(update={"stop": (stop,)}))]).wait()[0]
    assert (reply.text, reply.finished) == (whole[:end], "stop")
    assert reply.tokens <= 12


def test_a_started_reply_is_continued(engine: Engine) -> None:
    first = engine.submit([ask(sampling=GREEDY)]).wait()[0]
    more = engine.submit([ask(sampling=GREEDY, reply_start="I am")]).wait()[0]
    assert more.text.startswith("I am")
    assert more.tokens == 12
    assert more.prompt_tokens > first.prompt_tokens


def test_beams_answer_without_streaming(engine: Engine, adapters: dict[str, Path]) -> None:
    for name in ("a", "d"):
        engine.apply(name, adapters[name])
    beams = SamplingSettings(num_beams=3, max_new_tokens=8)
    names = [None, "a", "d"]
    replies = engine.submit([ask(sampling=beams, adapter=name) for name in names]).wait()
    assert all(reply.tokens for reply in replies)
    assert all(reply.finished in ("length", "stop") for reply in replies)
    alone = [engine.submit([ask(sampling=beams, adapter=name)]).wait()[0].text for name in names]
    assert [reply.text for reply in replies] == alone


SEARCHED = SamplingSettings(num_beams=4, max_new_tokens=400, repetition_penalty=2.0)


def test_while_beams_are_searched_others_are_answered_and_adapters_come_and_go(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    engine.apply("a", adapters["a"])
    short = SEARCHED.model_copy(update={"max_new_tokens": 24})
    undisturbed = engine.submit([ask(sampling=short, adapter="a")]).wait()[0].text
    long, search = engine.submit([ask(sampling=SEARCHED)]), engine.submit([ask(sampling=short, adapter="a")])
    assert engine.submit([ask()]).wait()[0].tokens == 12
    engine.apply("b", adapters["b"])
    engine.apply("a", adapters["c"])  # the search goes on with the weights that it began with
    assert engine.submit([ask(adapter="b")]).wait()[0].tokens == 12
    assert not long.replies[0].finished
    long.cancel()
    assert search.wait()[0].text == undisturbed


def test_closing_ends_a_beam_search(loaded: LoadedModel) -> None:
    engine = Engine(loaded)
    searching = engine.submit([ask(sampling=SEARCHED)])
    engine.submit([ask()]).wait()
    engine.close()
    with pytest.raises(WorkbenchError, match="A10"):
        searching.wait()
    assert not [thread for thread in threading.enumerate() if thread.name == "beam-search"]


def test_an_answer_ends_on_the_adapter_it_began_with(
    engine: Engine, adapters: dict[str, Path], slow_steps: Callable[[int], None]
) -> None:
    long = GREEDY.model_copy(update={"max_new_tokens": 100})
    for name in ("a", "b"):
        engine.apply(name, adapters[name])
    slow_steps(2 * long.max_new_tokens)
    expected = {name: engine.submit([ask(sampling=long, adapter=name)]).wait()[0].text for name in ("a", "b")}
    stream = engine.submit([ask(sampling=long, adapter="a")])
    slow_steps(3)
    wait_for_tokens(stream, 3)
    swaps = threading.Thread(target=lambda: (engine.remove("a"), engine.apply("a", adapters["b"])))
    swaps.start()
    while swaps.is_alive() and stream.replies[0].finished is None:
        slow_steps(1)  # the swap happens between two steps, while the answer is under way
        swaps.join(0.1)
    assert stream.replies[0].finished is None
    slow_steps(2 * long.max_new_tokens)
    assert stream.wait()[0].text == expected["a"]
    assert engine.submit([ask(sampling=long, adapter="a")]).wait()[0].text == expected["b"]


def test_removing_an_adapter_gives_the_base_answer_back(engine: Engine, adapters: dict[str, Path]) -> None:
    before = engine.submit([ask()]).wait()[0].text
    engine.apply("a", adapters["a"])
    assert engine.submit([ask(adapter="a")]).wait()[0].text != before
    assert [applied.name for applied in engine.applied] == ["a"]
    engine.remove("a")
    assert engine.submit([ask()]).wait()[0].text == before
    with pytest.raises(WorkbenchError, match="M25"):
        engine.submit([ask(adapter="a")])
    with pytest.raises(WorkbenchError, match="M25"):
        engine.remove("a")


def test_switching_between_applied_adapters_takes_no_time(engine: Engine, adapters: dict[str, Path]) -> None:
    for name in ("a", "b"):
        engine.apply(name, adapters[name])
    one = GREEDY.model_copy(update={"max_new_tokens": 1})
    waits = [engine.submit([ask(sampling=one, adapter="ab"[i % 2])]).wait()[0].first_token_s for i in range(6)]
    assert min(wait for wait in waits[1:] if wait is not None) < 0.25, "on a quiet machine it takes 3 ms"


@pytest.mark.parametrize("beams", [1, 2])
def test_virtual_tokens_take_their_share_of_the_context_and_go_with_beams(
    engine: Engine, loaded: LoadedModel, tmp_path: Path, beams: int
) -> None:
    folder = save_random_adapter_of(loaded.model, "PROMPT_TUNING", tmp_path / "soft", loaded.fingerprint)
    engine.apply("soft", folder)
    sampling = GREEDY.model_copy(update={"num_beams": beams, "repetition_penalty": 1.0})
    base, soft = list(engine.submit([ask(sampling=sampling), ask(sampling=sampling, adapter="soft")]))[-1]
    assert base.context_tokens - soft.context_tokens == 5
    assert [reply.finished for reply in (base, soft)] == ["length", "length"]


def test_a_refused_adapter_raises_in_the_caller_and_the_engine_lives_on(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="M18"):
        engine.apply("nothing", tmp_path)
    assert engine.submit([ask()]).wait()[0].finished


def test_an_error_while_decoding_reaches_the_reader_and_the_engine_lives_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("device lost")

    with monkeypatch.context() as patched:
        patched.setattr(Batch, "next", broken)
        states: list[list[Reply]] = []
        with pytest.raises(RuntimeError, match="device lost"):
            for replies in engine.submit([ask(), ask("Hello")]):
                states.append(replies)
    assert [reply.finished for reply in states[-1]] == ["error", "error"]
    assert engine.submit([ask()]).wait()[0].finished == "length"


@pytest.mark.parametrize("place", ["begin", "read", "joined", "next"])
def test_running_out_of_memory_is_said_in_words(engine: Engine, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Whose forward it was is told; the others go on, and what was remembered is given back."""
    before = engine.submit([ask()]).wait()[0].text
    assert engine._kept.size_bytes > 0
    running = engine.submit([ask("Bye", ENDLESS)])
    wait_for_tokens(running, 1)
    original = getattr(Batch, place)
    rows_of = {
        "begin": lambda tree, rows, *others: rows,
        "read": lambda batch, *others: batch.rows,
        "joined": lambda batches: [row for batch in batches for row in batch.rows],
        "next": lambda batch, *others: batch.rows,
    }[place]

    def full(*args: Any) -> Any:
        if any(row.request.sampling.seed == 99 for row in rows_of(*args)):
            raise torch.OutOfMemoryError
        return original(*args)

    monkeypatch.setattr(Batch, place, staticmethod(full) if place in ("begin", "joined") else full)
    with pytest.raises(WorkbenchError, match="A20"):
        engine.submit([ask("Something else and longer", SAMPLED.model_copy(update={"seed": 99}))]).wait()
    assert engine._on_thread(lambda: engine._kept.size_bytes) == 0
    if place == "next":  # the forward of all of them
        with pytest.raises(WorkbenchError, match="A20"):
            running.wait()
    else:
        assert running.replies[0].finished is None
        running.cancel()
        assert running.wait()[0].finished == "cancelled"
    assert engine.submit([ask()]).wait()[0].text == before


def test_a_full_queue_refuses_and_the_others_are_answered(engine: Engine, slow_steps: Callable[[int], None]) -> None:
    one = GREEDY.model_copy(update={"max_new_tokens": 1})
    first = engine.submit([ask(sampling=one)] * MAX_ROWS)
    others: list[Stream] = []
    with pytest.raises(WorkbenchError, match="A27"):
        while len(others) <= MAX_WAITING + 1:
            others.append(engine.submit([ask(sampling=one)]))
    assert len(others) in (MAX_WAITING, MAX_WAITING - 1)  # the first group may still be in the queue
    slow_steps(1000)
    for stream in (first, *others):
        assert all(reply.finished for reply in stream.wait())


def test_too_many_columns_are_refused(engine: Engine) -> None:
    for requests in ([], [ask()] * (MAX_ROWS + 1)):
        with pytest.raises(WorkbenchError, match="H11"):
            engine.submit(requests)


@pytest.mark.parametrize("text", ["", "   \n"])
def test_an_empty_prompt_is_refused(engine: Engine, text: str) -> None:
    with pytest.raises(WorkbenchError, match="H11"):
        engine.submit([ask(text)])


def test_a_prompt_over_the_context_is_refused_with_its_numbers(engine: Engine) -> None:
    with pytest.raises(WorkbenchError) as caught:
        engine.submit([ask("Hello " * 2000)])
    assert caught.value.key == "H11_prompt_too_long"
    assert caught.value.problems[0].values["limit"] == 512
    with pytest.raises(WorkbenchError, match="H11"):
        engine.submit([ask("x" * 3_000_000)])


def test_half_a_character_in_a_prompt_is_survived(engine: Engine) -> None:
    assert engine.submit([ask("Hello \ud800!")]).wait()[0].finished


def test_an_answer_that_fills_the_context_says_so(engine: Engine) -> None:
    reply = engine.submit([ask("Hello " * 100, ENDLESS.model_copy(update={"max_new_tokens": 5000}))]).wait()[0]
    assert (reply.finished, reply.prompt_tokens + reply.tokens) == ("context", 512)


def test_closing_ends_answers_commands_and_the_thread(
    loaded: LoadedModel, adapters: dict[str, Path], slow_steps: Callable[[int], None]
) -> None:
    engine = Engine(loaded)
    running = engine.submit([ask(sampling=ENDLESS)])
    slow_steps(1)
    closing = threading.Thread(target=engine.close)
    closing.start()
    with engine._inbox.changed:
        assert engine._inbox.changed.wait_for(lambda: engine._inbox.closing, TIMEOUT_S)
    slow_steps(1000)
    closing.join(TIMEOUT_S)
    assert not closing.is_alive()
    with pytest.raises(WorkbenchError, match="A10"):
        running.wait()
    with pytest.raises(WorkbenchError, match="A10"):
        engine.submit([ask()])
    with pytest.raises(WorkbenchError, match="A10"):
        engine.apply("a", adapters["a"])
    engine.close()


@pytest.mark.parametrize("place", ["_start", "_take_groups", "_adapters_in_use"])
def test_a_bug_in_the_engine_itself_is_logged_and_told_to_every_reader(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    made = Engine(loaded)
    original = getattr(Engine, place)

    def broken(self: Engine, *args: Any) -> None:
        original(self, *args)
        raise ZeroDivisionError

    monkeypatch.setattr(Engine, place, broken)
    stream = made.submit([ask(sampling=ENDLESS)])
    with pytest.raises(ZeroDivisionError):
        stream.wait()
    made._thread.join(TIMEOUT_S)
    assert "the chat engine broke" in caplog.text
    with pytest.raises(WorkbenchError) as caught:
        made.submit([ask()])
    assert caught.value.code == "A10"
    made.close()


def test_two_threads_chat_while_a_third_swaps_adapters(engine: Engine, adapters: dict[str, Path]) -> None:
    """No answer is ever mixed: each equals the one its adapter gives alone."""
    for name in ("a", "b"):
        engine.apply(name, adapters[name])
    expected = {name: engine.submit([ask(adapter=name)]).wait()[0].text for name in (None, "a", "b")}
    wrong: list[object] = []

    def chat() -> None:
        for _ in range(5):
            try:
                replies = engine.submit([ask(adapter=name) for name in (None, "a", "b")]).wait()
            except Exception as error:
                wrong.append(error)
            else:
                wrong.extend(
                    (name, reply.text)
                    for name, reply in zip((None, "a", "b"), replies, strict=True)
                    if reply.text != expected[name]
                )

    def swap() -> None:
        for number in range(5):
            engine.apply("other", adapters["cd"[number % 2]])
            engine.remove("other")

    threads = [threading.Thread(target=work) for work in (chat, chat, swap)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def talk(turns: int, words: str = "word " * 20) -> list[Any]:
    messages: list[Any] = [{"role": "system", "content": "Be brief."}]
    for number in range(turns):
        messages.append({"role": "user", "content": f"question {number} {words}"})
        messages.append({"role": "assistant", "content": f"answer {number}"})
    return [*messages, {"role": "user", "content": "last question"}]


def test_a_conversation_that_fits_is_sent_whole(tiny_tokenizer: Any) -> None:
    messages = talk(2, "")
    fitted = fit_prompt(tiny_tokenizer, messages, "", 512, 100)
    assert fitted.input_ids == render_prompt(tiny_tokenizer, messages)
    assert fitted.dropped_turns == 0


def test_the_oldest_turns_are_left_out_and_the_system_prompt_stays(tiny_tokenizer: Any) -> None:
    fitted = fit_prompt(tiny_tokenizer, talk(8), "", 512, 100)
    text = tiny_tokenizer.decode(fitted.input_ids)
    assert 0 < fitted.dropped_turns < 8
    assert len(fitted.input_ids) <= 412
    assert "Be brief." in text
    assert "last question" in text
    assert f"question {fitted.dropped_turns - 1} " not in text
    assert f"question {fitted.dropped_turns} " in text
    one_more = talk(8)[:1] + talk(8)[1 + 2 * (fitted.dropped_turns - 1) :]
    assert len(render_prompt(tiny_tokenizer, one_more)) > 412


def test_the_reply_says_how_many_turns_were_left_out(engine: Engine) -> None:
    reply = engine.submit([ChatRequest(tuple(talk(8)), GREEDY)]).wait()[0]
    assert reply.dropped_turns > 0


def wait_for_tokens(stream: Stream, tokens: int) -> None:
    """Until the first answer has so many tokens."""
    with stream._changed:
        assert stream._changed.wait_for(lambda: stream._replies[0].tokens >= tokens, TIMEOUT_S)


def batches(engine: Engine) -> int:
    """How many batches the engine's thread has once it is between two rounds."""
    return int(engine._on_thread(lambda: len(engine._batches)))
