"""How Open WebUI and LibreChat have a document read: upload, signed URL, OCR, delete; each request as the program sends it.

After open_webui/retrieval/loaders/mistral.py of Open WebUI and packages/api/src/files/mistral/crud.ts of LibreChat. Both delete
their file also where something failed. Open WebUI's further tries after 429 and 5xx are left out: a test counts what it sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PDF = b"%PDF-1.4\n%%EOF\n"


@dataclass(slots=True)
class Sequence:
    """What came of one document: the status and the proxy's own code (None: the provider's response) of each request."""

    name: str
    answers: list[tuple[str, int, str | None]] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    @property
    def worked(self) -> bool:
        """Whether the document was read and its file deleted."""
        return [200] * 4 == [status for _, status, _ in self.answers]

    async def ask(self, step: str, response: Any) -> Any:
        """Await a response, note it, and return its JSON value. Raises _Failed where it is none of 200."""
        async with response as answer:
            self.answers.append((step, answer.status, answer.headers.get("X-Passthrough-Error")))
            if answer.status != 200:
                raise _FailedStep
            return await answer.json()


class _FailedStep(Exception):
    """A request that got another status than 200: the program gives up the document."""


DocumentProgram = Callable[[aiohttp.ClientSession, str, str, str], Awaitable[Sequence]]
"""Reads one document: by a session, the base URL with its `/v1`, the client key and the file's name."""


async def open_webui(session: aiohttp.ClientSession, base: str, key: str, name: str) -> Sequence:
    """Read a document as Open WebUI does."""
    headers = {"Authorization": f"Bearer {key}", "User-Agent": "OpenWebUI-MistralLoader/2.0"}
    accepting = {**headers, "Accept": "application/json"}
    with aiohttp.MultipartWriter("form-data") as form:
        form.append("ocr").set_content_disposition("form-data", name="purpose")
        part = form.append(PDF, {"Content-Type": "application/pdf"})
        part.set_content_disposition("form-data", name="file", filename=name)
    one = Sequence(name)

    def upload() -> Any:
        return session.post(f"{base}/files", data=form, headers=headers)

    def signed(file: str) -> Any:
        return session.get(f"{base}/files/{file}/url", params={"expiry": 1}, headers=accepting)

    def ocr(url: str) -> Any:
        document = {"type": "document_url", "document_url": url}
        body = {"model": "mistral-ocr-latest", "document": document, "include_image_base64": False}
        return session.post(f"{base}/ocr", json=body, headers=accepting)

    def delete(file: str) -> Any:
        return session.delete(f"{base}/files/{file}", headers=headers)

    await _read(one, upload, signed, ocr, delete)
    return one


async def librechat(session: aiohttp.ClientSession, base: str, key: str, name: str) -> Sequence:
    """Read a document as LibreChat does (axios and its form-data)."""
    headers = {
        "Accept": "application/json, text/plain, */*",
        "Authorization": f"Bearer {key}",
        "User-Agent": "axios/1.8.2",
        "Accept-Encoding": "gzip, compress, deflate, br",
    }
    line = "-" * 26 + "515890814546601021194782"
    form = (
        (
            f'--{line}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nocr\r\n'
            f'--{line}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: application/pdf\r\n\r\n'
        ).encode()
        + PDF
        + f"\r\n--{line}--\r\n".encode()
    )
    one = Sequence(name)

    def upload() -> Any:
        described = {**headers, "Content-Type": f"multipart/form-data; boundary={line}"}
        return session.post(f"{base}/files", data=form, headers=described)

    def signed(file: str) -> Any:
        return session.get(f"{base}/files/{file}/url?expiry=24", headers=headers)

    def ocr(url: str) -> Any:
        document = {"type": "document_url", "document_url": url}
        body = {"model": "mistral-ocr-latest", "image_limit": 0, "include_image_base64": False, "document": document}
        return session.post(f"{base}/ocr", json=body, headers={**headers, "Content-Type": "application/json"})

    def delete(file: str) -> Any:
        return session.delete(f"{base}/files/{file}", headers=headers)

    await _read(one, upload, signed, ocr, delete)
    return one


async def _read(
    one: Sequence,
    upload: Callable[[], Any],
    signed: Callable[[str], Any],
    ocr: Callable[[str], Any],
    delete: Callable[[str], Any],
) -> None:
    file: str | None = None
    try:
        file = (await one.ask("upload", upload()))["id"]
        assert file is not None
        url = (await one.ask("url", signed(file)))["url"]
        one.pages = [page["markdown"] for page in (await one.ask("ocr", ocr(url)))["pages"]]
    except _FailedStep:
        pass
    if file is not None:
        with suppress(_FailedStep):
            await one.ask("delete", delete(file))
