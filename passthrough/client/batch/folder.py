"""The hidden folder of a batch job: its order, its state, and a lock that only one run holds."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ..api.connection import DEFAULT_BASE
from ..errors import ClientError
from ..output.disk import open_locked, remove, sync, write_whole
from ..shown import shown
from .state import BatchOrder, BatchState

NAME: Final = ".passthrough-ocr-batch"
_ORDER: Final = "order.json"
_STATE: Final = "state.json"
_HINT: Final = "Make space, or check the folder's permissions."
PARTS: Final = "parts"
"""The folder in it for what documents are cut into."""
LINES: Final = "lines-{}.jsonl"
_LOCK: Final = "lock"
_MAGIC: Final = frozenset("*?[")


def home_of(out: Path | None, inputs: Sequence[str]) -> Path:
    """Return the folder in which a job is kept: that of all outputs, else the deepest one that holds all inputs.

    Of a pattern counts what stands before its first wildcard. Without any file among the inputs it is the working directory.
    """
    if out is not None:
        return out.absolute()
    named = [_folder_of(Path(each)) for each in inputs if each != "-" and not each.startswith(("http://", "https://"))]
    above = (above for each in named[:1] for above in (each, *each.parents))
    return next((folder for folder in above if all(each.is_relative_to(folder) for each in named)), Path.cwd())


def _folder_of(named: Path) -> Path:
    path = named.absolute()
    if path.is_dir():
        return path
    if not path.exists():
        for parent in reversed(path.parents):
            if _MAGIC & set(parent.name) and not parent.exists():
                return parent.parent
    return path.parent


ORDER_UNKNOWN: Final = "Whether the job is ordered is not known. To look for it:"
"""What is said before `resume_command`, where the order was sent and no response to it came."""


def resume_command(home: Path, base_url: str = DEFAULT_BASE) -> str:
    """Return what a person types to go on with the job that is kept in `home`, at an API."""
    where = "" if home == Path.cwd() else f" {shlex.quote(str(home))}"
    at = "" if base_url == DEFAULT_BASE else f" --base-url {shlex.quote(base_url)}"
    return f"passthrough ocr --batch --resume{where}{at}"


def read_order(home: Path) -> BatchOrder | None:
    """Return the order that is kept in a folder, None without one. Raises ClientError for a file that is none."""
    path = home / NAME / _ORDER
    try:
        return BatchOrder.from_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


class BatchFolder:
    """The folder of one job, whose lock this process holds. All its methods block, and raise OSError."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / NAME

    def state(self) -> BatchState | None:
        """Return the state, None without a job. Raises ClientError for a file that is none."""
        path = self.path / _STATE
        try:
            return BatchState.from_json(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from None

    def save(self, state: BatchState) -> None:
        """Replace the state, which is on disk afterwards."""
        write_whole(self.path / _STATE, state.to_value())
        sync(self.path)

    def saved_s_ago(self) -> float:
        """Return how long ago the state was saved, in seconds."""
        return max(time.time() - (self.path / _STATE).stat().st_mtime, 0.0)

    def save_order(self, order: BatchOrder) -> None:
        """Replace the order, which is on disk afterwards."""
        write_whole(self.path / _ORDER, order.to_value())

    def remove_sources(self) -> None:
        """Remove what documents were cut into, and the files of lines: they are large."""
        shutil.rmtree(self.path / PARTS, ignore_errors=True)
        for path in self.path.glob(LINES.format("*")):
            path.unlink()

    def empty(self) -> None:
        """Remove everything but the lock, the state first: without it there is no job."""
        (self.path / _STATE).unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.name != _LOCK:
                remove(entry)


@contextmanager
def claim(home: Path) -> Iterator[BatchFolder]:
    """Yield the folder of the job in `home`, which is made where it is missing, and removed where no job is left in it.

    Raises ClientError where another run is at work on it, or no folder can be made.
    """
    folder = BatchFolder(home)
    try:
        lock = _locked(folder.path)
    except OSError as error:
        raise ClientError(f"{shown(home)}: no batch can be kept here: {_words(error)}.\n  Name a folder with -o.") from None
    try:
        yield folder
    except OSError as error:
        raise ClientError(f"{shown(folder.path)}: the batch cannot be kept here: {_words(error)}.\n  {_HINT}") from None
    finally:
        if not (folder.path / _STATE).exists():
            shutil.rmtree(folder.path, ignore_errors=True)
        os.close(lock)


def _locked(path: Path) -> int:
    """Return a descriptor of the lock's file, locked. Raises OSError, ClientError."""
    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another run removed the folder just now: it is made again
            lock = open_locked(path / _LOCK, wait=False, mode=0o600)
            if lock is None:
                raise ClientError(f"{shown(path.parent)}: another run is at work on the batch here.\n  Wait for its end.")
            return lock


def _words(error: OSError) -> str:
    return error.strerror or str(error)


def _unreadable(path: Path, error: Exception) -> ClientError:
    hint = "Its job, if there is one, is listed by GET /v1/batch/jobs. Remove the folder to order again."
    return ClientError(f"{shown(path)} cannot be read: {error}\n  {hint}")
