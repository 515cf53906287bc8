"""A judge elsewhere, against a stand-in on this machine: what is sent, what comes of every answer, and how it ends."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from core.data.conversation import Example
from core.errors import WorkbenchError
from core.evaluation import judge_endpoint
from core.evaluation.judge import MAX_PROMPT_CHARACTERS, Item, Verdict, judge_answers, outgoing, verdict_in
from core.evaluation.rows import ChosenRow
from core.evaluation.spec import JudgeSettings
from tests.core.models.conftest import assert_shown_in_both_languages

SECRET = "sk-canary"
VARIABLE = "TEST_JUDGE_API_KEY"
SLOW_S = 10.0  # "at once" on a busy machine
ITEMS = [Item(row, f"question {row}", f"reference {row}", f"answer {row}") for row in (3, 5, 8)]
Answer = tuple[int, dict[str, str], str]


def reply(content: str) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})


class Judge:
    """What the stand-in answers to each body (`answer`), and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.answer: Callable[[dict[str, Any]], Answer] = lambda body: (200, {}, reply('{"reason": "so", "score": 7}'))
        self.url = ""

    def settings(self, key_variable: str = "", path: str = "/v1") -> JudgeSettings:
        return JudgeSettings(url=self.url + path, model="m", key_variable=key_variable)


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    stand_in = Judge()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stand_in.asked.append(body)
            stand_in.keys.append(self.headers.get("Authorization"))
            stand_in.paths.append(self.path)
            status, headers, text = stand_in.answer(body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # who has heard enough, or was cancelled, hangs up
                self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setattr(judge_endpoint, "FIRST_WAIT_S", 0.01)
    yield stand_in
    server.shutdown()
    thread.join()
    server.server_close()


def judged(settings: JudgeSettings, items: list[Item] = ITEMS) -> list[Verdict | None]:
    found: list[Verdict | None] = [None] * len(items)
    judge_answers(settings, items, found.__setitem__, lambda: False)
    return found


def refused(settings: JudgeSettings) -> str:
    with pytest.raises(WorkbenchError) as caught:
        judged(settings)
    assert_shown_in_both_languages(caught.value.problems)
    return caught.value.key


def test_every_answer_gets_its_own_mark(judge: Judge) -> None:
    judge.answer = lambda body: (200, {}, reply(f'{{"reason": "r", "score": {body["messages"][1]["content"][20]}}}'))
    assert judged(judge.settings()) == [Verdict(3, "r"), Verdict(5, "r"), Verdict(8, "r")]
    assert {body["model"] for body in judge.asked} == {"m"}
    assert set(judge.paths) == {"/v1/chat/completions"}
    judged(judge.settings(path="/v1/chat/completions/"))
    assert set(judge.paths) == {"/v1/chat/completions"}


def test_what_would_leave_the_machine_is_said_exactly_and_before_anything_leaves(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    said = outgoing(judge.settings(VARIABLE), ITEMS)
    assert judge.asked == []
    assert (said.host, said.rows, said.requests) == (judge.url.removeprefix("http://"), (3, 5, 8), 3)
    assert (said.key_variable, said.is_encrypted, said.is_this_machine) == (VARIABLE, False, True)
    judged(judge.settings(VARIABLE))
    sent = [message["content"] for body in judge.asked for message in body["messages"]]
    assert sum(map(len, sent)) == said.characters
    assert all(set(body) == {"model", "messages", "temperature"} for body in judge.asked)
    assert SECRET not in repr(judge_endpoint.Endpoint.of(judge.settings(VARIABLE)))


def test_answers_to_come_are_counted_and_not_guessed(judge: Judge) -> None:
    said = outgoing(judge.settings(), [*ITEMS, Item(9, "question 9", "reference 9", None)])
    whole = outgoing(judge.settings(), [*ITEMS, Item(9, "question 9", "reference 9", "answer 9")])
    assert (said.requests, said.answers_to_come, whole.answers_to_come) == (4, 1, 0)
    assert whole.characters - said.characters == len("answer 9")


def test_the_rules_and_turns_before_a_question_are_sent_with_it_as_far_as_there_is_room(judge: Judge) -> None:
    def item(*said: tuple[str, str]) -> Item:
        prompt: Any = tuple({"role": role, "content": content} for role, content in said)
        return Item.of(ChosenRow(4, Example((), line=0), said[-1][1], "语速：3", prompt), "语速：2")

    assert item(("user", "Q?")).question == "Q?"
    graded = item(("system", "评分规则"), ("user", "A?"), ("assistant", "A."), ("user", "Q?"))
    assert graded.question == "[系统]\n评分规则\n\n[用户]\nA?\n\n[助手]\nA.\n\n[用户]\nQ?"
    long = item(("system", "rules" + 9 * MAX_PROMPT_CHARACTERS * "x"), ("user", "Q?")).question
    assert long.startswith("[系统]\nrules") and long.endswith("\n\n[用户]\nQ?")
    assert MAX_PROMPT_CHARACTERS - 1 <= len(long) <= MAX_PROMPT_CHARACTERS
    said = outgoing(judge.settings(), [graded])
    judged(judge.settings(), [graded])
    assert said.characters == sum(len(message["content"]) for message in judge.asked[0]["messages"])
    assert "评分规则" in judge.asked[0]["messages"][1]["content"]


def test_chinese_rows_are_judged_in_chinese(judge: Judge) -> None:
    judged(judge.settings(), [Item(1, "你是谁？", "我是小月。", "我是助手。"), ITEMS[0]])
    systems = {body["messages"][0]["content"][:2] for body in judge.asked}
    assert systems == {"你是", "Yo"}


def test_only_the_named_key_is_sent_and_proxies_of_the_environment_are_not_asked(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv(VARIABLE, SECRET)
    judged(judge.settings())
    assert set(judge.keys) == {None}
    judge.keys.clear()
    judged(judge.settings(VARIABLE))
    assert set(judge.keys) == {f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/v1",
        "//example.com/v1",
        "api.openai.com/v1",
        "http://",
        "http://user:secret@example.com/v1",
        "http://169.254.169.254/latest",
        "http://2852039166/latest",
        "http://0xa9fea9fe/v1",
        "http://[::ffff:169.254.169.254]/v1",
        "http://[fe80::1]/v1",
        "http://exa mple.com/v1",
        "http://example.com:99999/v1",
        "javascript:alert(1)",
        "",
        "https://example.com/" + "a" * 2000,
    ],
)
def test_an_address_that_may_not_be_asked_is_refused(url: str) -> None:
    assert refused(JudgeSettings(url=url, model="m", key_variable="")) == "H01_judge_url"


@pytest.mark.parametrize(
    "variable", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PATH", "my_api_key", "NOTAPI_KEY", "X API_KEY"]
)
def test_a_secret_that_is_no_api_key_cannot_be_sent_by_naming_it(judge: Judge, variable: str) -> None:
    assert refused(judge.settings(variable)) == "H01_judge_key_variable"
    assert judge.asked == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_judge_is_asked_again(judge: Judge, status: int) -> None:
    judge.answer = lambda body: (
        (status, {"Retry-After": "0"}, "") if len(judge.asked) <= 3 else (200, {}, reply('{"score": 4}'))
    )
    assert judged(judge.settings(), ITEMS[:1]) == [Verdict(4, "")]
    assert len(judge.asked) == 4


@pytest.mark.parametrize(
    ("answer", "variable", "key"),
    [
        ((503, {}, "later"), "", "A24_judge_busy"),
        ((401, {}, ""), "", "A24_judge_needs_key"),
        ((403, {}, ""), VARIABLE, "A24_judge_key_refused"),
        ((404, {}, "no"), "", "A24_judge_not_found"),
        ((307, {"Location": "http://127.0.0.1:1/v1"}, ""), VARIABLE, "A24_judge_redirects"),
        ((302, {"Location": "file:///etc/passwd"}, ""), "", "A24_judge_redirects"),
        ((200, {}, "<html>"), "", "A24_judge_unexpected"),
        ((200, {}, '{"choices": []}'), "", "A24_judge_unexpected"),
        ((200, {}, '{"choices": [{"message": {"content": null}}]}'), "", "A24_judge_unexpected"),
        ((200, {}, reply("x" * 1_100_000)), "", "A24_judge_unexpected"),
    ],
)
def test_a_judge_that_does_not_judge_is_refused_with_words(
    judge: Judge, monkeypatch: pytest.MonkeyPatch, answer: Answer, variable: str, key: str
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    judge.answer = lambda body: answer
    assert refused(judge.settings(variable)) == key


def test_a_judge_that_is_not_there_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_endpoint, "FIRST_WAIT_S", 6 * SLOW_S)
    began = time.monotonic()
    assert refused(JudgeSettings(url="http://127.0.0.1:9/v1", model="m", key_variable="")) == "A24_judge_unreachable"
    assert time.monotonic() - began < SLOW_S


def test_a_row_that_the_judge_declines_goes_without_a_mark_and_the_others_are_marked(judge: Judge) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        if "answer 5" in body["messages"][1]["content"]:
            return 400, {}, '{"error": {"message": "too long"}}'
        return 200, {}, reply('{"score": 9}')

    judge.answer = answer
    assert judged(judge.settings()) == [Verdict(9, ""), Verdict(None, "HTTP 400 too long"), Verdict(9, "")]


def test_a_judge_that_takes_no_temperature_is_asked_without_one(judge: Judge) -> None:
    judge.answer = lambda body: (
        (400, {}, '{"error": {"message": "Unsupported value: temperature"}}')
        if "temperature" in body
        else (200, {}, reply('{"score": 2}'))
    )
    assert judged(judge.settings()) == [Verdict(2, "")] * 3


def test_cancelling_ends_at_once_and_keeps_what_arrived(judge: Judge) -> None:
    released, waiting = threading.Event(), threading.Event()

    def answer(body: dict[str, Any]) -> Answer:
        if "answer 3" in body["messages"][1]["content"]:
            return 200, {}, reply('{"score": 6}')
        waiting.set()
        released.wait(6 * SLOW_S)
        return 503, {}, ""

    judge.answer = answer
    found: dict[int, Verdict] = {}
    began: list[float] = []

    def cancelled() -> bool:
        if found and waiting.is_set():
            began.append(time.monotonic())
        return bool(began)

    try:
        judge_answers(judge.settings(), ITEMS, found.__setitem__, cancelled)
        assert time.monotonic() - began[0] < SLOW_S
    finally:
        released.set()
    assert found == {0: Verdict(6, "")}


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ('{"reason": "Right.", "score": 8}', Verdict(8, "Right.")),
        ('Well:\n```json\n{"reason": "对", "score": "7.5"}\n```', Verdict(7.5, "对")),
        ('<think>{"score": 1}</think>{"score": 10, "reason": "a\nb"}', Verdict(10, "a\nb")),
        ("<think>score: 9?</think>I cannot say.", Verdict(None, "I cannot say.")),
        ('{"score": 3} no: {"score": 4}', Verdict(4, "")),
        ("I give it a score of: 6", Verdict(None, "I give it a score of: 6")),
        ("Score: **6**/10", Verdict(6, "Score: **6**/10")),
        ("评分：9", Verdict(9, "评分：9")),
        ('{"reason": "uses {braces}", "score": 5}', Verdict(5, '{"reason": "uses {braces}", "score": 5}')),
        ('{"score": 11}', Verdict(None, "")),
        ('{"score": 0}', Verdict(None, "")),
        ('{"score": NaN}', Verdict(None, "")),
        ('{"score": null}', Verdict(None, '{"score": null}')),
        ("", Verdict(None, "")),
    ],
)
def test_the_mark_in_what_a_judge_wrote(said: str, verdict: Verdict) -> None:
    assert verdict_in(said) == verdict


def test_nothing_is_sent_where_a_name_leads_to_a_link_local_address(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reaches one, so the stand-in's address is taken for one."""
    link_local = ip_address("169.254.169.254")
    monkeypatch.setattr(judge_endpoint, "_address", lambda host: link_local if host == "127.0.0.1" else None)
    settings = JudgeSettings(url=judge.url.replace("127.0.0.1", "localhost") + "/v1", model="m")
    with pytest.raises(WorkbenchError) as refused:
        judged(settings)
    assert refused.value.key == "H01_judge_url" and judge.asked == []


def test_a_connection_that_is_gone_at_once_is_left_to_the_client() -> None:
    stream = SimpleNamespace(get_extra_info=lambda name: None)
    asyncio.run(judge_endpoint._refuse_link_local("connection.connect_tcp.complete", {"return_value": stream}))
