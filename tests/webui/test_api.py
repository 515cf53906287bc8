"""The API that the page's server offers, with the official `openai` client, and with what no client would send."""

from __future__ import annotations

import asyncio
import errno
import json
import shlex
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import openai
import pytest

import app
from core.api.access import KEY_VARIABLE, Access
from core.api.job_body import job_spec
from core.api.server import Api
from core.chat.streams import ChatRequest, Reply, Stream
from core.data.conversation import Message
from core.data.datasets import CARDS
from core.errors import WorkbenchError
from core.settings import LoadSettings, MethodSettings, SamplingSettings
from core.training.runner import Runner
from core.training.spec import StartingAdapter
from core.workbench import Workbench
from core.workspace import Workspace
from tests.core.adapters.building import save_random_adapter
from tests.core.training.conftest import write_rows
from tests.webui.test_server import _free_port
from webui.api_panel import show_api
from webui.api_views import base_url, curl_example
from webui.serving import open_page

KEY = "a-key-for-programs-only"
WAIT_S = 120.0
HELLO = [{"role": "user", "content": "Hello, who are you?"}]
GREEDY = {"temperature": 0, "max_tokens": 12}
QUICK = {"method": {"rank": 2}, "training": {"threads": 1, "steps": 4, "evaluations": 1}}


@dataclass
class Scene:
    """A server with a key and with a login for people, a client of each kind, and what is behind them."""

    workbench: Workbench
    client: openai.OpenAI
    raw: httpx.Client
    url: str

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
        return self.raw.post(f"/v1{path}", content=content, headers={"content-type": "application/json", **headers})

    def greedy(self, adapter: str | None = None) -> str:
        """What the engine itself answers to `HELLO`."""
        return self.answer(HELLO[0]["content"], adapter, do_sample=False)

    def answer(self, question: str, adapter: str | None, **settings: Any) -> str:
        sampling = SamplingSettings(
            **{**self.workbench.sampling_defaults().model_dump(), "max_new_tokens": 12, **settings}
        )
        asked = ChatRequest((Message(role="user", content=question),), sampling, adapter)
        return self.workbench.chat([asked]).wait()[0].text


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Iterator[Scene]:
    from transformers import AutoModelForCausalLM

    workspace = Workspace(tmp_path_factory.mktemp("api"))
    workspace.create()
    for name in ("tiny", "other"):
        shutil.copytree(tiny_model_dir, workspace.models / name)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    save_random_adapter(model, workspace.adapters / "judge", 1)
    options = app.parse(["--port", str(_free_port()), "--lang", "en"])
    users = [("anna", "secret")]
    with Workbench(workspace) as workbench, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(workspace.state / "browser-files"))
        patch.setattr("core.training.samples.SAMPLE_TOKENS", 4)
        patch.setattr("webui.serving.build_page", _small_page)
        workbench.load_model("tiny", LoadSettings(precision="fp32"))

        async def opened() -> Any:
            return open_page(workbench, options, users, Access(KEY, guarded=True))

        page, url, _ = asyncio.run(opened())
        headers = {"authorization": f"Bearer {KEY}"}
        client = openai.OpenAI(base_url=f"{url}v1", api_key=KEY, max_retries=0, timeout=WAIT_S)
        with client, httpx.Client(base_url=url, timeout=WAIT_S, headers=headers) as raw:
            yield Scene(workbench, client, raw, url)
        page.close(verbose=False)


def _small_page(*_: Any) -> gr.Blocks:
    """In the place of the real one, which `test_server` serves."""
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Markdown("A page")
    return page


# ---- answers ----


def test_a_chat_is_answered_as_the_engine_answers_it(scene: Scene) -> None:
    answer = scene.client.chat.completions.create(model="tiny", messages=HELLO, **GREEDY)
    assert answer.choices[0].message.content == scene.greedy()
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12
    assert answer.model == "tiny"


@pytest.mark.parametrize("name", ["judge", "tiny:judge"])
def test_an_adapter_is_applied_when_it_is_asked_for(scene: Scene, name: str) -> None:
    if "judge" in scene.workbench.applied():
        scene.workbench.remove_adapter("judge")
    answer = scene.client.chat.completions.create(model=name, messages=HELLO, **GREEDY)
    assert answer.choices[0].message.content == scene.greedy("judge") != scene.greedy()


