"""The webhook: warnings are posted from a thread, once and once again, and nothing waits for it."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from passthrough.accounting.budgets.webhook import Webhook, replaced

WAIT_S = 30.0


@dataclass
class Seen:
    """What reached a web server."""

    url: str = ""
    lines: list[str] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, count: int) -> list[str]:
        """Wait until so many requests came, and return them."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.lines) >= count, WAIT_S), self.lines
        return self.lines


@contextmanager
def serving(*statuses: int) -> Iterator[Seen]:
    """Run a server that answers with these statuses, one after the other, and then with the last one."""
    seen = Seen()

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with seen.news:
                self.send_response(statuses[min(len(seen.lines), len(statuses) - 1)])
                self.send_header("Location", f"{seen.url}/elsewhere")
                self.end_headers()
                seen.lines.append(f"{self.command} {self.path} {json.loads(body)}")
                seen.news.notify_all()

        do_GET = do_POST  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        seen.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_is_not_taken_is_posted_once_more(status: int) -> None:
    """A redirect is not followed: it would be a GET of another address. Success the second time is success."""
    said: list[str] = []
    with serving(status, 204) as seen:
        hook = Webhook(f"{seen.url}/hook", said.append)
        hook.post('{"a": 1}')
        hook.post('{"a": 2}')
        assert ["POST /hook {'a': 1}"] * 2 + ["POST /hook {'a': 2}"] == seen.wait(3)
        hook.close()
    assert [] == said


def test_what_is_never_taken_is_said_and_given_up() -> None:
    """Two tries, one message with the host and without the path, which may hold a key; then the next one's turn."""
    said: list[str] = []
    with serving(500, 503, 200) as seen:
        hook = Webhook(f"{seen.url}/secret", said.append)
        hook.post("[1]")
        hook.post("[2]")
        assert ["POST /secret [1]", "POST /secret [1]", "POST /secret [2]"] == seen.wait(3)
        hook.close()
    assert ["The budget_webhook at 127.0.0.1 did not take a warning: it answered 503."] == said


def test_too_many_are_left_out() -> None:
    """Posting never blocks: beyond a hundred that wait, warnings are in the log only."""
    with serving(200) as seen:
        hook = Webhook(seen.url, print)
        with seen.news:  # the server answers none meanwhile
            for number in range(500):
                hook.post(str(number))
        assert 100 <= len(seen.wait(100)) <= 500
        hook.close()


def test_another_address_takes_the_place_of_the_old_one() -> None:
    """The same one stays, with what waits in it; without an address there is none."""
    with serving(200) as seen:
        first = replaced(None, seen.url, print)
        assert first is not None
        first.post("[1]")
        assert first is replaced(first, seen.url, print)
        assert None is replaced(first, None, print)
        assert None is replaced(None, None, print)
        assert ["POST / [1]"] == seen.wait(1)
