"""The state of a job under way, with its files at the provider: each is noted before it is uploaded, and deleted at the end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from ..api.connection import Connection
from ..api.files import NotStored, delete, delete_upload, upload
from ..api.pauses import OnWait
from ..errors import DocumentError
from ..output.disk import Step, no_step
from ..threads import in_thread
from .folder import BatchFolder, resume_command
from .state import BatchState, Phase, Upload

_DELETE_S: Final = 10.0
"""For deleting what a run that ends had uploaded; what is left then is noted, and the next run deletes it."""


class JobState:
    """The state of a job that is under way: each change is on disk before it counts. `step` is called after each step."""

    def __init__(self, folder: BatchFolder, value: BatchState, step: Step = no_step) -> None:
        self.folder = folder
        self.value = value
        self.step = step
        self._sent: set[str] = set()

    @property
    def resume_command(self) -> str:
        """What a person types to go on with it."""
        return resume_command(self.folder.home, self.value.base_url)

    async def save(self, value: BatchState) -> None:
        """Make this the state."""
        await in_thread(lambda: self.folder.save(value))
        self.value = value
        self.step(value.phase)

    async def upload(self, connection: Connection, path: Path, name: str, purpose: str, on_wait: OnWait) -> str:
        """Return the id of a file that is uploaded now; it is noted before.

        Raises DocumentError: it stays noted, but for NotStored.
        """
        noted = Upload(name)
        await self.save(replace(self.value, uploads=(*self.value.uploads, noted)))
        try:
            stored = await upload(connection, path, name, purpose, on_wait, on_sent=partial(self._sent.add, name))
        except NotStored:
            await self.save(replace(self.value, uploads=tuple(each for each in self.value.uploads if each != noted)))
            raise
        self.step("uploaded")
        if stored.is_only:  # else all of its name are to be deleted
            uploads = tuple(Upload(name, stored.id) if each == noted else each for each in self.value.uploads)
            await self.save(replace(self.value, uploads=uploads))
        return stored.id

    async def delete_all(self, connection: Connection, *, is_soon: bool = False) -> bool:
        """Delete uploads and results; return whether all are gone. What is not stays noted.

        `is_soon`: an upload that was sent just now, had no response and is not found may be listed later, and stays noted, too.
        """
        for result in self.value.results:
            with suppress(DocumentError):
                await delete(connection, result)
                self.step("deleted")
                await self.save(replace(self.value, results=tuple(each for each in self.value.results if each != result)))
        for noted in self.value.uploads:
            with suppress(DocumentError):
                count = await delete_upload(connection, noted.name, noted.id)
                if count or noted.id is not None or not (is_soon and noted.name in self._sent):
                    self.step("deleted")
                    await self.save(replace(self.value, uploads=tuple(each for each in self.value.uploads if each != noted)))
        return not self.value.uploads and not self.value.results

    async def withdraw(self, connection: Connection) -> None:
        """Delete what was uploaded for a job that is not ordered, and forget the job. What cannot be deleted soon stays noted."""
        await in_thread(self.folder.remove_sources)  # first: the disk may be full because of them
        await self.save(replace(self.value, phase=Phase.PREPARING, lines=()))
        with suppress(TimeoutError):
            async with asyncio.timeout(_DELETE_S):
                if await self.delete_all(connection, is_soon=True):
                    await in_thread(self.folder.empty)