def test_a_stream_brings_the_same_words_and_the_usage_last(scene: Scene) -> None:
    stream = scene.client.chat.completions.create(
        model="tiny", messages=HELLO, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == scene.greedy()
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["length"]
    assert all(chunk.usage is None for chunk in chunks)
    assert (last.choices, last.usage.completion_tokens) == ([], 12)


def test_several_answers_follow_from_one_seed(scene: Scene) -> None:
    prompt_tokens = scene.post("/chat/completions", {"model": "tiny", "messages": HELLO, **GREEDY}).json()["usage"][
        "prompt_tokens"
    ]

    def answers(seed: int, n: int) -> list[str]:
        made = scene.client.chat.completions.create(
            model="tiny", messages=HELLO, seed=seed, n=n, temperature=1.5, max_tokens=8
        )
        assert made.usage.completion_tokens == 8 * n
        assert made.usage.prompt_tokens == prompt_tokens  # it is read once
        return [choice.message.content for choice in made.choices]

    three = answers(5, 3)
    assert len(set(three)) == 3
    assert three == [*answers(5, 1), *answers(6, 1), *answers(7, 1)]


def test_an_answer_ends_before_a_stop_string(scene: Scene) -> None:
    whole = scene.greedy()
    answer = scene.client.chat.completions.create(model="tiny", messages=HELLO, stop=whole[3:6], **GREEDY)
    assert answer.choices[0].message.content == whole[: whole.index(whole[3:6])]
    assert answer.choices[0].finish_reason == "stop"


def test_log_probabilities_are_those_of_the_tokens_of_the_answer(scene: Scene) -> None:
    asked = {"model": "tiny", "messages": HELLO, "logprobs": True, "top_logprobs": 3, **GREEDY}
    answer = scene.client.chat.completions.create(**asked)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == 12
    assert b"".join(bytes(each.bytes) for each in tokens).decode("utf-8", "ignore") == scene.greedy()
    for each in tokens:
        assert [top.logprob for top in each.top_logprobs] == sorted([top.logprob for top in each.top_logprobs])[::-1]
        assert (each.top_logprobs[0].token, each.top_logprobs[0].logprob) == (each.token, each.logprob)  # it is greedy
        assert len(each.top_logprobs) == 3
    streamed = scene.client.chat.completions.create(**asked, stream=True)
    parts = [chunk.choices[0].logprobs.content for chunk in streamed if chunk.choices[0].logprobs]
    assert [each.logprob for part in parts for each in part] == [each.logprob for each in tokens]


def test_plain_text_goes_on_without_a_template(scene: Scene) -> None:
    prompts = ["Hello, who", "I am a"]
    answer = scene.client.completions.create(model="tiny", prompt=prompts, temperature=0, max_tokens=6, logprobs=2)
    sampling = SamplingSettings(do_sample=False, max_new_tokens=6)
    plain = scene.workbench.chat([ChatRequest((), sampling, raw_prompt=prompt) for prompt in prompts]).wait()
    assert [choice.text for choice in answer.choices] == [reply.text for reply in plain]
    assert answer.usage.prompt_tokens == sum(reply.prompt_tokens for reply in plain)
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == 6
    streamed = scene.client.completions.create(
        model="tiny", prompt=prompts[0], temperature=0, max_tokens=6, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in streamed) == plain[0].text


def test_eight_streams_at_once_are_each_their_own(scene: Scene) -> None:
    scene.workbench.apply_adapter("judge")

    async def streamed(client: openai.AsyncOpenAI, number: int) -> str:
        stream = await client.chat.completions.create(
            model="tiny" if number % 2 else "judge",
            messages=[{"role": "user", "content": f"Question {number}?"}],
            max_tokens=12,
            temperature=1.2,
            seed=number,
            stream=True,
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_at_once() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{scene.url}v1", api_key=KEY, max_retries=0) as client:
            return await asyncio.gather(*(streamed(client, number) for number in range(8)))

    drawn = {"do_sample": True, "temperature": 1.2}
    alone = [
        scene.answer(f"Question {number}?", None if number % 2 else "judge", seed=number, **drawn)
        for number in range(8)
    ]
    assert asyncio.run(all_at_once()) == alone
    assert len(set(alone)) == 8


class _Endless(Stream):
    """A stream in which nothing happens until somebody cancels it."""

    def __init__(self) -> None:
        super().__init__([Reply("Once", None, 1, 5, 512, 0)])
        self.publish(self.replies)
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        super().cancel()
        self.cancelled.set()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_cancels_its_answer(
    scene: Scene, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = _Endless()
    monkeypatch.setattr(scene.workbench, "chat", lambda requests: endless)
    body = {"model": "tiny", "messages": HELLO, "stream": stream}
    if stream:
        with scene.raw.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            assert any("Once" in line for line in lines)  # it stops at the first
            assert not endless.cancelled.is_set()
    else:
        with pytest.raises(httpx.ReadTimeout):
            scene.raw.post("/v1/chat/completions", json=body, timeout=0.3)
    assert endless.cancelled.wait(WAIT_S)


def test_a_failure_under_way_ends_the_stream_in_words(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = _Endless()
    broken.fail(ZeroDivisionError("secret"))
    monkeypatch.setattr(scene.workbench, "chat", lambda requests: broken)
    with pytest.raises(openai.APIError, match="Something unexpected") as error:
        list(scene.client.chat.completions.create(model="tiny", messages=HELLO, stream=True))
    assert "secret" not in str(error.value)
    with pytest.raises(openai.InternalServerError):
        scene.client.chat.completions.create(model="tiny", messages=HELLO)


def test_an_adapters_own_system_prompt_is_sent_unless_the_program_brings_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[ChatRequest] = []
    monkeypatch.setattr(scene.workbench, "chat", lambda requests: sent.extend(requests) or _finished())
    prompt = type("Prompt", (), {"sent": "Be brief."})
    monkeypatch.setattr(scene.workbench, "system_prompt", lambda *_: prompt)
    for before in ([], [{"role": "system", "content": "Mine."}], [{"role": "system", "content": ""}]):
        scene.client.chat.completions.create(model="tiny", messages=[*before, *HELLO])
    roles = [[(each["role"], each["content"]) for each in request.messages[:-1]] for request in sent]
    assert roles == [[("system", "Be brief.")], [("system", "Mine.")], []]


def _finished() -> Stream:
    stream = Stream([Reply("Yes", "stop", 1, 5, 512, 0)])
    stream.publish(stream.replies)
    return stream


def test_what_the_model_called_and_what_it_was_told_are_part_of_the_prompt(scene: Scene) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    answer = {"role": "assistant", "content": "I look."}
    told = [{"role": "tool", "tool_call_id": "1", "content": "rain"}, {"role": "user", "content": "And?"}]

    def prompt_tokens(said: dict[str, Any]) -> int:
        made = scene.client.chat.completions.create(model="tiny", messages=[*HELLO, said, *told], max_tokens=1)
        return made.usage.prompt_tokens

    assert prompt_tokens({**answer, "tool_calls": [call]}) > prompt_tokens(answer) + 10


def test_what_does_not_fit_is_refused_and_never_shortened_in_silence(scene: Scene) -> None:
    turns = [{"role": role, "content": "word " * 30} for role in ("user", "assistant") for _ in range(1)] * 8
    with pytest.raises(openai.BadRequestError, match="oldest turns") as error:
        scene.client.chat.completions.create(model="tiny", messages=[*turns, *HELLO])
    assert error.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as error:
        scene.client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "word " * 2000}])
    assert error.value.code == "context_length_exceeded"


# ---- models ----


def test_the_models_are_the_base_in_memory_and_what_fits_it(scene: Scene) -> None:
    names = [model.id for model in scene.client.models.list()]
    assert names[0] == "tiny"
    assert "judge" in names
    assert "other" not in names
    assert scene.client.models.retrieve("tiny:judge").owned_by == "lora-workbench"


@pytest.mark.parametrize(
    ("name", "words"),
    [("other", "is not loaded"), ("other:judge", "is not loaded"), ("gpt-4", "no model"), ("a @ 5", "no")],
)
def test_a_model_that_is_not_in_memory_is_refused_in_words(scene: Scene, name: str, words: str) -> None:
    with pytest.raises(openai.NotFoundError, match=words) as error:
        scene.client.chat.completions.create(model=name, messages=HELLO)
    assert (error.value.code, error.value.param) == ("model_not_found", "model")


def test_a_base_model_is_never_deleted(scene: Scene) -> None:
    with pytest.raises(openai.ConflictError):
        scene.client.models.delete("tiny")


# ---- a script that was written for hosted fine-tuning ----


def test_a_script_for_hosted_fine_tuning_runs_here(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    client, workbench = scene.client, scene.workbench
    seen_at_work, work = threading.Event(), Runner._work
    monkeypatch.setattr(Runner, "_work", lambda *given: (seen_at_work.wait(WAIT_S), work(*given)))
    source = write_rows(workbench.workspace, 24, "other.jsonl")
    with source.open("rb") as opened:
        file = client.files.create(file=("rows of mine.jsonl", opened), purpose="fine-tune")
    assert client.files.content(file.id).read() == source.read_bytes()
    assert (file.id, file.filename, file.bytes) == ("rows-of-mine.jsonl", "rows of mine.jsonl", source.stat().st_size)
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=file.id,
        validation_file="other.jsonl",
        suffix="mine",
        seed=7,
        hyperparameters={"batch_size": 12, "learning_rate_multiplier": 10},
        extra_body={"workbench": QUICK},
    )
    assert job.status in ("queued", "validating_files", "running")
    with pytest.raises(openai.ConflictError):
        client.files.delete(file.id)
    seen_at_work.set()
    assert workbench.runs.wait(WAIT_S)
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.error, job.fine_tuned_model) == ("succeeded", None, "tiny:mine")
    assert (job.seed, job.validation_file) == (7, "other.jsonl")
    assert (job.hyperparameters.batch_size, job.hyperparameters.learning_rate_multiplier) == (12, 10)
    assert job.trained_tokens > 0
    assert job.finished_at >= job.created_at
    _check_what_happened(client, job.id)
    answer = client.chat.completions.create(model=job.fine_tuned_model, messages=HELLO, **GREEDY)
    assert answer.choices[0].message.content == scene.greedy("mine")
    assert client.models.delete(job.fine_tuned_model).deleted
    assert client.files.delete(file.id).deleted
    assert "mine" not in [model.id for model in client.models.list()]
    assert file.id not in [each.id for each in client.files.list()]


