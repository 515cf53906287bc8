"""New zip files to give away: the same content makes the same bytes, and no piece is in memory for long.

Owns the folder of its own that such a file gets, its dates and its packing. What goes in, and under which names, is
known by those who write it (`core.training.run_archive`, `core.exports`); foreign zips are `core.data.reading.zips`'.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.errors import Place, refusal

EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip can say
PIECE_BYTES = 1 << 20


@contextmanager
def new_zip(target_folder: Path, name: str) -> Iterator[zipfile.ZipFile]:
    """A zip to be filled, in a new folder within one that there is; `archive.filename` says where.

    Nobody can guess the folder's name, so only those who are told it can fetch the file where such folders are served.

    Raises:
        WorkbenchError: A14 where it cannot be written; nothing is left behind.
    """
    own = new_folder_in(target_folder)
    try:
        with zipfile.ZipFile(own / name, "w") as archive:
            yield archive
    except OSError as error:
        shutil.rmtree(own, ignore_errors=True)
        raise refusal("A14_cannot_write_file", Place(file=name), reason=error.strerror or "") from error
    except BaseException:
        shutil.rmtree(own, ignore_errors=True)
        raise


def new_folder_in(target_folder: Path) -> Path:
    """A new folder for one file to be fetched, under a name that nobody can guess.

    Raises:
        WorkbenchError: A14 where there can be none.
    """
    try:
        return Path(tempfile.mkdtemp(dir=target_folder))
    except OSError as error:
        raise refusal("A14_cannot_write_file", Place(file=str(target_folder)), reason=error.strerror or "") from error


def entry(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A new file in the archive. Weights are stored as they are: random numbers do not get smaller."""
    info = zipfile.ZipInfo(name, EARLIEST)
    info.compress_type = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return archive.open(info, "w", force_zip64=True)


def add_file(
    archive: zipfile.ZipFile, file: Path, name: str, wrote: Callable[[int], None] = lambda count: None
) -> None:
    """Copy a file into the archive; `wrote` is told the bytes of each piece."""
    with file.open("rb") as source, entry(archive, name) as target:
        while piece := source.read(PIECE_BYTES):
            target.write(piece)
            wrote(len(piece))
