"""The model in lm-eval's words, and lm-eval itself where it is not installed: refused, or played by a stand-in.

That the numbers are those of lm-eval's own model was tried with lm-eval 0.4.13 on tasks whose data lay on the machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

import app
from core.errors import WorkbenchError
from core.evaluation import harness
from core.evaluation.harness import HarnessScore, harness_status, harness_tasks, run_harness
from core.evaluation.harness_model import HarnessModel, rolling_windows
from core.evaluation.loss import Column
from core.jobs import Cancelled
from core.models.loader import LoadedModel
from tests.core.models.conftest import assert_shown_in_both_languages

CONTEXT, WANTED = "Hello, who are you?", " I am a tiny model."


def made(loaded: LoadedModel, cancelled: Callable[[], bool] = lambda: False) -> tuple[HarnessModel, list[Any]]:
    reports: list[Any] = []
    column = Column.of(loaded, "", None)
    return HarnessModel(loaded, column, lambda done, total: reports.append((done, total)), cancelled), reports


def logprobs(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return loaded.model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)


@dataclass
class Asked:
    """lm-eval's `Instance`, as far as a model sees it."""

    args: tuple[Any, ...]


def test_a_log_likelihood_is_the_sum_over_the_continuation_alone(loaded: LoadedModel) -> None:
    model, reports = made(loaded)
    context, wanted = model.tok_encode(CONTEXT), model.tok_encode(WANTED, add_special_tokens=False)
    found = logprobs(loaded, [*context, *wanted])
    plain = sum(float(found[len(context) + i - 1, token]) for i, token in enumerate(wanted))
    best = int(logprobs(loaded, context)[-1].argmax())
    other = (best + 1) % 512
    asked = [(None, context, ids) for ids in (wanted, [best], [best, other, other])]
    (value, greedy), (_, best_is_greedy), (_, half_is_greedy) = model._loglikelihood_tokens(asked)
    assert value == pytest.approx(plain, abs=1e-4)
    assert (greedy, best_is_greedy, half_is_greedy) == (False, True, False)
    read = sum(len(context) + len(ids) for _, _, ids in asked)
    assert reports[-1] == (read, read)


def test_a_context_that_is_too_long_loses_its_beginning(loaded: LoadedModel) -> None:
    model, _ = made(loaded)
    wanted = model.tok_encode(WANTED)
    long = (model.tok_encode(CONTEXT) * 100)[:600]
    kept = long[-(model.max_length - len(wanted)) :]
    assert model._loglikelihood_tokens([(None, long, wanted)]) == model._loglikelihood_tokens([(None, kept, wanted)])


def test_rolling_windows_predict_each_token_once_as_in_the_documentation_of_lm_eval() -> None:
    windows = list(rolling_windows(range(10), -1, width=5))
    assert windows == [([-1], [0, 1, 2, 3]), ([3], [4, 5, 6, 7]), ([5, 6, 7], [8, 9])]
    assert list(rolling_windows([], -1, width=5)) == []
    assert all(len(context) + len(wanted) <= 5 for context, wanted in windows)


def test_a_whole_text_is_predicted_from_nothing_on(loaded: LoadedModel) -> None:
    model, _ = made(loaded)
    ids = model.tok_encode(CONTEXT)
    found = logprobs(loaded, [model.prefix_token_id, *ids])
    plain = sum(float(found[i, token]) for i, token in enumerate(ids))
    assert model.loglikelihood_rolling([Asked((CONTEXT,)), Asked(("",))]) == pytest.approx([plain, 0.0], abs=1e-4)


def test_answers_are_greedy_and_end_at_a_stop_string_or_the_limit(loaded: LoadedModel) -> None:
    model, reports = made(loaded)
    prompts = [CONTEXT, "A", "Hello " * 300]
    whole = model.generate_until([Asked((prompt, {"max_gen_toks": 12})) for prompt in prompts])
    ids = model.tok_encode(CONTEXT)
    for _ in range(12):
        ids.append(int(logprobs(loaded, ids)[-1].argmax()))
    assert whole[0] == loaded.tokenizer.decode(ids[-12:])
    assert reports[-1] == (3, 3)
    stop = whole[0][3:5]
    cut = model.generate_until([Asked((CONTEXT, {"until": [stop, "\n\n\n"], "max_new_tokens": 12}))])
    assert cut == [whole[0].partition(stop)[0]]


def test_a_chat_is_rendered_with_the_models_template(loaded: LoadedModel) -> None:
    model, _ = made(loaded)
    turns = [{"role": "user", "content": "Hi"}]
    assert model.apply_chat_template(turns) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert model.tok_encode("<|im_start|>user")[0] == loaded.tokenizer.bos_token_id


