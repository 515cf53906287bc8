"""The decode loop: equal to the library's, equal in any company, blind to the process-wide generator."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
import torch

from core.models.beams import BeamSearch
from core.models.generation import Decoding, GenerationRequest, Token, decode
from core.models.prefix import Prefix, takes_past
from core.models.token_choice import TokenChooser
from core.models.tree import Tree
from core.models.twin import make_twin
from core.settings import SamplingSettings

GREEDY = SamplingSettings(do_sample=False, max_new_tokens=16)
PROMPTS = [[5, 9, 40], [300, 17, 23, 4, 88, 91, 120, 7, 61], [11], [77, 78, 79, 80, 81]]
NO_END: frozenset[int] = frozenset()
PAD = 2


def answers(steps: Any) -> dict[int, list[int]]:
    """Row → the ids of its answer; checks that nothing comes after a row's end."""
    found: dict[int, list[int]] = {}
    ended: set[int] = set()
    for step in steps:
        for token in step:
            assert token.row not in ended
            if token.finished:
                ended.add(token.row)
            if token.token_id is not None:
                found.setdefault(token.row, []).append(token.token_id)
    return found


def last_tokens(steps: Any) -> dict[int, Token]:
    return {token.row: token for step in steps for token in step}


def alone(model: Any, request: GenerationRequest, eos_ids: Any = NO_END) -> list[int]:
    return answers(decode(model, eos_ids, PAD, [request])).get(0, [])


def beamed(
    model: Any, eos_ids: Any, request: GenerationRequest, prefix: Prefix | None = None, cancel_after: int = 1 << 30
) -> list[Token]:
    """What a beam search brings, stepped to its end, or cancelled after so many steps."""
    search, tree = BeamSearch(eos_ids, PAD, request, prefix), Tree.of(model)
    for number in itertools.count():
        tokens = search.step(tree, cancelled=number >= cancel_after)
        if tokens:
            return tokens
    raise AssertionError