def _check_what_happened(client: openai.OpenAI, job_id: str) -> None:
    """Events, checkpoints and the pages they come in."""
    events = list(client.fine_tuning.jobs.list_events(job_id, limit=3))  # the client asks for page after page
    assert len({event.id for event in events}) == len(events) > 6
    steps = [event.data["step"] for event in events if event.data and "train_loss" in event.data]
    assert steps == [4, 3, 2, 1]
    assert "mine" in events[0].message
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job_id))
    assert checkpoints[0].step_number == 4
    assert checkpoints[0].metrics.full_valid_loss > 0
    answer = client.chat.completions.create(model=checkpoints[0].fine_tuned_model_checkpoint, messages=HELLO, **GREEDY)
    assert answer.choices[0].message.content
    assert job_id in [job.id for job in client.fine_tuning.jobs.list(limit=1)]
    page = client.fine_tuning.jobs.list_events(job_id, after=events[-1].id)
    assert (page.data, page.has_more) == ([], False)


def test_a_waiting_job_is_cancelled(scene: Scene) -> None:
    write_rows(scene.workbench.workspace, 8, "few.jsonl")
    job = scene.client.fine_tuning.jobs.create(model="other", training_file="few.jsonl")  # it is not in memory
    assert job.status == "queued"
    assert scene.client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.NotFoundError):
        scene.client.fine_tuning.jobs.retrieve(job.id)


