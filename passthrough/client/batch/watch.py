"""Watches a job until it has ended."""

from __future__ import annotations

from typing import Final

from ..api.connection import Connection
from ..api.jobs import Job, get
from ..runs.listener import Listener

_FIRST_S: Final = 1.0
_GROWTH: Final = 1.2
_MAX_S: Final = 15.0


async def ended(job_id: str, connection: Connection, listener: Listener) -> Job:
    """Return a job that has ended; the listener hears how far it is. Raises DocumentError where the API no longer says."""
    pause_s = _FIRST_S
    while True:
        job = await get(connection, job_id, listener.wait)
        listener.watch(job.status, job.done + job.failed, job.total)
        if job.has_ended:
            return job
        await connection.timing.sleep(pause_s)
        pause_s = min(pause_s * _GROWTH, _MAX_S)