@pytest.fixture
def serving_tree(tiny_model: Any) -> Any:
    """A twin with two random adapters, `ad_a` on all linear layers and `ad_b` on two of them."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(7)
        tree = get_peft_model(
            make_twin(tiny_model), LoraConfig(r=4, lora_alpha=64, target_modules="all-linear"), adapter_name="ad_a"
        )
        tree.add_adapter("ad_b", LoraConfig(r=2, lora_alpha=64, target_modules=["q_proj", "down_proj"]))
        for name, parameter in tree.named_parameters():
            if "lora_" in name:
                parameter.data.normal_(std=0.2)
    return tree.eval()


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_equals_the_librarys_generate_token_by_token(tiny_model: Any, prompt: list[int]) -> None:
    ids = torch.tensor([prompt])
    expected = tiny_model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16, eos_token_id=None
    )[0, len(prompt) :].tolist()
    assert alone(tiny_model, GenerationRequest(prompt, GREEDY)) == expected


def test_the_output_layer_reads_one_contiguous_position_a_row(tiny_model: Any) -> None:
    """Of a slice, `matmul` copies the output layer for every row first: half a second a prompt on the starter model."""
    seen: list[tuple[bool, int]] = []
    head = tiny_model.get_output_embeddings()
    head.register_forward_pre_hook(lambda module, args: seen.append((args[0].is_contiguous(), args[0].shape[1])))
    list(decode(tiny_model, NO_END, 0, [GenerationRequest(prompt, GREEDY) for prompt in PROMPTS]))
    assert set(seen) - {(True, 0)} == {(True, 1)}, "nothing at all while a prompt is read"


@pytest.mark.parametrize("changes", [{"repetition_penalty": 1.4}, {"no_repeat_ngram_size": 2}])
def test_penalties_equal_the_librarys(tiny_model: Any, changes: dict[str, Any]) -> None:
    ids = torch.tensor([PROMPTS[1]])
    expected = tiny_model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=24,
        eos_token_id=None,
        **changes,
    )[0, ids.shape[1] :].tolist()
    settings = GREEDY.model_copy(update={"max_new_tokens": 24, **changes})
    assert alone(tiny_model, GenerationRequest(PROMPTS[1], settings)) == expected


def test_prompts_of_different_lengths_in_one_batch_answer_as_alone(tiny_model: Any) -> None:
    requests = [GenerationRequest(prompt, GREEDY) for prompt in PROMPTS]
    together = answers(decode(tiny_model, NO_END, PAD, requests))
    assert together == {row: alone(tiny_model, request) for row, request in enumerate(requests)}
    assert len({tuple(answer) for answer in together.values()}) == len(PROMPTS), (
        "the rows must differ to prove anything"
    )


SIZES = {"vocab_size": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
ATTENTION = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2}  # fmt: skip
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
            "factor": 16.0}  # fmt: skip
ARCHITECTURES = {
    "llama": ATTENTION,
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4},  # learned positions: padding must not move them
    "mistral": {"sliding_window": 4, **ATTENTION},
    "phi3": {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32, **ATTENTION},
    "lfm2": {"layer_types": ["conv", "full_attention"], **ATTENTION},
    "mamba2": {
        "hidden_size": 64,
        "num_heads": 8,
        "head_dim": 16,
        "state_size": 16,
        "num_hidden_layers": 2,
        "n_groups": 1,
    },
}


def random_model(model_type: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(model_type, **SIZES, **ARCHITECTURES[model_type])
        model = AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=0.15)
    return model


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_architectures_answer_as_alone_and_as_by_generate(model_type: str) -> None:
    model = random_model(model_type)
    limits = [8, 12, 16, 20]  # rows leave the batch one after the other
    requests = [
        GenerationRequest(prompt, GREEDY.model_copy(update={"max_new_tokens": limit}))
        for prompt, limit in zip(PROMPTS, limits, strict=True)
    ]
    together = answers(decode(model, NO_END, PAD, requests))
    assert together == {row: alone(model, request) for row, request in enumerate(requests)}
    ids = torch.tensor([PROMPTS[3]])
    expected = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, eos_token_id=None
    )[0, ids.shape[1] :].tolist()
    assert together[3] == expected


def test_a_long_row_stretches_no_other_rows_positions() -> None:
    """Phi-3 and its kin read every row of a forward otherwise once one is long: none joins another's forward."""
    model = random_model("phi3")
    long, short = (GenerationRequest(prompt, GREEDY) for prompt in ([*range(40)], PROMPTS[1]))
    decoding, tree, found = Decoding(NO_END, PAD), Tree.of(model), dict[int, list[int]]()
    for begun in (long, short):
        decoding.add(tree, [begun])
        for _ in range(3 if begun is long else 100):
            for token in decoding.step(tree):
                found.setdefault(token.row, []).append(token.token_id or 0)
    assert list(found.values()) == [alone(model, long), alone(model, short)]


def test_base_and_adapters_in_one_batch_answer_as_alone(tiny_model: Any, serving_tree: Any) -> None:
    adapters = [None, "ad_a", "ad_b", "ad_a", None]
    prompts = [PROMPTS[0], PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[2]]
    requests = [GenerationRequest(prompt, GREEDY, adapter) for prompt, adapter in zip(prompts, adapters, strict=True)]
    together = answers(decode(serving_tree, NO_END, PAD, requests))
    assert together == {row: alone(serving_tree, request) for row, request in enumerate(requests)}
    assert together[0] == alone(tiny_model, requests[0]), "base rows are the plain model's"
    assert len({tuple(together[row]) for row in range(3)}) == 3, "the adapters must differ to prove anything"


def test_adapters_answer_as_by_pefts_own_generate(serving_tree: Any) -> None:
    ids = torch.tensor([PROMPTS[1]] * 3)
    expected = serving_tree.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        adapter_names=["__base__", "ad_a", "ad_b"],
        do_sample=False,
        max_new_tokens=16,
        eos_token_id=None,
    )[:, ids.shape[1] :].tolist()
    requests = [GenerationRequest(PROMPTS[1], GREEDY, adapter) for adapter in (None, "ad_a", "ad_b")]
    assert list(answers(decode(serving_tree, NO_END, PAD, requests)).values()) == expected


