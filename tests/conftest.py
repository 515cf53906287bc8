"""Fixtures for every test: a tiny random chat model, the starter model, real data, a fresh data directory."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

from core.workspace import Workspace

pytest_plugins = ["tests.marker_counts"]

ROOT = Path(__file__).resolve().parent.parent
STARTER = "SmolLM2-135M-Instruct"

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Half characters that a test deals with are escaped: reports go from process to process as UTF-8."""
    report: Any = yield
    report.sections = [(name, _escaped(words)) for name, words in report.sections]
    if report.longrepr is not None and _escaped(str(report.longrepr)) != str(report.longrepr):
        report.longrepr = _escaped(str(report.longrepr))
    return report  # type: ignore[no-any-return]


def _escaped(words: str) -> str:
    return words.encode("utf-8", "backslashreplace").decode()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays for good: no search for garbage walks over it, now or in a test.

    The trainer searches at the end of each run, and a session makes hundreds: a third of the unit tests' time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _nothing_leaves_the_machine() -> Iterator[None]:
    """Law 11: a connection to anywhere but this machine fails the test that makes it."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"  # a path is a socket of this machine
        assert host in ("127.0.0.1", "::1", "localhost"), f"a connection to {address} was tried"
        connect(self, address)

    socket.socket.connect = connect_here  # type: ignore[method-assign]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as in `models/`: a random 2-layer llama (hidden 64, 4 heads, vocabulary 512) with a ChatML template."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def build_tiny_model(folder: Path) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["user assistant system", "Hello, who are you? I am a tiny model."] * 20, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    fast.chat_template = CHATML
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=512,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=512,
                tie_word_embeddings=True,
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=2,
            )
        )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_tokenizer(tiny_model_dir: Path):  # type: ignore[no-untyped-def]
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model_dir)


@pytest.fixture
def tiny_model(tiny_model_dir: Path):  # type: ignore[no-untyped-def]
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()


@pytest.fixture
def short_sample_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model never ends an answer by itself; a few tokens of it show as much as many."""
    from core.training import samples

    monkeypatch.setattr(samples, "SAMPLE_TOKENS", 4)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path / "data")
    place.create()
    return place


@pytest.fixture
def workspace_with_tiny(workspace: Workspace, tiny_model_dir: Path) -> Workspace:
    """A data directory whose `models/` holds the tiny model as `tiny`."""
    import shutil

    shutil.copytree(tiny_model_dir, workspace.models / "tiny")
    return workspace


@pytest.fixture(scope="session")
def victims(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Iterator[Any]:
    """A process that trains in forks of itself, and its data directory with the tiny model and two data sets."""
    import shutil

    from tests.core.training.conftest import write_rows
    from tests.core.training.forks import Victims

    place = Workspace(tmp_path_factory.mktemp("victims"))
    place.create()
    shutil.copytree(tiny_model_dir, place.models / "tiny")
    write_rows(place, 20)
    write_rows(place, 8, "8.jsonl")
    made = Victims(place)
    yield made
    made.close()


@pytest.fixture(scope="session")
def starter_dir() -> Path:
    folder = ROOT / "models" / STARTER
    if not (folder / "config.json").exists():
        pytest.fail(f"the starter model is missing: run ./start.sh once, or ./test.sh, which fetches it ({folder})")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = ROOT.parent / "shared" / "data"
    if not folder.exists():
        pytest.skip("the shared real data sets are not beside this checkout (../shared/data)")
    return folder