def test_a_text_that_brings_its_own_beginning_gets_no_second_one(loaded: LoadedModel) -> None:
    model, _ = made(loaded)
    model.tokenizer = SimpleNamespace(
        bos_token="<s>", encode=lambda text, add_special_tokens: [int(add_special_tokens)]
    )
    assert [model.tok_encode(text) for text in ("Hi", "<s>Hi")] == [[1], [0]]
    assert model.tok_encode("<s>Hi", add_special_tokens=True) == [1]


def test_cancelling_ends_every_kind_of_request(loaded: LoadedModel) -> None:
    model, _ = made(loaded, cancelled=lambda: True)
    for ask in (
        lambda: model.generate_until([Asked((CONTEXT, {}))]),
        lambda: model.loglikelihood_rolling([Asked((CONTEXT,))]),
        lambda: model._loglikelihood_tokens([(None, [1, 2], [3])]),
    ):
        with pytest.raises(Cancelled):
            ask()


def test_without_lm_eval_the_command_that_installs_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    harness._manager.cache_clear()
    status = harness_status()
    assert status.version is None
    assert status.install_command == f"{sys.executable} -m pip install {harness.REQUIREMENT}"
    with pytest.raises(WorkbenchError) as caught:
        harness_tasks()
    assert caught.value.key == "A24_harness_not_installed"
    assert status.install_command in caught.value.describe()
    assert_shown_in_both_languages(caught.value.problems)
    assert app.main(["harness", "--data-dir", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": None, "install_command": status.install_command}


class StandIn:
    """lm-eval's task manager and `evaluate`, as small as they can be: one task of one request of each kind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_data = True
        self.all_tasks = ["arc", "other"]
        self.settings: dict[str, Any] = {"num_fewshot": None}
        self.task = SimpleNamespace(
            get_config=self.settings.get,
            set_config=lambda key, value: self.settings.update({key: value}),
            set_fewshot_seed=lambda seed: self.settings.update(seed=seed),
        )
        template = ModuleType("lm_eval.api.model")
        template.TemplateLM = type("TemplateLM", (), {})  # type: ignore[attr-defined]
        evaluator = ModuleType("lm_eval.evaluator")
        evaluator.evaluate = self.evaluate  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "lm_eval.api.model", template)
        monkeypatch.setitem(sys.modules, "lm_eval.evaluator", evaluator)
        monkeypatch.setattr(harness, "_manager", lambda: self)

    def load(self, tasks: list[str]) -> dict[str, Any]:
        if not self.has_data:
            raise ConnectionError("offline")
        return {"tasks": dict.fromkeys(tasks, self.task)}

    def evaluate(self, model: Any, tasks: dict[str, Any], limit: int, **_: Any) -> dict[str, Any]:
        assert "TemplateLM" in [base.__name__ for base in type(model).__mro__]
        text = model.generate_until([Asked((CONTEXT, {"max_gen_toks": 2}))])[0]
        values = {
            "alias": "arc",
            "acc,none": 0.5,
            "acc_stderr,none": 0.25,
            "em,strict": float(bool(text)),
            "sample_len": 4,
        }
        return {"results": {"arc": values}, "n-samples": {"arc": {"original": 4, "effective": limit}}}


def test_tasks_are_run_on_our_tree_and_their_numbers_told(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn(monkeypatch)
    reports: list[Any] = []
    watch = (lambda done, total: reports.append((done, total)), lambda: False)
    scores = run_harness(loaded, None, ["arc"], 2, False, watch)
    assert scores == (HarnessScore("arc", "acc", 0.5, 2), HarnessScore("arc", "em (strict)", 1.0, 2))
    assert stand_in.settings == {"num_fewshot": 0, "seed": harness.SEED}
    assert reports == [(1, 1)]


@pytest.mark.parametrize(
    ("tasks", "may_download", "key"),
    [
        (["nope"], True, "A24_harness_unknown_task"),
        ([], True, "A24_harness_unknown_task"),
        (["arc"], False, "A24_harness_needs_data"),
        (["arc"], True, "A24_harness_no_data"),
    ],
)
def test_what_cannot_be_run_is_refused_with_words(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, tasks: list[str], may_download: bool, key: str
) -> None:
    StandIn(monkeypatch).has_data = False
    monkeypatch.setattr(harness, "FETCH", "import sys; print('no route to the hub'); sys.exit(1)")
    with pytest.raises(WorkbenchError) as caught:
        run_harness(loaded, None, tasks, None, may_download, (lambda done, total: None, lambda: False))
    assert caught.value.key == key
    assert ("no route to the hub" in caught.value.describe()) == (key == "A24_harness_no_data")
    assert_shown_in_both_languages(caught.value.problems)


def test_fetching_data_is_cancelled_within_a_second(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    StandIn(monkeypatch).has_data = False
    monkeypatch.setattr(harness, "FETCH", "import time; time.sleep(60)")
    with pytest.raises(Cancelled):
        run_harness(loaded, None, ["arc"], None, True, (lambda done, total: None, lambda: True))
