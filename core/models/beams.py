"""Beam search: one answer, searched by the library, let go on token by token and there as a whole at the end."""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import Future
from typing import Any

import torch

from core.models.decoding_rows import End, GenerationRequest, Token
from core.models.prefix import Prefix
from core.models.tree import Tree
from core.settings import SamplingSettings


class BeamSearch:
    """One search. Beams are searched, not drawn: `do_sample` and the seed don't count.

    The library's search is one call from beginning to end. It runs on a thread of its own, which computes only while
    `step` waits for it: so others may use the tree in between, and nobody waits for more than a token.
    """

    def __init__(
        self, eos_ids: Collection[int], pad_id: int, request: GenerationRequest, prefix: Prefix | None = None
    ) -> None:
        self._eos_ids, self._pad_id, self._request, self._prefix = eos_ids, pad_id, request, prefix
        self._beams = request.sampling.num_beams
        self._found: Future[list[Token]] = Future()
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._is_cancelled = False
        self._thread: threading.Thread | None = None

    def step(self, tree: Tree, cancelled: bool = False) -> list[Token]:
        """Search one token further; at the end the answer's tokens, the last of which says why it ended, else none.

        `tree` is that of the request's adapter as it is now. A cancelled search ends with a single cancelled `Token`.
        """
        if cancelled:
            self.close()
            return [Token(0, None, "cancelled")]
        with tree.with_adapters([self._request.adapter] * self._beams):
            if self._thread is None:
                self._thread = threading.Thread(target=self._search, args=(tree,), name="beam-search", daemon=True)
                self._thread.start()
            else:
                self._go.release()
            self._paused.acquire()
        return self._found.result() if self._found.done() else []

    def close(self) -> None:
        """End the search and its thread, wherever it is."""
        self._is_cancelled = True
        self._go.release()
        if self._thread is not None:
            self._thread.join()

    # From here on: the search's own thread.

    def _search(self, tree: Tree) -> None:
        try:
            self._found.set_result(self._answer(tree))
        except BaseException as error:  # noqa: BLE001  # whoever steps gets it
            self._found.set_exception(error)
        finally:
            self._paused.release()

    def _pause(self, ids: torch.Tensor, scores: Any) -> torch.Tensor:
        """After each token, (beams, length) and their scores: wait for the next step. Whether each beam is to end."""
        self._paused.release()
        self._go.acquire()
        return torch.full((len(ids),), self._is_cancelled, device=ids.device)

    def _answer(self, tree: Tree) -> list[Token]:
        sampling, prefix = self._request.sampling, self._prefix
        limit = tree.room(prefix)
        prompt = torch.tensor([self._request.input_ids], device=tree.device)
        room = sampling.max_new_tokens
        if limit is not None:
            room = min(room, limit - prompt.shape[1])
        if room <= 0:
            return [Token(0, None, "context")]
        memory = {tree.cache_name: prefix.memory(self._beams)} if prefix else {}
        with torch.no_grad():
            output = tree.bare.generate(
                input_ids=prompt,
                attention_mask=prompt.new_ones(1, prompt.shape[1] + (prefix.tokens if prefix else 0)),
                **memory,
                generation_config=_config(sampling, self._eos_ids, self._pad_id, room),
                stopping_criteria=[self._pause],
            )
        answer = output[0, prompt.shape[1] :].tolist()
        end = next((i for i, token_id in enumerate(answer) if token_id in self._eos_ids), None)
        if end is not None:
            return [*(Token(0, token_id) for token_id in answer[:end]), Token(0, None, "stop")]
        reason: End = "length" if room == sampling.max_new_tokens else "context"
        return [*(Token(0, token_id) for token_id in answer[:-1]), Token(0, answer[-1], reason)]


def _config(sampling: SamplingSettings, eos_ids: Collection[int], pad_id: int, room: int) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        num_beams=sampling.num_beams,
        max_new_tokens=room,
        repetition_penalty=sampling.repetition_penalty,
        no_repeat_ngram_size=sampling.no_repeat_ngram_size,
        eos_token_id=sorted(eos_ids),
        pad_token_id=pad_id,
        use_cache=True,
    )
