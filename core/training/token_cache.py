"""Rendered rows on disk, so that a large data set is not tokenised again for each plan and each run.

Owns those files, `training/cache/<key>.npz`, their size in all and their key: whatever decides the ids — the examples'
content, the rendering options, the tokenizer with its template, the code that renders and the libraries under it. A
file that is damaged in any way is thrown away and made anew; nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from core.data.conversation import Example
from core.data.options import RENDERING, DataOptions
from core.data.rendering import NOT_TRAINED, Rendered, RenderedSet
from core.errors import Place, Problem
from core.workspace import write_bytes

FORMAT_VERSION = 1
KEPT_BYTES = 2_000_000_000
WORTH_KEEPING = 300_000  # characters of a data set; a smaller one is rendered in about a second
RENDERING_CODE = ("rendering.py", "turns.py", "templates.py", "template_forms.py", "documents.py")


@dataclass(frozen=True)
class TokenCache:
    """The cache in a folder, which is made when it is first needed. May be used from several threads and processes."""

    folder: Path
    kept_bytes: int = KEPT_BYTES

    def rendered(self, key: str, render: Callable[[], RenderedSet]) -> RenderedSet:
        """What `render` gives, from the cache if it is there. What it raises is not kept."""
        path = self.folder / f"{key}.npz"
        found = _read(path)
        if found is not None:
            with suppress(OSError):
                os.utime(path)  # the newest are kept
            return found
        made = render()
        with suppress(OSError):  # a full disk costs time, not the run
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(path, _content(made))
            self._forget_oldest()
        return made

    def _forget_oldest(self) -> None:
        files = sorted(((file.stat(), file) for file in self.folder.glob("*.npz")), key=lambda each: -each[0].st_mtime)
        total = 0
        for stat, file in files:
            total += stat.st_size
            if total > self.kept_bytes:
                file.unlink(missing_ok=True)


def cache_key(tokenizer: Any, examples: Sequence[Example], options: DataOptions) -> str:
    """What decides the ids of these examples, as a hash; another file with the same rows has the same."""
    digest = hashlib.sha256()
    backend = getattr(tokenizer, "backend_tokenizer", None)
    settings = {
        "format": FORMAT_VERSION,
        "code": _code_hash(),
        "libraries": [version("transformers"), version("tokenizers")],
        "tokenizer": backend.to_str() if backend is not None else tokenizer.get_vocab(),
        "kind": type(tokenizer).__name__,
        "template": tokenizer.chat_template,
        "special": {name: str(token) for name, token in sorted(tokenizer.special_tokens_map.items())},
        "options": [getattr(options, name) for name in RENDERING],
    }
    digest.update(json.dumps(settings, sort_keys=True).encode("utf-8", "surrogatepass"))
    for example in examples:
        content = [example.messages, example.line, example.file, example.tools, example.text]
        digest.update(json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _code_hash() -> str:
    from core.data import rendering

    folder = Path(rendering.__file__).parent
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in RENDERING_CODE)).hexdigest()


def _content(rendered: RenderedSet) -> bytes:
    """A set of whole rows as a file. Labels are the ids or `NOT_TRAINED`, so a bit each says them all."""
    rows = rendered.rows
    about = {"documents": rendered.documents, "problems": [asdict(problem) for problem in rendered.problems]}
    trained = [label != NOT_TRAINED for row in rows for label in row.labels]
    file = io.BytesIO()
    np.savez(
        file,
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        ids=np.fromiter((token for row in rows for token in row.input_ids), np.int32, len(trained)),
        trained=np.packbits(np.array(trained, bool)),
        lengths=np.array(rendered.lengths, np.int64),
        lines=np.array([row.line for row in rows], np.int64),
    )
    return file.getvalue()


def _read(path: Path) -> RenderedSet | None:
    """The set in a file; None where there is none or it is damaged, which a checksum in it tells."""
    try:
        held = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        about = json.loads(held["about"].tobytes())
        ids, lengths, lines = held["ids"], held["lengths"], held["lines"].tolist()
        trained = np.unpackbits(held["trained"], count=len(ids)).astype(bool)
        labels = np.where(trained, ids, NOT_TRAINED)
        ends = [0, *np.cumsum(lengths).tolist()]
        rows = [
            Rendered(ids[start:end].tolist(), labels[start:end].tolist(), line)
            for (start, end), line in zip(pairwise(ends), lines, strict=True)
        ]
        problems = tuple(Problem(**{**each, "place": Place(**each["place"])}) for each in about["problems"])
        return RenderedSet(rows, about["documents"], problems=problems)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is made anew
        return None