@pytest.mark.parametrize(
    "changes", [{}, {"do_sample": True, "temperature": 1.9, "top_k": 5, "repetition_penalty": 1.8}]
)
def test_probabilities_are_the_models_own_before_penalties_and_temperature(
    tiny_model: Any, changes: dict[str, Any]
) -> None:
    request = GenerationRequest(PROMPTS[0], GREEDY.model_copy(update=changes), seed=3, logprobs=4)
    company = GenerationRequest(PROMPTS[1], GREEDY)
    tokens = [token for step in decode(tiny_model, NO_END, PAD, [company, request]) for token in step]
    assert all(token.scores is None for token in tokens if token.row == 0)
    ids = list(PROMPTS[0])
    for token in (token for token in tokens if token.row == 1):
        with torch.no_grad():
            expected = tiny_model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert token.scores and token.token_id is not None
        assert token.scores.chosen == pytest.approx(float(expected[token.token_id]), abs=1e-4)
        best = expected.topk(4)
        assert [token_id for token_id, _ in token.scores.top] == best.indices.tolist()
        assert [value for _, value in token.scores.top] == pytest.approx(best.values.tolist(), abs=1e-4)
        ids.append(token.token_id)
    assert len(ids) == len(PROMPTS[0]) + 16


def test_no_hook_is_left_on_the_tree(serving_tree: Any) -> None:
    steps = decode(serving_tree, NO_END, PAD, [GenerationRequest(PROMPTS[0], GREEDY, "ad_a")])
    next(steps)
    assert not any(module._forward_pre_hooks for module in serving_tree.modules())


def test_drawn_answers_depend_on_their_seed_and_not_on_their_company(tiny_model: Any) -> None:
    drawn = SamplingSettings(temperature=1.5, top_p=0.99, max_new_tokens=16)
    requests = [GenerationRequest(PROMPTS[0], drawn, seed=seed) for seed in (1, 2, 1)] + [
        GenerationRequest(PROMPTS[1], GREEDY)
    ]
    together = answers(decode(tiny_model, NO_END, PAD, requests))
    assert together[0] == together[2] == alone(tiny_model, requests[0])
    assert together[0] != together[1]
    assert together[3] == alone(tiny_model, requests[3])


def test_the_process_wide_generator_is_not_touched(tiny_model: Any) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    list(decode(tiny_model, NO_END, PAD, [GenerationRequest(PROMPTS[0], SamplingSettings(max_new_tokens=5), seed=9)]))
    beamed(tiny_model, NO_END, GenerationRequest(PROMPTS[0], GREEDY.model_copy(update={"num_beams": 3})))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_rows_end_at_their_end_token_their_limit_or_when_cancelled(tiny_model: Any) -> None:
    free = [alone(tiny_model, GenerationRequest(prompt, GREEDY)) for prompt in PROMPTS[:3]]
    stop_at, end = next((i, t) for i, t in enumerate(free[0]) if i and t not in free[1] + free[2] + free[0][:i])
    requests = [
        GenerationRequest(PROMPTS[0], GREEDY),
        GenerationRequest(PROMPTS[1], GREEDY.model_copy(update={"max_new_tokens": 7})),
        GenerationRequest(PROMPTS[2], GREEDY),
    ]
    made = [0]

    def cancelled(row: int) -> bool:
        return row == 2 and made[0] >= 3

    steps = []
    for step in decode(tiny_model, {end}, PAD, requests, cancelled):
        made[0] += 1
        steps.append(step)
    last = last_tokens(steps)
    assert last[0] == Token(0, None, "stop")
    assert last[1] == Token(1, free[1][6], "length")
    assert last[2] == Token(2, None, "cancelled")
    found = answers(steps)
    assert found == {0: free[0][:stop_at], 1: free[1][:7], 2: free[2][:3]}


def test_an_answer_ends_where_the_context_is_full(tiny_model: Any) -> None:
    limit = tiny_model.config.max_position_embeddings
    long = GREEDY.model_copy(update={"max_new_tokens": 100})
    prompts = [[5] * (limit - 3), [5] * limit, [5] * (limit + 1), [5, 6]]
    last = last_tokens(decode(tiny_model, NO_END, PAD, [GenerationRequest(prompt, long) for prompt in prompts]))
    assert [last[row].finished for row in range(4)] == ["context", "context", "context", "length"]
    assert [last[row].token_id is None for row in range(4)] == [False, True, True, False]


