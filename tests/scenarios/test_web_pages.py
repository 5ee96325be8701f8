"""A real browser beside the real program: pages of other sites get nothing, those that may call can read what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.harness.browser import CHROMIUM, Page, browser
from tests.harness.process import Program, program
from tests.harness.upstream import RawUpstream, answering, ok, upstream
from tests.harness.waiting import eventually

pytestmark = [
    pytest.mark.wire,
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="There is no Chromium here: install Debian's package 'chromium'."),
]

FILES = b'{"data": [{"filename": "contract.pdf"}]}'
TARGET = answering(ok(FILES, b"Content-Type: application/json", b"X-Request-Id: of-the-target"))
HTML = ok(b"<!doctype html><title>a page</title>", b"Content-Type: text/html")
NAMES = ("--host-resolver-rules=MAP *.example 127.0.0.1",)
"""Every site's name points to this machine: what is its own, a browser tells by the name."""

ASK = """(async () => {
  try {
    const response = await fetch(%s, %s);
    return {status: response.status, body: await response.text(), id: response.headers.get("x-request-id"),
            code: response.headers.get("x-passthrough-error")};
  } catch (error) { return {failed: String(error)}; }
})()"""


async def ask(page: Page, url: str, **how: Any) -> dict[str, Any]:
    """Have a script of the page send a request; return what the script can read of the response, or that it failed."""
    found = await page.run(ASK % (json.dumps(url), json.dumps(how)))
    return dict(found)


def routes(raw: RawUpstream, *more: str) -> str:
    """Return a configuration with one route for everything, and more lines."""
    target = f"http://127.0.0.1:{raw.port}"
    lines = (f"pass_through_endpoints: [{{path: /mistral, target: '{target}', include_subpath: true}}]", "ledger: none", *more)
    return "\n".join(lines)


@asynccontextmanager
async def site() -> AsyncIterator[RawUpstream]:
    """Serve pages of a site; by which of its names, the browser decides."""
    async with upstream(answering(HTML)) as pages:
        yield pages


@asynccontextmanager
async def rebound(running: Program, pages: RawUpstream) -> AsyncIterator[tuple[int, Callable[[], None]]]:
    """Listen on a port that leads to a site, and from the call on to the program: as a name does that is made to point there."""
    target = [pages.port]
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", target[0])
        for way in ((reader, up_writer), (up_reader, writer)):
            task = asyncio.create_task(pump(*way))
            pumps.add(task)
            task.add_done_callback(pumps.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)

    def rebind() -> None:
        target[0] = running.port
        for task in pumps:
            task.cancel()

    try:
        yield server.sockets[0].getsockname()[1], rebind
    finally:
        server.close()
        for task in pumps:
            task.cancel()


async def test_a_page_whose_name_was_rebound_reads_nothing(tmp_path: Path) -> None:
    """It read the provider's files: to the browser, the proxy is the page's own origin."""
    async with upstream(TARGET) as raw, site() as pages, program(tmp_path, routes(raw)) as running, browser(*NAMES) as page:
        async with rebound(running, pages) as (port, rebind):
            await page.open(f"http://evil.example:{port}/")
            rebind()
            found = await eventually(
                lambda: ask(page, "/mistral/v1/files", cache="no-store"), lambda said: said.get("code") is not None
            )
            assert (421, "misdirected") == (found["status"], found["code"])
            posted = await ask(page, "/mistral/v1/ocr", method="POST", body="{}", headers={"Content-Type": "application/json"})
            assert 421 == posted["status"]
        assert [] == raw.received


@pytest.mark.parametrize("auth", [True, False])
async def test_a_page_of_another_site_spends_nothing(tmp_path: Path, *, auth: bool) -> None:
    """A POST of text/plain needs no preflight: the page cannot read the response, but its document was read and billed."""
    async with upstream(TARGET) as raw, site() as pages, browser(*NAMES) as page:
        config = routes(raw)
        if not auth:
            config = config.replace("include_subpath: true", "include_subpath: true, auth: false")
            config += "\nclient_keys: [{name: ann, key: 'the-key-of-ann-1234'}]"
        async with program(tmp_path, config) as running:
            await page.open(f"http://evil.example:{pages.port}/")
            for mode in ("no-cors", "cors"):
                await ask(page, f"{running.url}/mistral/v1/ocr", method="POST", mode=mode, body='{"document": 1}')
            await ask(page, f"{running.url}/mistral/v1/files", mode="no-cors")  # as an image: it has no Origin
            await page.run(f"void (document.body.innerHTML = '<form method=post action={running.url}/mistral/v1/ocr>')")
            await page.run("document.forms[0].submit()")
            log = await running.logs(4)  # Behind the form comes the wish for an icon, from which nothing is to be learnt.
            assert [(403, "foreign_origin")] * 4 == [(line["status"], line["error"]) for line in log[:4]]
            assert [] == raw.received


