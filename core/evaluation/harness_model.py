"""The loaded model, with or without an adapter, as EleutherAI's lm-evaluation-harness wants to ask it.

Owns the methods of lm-eval's `TemplateLM` (0.4): log-likelihoods and greedy answers of our own module tree. lm-eval
need not be installed to import this or to call it; `harness` joins the two. Rolling windows and truncation are
lm-eval's, so that its numbers are those of its own Hugging Face model on the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from core.chat.answer_text import AnswerText
from core.chat.context import UNLIMITED_CONTEXT_TOKENS
from core.data.rendering import NOT_TRAINED, Rendered
from core.evaluation.loss import Column, MeasuredRow, SummedLoss, row_losses
from core.jobs import Cancelled
from core.models.generation import GenerationRequest, decode
from core.models.loader import LoadedModel
from core.settings import SamplingSettings

ROWS_AT_ONCE = 8
MAX_NEW_TOKENS = 256  # where a task names no limit; lm-eval's own default
LIMIT_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
Report = Callable[[int, int], None]
"""Told how many tokens of log-likelihoods, or how many answers, are done, of how many."""


class HarnessModel:
    """One column of an evaluation in lm-eval's words. Answers are greedy: a task's temperature is not followed."""

    backend = "causal"

    def __init__(self, loaded: LoadedModel, column: Column, report: Report, cancelled: Callable[[], bool]) -> None:
        super().__init__()
        self.tokenizer = loaded.tokenizer
        self.max_length = (loaded.max_length or UNLIMITED_CONTEXT_TOKENS) - column.virtual_tokens
        self._loaded = loaded
        self._column = column
        self._report = report
        self._cancelled = cancelled

    @property
    def tokenizer_name(self) -> str:
        return self._loaded.info.name

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that begins from nothing."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        if add_special_tokens is None:
            bos = self.tokenizer.bos_token
            add_special_tokens = not (bos and string.startswith(bos))
        return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """Of each (anything, context, continuation): its log-likelihood, and whether greedy decoding would write it."""
        rows = [MeasuredRow((self._piece(context, wanted),)) for _, context, wanted in requests]
        return [(-summed.total, summed.hits == summed.tokens) for summed in self._losses(rows)]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[float]:
        """The log-likelihood of each whole text, from nothing on."""
        rows = []
        for (string,) in (request.args for request in requests):
            windows = rolling_windows(self.tok_encode(string), self.prefix_token_id, self.max_length)
            rows.append(MeasuredRow(tuple(self._piece(*window) for window in windows)))
        return [-summed.total for summed in self._losses(rows)]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[str]:
        """The greedy answer to each (prompt, options), up to its stop strings or its limit."""
        asked = [self._answer_request(*request.args) for request in requests]
        answers = [""] * len(asked)
        order = sorted(range(len(asked)), key=lambda number: -len(asked[number].input_ids))
        for begin in range(0, len(order), ROWS_AT_ONCE):
            numbers = order[begin : begin + ROWS_AT_ONCE]
            for number, answer in zip(numbers, self._answers([asked[i] for i in numbers]), strict=True):
                answers[number] = answer
            self._report(begin + len(numbers), len(order))
        return answers

    def _piece(self, context: Sequence[int], wanted: Sequence[int]) -> Rendered:
        """Ids in which only the wanted ones count, without the beginning of a context that is too long."""
        labels = [*[NOT_TRAINED] * len(context), *wanted]
        return Rendered([*context, *wanted][-self.max_length :], labels[-self.max_length :], line=0)

    def _losses(self, rows: Sequence[MeasuredRow]) -> list[SummedLoss]:
        total = sum(len(piece.input_ids) for row in rows for piece in row.pieces if piece.trained_tokens)
        done = 0

        def read(tokens: int) -> None:
            nonlocal done
            done += tokens
            self._report(done, total)

        return row_losses(self._column, rows, self._loaded.pad_id, read, self._cancelled)

    def _answer_request(self, prompt: str, options: dict[str, Any]) -> GenerationRequest:
        until = options.get("until") or []
        limits = [int(options[name]) for name in LIMIT_NAMES if options.get(name)]
        room = min(limits[0] if limits else MAX_NEW_TOKENS, self.max_length - 1)
        ids = self.tok_encode(prompt)[-(self.max_length - room) :]
        stop = (until,) if isinstance(until, str) else tuple(until)
        return GenerationRequest(ids, SamplingSettings(do_sample=False, max_new_tokens=room, stop=stop))

    def _answers(self, asked: Sequence[GenerationRequest]) -> Iterator[str]:
        texts = [AnswerText(self.tokenizer, request.sampling.stop) for request in asked]
        is_over = [False] * len(asked)
        eos_ids, pad_id = self._loaded.eos_ids, self._loaded.pad_id
        steps = decode(self._column.tree, eos_ids, pad_id, asked, lambda row: is_over[row], self._column.prefix)
        for tokens in steps:
            if self._cancelled():
                raise Cancelled
            for token in tokens:
                if not is_over[token.row] and token.token_id is not None:
                    is_over[token.row] = texts[token.row].add(token.token_id)
        for text, stopped in zip(texts, is_over, strict=True):
            if not stopped:
                text.finish()
            yield text.text


def rolling_windows(ids: Sequence[int], prefix_id: int, width: int) -> Iterator[tuple[list[int], list[int]]]:
    """(context, what is predicted) over a text, each of its tokens predicted once, in windows of `width` ids.

    As lm-eval cuts them: the context is one token, but in the last window as many as fit before it.
    """
    assert width > 1, "a window holds a token and what is predicted from it"
    whole = [prefix_id, *ids]
    for begin in range(1, len(whole), width - 1):
        end = min(begin + width - 1, len(whole))
        yield whole[max(0, end - width) : begin], whole[begin:end]
