"""An upstream with accounts, in Mistral's shape: files and batch jobs belong to the credential that made them.

It takes `/v1/files`, signed URLs of files, `/v1/ocr` and `/v1/batch/jobs`, strictly, and keeps what each account saw. It can be
killed and started again on its port, and throttle or reject one account.
"""

from __future__ import annotations

import base64
import email
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from itertools import count
from typing import Any

from tests.harness.ports import free_port
from tests.harness.upstream import Peer, RawUpstream, Received, ok, reset

Accounts = Callable[[bytes], str | None]
"""Tells by an Authorization field's value whose account it is; None: 401."""

_FILE = re.compile(r"/v1/files/([\w-]+)(/url|/content)?")
_JOB = re.compile(r"/v1/batch/jobs/([\w-]+)")


def of_keys(keys: Mapping[str, str]) -> Accounts:
    """Tell accounts apart by bearer keys: `keys` are accounts by key."""
    return {f"Bearer {key}".encode(): account for key, account in keys.items()}.get


@dataclass(frozen=True, slots=True)
class Step:
    """One request as an account saw it.

    `name` is that of the file that it is about, or the `document_name` of an OCR call without one. `account` None: rejected.
    """

    account: str | None
    method: str
    path: str
    status: int
    name: str | None
    received: Received = field(repr=False)

    @property
    def kind(self) -> str:
        """What is done: `POST /v1/files`, `GET /v1/files/url`, `POST /v1/ocr`, `DELETE /v1/files` …, without ids and queries."""
        plain = _FILE.sub(lambda match: f"/v1/files{match[2] or ''}", self.path.partition("?")[0])
        return f"{self.method} {_JOB.sub('/v1/batch/jobs', plain)}"


@dataclass(frozen=True, slots=True)
class _File:
    account: str
    name: str
    content: bytes


Answer = tuple[int, Any]


