"""Who may use the API: the key, where it comes from, and the check of one that was sent.

The key is read from a file or from the environment, never from the command line, which every user of the machine can
see. Owns no route and no web server.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import Place, excerpt, refusal

KEY_VARIABLE = "WORKBENCH_API_KEY"
MIN_KEY_CHARACTERS = 16
MAX_KEY_BYTES = 4096

State = Literal["open", "key", "closed"]


@dataclass(frozen=True)
class Access:
    """The key that is asked for, None for none; `guarded` says that nobody may do without one.

    A server that others can reach, or whose page asks for a password, is guarded; without a key its API is closed.
    """

    key: str | None = None
    guarded: bool = False

    @property
    def state(self) -> State:
        if self.key is not None:
            return "key"
        return "closed" if self.guarded else "open"

    def check(self, authorization: str) -> None:
        """Let the holder of the key pass, in a time that does not depend on what is wrong.

        Raises:
            WorkbenchError: A25 where the API is closed, or the header has no key or another one.
        """
        if self.state == "closed":
            raise refusal("A25_api_closed", variable=KEY_VARIABLE)
        if self.key is None:
            return
        scheme, _, sent = authorization.partition(" ")
        if scheme.lower() != "bearer" or not sent.strip():
            raise refusal("A25_api_key_missing")
        if not hmac.compare_digest(sent.strip().encode("utf-8", "replace"), self.key.encode()):
            raise refusal("A25_api_key_wrong")


def read_key(file: Path | None) -> str | None:
    """The key in a file, else in the environment; None where neither has one.

    Raises:
        WorkbenchError: A25 where the file cannot be read, or the key is none that can be sent or is easy to guess.
    """
    if file is None:
        key = os.environ.get(KEY_VARIABLE)
        return None if key is None else _checked(key, KEY_VARIABLE)
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_KEY_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise refusal("A25_api_key_unreadable", Place(file=str(file)), reason=excerpt(error)) from error
    return _checked(content, str(file))


def _checked(content: str, place: str) -> str:
    key = content.strip()
    if len(key) < MIN_KEY_CHARACTERS or not key.isascii() or not key.isprintable() or " " in key:
        raise refusal("A25_api_key_weak", Place(file=place), least=MIN_KEY_CHARACTERS)
    return key