def test_two_jobs_with_one_suffix_at_one_moment_get_two_names(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(scene.workbench.workspace, 8, "few.jsonl")
    second = threading.Event()
    specs: list[str] = []

    def spec_of(*arguments: Any) -> Any:
        spec = job_spec(*arguments)
        specs.append(spec.name)
        second.wait(0.2) if len(specs) == 1 else second.set()
        return spec

    monkeypatch.setattr("core.api.jobs.job_spec", spec_of)
    body = {"model": "other", "training_file": "few.jsonl", "suffix": "twin"}
    with ThreadPoolExecutor(2) as pool:
        made = [answer.json() for answer in pool.map(lambda _: scene.post("/fine_tuning/jobs", body), range(2))]
    assert sorted(job["workbench"]["name"] for job in made) == ["twin", "twin-2"]
    for job in made:
        scene.client.fine_tuning.jobs.cancel(job["id"])


def test_a_job_whose_data_is_no_good_fails_in_words(scene: Scene) -> None:
    (scene.workbench.workspace.datasets / "bad.jsonl").write_text('{"messages": [{"role": "user", "content": "?"}]}\n')
    job = scene.client.fine_tuning.jobs.create(model="tiny", training_file="bad.jsonl")
    assert scene.workbench.runs.wait(WAIT_S)
    job = scene.client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.fine_tuned_model, job.error.param) == ("failed", None, "training_file")
    assert job.error.code.startswith("D")


