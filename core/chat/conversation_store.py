"""The conversations that the server keeps: one JSON file each, named by an id that the server drew.

Owns reading and writing the files. What a conversation is and what can be done to it is `conversations`'. A damaged
file is reported and left alone; the others are listed. Saving replaces a whole file, so no reader sees half of one.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from core.chat.conversations import FORMAT_VERSION, TITLE_CHARACTERS, Conversation, matches
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.workspace import read_json, sync_folder, write_bytes

MAX_FILE_BYTES = 64 * 1024 * 1024
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class ConversationSummary:
    """A conversation as a list shows it."""

    id: str
    title: str
    updated: str
    turns: int


@dataclass(frozen=True)
class ConversationList:
    """Conversations, the last changed first, and the files that could not be read."""

    summaries: tuple[ConversationSummary, ...]
    problems: tuple[Problem, ...]


class ConversationStore:
    """The conversations in one folder. Safe to use from several threads; the last save of a conversation counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing = threading.Lock()

    def new(self, model: str = "", character: str = "", greeting: str = "") -> Conversation:
        """A fresh conversation; it gets a file with its first `save`."""
        moment = _now()
        return Conversation(
            id=uuid.uuid4().hex, created=moment, updated=moment, model=model, character=character, greeting=greeting
        )

    def save(self, conversation: Conversation) -> Conversation:
        """Write a conversation; returns it with the time of this change."""
        saved = conversation.model_copy(update={"updated": _now()})
        with self._writing:
            write_bytes(self._file(saved.id), saved.model_dump_json(indent=1).encode("utf-8", "replace"))
        return saved

    def load(self, conversation_id: str) -> Conversation:
        """Read a conversation.

        Raises:
            WorkbenchError: A30 where there is none with this id; A21 where its file is damaged or newer than this.
        """
        file = self._file(conversation_id)
        if not file.is_file():
            raise refusal("A30_no_conversation", Place(excerpt=excerpt(conversation_id)))
        return _read(file)

    def list(self) -> ConversationList:
        return self.search("")

    def search(self, words: str) -> ConversationList:
        """The conversations in which every word was said, or all of them."""
        found: list[Conversation] = []
        problems: list[Problem] = []
        for file in self._files():
            try:
                conversation = _read(file)
            except WorkbenchError as error:
                problems += error.problems
            else:
                if matches(conversation, words):
                    found.append(conversation)
        found.sort(key=lambda conversation: (conversation.updated, conversation.id), reverse=True)
        summaries = (ConversationSummary(each.id, each.title, each.updated, len(each.turns)) for each in found)
        return ConversationList(tuple(summaries), tuple(problems))

    def rename(self, conversation_id: str, title: str) -> Conversation:
        """Give a conversation another title; one of only spaces changes nothing."""
        conversation = self.load(conversation_id)
        shown = " ".join(title.split())[:TITLE_CHARACTERS]
        return self.save(conversation.model_copy(update={"title": shown})) if shown else conversation

    def delete(self, conversation_id: str) -> None:
        """Delete a conversation, a damaged one too; deleting one that is gone already is no error.

        Raises:
            WorkbenchError: A30 where the id is none.
        """
        with self._writing:
            self._file(conversation_id).unlink(missing_ok=True)
            if self._folder.is_dir():
                sync_folder(self._folder)

    def _file(self, conversation_id: str) -> Path:
        if not isinstance(conversation_id, str) or not _ID.fullmatch(conversation_id):
            raise refusal("A30_no_conversation", Place(excerpt=excerpt(conversation_id)))
        return self._folder / f"{conversation_id}.json"

    def _files(self) -> Sequence[Path]:
        files = self._folder.glob("*.json") if self._folder.is_dir() else ()
        return sorted(file for file in files if _ID.fullmatch(file.stem))


def _read(file: Path) -> Conversation:
    place = Place(file=file.name)
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise refusal("A21_conversation_damaged", place, reason=f"> {MAX_FILE_BYTES} B")
        values = read_json(file)
        version = values.get("format_version") if isinstance(values, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise refusal("A21_conversation_is_newer", place, found=version, known=FORMAT_VERSION)
        conversation = Conversation.model_validate(values)
    except (OSError, ValueError, RecursionError) as error:
        raise refusal("A21_conversation_damaged", place, reason=_reason(error)) from error
    if conversation.id != file.stem:
        raise refusal("A21_conversation_damaged", place, reason="id")
    return conversation


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        details = error.errors()[0]
        return excerpt(f"{'.'.join(str(part) for part in details['loc'])}: {details['msg']}")
    return excerpt(error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