def test_a_model_in_train_mode_is_refused(tiny_model: Any) -> None:
    with pytest.raises(AssertionError, match="train mode"):
        next(decode(tiny_model.train(), NO_END, PAD, [GenerationRequest([5], GREEDY)]))


@pytest.mark.parametrize("adapter", [None, "ad_a"])
def test_beams_equal_the_librarys(serving_tree: Any, adapter: str | None) -> None:
    ids = torch.tensor([PROMPTS[1]])
    expected = serving_tree.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        adapter_names=[adapter or "__base__"],
        do_sample=False,
        num_beams=3,
        max_new_tokens=9,
        eos_token_id=None,
    )[0, ids.shape[1] :].tolist()
    settings = SamplingSettings(num_beams=3, max_new_tokens=9)
    tokens = beamed(serving_tree, NO_END, GenerationRequest(PROMPTS[1], settings, adapter))
    assert [token.token_id for token in tokens] == expected
    assert [token.finished for token in tokens] == [None] * 8 + ["length"]


def test_beams_can_be_cancelled(tiny_model: Any) -> None:
    settings = SamplingSettings(num_beams=2, max_new_tokens=400)
    tokens = beamed(tiny_model, NO_END, GenerationRequest([5, 6], settings), cancel_after=3)
    assert tokens == [Token(0, None, "cancelled")]


def test_others_use_the_tree_between_the_steps_of_a_beam_search(serving_tree: Any) -> None:
    settings = SamplingSettings(num_beams=3, max_new_tokens=6)
    request, other = GenerationRequest(PROMPTS[1], settings, "ad_a"), GenerationRequest(PROMPTS[0], GREEDY, "ad_b")
    undisturbed, alone_before = beamed(serving_tree, NO_END, request), alone(serving_tree, other)
    search, tree, found = BeamSearch(NO_END, PAD, request), Tree.of(serving_tree), list[Token]()
    while not found:
        found = search.step(tree)
        assert alone(serving_tree, other) == alone_before
    assert found == undisturbed


def test_a_search_that_is_closed_leaves_no_thread(tiny_model: Any) -> None:
    search = BeamSearch(NO_END, PAD, GenerationRequest([5, 6], SamplingSettings(num_beams=2, max_new_tokens=400)))
    assert search.step(Tree.of(tiny_model)) == []
    search.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "beam-search"]


def test_beams_stop_at_an_end_token(tiny_model: Any) -> None:
    settings = SamplingSettings(num_beams=2, max_new_tokens=12)
    free = [t.token_id for t in beamed(tiny_model, NO_END, GenerationRequest([5, 6], settings))]
    end = free[3]
    tokens = beamed(tiny_model, {end}, GenerationRequest([5, 6], settings))
    assert tokens[-1].finished in ("stop", "length")
    assert all(token.token_id != end for token in tokens)


SOFT_PROMPTS = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")


def soft_prompt(model: Any, peft_type: str) -> tuple[Any, Prefix]:
    """A `PeftModel` with 5 random virtual tokens, and the prefix that they are."""
    from peft import get_peft_config, get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(3)
        values = {"peft_type": peft_type, "task_type": "CAUSAL_LM", "num_virtual_tokens": 5, "encoder_hidden_size": 32}
        if peft_type == "PROMPT_TUNING":
            del values["encoder_hidden_size"]
        peft_model = get_peft_model(make_twin(model), get_peft_config(values)).eval()
        for parameter in peft_model.prompt_encoder.parameters():
            parameter.data.normal_(std=0.4)
    learned = peft_model.get_prompt_embedding_to_save("default")
    make = Prefix.from_past if peft_type == "PREFIX_TUNING" else Prefix.from_embeddings
    return peft_model, make(model, learned)