def test_an_adapter_is_trained_further_and_our_own_settings_are_taken(scene: Scene) -> None:
    write_rows(scene.workbench.workspace, 8, "few.jsonl")
    body = {"model": "tiny:judge", "training_file": "few.jsonl", "workbench": {"training": {"packing": True}}}
    spec = job_spec(scene.workbench, body)
    assert spec.start_from == StartingAdapter(adapter="judge")
    assert (spec.base, spec.method.rank, spec.training.packing, spec.name) == ("tiny", 4, True, "few")
    plain = job_spec(scene.workbench, {"model": "tiny", "training_file": "few.jsonl", "seed": 3})
    assert (plain.start_from, plain.method, plain.training.seed) == (None, MethodSettings(), 3)


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("H01_needed", {"training_file": None}),
        ("H01_not_a_text", {"training_file": 5}),
        ("A03_no_dataset", {"training_file": "../x"}),
        ("A03_no_dataset", {"validation_file": "none.jsonl"}),
        ("A03_no_such_model", {"model": "gpt-4o-mini"}),
        ("H01_not_a_parameter", {"epochs": 3}),
        ("H01_not_offered", {"integrations": [{"type": "wandb"}]}),
        ("H01_not_offered", {"metadata": {"a": "b"}}),
        ("H01_not_offered", {"method": {"type": "dpo"}}),
        ("H01_not_an_object", {"hyperparameters": [1]}),
        ("H01_out_of_range", {"hyperparameters": {"n_epochs": 0}}),
        ("H01_out_of_range", {"hyperparameters": {"n_epochs": "many"}}),
        ("H01_out_of_range", {"hyperparameters": {"learning_rate_multiplier": 9000.0}}),
        ("H01_unknown_setting", {"hyperparameters": {"beta": 0.1}}),
        ("H01_said_twice", {"hyperparameters": {"n_epochs": 3}, "workbench": {"training": {"epochs": 3.0}}}),
        (
            "H01_said_twice",
            {
                "hyperparameters": {"n_epochs": 3},
                "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4}}},
            },
        ),
        ("H01_not_a_parameter", {"workbench": {"base": "tiny"}}),
        ("H01_out_of_range", {"workbench": {"method": {"rank": 0}}}),
        ("H01_unknown_setting", {"workbench": {"training": {"../x": 1}}}),
        ("H01_out_of_range", {"seed": -1}),
    ],
)
def test_a_bad_job_is_refused(scene: Scene, key: str, more: dict[str, Any]) -> None:
    write_rows(scene.workbench.workspace, 8, "few.jsonl")
    with pytest.raises(WorkbenchError) as error:
        job_spec(scene.workbench, {"model": "tiny", "training_file": "few.jsonl", **more})
    assert error.value.key == key


# ---- what no client would send ----

