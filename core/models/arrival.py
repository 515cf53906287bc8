"""How the arrival of a model is followed: progress told in phases and bytes, cancelling, and disk space.

Shared by everything that fills `models/`; it does not fetch or write anything itself.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import Place, WorkbenchError, refusal
from core.models.memory import GB

log = logging.getLogger("workbench.disk")

SPARE_BYTES = 200_000_000  # what must stay free for everything else
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)  # the disk's refusals, no bugs


@dataclass(frozen=True)
class Progress:
    """Where an arrival stands: `models.phase.<phase>` in words; bytes are 0 of 0 where a phase does not count them."""

    phase: str
    done_bytes: int = 0
    total_bytes: int = 0


Report = Callable[[Progress], None]
Cancelled = Callable[[], bool]


def never() -> bool:
    return False


def silent(progress: Progress) -> None:
    """A report that nobody reads."""


def check_disk(folder: Path, needed_bytes: int) -> None:
    """Refuse what would fill the disk.

    Raises:
        WorkbenchError: A13 with the numbers.
    """
    if shutil.disk_usage(folder).free < needed_bytes + SPARE_BYTES:
        raise disk_full(folder, needed_bytes + SPARE_BYTES)


def disk_full(folder: Path, needed_bytes: int) -> WorkbenchError:
    shown = {"needed": f"{needed_bytes / GB:.1f}", "free": f"{shutil.disk_usage(folder).free / GB:.1f}"}
    return refusal("A13_disk_full", Place(file=str(folder)), **shown)


def write_problem(folder: Path, needed_bytes: int, error: OSError) -> WorkbenchError:
    """What the system's refusal to write means: A13 where space or quota ran out, else A14."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(folder, needed_bytes)
    return refusal("A14_cannot_write", Place(file=str(folder)), reason=error.strerror or "")


def in_words(error: Exception, folder: Path) -> Exception:
    """The error itself; where the disk refused something, that in words for people: it is no bug."""
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        log.info("the disk refused", exc_info=error)
        return write_problem(folder, SPARE_BYTES, error)
    return error
