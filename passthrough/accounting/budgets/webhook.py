"""Posts warnings to a webhook, from a thread of its own: nothing waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPException
from queue import Queue
from threading import Thread
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

TIMEOUT_S: Final = 10.0
AGAIN_S: Final = 1.0
"""How long after a failed POST it is tried once more."""
MAX_WAITING: Final = 100
"""How many warnings may wait; those beyond are in the log only."""


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect: that would turn the POST into a GET without a body, to another address."""

    def redirect_request(self, *_: object) -> None:
        return None


class Webhook:
    """One webhook. The first POST starts its thread; one that fails twice is given up, with a warning."""

    def __init__(self, url: str, warn: Callable[[str], None]) -> None:
        """`url` may hold a secret: messages name its host only."""
        self.url = url
        self._warn = warn
        self._bodies: Queue[str | None] = Queue(MAX_WAITING + 1)
        self._thread: Thread | None = None
        # Proxies come from the configuration or not at all, never from variables that happen to be set.
        self._opener = build_opener(ProxyHandler({}), _NoRedirects())

    def post(self, body: str) -> None:
        """Send a JSON text, soon; never blocks, never raises. Called by one thread."""
        if self._bodies.qsize() >= MAX_WAITING:
            return
        self._bodies.put_nowait(body)
        if self._thread is None:
            self._thread = Thread(target=self._run, name="webhook", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Let the thread end, after the POSTs that still wait."""
        if self._thread is not None:
            self._bodies.put_nowait(None)

    def _run(self) -> None:
        while (body := self._bodies.get()) is not None:
            if self._failure(body) is None:
                continue
            time.sleep(AGAIN_S)
            if (failure := self._failure(body)) is not None:
                self._warn(f"The budget_webhook at {urlsplit(self.url).hostname} did not take a warning: {failure}.")

    def _failure(self, body: str) -> str | None:
        """Post once; return what went wrong, None where the response was 2xx."""
        fields = {"Content-Type": "application/json", "User-Agent": "passthrough"}
        request = Request(self.url, body.encode(), fields)  # noqa: S310 - the configuration lets in http and https only
        try:
            with self._opener.open(request, timeout=TIMEOUT_S):
                return None
        except HTTPError as response:  # 300 and above
            response.close()
            return f"it answered {response.code}"
        except (OSError, HTTPException, ValueError) as error:
            return str(error.reason) if isinstance(error, URLError) else type(error).__name__


def replaced(old: Webhook | None, url: str | None, warn: Callable[[str], None]) -> Webhook | None:
    """Return the webhook for a URL: the old one where that has the same URL, else a new one, and the old one is closed."""
    if old is not None:
        if old.url == url:
            return old
        old.close()
    return Webhook(url, warn) if url else None