BAD: list[tuple[str, str, Any, int]] = [
    ("POST", "/chat/completions", b"", 400),
    ("POST", "/chat/completions", b"{", 400),
    ("POST", "/chat/completions", b"\xff\xfe", 400),
    ("POST", "/chat/completions", b"[]", 400),
    ("POST", "/chat/completions", b'{"model": NaN}', 400),
    ("POST", "/chat/completions", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    ("POST", "/chat/completions", b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", 400),
    ("POST", "/chat/completions", b'{"seed": ' + b"9" * 5000 + b"}", 400),
    ("POST", "/chat/completions", b'{"model": "' + b"x" * 3 * 2**20 + b'"}', 413),
    ("POST", "/chat/completions", {"model": ["tiny"], "messages": HELLO}, 400),
    ("POST", "/chat/completions", {"model": "\ud800", "messages": HELLO}, 404),
    ("POST", "/chat/completions", {"model": "../tiny", "messages": HELLO}, 404),
    ("POST", "/chat/completions", {"model": "tiny", "messages": [{"role": {}, "content": []}]}, 400),
    ("POST", "/chat/completions", {"model": "tiny", "messages": [HELLO]}, 400),
    ("POST", "/chat/completions", {"model": "tiny", "messages": HELLO, "\ud800": 1}, 400),
    ("POST", "/chat/completions", {"model": "tiny", "messages": HELLO, "stop": [[]]}, 400),
    ("POST", "/chat/completions", {"model": "tiny", "messages": HELLO, "stream_options": []}, 400),
    ("POST", "/completions", {"model": "tiny", "prompt": {"a": 1}}, 400),
    ("POST", "/completions", {"model": "tiny", "prompt": ""}, 400),
    ("POST", "/fine_tuning/jobs", {"model": {}, "training_file": []}, 400),
    ("POST", "/fine_tuning/jobs", {"model": "tiny", "training_file": "x", "workbench": {"method": "lora"}}, 400),
    ("POST", "/fine_tuning/jobs/../../x/cancel", {}, 404),
    ("POST", "/files", b"{}", 415),
    ("GET", "/files/..%2f..%2fapp.py", None, 404),
    ("GET", "/files/none/content", None, 404),
    ("GET", "/files?limit=0", None, 400),
    ("GET", "/files?limit=99999999999999999999", None, 400),
    ("GET", "/files?after=none", None, 404),
    ("GET", "/files?order=up", None, 400),
    ("GET", "/models?x=1", None, 400),
    ("GET", "/fine_tuning/jobs/none", None, 404),
    ("GET", "/fine_tuning/jobs?metadata[a]=b", None, 400),
    ("GET", "/assistants", None, 404),
    ("GET", "/chat/completions", None, 405),
    ("DELETE", "/files", None, 405),
    ("DELETE", "/files/none", None, 404),
    ("DELETE", "/models/none", None, 404),
    ("DELETE", "/models/%2e%2e", None, 404),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"), BAD, ids=[f"{each[1]}-{n}" for n, each in enumerate(BAD)]
)
def test_nonsense_is_answered_in_openais_shape(scene: Scene, method: str, path: str, body: Any, status: int) -> None:
    answer = scene.post(path, body) if method == "POST" else scene.raw.request(method, f"/v1{path}")
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (
        error["code"] != "A26"
        or status in (405, 413, 415)
        or "JSON" in error["message"]
        or "nested" in error["message"]
    )
    assert "unexpected" not in error["message"]


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({"data": {"purpose": "fine-tune"}}, 415),
        ({"files": {"file": ("x.py", b"print()")}, "data": {"purpose": "fine-tune"}}, 400),
        ({"files": {"file": ("../../x.jsonl", b"{}")}, "data": {"purpose": "vision"}}, 400),
        ({"files": {"file": ("x.jsonl", b"{}")}}, 400),
        ({"files": {"other": ("x.jsonl", b"{}")}, "data": {"purpose": "fine-tune"}}, 400),
        ({"files": [("file", ("x.jsonl", b"{}")), ("file", ("y.jsonl", b"{}"))]}, 400),
        ({"files": {"file": ("x.jsonl", b"{}")}, "data": {"purpose": "fine-tune", "expires_after": "1"}}, 400),
    ],
)
def test_an_upload_that_is_none_adds_nothing(scene: Scene, parts: dict[str, Any], status: int) -> None:
    before = [info.name for info in scene.workbench.data.list()]
    answer = scene.raw.post("/v1/files", **parts)
    assert (answer.status_code, "error" in answer.json()) == (status, True), answer.text
    assert [info.name for info in scene.workbench.data.list()] == before


def test_a_disk_that_is_full_is_named_and_no_bug(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scene.workbench.data, "list", full)
    answer = scene.raw.get("/v1/files")
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "A13")


def test_a_damaged_card_keeps_no_file_from_being_listed(scene: Scene) -> None:
    source = write_rows(scene.workbench.workspace, 4, "carded.jsonl")
    card = source.parent / CARDS / f"{source.name}.json"
    card.parent.mkdir(exist_ok=True)
    card.write_text("{")
    assert "carded.jsonl" in [file.id for file in scene.client.files.list()]