async def test_a_frame_without_an_origin_spends_nothing(tmp_path: Path) -> None:
    """A sandboxed frame's Origin is `null`, whatever page it is in: also of a page that may call."""
    cors = "cors: ['http://app.example']"
    async with upstream(TARGET) as raw, site() as pages, program(tmp_path, routes(raw, cors)) as running, browser(*NAMES) as page:
        await page.open(f"http://app.example:{pages.port}/")
        script = f"fetch('{running.url}/mistral/v1/ocr', {{method: 'POST', mode: 'no-cors', body: '1'}})"
        await page.run(f'void (document.body.innerHTML = `<iframe sandbox=allow-scripts srcdoc="<script>{script}</script>">`)')
        line, *_ = await running.logs(1)
        assert (403, "foreign_origin") == (line["status"], line["error"])
        assert [] == raw.received


async def test_pages_of_this_machine_call(tmp_path: Path) -> None:
    """A page on another port of loopback is a developer's own; what it may read, the target says, as before."""
    theirs = answering(ok(FILES, b"Access-Control-Allow-Origin: *"))
    async with upstream(theirs) as raw, site() as pages, program(tmp_path, routes(raw)) as running, browser() as page:
        for name in ("localhost", "127.0.0.1", "app.localhost"):
            await page.open(f"http://{name}:{pages.port}/")
            found = await ask(page, f"{running.url}/mistral/v1/ocr", method="POST", body="{}")
            assert (200, FILES.decode()) == (found.get("status"), found.get("body"))


async def test_anonymous_means_pages_too(tmp_path: Path) -> None:
    """`allow_anonymous: true` lifts it: every name and every page."""
    theirs = answering(ok(FILES, b"Access-Control-Allow-Origin: *"))
    config = "allow_anonymous: true"
    async with (
        upstream(theirs) as raw,
        site() as pages,
        program(tmp_path, routes(raw, config)) as running,
        browser(*NAMES) as page,
    ):
        await page.open(f"http://evil.example:{pages.port}/")
        found = await ask(page, f"http://other.example:{running.port}/mistral/v1/ocr", method="POST", body="{}")
        assert 200 == found.get("status")


def keyed(raw: RawUpstream, *more: str) -> str:
    """Return a configuration with the key `the-key-of-ann-1234`."""
    return routes(raw, f"client_keys: [{{name: ann, key: 'sha256:{sha256(b'the-key-of-ann-1234').hexdigest()}'}}]", *more)


async def test_a_page_that_may_call_where_a_key_is_asked_for(tmp_path: Path) -> None:
    """Its preflight was 401. Now it reads all of a response, and our own errors; both begin and end with a reload."""
    async with upstream(TARGET) as raw, site() as pages, program(tmp_path, keyed(raw)) as running, browser(*NAMES) as page:
        await page.open(f"http://app.example:{pages.port}/")

        async def posted(key: str = "the-key-of-ann-1234", path: str = "/mistral/v1/ocr") -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "X-Team": "blue"}
            return await ask(page, running.url + path, method="POST", body="{}", headers=headers)

        assert "failed" in await posted()
        (running.folder / "routes.yaml").write_text(keyed(raw, f"cors: ['http://app.example:{pages.port}']"))
        await running.says("Reloaded")
        expected = {"status": 200, "body": FILES.decode(), "id": "of-the-target", "code": None}
        assert expected == await posted()
        wrong, lost = await posted("a-wrong-key"), await posted(path="/elsewhere")
        assert [(401, "invalid_key"), (404, "no_route")] == [(each["status"], each["code"]) for each in (wrong, lost)]
        assert "The key is not one of this proxy's." == json.loads(wrong["body"])["message"]

        await page.open(f"http://evil.example:{pages.port}/")
        assert "failed" in await posted()
        await page.open(f"http://app.example:{pages.port}/")
        (running.folder / "routes.yaml").write_text(keyed(raw))
        await running.says("(?s)Reloaded.*Reloaded")
        assert "failed" in await posted()


async def test_a_page_that_may_call_where_none_is(tmp_path: Path) -> None:
    """Named in `cors`, a page calls a port without keys, and reads; another port of its host is another page."""
    async with upstream(TARGET) as raw, site() as pages, site() as others, browser(*NAMES) as page:
        config = routes(raw, f"cors: 'http://app.example:{pages.port}'")
        await page.open(f"http://app.example:{pages.port}/")
        async with program(tmp_path, config) as running:
            found = await ask(page, f"{running.url}/mistral/v1/files", method="DELETE")
            assert (200, FILES.decode()) == (found.get("status"), found.get("body"))
            await page.open(f"http://app.example:{others.port}/")
            assert "failed" in await ask(page, f"{running.url}/mistral/v1/files", method="DELETE")
            assert 1 == len(raw.received)