@dataclass(slots=True)
class AccountUpstream:
    """One host. `accounts` tells whose a credential is; `pages` are those of each OCR call.

    `throttled` are accounts that get 429 with `retry_after`; `rejected` are Authorization values that get 401 whatever they are.
    `before` is awaited before each response; a test may hold requests there.
    """

    accounts: Accounts
    name: str = "host"
    pages: int = 1
    retry_after: str = "30"
    throttled: set[str] = field(default_factory=set)
    rejected: set[bytes] = field(default_factory=set)
    before: Callable[[Received], Awaitable[None]] | None = None
    steps: list[Step] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    _raw: RawUpstream = field(init=False)
    _peers: dict[int, Peer] = field(default_factory=dict)
    _files: dict[str, _File] = field(default_factory=dict)
    _jobs: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self._raw = RawUpstream(self._serve)

    @property
    def url(self) -> str:
        """What `target` says."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections it was asked for."""
        return self._raw.connections

    def seen_by(self, account: str | None) -> list[Step]:
        """Return what one account saw, in order."""
        return [step for step in self.steps if step.account == account]

    def files_of(self, account: str) -> list[str]:
        """Return the names of the files that an account has."""
        return [file.name for file in self._files.values() if file.account == account]

    async def open(self) -> None:
        """Listen; also again, on the same port, with the files and jobs that it had."""
        await self._raw.start(self.port)

    def kill(self) -> None:
        """Break all connections off, and refuse new ones until `open`. What was under way is not in `steps`."""
        self._raw.stop()
        for peer in list(self._peers.values()):
            reset(peer.writer)

    async def close(self) -> None:
        """End, and raise what was wrong with the heads and the framing of requests."""
        await self._raw.close()

    async def _serve(self, peer: Peer) -> None:
        self._peers[peer.number] = peer
        try:
            while True:
                received = await peer.request()
                if self.before is not None:
                    await self.before(received)
                await self._respond(peer, received)
        finally:
            del self._peers[peer.number]

    async def _respond(self, peer: Peer, received: Received) -> None:
        method, path, _ = received.line.decode().split(" ")
        credentials = received.values(b"authorization")
        assert len(credentials) <= 1, "more than one Authorization"
        value = credentials[0] if credentials else b""
        account = None if value in self.rejected else self.accounts(value)
        name: str | None = None
        fields = [b"X-Request-Id: %s-%d" % (self.name.encode(), next(self._numbers))]
        if account is None:
            status, answer = 401, {"detail": "Unauthorized"}
        elif account in self.throttled:
            status, answer = 429, {"object": "error", "message": "Requests rate limit exceeded", "code": "1300"}
            fields.append(b"Retry-After: " + self.retry_after.encode())
        else:
            status, answer, name = self._answer(account, method, path, received)
        self.steps.append(Step(account, method, path, status, name, received))
        is_file = isinstance(answer, bytes)
        content = answer if is_file else json.dumps(answer).encode()
        fields.append(b"Content-Type: application/" + (b"octet-stream" if is_file else b"json"))
        await peer.send(ok(content, *fields, status=f"{status} {HTTPStatus(status).phrase}".encode()))

    def _answer(self, account: str, method: str, path: str, received: Received) -> tuple[int, Any, str | None]:
        """Return the status, the JSON value or the bytes, and the name of the file that it was about."""
        plain = path.partition("?")[0]
        if (method, plain) == ("POST", "/v1/files"):
            return self._upload(account, received)
        if (method, plain) == ("GET", "/v1/files"):
            mine = [_described(key, file) for key, file in self._files.items() if file.account == account]
            return 200, {"data": mine, "object": "list", "total": len(mine)}, None
        if found := _FILE.fullmatch(plain):
            return self._one_file(account, method, found[1], found[2])
        if (method, plain) == ("POST", "/v1/ocr"):
            return self._ocr(account, json.loads(received.body))
        if plain.startswith("/v1/batch/jobs"):
            return self._job(account, method, plain, received.body)
        return 404, {"detail": "Not Found"}, None

    def _upload(self, account: str, received: Received) -> tuple[int, Any, str | None]:
        parts = _form(received)
        if not {"purpose", "file"} <= set(parts):
            return 422, {"detail": f"Parts: {sorted(parts)}"}, None
        file = _File(account, str(parts["file"].get_filename()), parts["file"].get_payload(decode=True))  # type: ignore[arg-type]
        key = f"{self.name}-file-{next(self._numbers)}"
        self._files[key] = file
        return 200, _described(key, file), file.name

    def _one_file(self, account: str, method: str, key: str, what: str | None) -> tuple[int, Any, str | None]:
        file = self._files.get(key)
        if file is None or file.account != account:
            return 404, {"object": "error", "message": f"File not found: {key}", "code": "3700"}, file.name if file else None
        if (method, what) == ("GET", "/url"):
            return 200, {"url": f"{self.url}/signed/{key}?sig={base64.urlsafe_b64encode(key.encode()).decode()}"}, file.name
        if (method, what) == ("GET", "/content"):
            return 200, file.content, file.name
        if (method, what) == ("GET", None):
            return 200, _described(key, file), file.name
        if (method, what) == ("DELETE", None):
            del self._files[key]
            return 200, {"id": key, "object": "file", "deleted": True}, file.name
        return 405, {"detail": "Method Not Allowed"}, file.name

    def _ocr(self, account: str, body: dict[str, Any]) -> tuple[int, Any, str | None]:
        document = body["document"]
        name = document.get("document_name")
        if key := document.get("file_id"):
            file = self._files.get(key)
            if file is None or file.account != account:
                return 404, {"object": "error", "message": f"File not found: {key}", "code": "3700"}, file.name if file else None
            name = file.name
        else:
            url = document.get("document_url") or document.get("image_url")
            url = url["url"] if isinstance(url, dict) else url
            if not url.startswith("data:"):
                # A signed URL holds for whoever has it, as at Mistral: whose call it was is what the tests look at.
                found = re.fullmatch(re.escape(self.url) + r"/signed/([\w-]+)\?sig=.+", url)
                file = self._files.get(found[1]) if found else None
                if file is None:
                    return 400, {"object": "error", "message": "File could not be fetched from url", "code": "3310"}, None
                name = file.name
        page: dict[str, Any] = {"markdown": f"{account} read {name}", "images": [], "dimensions": None}
        pages = [{"index": number, **page} for number in range(self.pages)]
        usage = {"pages_processed": self.pages, "doc_size_bytes": 10}
        return 200, {"pages": pages, "model": body["model"], "document_annotation": None, "usage_info": usage}, name

    def _job(self, account: str, method: str, path: str, body: bytes) -> tuple[int, Any, str | None]:
        if method == "POST":
            asked = json.loads(body)
            files = [self._files.get(key) for key in asked["input_files"]]
            if any(file is None or file.account != account for file in files):
                return 404, {"object": "error", "message": "File not found", "code": "3700"}, None
            key = f"{self.name}-job-{next(self._numbers)}"
            counts = dict.fromkeys((f"{each}_requests" for each in ("total", "completed", "succeeded", "failed")), 0)
            job = {"id": key, "object": "batch", "status": "QUEUED", "errors": [], "created_at": 1_750_000_000, **counts, **asked}
            self._jobs[key] = (account, job)
            return 200, job, files[0].name if files and files[0] else None
        found = _JOB.fullmatch(path)
        if found is None:
            mine = [job for owner, job in self._jobs.values() if owner == account]
            return 200, {"data": mine, "object": "list", "total": len(mine)}, None
        owner, job = self._jobs.get(found[1], ("", {}))
        return (200, job, None) if owner == account else (404, {"detail": "Job not found"}, None)


@asynccontextmanager
async def account_upstreams(*hosts: AccountUpstream) -> AsyncIterator[None]:
    """Run hosts with accounts."""
    async with AsyncExitStack() as stack:
        for each in hosts:
            await each.open()
            stack.push_async_callback(each.close)
        yield


def sequences(*hosts: AccountUpstream) -> dict[str, list[Step]]:
    """Return what was done with each name (a file's, or a document's), whichever account saw it."""
    found: dict[str, list[Step]] = defaultdict(list)
    for host in hosts:
        for step in host.steps:
            if step.name is not None:
                found[step.name].append(step)
    return found


def _described(key: str, file: _File) -> dict[str, Any]:
    return {
        "id": key,
        "object": "file",
        "bytes": len(file.content),
        "created_at": 1_750_000_000,
        "filename": file.name,
        "purpose": "ocr",
        "sample_type": "ocr_input",
        "source": "upload",
        "num_lines": 0,
        "mimetype": "application/pdf",
        "signature": "0",
    }


def _form(received: Received) -> dict[str, Message]:
    """Return the parts of a form by their names."""
    (kind,) = received.values(b"content-type")
    whole = email.message_from_bytes(b"Content-Type: " + kind + b"\r\n\r\n" + received.body)
    assert whole.get_content_type() == "multipart/form-data"
    assert not whole.defects, whole.defects
    parts = whole.get_payload()
    assert isinstance(parts, list)
    return {str(part.get_param("name", header="content-disposition")): part for part in parts if isinstance(part, Message)}