def test_a_websocket_is_closed(scene: Scene) -> None:
    sent: list[Any] = []

    async def connected() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "websocket", "path": "/v1/models", "headers": []}
    asyncio.run(Api(scene.workbench, Access())(scope, connected, send))
    assert sent == ["websocket.close"]


def test_the_words_are_in_the_language_of_the_program(scene: Scene) -> None:
    answer = scene.raw.get("/v1/nothing", headers={"accept-language": "zh-CN"})
    assert "这个地址没有内容" in answer.json()["error"]["message"]


# ---- who may ---


@pytest.mark.parametrize("sent", ["", "Bearer wrong-wrong-wrong-wrong", f"Basic {KEY}"])
def test_without_the_key_nothing_is_answered(scene: Scene, sent: str) -> None:
    for path in ("models", "nothing", "files/x"):
        answer = scene.raw.get(f"/v1/{path}", headers={"authorization": sent})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    if sent:
        with pytest.raises(openai.AuthenticationError):
            scene.client.models.list(extra_headers={"authorization": sent})


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
def test_no_page_of_another_site_reaches_it_even_with_the_key(scene: Scene, headers: dict[str, str]) -> None:
    for method, path in (("GET", "models"), ("POST", "chat/completions")):
        answer = scene.raw.request(method, f"/v1/{path}", headers=headers)
        assert answer.status_code == 403
        assert "error" in answer.json()
        assert "access-control-allow-origin" not in answer.headers
    assert scene.raw.get("/v1/models", headers={"host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ({}, "open"),
        ({"--api-key-file": KEY}, "key"),
        ({"--auth-file": "anna:secret"}, "closed"),
        ({"--auth-file": "anna:secret", "--api-key-file": KEY}, "key"),
        ({"--api-key-file": "short"}, None),
    ],
)
def test_a_server_that_asks_people_for_a_password_asks_programs_for_a_key(
    files: dict[str, str], state: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    begun: list[str] = []
    monkeypatch.setattr("webui.serving.serve_page", lambda *arguments: begun.append(arguments[-1].state))
    flags = ["--no-starter", "--data-dir", str(tmp_path / "data"), "--port", str(_free_port())]
    for flag, content in files.items():
        (tmp_path / flag).write_text(content)
        flags += [flag, str(tmp_path / flag)]
    assert app.main(flags) == (0 if state else 2)
    assert begun == ([state] if state else [])


# ---- the panel on the page ----


def test_the_examples_of_the_page_run_as_they_are(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.workbench.apply_adapter("judge")
    summary, *examples = show_api(scene.workbench, "en", scene.url.rstrip("/"), state="key")
    curl, python, training = (each["value"] for each in examples)
    assert "tiny" in summary
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setattr(
        scene.workbench, "sampling_defaults", lambda: SamplingSettings(do_sample=False, max_new_tokens=8)
    )
    exec(compile(python, "example", "exec"), {})
    assert capsys.readouterr().out
    compile(training, "example", "exec")
    *_, url, _, _, _, _, _, body = shlex.split(curl.replace("\\\n", ""))
    assert url == f"{scene.url}v1/chat/completions"
    assert scene.post("/chat/completions", json.loads(body)).json()["choices"]


@pytest.mark.parametrize("origin", [None, "", "javascript:alert(1)", "http://x/<b>", 'http://x" -o /etc/passwd'])
def test_an_address_that_is_none_stands_in_no_example(origin: str | None) -> None:
    assert base_url(origin) == "http://127.0.0.1:7860/v1"


def test_a_closed_api_says_how_it_is_opened(scene: Scene) -> None:
    summary, *examples = show_api(scene.workbench, "zh", scene.url, state="closed")
    assert KEY_VARIABLE in summary
    assert [each["visible"] for each in examples] == [False] * 3


def test_a_name_with_quotes_stays_a_name() -> None:
    name = 'it\'s "x"; $(id)'
    body = shlex.split(curl_example("http://h/v1", "open", name).replace("\\\n", ""))[-1]
    assert json.loads(body)["model"] == name


def test_the_page_itself_still_asks_for_a_password(scene: Scene) -> None:
    assert scene.raw.get("/config").status_code == 401
    assert scene.raw.get("/v1/models").status_code == 200