@pytest.mark.parametrize(
    ("model_type", "peft_type"),
    [
        *(("llama", peft_type) for peft_type in SOFT_PROMPTS),
        *((model_type, "PREFIX_TUNING") for model_type in ("gpt2", "mistral")),
        *((model_type, "PROMPT_TUNING") for model_type in ("gpt2", "mistral", "lfm2")),
    ],
)
def test_a_prefix_answers_as_plain_peft_in_any_company(model_type: str, peft_type: str) -> None:
    model = random_model(model_type)
    peft_model, prefix = soft_prompt(model, peft_type)
    limits = [8, 12, 16, 20]  # rows leave the batch one after the other
    requests = [
        GenerationRequest(prompt, GREEDY.model_copy(update={"max_new_tokens": limit, "repetition_penalty": 1.3}))
        for prompt, limit in zip(PROMPTS, limits, strict=True)
    ]
    together = answers(decode(model, NO_END, PAD, requests, prefix=prefix))
    for row, request in enumerate(requests):
        assert together[row] == greedy_with(peft_model, request), row
    assert together[2] != alone(model, requests[2]), "the prefix must matter to prove anything"


def greedy_with(model: Any, request: GenerationRequest) -> list[int]:
    """Greedy answers by whole forwards without a cache."""
    chooser = TokenChooser(request.sampling, 0, request.input_ids)
    answer: list[int] = []
    with torch.no_grad():
        while len(answer) < request.sampling.max_new_tokens:
            ids = torch.tensor([request.input_ids + answer])
            answer.append(chooser.choose(model(input_ids=ids).logits[0, -1]))
    return answer


@pytest.mark.parametrize("peft_type", SOFT_PROMPTS)
def test_beams_begin_with_the_prefix(peft_type: str) -> None:
    model = random_model("llama")
    peft_model, prefix = soft_prompt(model, peft_type)
    settings = SamplingSettings(num_beams=3, max_new_tokens=6)
    tokens = beamed(model, NO_END, GenerationRequest(PROMPTS[1], settings), prefix=prefix)
    assert [token.token_id for token in tokens] == searched(peft_model, PROMPTS[1], beams=3, length=6)
    assert tokens != beamed(model, NO_END, GenerationRequest(PROMPTS[1], settings)), (
        "the prefix must matter to prove anything"
    )


def searched(model: Any, prompt: list[int], beams: int, length: int) -> list[int]:
    """Beam search by whole forwards without a cache; no beam ends before the others, so the sum of logs decides."""
    found: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(length):
        longer: list[tuple[float, list[int]]] = []
        for score, answer in found:
            with torch.no_grad():
                likely = model(input_ids=torch.tensor([prompt + answer])).logits[0, -1].log_softmax(-1).topk(beams)
            longer += [
                (score + v, [*answer, i]) for v, i in zip(likely.values.tolist(), likely.indices.tolist(), strict=True)
            ]
        found = sorted(longer, reverse=True)[:beams]
    return found[0][1]


def test_a_prefix_takes_its_share_of_the_context(tiny_model: Any) -> None:
    _, prefix = soft_prompt(tiny_model, "PROMPT_TUNING")
    limit = tiny_model.config.max_position_embeddings - prefix.tokens
    long = GREEDY.model_copy(update={"max_new_tokens": 100})
    prompts = [[5] * (limit - 3), [5] * limit]
    requests = [GenerationRequest(prompt, long) for prompt in prompts]
    steps = [token for step in decode(tiny_model, NO_END, PAD, requests, prefix=prefix) for token in step]
    assert [token.finished for token in steps if token.row == 0] == [None, None, "context"]
    assert [token.token_id for token in steps if token.row == 1] == [None]


def test_a_prefix_is_not_used_up(tiny_model: Any) -> None:
    _, prefix = soft_prompt(tiny_model, "PREFIX_TUNING")
    request = GenerationRequest(PROMPTS[0], GREEDY)
    first, second = (answers(decode(tiny_model, NO_END, PAD, [request] * rows, prefix=prefix)) for rows in (1, 2))
    assert second == {0: first[0], 1: first[0]}


def test_only_models_that_remember_by_keys_and_values_take_learned_ones() -> None:
    taking = {model_type: takes_past(random_model(model_type)) for model_type in ARCHITECTURES}
    assert {name for name, takes in taking.items() if not takes} == {"lfm2", "mamba2"}
