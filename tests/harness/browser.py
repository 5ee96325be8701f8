"""A real browser: Debian's Chromium without a window, driven through its DevTools protocol, as a person would use it."""

from __future__ import annotations

import asyncio
import atexit
import base64
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

WAIT_S = 60.0
"""How long a test waits for what must happen; only a failure ever takes so long."""

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
"""The browser's program, None where there is none."""

_FLAGS = (
    *(
        "--headless",
        "--remote-debugging-port=0",
        "--no-first-run",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server", "--no-sandbox"),
)


@dataclass(slots=True)
class Page:
    """One page of the browser."""

    socket: aiohttp.ClientWebSocketResponse
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    answers: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    going_on: set[asyncio.Task[Any]] = field(default_factory=set)

    async def listen(self) -> None:
        """Take what the browser says, until it ends: answers, and what the page's console complains of."""
        async for message in self.socket:
            said = json.loads(message.data)
            if "id" in said:
                self.answers.pop(said["id"]).set_result(said)
            elif said.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(said["params"]["exceptionDetails"]))
            elif said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.errors.append(str(said["params"]["entry"].get("text")))
            elif said.get("method") in {"Fetch.requestPaused", "Fetch.authRequired"}:
                task = asyncio.create_task(self._go_on(said["method"], said["params"]["requestId"]))
                self.going_on.add(task)
                task.add_done_callback(self.going_on.discard)

    async def _go_on(self, paused: str, request: str) -> None:
        if paused == "Fetch.requestPaused":
            await self.call("Fetch.continueRequest", requestId=request)
        else:
            await self.call("Fetch.continueWithAuth", requestId=request, authChallengeResponse={"response": "CancelAuth"})

    async def know_no_password(self) -> None:
        """Cancel whenever the browser asks for a user and a password; without a window, it would wait for ever."""
        await self.call("Fetch.enable", handleAuthRequests=True)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self.numbers)
        answer = self.answers[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(WAIT_S):
            said = await answer
        assert "error" not in said, said
        return said["result"]

    async def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        result = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, claim: str) -> None:
        """Wait until an expression holds in the page."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not await self.run(f"Boolean({claim})"):  # noqa: ASYNC110 - the page sets no event of ours
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = await self.run("document.body.innerText")
            raise AssertionError(f"Never: {claim}\n{self.errors}\n{text}") from None

    async def size(self, width: int, height: int = 900, *, scheme: str = "light") -> None:
        """Make the window so large, and the system light or dark."""
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def open(self, url: str, shown: str | None = None) -> None:
        """Go to a page, and wait until it is there; `shown` is its address where that differs from what was asked for."""
        await self.call("Page.navigate", url=url)
        where = json.dumps(shown or url)
        await self.until(
            f"document.readyState === 'complete' && (location.origin + location.pathname + location.search).startsWith({where})"
        )

    async def press(self, key: str, code: int, *, text: str = "") -> None:
        """Press a key and let it go."""
        for kind in ("keyDown", "keyUp"):
            given = {"text": text} if text and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **given)

    async def shot(self) -> bytes:
        """Return a picture of the whole page, as PNG."""
        height = await self.run("document.documentElement.scrollHeight")
        width = await self.run("document.documentElement.clientWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = await self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(taken["data"])


class _Chromium:
    """A browser that all tests of this process share, one after the other: it takes seconds to start."""

    def __init__(self, flags: tuple[str, ...]) -> None:
        assert CHROMIUM is not None
        self.flags = flags
        self._profile = TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            (CHROMIUM, *_FLAGS, *flags, f"--user-data-dir={self._profile.name}", "about:blank"),
            env={**os.environ, "HOME": self._profile.name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def runs(self) -> bool:
        """Whether its process lives."""
        return self._process.poll() is None

    async def place(self) -> tuple[str, str]:
        """Return where its protocol is spoken, and the path of the browser as a whole."""
        file = Path(self._profile.name) / "DevToolsActivePort"
        try:
            async with asyncio.timeout(WAIT_S):
                # The browser is another process, and sets no event of ours.
                while len(lines := file.read_text().split() if file.exists() else []) < 2 and self.runs:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            lines = []
        assert len(lines) == 2, "The browser did not start."
        return f"http://127.0.0.1:{lines[0]}", lines[1]

    def close(self) -> None:
        """End it, and remove what it kept."""
        self._process.kill()
        self._process.wait()
        self._profile.cleanup()


_running: list[_Chromium] = []


def _end() -> None:
    while _running:
        _running.pop().close()


def _started(flags: tuple[str, ...]) -> _Chromium:
    """Return the browser with these flags; there is one at a time."""
    if not _running or _running[0].flags != flags or not _running[0].runs:
        _end()
        _running.append(_Chromium(flags))
    return _running[0]


@asynccontextmanager
async def browser(*flags: str) -> AsyncIterator[Page]:
    """Give one empty page of a browser that has `flags` beside its usual ones.

    The page has cookies, caches and passwords of its own.
    """
    url, path = await _started(flags).place()
    async with aiohttp.ClientSession(url) as session, _spoken(session, path) as whole:
        context = (await whole.call("Target.createBrowserContext"))["browserContextId"]
        target = (await whole.call("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        try:
            async with _spoken(session, f"/devtools/page/{target}") as page:
                for domain in ("Page", "Runtime", "Log"):
                    await page.call(f"{domain}.enable")
                yield page
        finally:
            await whole.call("Target.disposeBrowserContext", browserContextId=context)


@asynccontextmanager
async def _spoken(session: aiohttp.ClientSession, path: str) -> AsyncIterator[Page]:
    """Speak the protocol with a page, or with the browser as a whole."""
    async with session.ws_connect(path, max_msg_size=0) as socket:
        page = Page(socket)
        listening = asyncio.create_task(page.listen())
        try:
            yield page
        finally:
            listening.cancel()
            await asyncio.wait([listening])


atexit.register(_end)
