"""One answer's tokens as text while they come: whole characters only, and never a part of a stop string.

Owns incremental detokenisation and stop strings. Text that was shown is never changed: a character spread over several
tokens (Chinese, emoji) appears when it is complete, and the beginning of what may become a stop string is held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

INCOMPLETE = "\ufffd"  # what decoding shows for the first bytes of a character whose last ones have yet to come
MAX_HELD_TOKENS = 8  # bytes that still are no character after so many tokens never will be


class AnswerText:
    """The growing text of one answer, after the start of it that was given (`reply_start`).

    `before` are the last ids of the prompt where a reply was started: some tokenizers drop the space at the beginning
    of what they decode.
    """

    def __init__(
        self, tokenizer: Any, stop: Sequence[str] = (), reply_start: str = "", before: Sequence[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._stop = [words for words in stop if words]
        self._reply_start = reply_start
        self._ids = list(before)
        self._known_from = 0  # ids[known_from:decoded_to] are decoded again as context for what follows them
        self._decoded_to = len(self._ids)
        self._whole = ""
        self._shown_characters = 0

    @property
    def text(self) -> str:
        """What may be shown now, the given start included."""
        return self._reply_start + self._whole[: self._shown_characters]

    def add(self, token_id: int) -> bool:
        """Take the next token; True where a stop string is complete: the text then ends before it."""
        self._ids.append(token_id)
        return self._take(self._new_characters())

    def finish(self) -> None:
        """No token follows: show what was held back for a stop string, drop an unfinished character."""
        self._take(self._new_characters(last=True).rstrip(INCOMPLETE))
        self._shown_characters = len(self._whole)

    def _new_characters(self, last: bool = False) -> str:
        old = self._decode(self._ids[self._known_from : self._decoded_to])
        new = self._decode(self._ids[self._known_from :])
        held = len(self._ids) - self._decoded_to
        if not last and (len(new) <= len(old) or (new.endswith(INCOMPLETE) and held < MAX_HELD_TOKENS)):
            return ""
        self._known_from, self._decoded_to = self._decoded_to, len(self._ids)
        return new[len(old) :]

    def _take(self, characters: str) -> bool:
        longest = max((len(words) for words in self._stop), default=1)
        search_from = max(0, len(self._whole) - longest + 1)
        self._whole += characters
        ends = [at for words in self._stop if (at := self._whole.find(words, search_from)) >= 0]
        if ends:
            self._whole = self._whole[: min(ends)]
            self._shown_characters = len(self._whole)
            return True
        self._shown_characters = len(self._whole) - max((self._overlap(words) for words in self._stop), default=0)
        return False

    def _overlap(self, words: str) -> int:
        """How many characters at the end of the text may be the beginning of this stop string."""
        return next(
            (n for n in range(min(len(words) - 1, len(self._whole)), 0, -1) if self._whole.endswith(words[:n])), 0
        )

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
