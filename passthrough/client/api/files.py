"""Files at the API: uploaded, found by name, downloaded, deleted; all of it free."""

from __future__ import annotations

import json
import mimetypes
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import ClientResponse

from ..errors import DocumentError
from ..threads import in_thread
from .calls import Call, Refused, send
from .connection import Connection
from .incoming_file import IncomingFile
from .pauses import OnWait
from .refusals import Meaning
from .request_body import FileContent, RequestBody

_MAX_BODY: Final = 1 << 24
_PAGE_SIZE: Final = 100
_MAX_PAGES: Final = 5
_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._:-]{0,199}")
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f"\\/\ud800-\udfff]')


class NotStored(DocumentError):
    """An upload failed, and the API has nothing of it: no try left whole, or the only one was refused."""


class FilesMissing(NotStored):
    """The API has no path for files."""


def _unheard(seconds: float, why: str) -> None:
    """Hear of a wait that concerns no one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file at the API. Not `is_only`: an earlier try may have left another one of its name, which could not be deleted."""

    id: str
    is_only: bool = True


async def upload(
    connection: Connection,
    path: Path,
    name: str,
    purpose: str,
    on_wait: OnWait = _unheard,
    *,
    on_sent: Callable[[], object] = lambda: None,
) -> Stored:
    """Upload a file under a name that no other has. `on_sent` is called where a try has left: from then on it may be there.

    What a try left there whose response was lost is deleted. Raises DocumentError: NotStored where nothing can be there,
    FilesMissing where the API stores no files.
    """
    content = await in_thread(partial(FileContent.of, path, as_base64=False))
    bodies: list[RequestBody] = []

    def body() -> RequestBody:
        bodies.append(_form(stored_name(name), purpose, content, connection.timing.silence_s, on_sent))
        return bodies[-1]

    try:
        uploaded = await send(connection, Call("POST", connection.endpoint.url("/files"), body), received_json, on_wait)
    except DocumentError as error:
        refusal = error.refusal if isinstance(error, Refused) else None
        if refusal is not None and refusal.lacks_files:
            connection.has_files = False
            why = f"The API stores no files ({refusal.status}): {refusal.message}."
            raise FilesMissing(why, "Check --base-url or PASSTHROUGH_BASE_URL, or leave --batch out.") from None
        is_refused = refusal is not None and refusal.meaning is Meaning.FINAL and len(bodies) == 1
        if is_refused or not any(each.is_whole for each in bodies):
            raise NotStored(error.why, error.hint, ends_run=error.ends_run) from None
        raise
    file_id = id_of(uploaded)
    if len(bodies) > 1:
        try:
            for each in await find(connection, name, on_wait):
                if each != file_id:
                    await delete(connection, each, on_wait)
        except DocumentError:
            return Stored(file_id, is_only=False)
    return Stored(file_id)


async def delete(connection: Connection, file_id: str, on_wait: OnWait = _unheard) -> None:
    """Delete a file; one that is not there is deleted. Raises DocumentError."""
    call = Call("DELETE", connection.endpoint.url(f"/files/{quote(file_id, safe='')}"), is_urgent=True)
    try:
        await send(connection, call, _ignored, on_wait)
    except Refused as error:
        if error.refusal.status not in {404, 410}:
            raise


async def delete_upload(connection: Connection, name: str, file_id: str | None) -> int:
    """Delete an upload, by its name where its id is not known; return how many files that were. Raises DocumentError."""
    ids = [file_id] if file_id is not None else await find(connection, name)
    for each in ids:
        await delete(connection, each)
    return len(ids)


async def find(connection: Connection, name: str, on_wait: OnWait = _unheard) -> list[str]:
    """Return the ids of the files of exactly this name, among the newest. Raises DocumentError."""
    wanted = stored_name(name)

    def matches(stored: dict[str, Any]) -> bool:
        return stored.get("filename") == wanted

    return [id_of(each) for each in await listed(connection, "/files", {"search": wanted}, matches, on_wait)]


async def download(connection: Connection, file_id: str, into: Path, on_wait: OnWait = _unheard) -> None:
    """Write a file's content into the file `into`, which is there only once it is whole. Raises DocumentError."""
    call = Call("GET", connection.endpoint.url(f"/files/{quote(file_id, safe='')}/content"))
    async with IncomingFile.created(into, is_billed=False) as file:
        await send(connection, call, file.receive, on_wait)
        await file.finish()


async def listed(
    connection: Connection,
    path: str,
    query: dict[str, str],
    matches: Callable[[dict[str, Any]], bool],
    on_wait: OnWait,
) -> list[dict[str, Any]]:
    """Return those objects of a list of the API, the newest 500 of it, that match. Raises DocumentError."""
    found: list[dict[str, Any]] = []
    for page in range(_MAX_PAGES):
        asked = urlencode({**query, "page": page, "page_size": _PAGE_SIZE})
        url = connection.endpoint.url(path)
        value = await send(connection, Call("GET", f"{url}{'&' if '?' in url else '?'}{asked}"), received_json, on_wait)
        shown = value.get("data") if isinstance(value, dict) else None
        objects = [each for each in shown if isinstance(each, dict)] if isinstance(shown, list) else []
        found += [each for each in objects if matches(each)]
        if len(objects) < _PAGE_SIZE:
            break
    return found


async def received_json(response: ClientResponse) -> Any:
    """Return a response's JSON value. Raises DocumentError, and the network's errors."""
    body = bytearray()
    async for piece in response.content.iter_chunked(1 << 16):
        body += piece
        if len(body) > _MAX_BODY:
            raise _unexpected()
    try:
        return await in_thread(partial(json.loads, body))
    except (ValueError, RecursionError):
        raise _unexpected() from None


def id_of(value: object) -> str:
    """Return the id in an object of the API: it becomes a part of URLs. Raises DocumentError."""
    found = value.get("id") if isinstance(value, dict) else None
    if not isinstance(found, str) or _ID.fullmatch(found) is None:
        raise _unexpected()
    return found


def stored_name(name: str) -> str:
    """Return the name under which a file is uploaded and found: without what a form's field could not hold."""
    return _UNSAFE.sub("_", name)


async def _ignored(response: ClientResponse) -> None:
    await response.read()


def _form(name: str, purpose: str, content: FileContent, silence_s: float, on_sent: Callable[[], object]) -> RequestBody:
    """Return the upload's form, `purpose` before the file."""
    boundary = f"passthrough-{secrets.token_hex(16)}"
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    before = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {media_type}\r\n\r\n'
    )
    form = f"multipart/form-data; boundary={boundary}"
    after = f"\r\n--{boundary}--\r\n".encode()
    return RequestBody(before.encode(), content, after, media_type=form, silence_s=silence_s, on_whole=on_sent)


def _unexpected() -> DocumentError:
    return DocumentError("The response is not one of an API of Mistral's shape.", "Check --base-url or PASSTHROUGH_BASE_URL.")
