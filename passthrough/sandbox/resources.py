"""The objects that the handlers of the sandbox's service share, kept in its application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from .batch.batches import Batches
from .file_store import FileStore
from .job_thread import JobThread
from .pace import Pace
from .provider import Provider


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest bodies: of JSON requests, and of a file within an upload."""

    json_bytes: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Resources:
    """What exists while the sandbox runs: the files, the batches, and the threads that read documents and write files."""

    files: FileStore
    batches: Batches
    reader: JobThread
    disk: JobThread


RESOURCES: Final = web.AppKey("resources", Resources)
BOUNDS: Final = web.AppKey("bounds", Bounds)
PROVIDER: Final = web.AppKey("provider", Provider)
PACE: Final = web.AppKey("pace", Pace)
