"""What stderr says of targets that fail: at once, then once a minute with a count, of a thousand at most."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from passthrough.accounting.failure_notices import FailureNotices
from passthrough.errors import Reason
from passthrough.exchange import Exchange, Outcome, RouteTerms
from tests.harness.entries import exchange
from tests.harness.waiting import WAIT_S, until

HOST = "api.mistral.ai"


def failing(why: str = Reason.EXPIRED, *, target: str = HOST, deployment: str | None = None, completed: bool = False) -> Exchange:
    """Return an exchange whose only try failed, or its first one."""
    made = exchange()
    made.target, made.deployment = target, deployment
    made.failed(str(why))
    made.outcome = Outcome.COMPLETED if completed else Outcome.UPSTREAM_FAILED
    made.error = None if completed else "upstream_unreachable"
    return made


def left_within_the_response() -> Exchange:
    """Return an exchange that was sent again, had a response, and whose client left while it came."""
    made = failing(Reason.CLOSED_UNANSWERED, completed=True)
    made.outcome, made.status = Outcome.CLIENT_GONE, 200
    return made


@dataclass(slots=True)
class Said:
    """What was said, and a wait for more of it."""

    messages: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, message: str) -> None:
        """Take a message."""
        self.messages.append(message)
        self.news.set()

    async def count(self, count: int) -> list[str]:
        """Wait until so many messages were said."""
        async with asyncio.timeout(WAIT_S):
            while len(self.messages) < count:
                self.news.clear()
                await self.news.wait()
        return self.messages


async def test_the_first_is_said_at_once_and_the_others_when_the_minute_ends() -> None:
    """With their number, and each reason with its own where there are several; a minute without failures ends it."""
    said = Said()
    notices = FailureNotices(said, minute_s=0.1)
    for _ in range(13):
        notices.count(failing())
    assert [f"{HOST}: certificate has expired; a call failed."] == said.messages
    assert f"{HOST}: certificate has expired; 12 more calls failed in the last minute." == (await said.count(2))[1]
    for why in (Reason.REFUSED, Reason.RESET, Reason.REFUSED):
        notices.count(failing(why))
    assert (
        f"{HOST}: connection refused (2), connection reset (1); 3 more calls failed in the last minute."
        == (await said.count(3))[2]
    )
    await until(lambda: not notices.is_counting)
    notices.count(failing())
    assert f"{HOST}: certificate has expired; a call failed." == said.messages[3]
    notices.close()


async def test_each_target_has_its_own_minute() -> None:
    """A deployment, too, also where another one responded in its place: it is named."""
    said = Said()
    notices = FailureNotices(said)
    notices.count(failing(Reason.REFUSED))
    notices.count(failing(Reason.REFUSED, deployment="eu", completed=True))
    notices.count(failing(Reason.REFUSED, deployment="us"))
    notices.count(failing(Reason.REFUSED, deployment=HOST))
    expected = [f"{HOST}: connection refused; a call failed.", f"{HOST} (eu): connection refused; a call failed."]
    assert [*expected, f"{HOST} (us): connection refused; a call failed."] == said.messages
    notices.close()
    assert f"{HOST}: connection refused; 1 more call failed in the last minute." == said.messages[3]
    notices.close()
    assert 4 == len(said.messages)


@pytest.mark.parametrize(
    "made",
    [
        exchange(),
        failing(Reason.CLOSED_UNANSWERED, completed=True),  # sent again to the same target, which had a response
        failing(Reason.CREDENTIALS),
        left_within_the_response(),
    ],
)
async def test_what_is_no_failure_of_a_target_is_not_said(made: Exchange) -> None:
    """Nor what is said elsewhere."""
    said = Said()
    notices = FailureNotices(said)
    notices.count(made)
    notices.close()
    assert [] == said.messages


@pytest.mark.parametrize("why", [Reason.TLS_ON_PLAIN, Reason.PLAIN_ON_TLS, Reason.HTTP2, Reason.TLS_TWICE, Reason.HTTP2_IN_TLS])
async def test_a_client_with_another_protocol(why: Reason) -> None:
    """What it did and what to do, then how often."""
    said = Said()
    notices = FailureNotices(said)
    for _ in range(3):
        made = exchange()
        made.why, made.outcome, made.client = str(why), Outcome.REFUSED, None
        notices.count(made)
    notices.close()
    first, last = said.messages
    assert ("\n" in first, f"{why}: 2 more requests in the last minute.") == (True, last)


async def test_a_key_in_clear_is_said_where_there_was_one() -> None:
    """A plain request on the TLS port without a client's key gave nothing away; one with it is said even behind such."""
    said = Said()
    notices = FailureNotices(said)
    for client in (None, "ann", "ann", None):
        made = exchange()
        made.why, made.outcome, made.client = str(Reason.PLAIN_ON_TLS), Outcome.REFUSED, client
        notices.count(made)
    notices.close()
    assert [False, True] == ["key" in message for message in said.messages[:2]]
    assert [
        f"{Reason.PLAIN_ON_TLS}: 3 more requests in the last minute.",
        "client key in clear on the TLS port: 1 more request in the last minute.",
    ] == said.messages[2:]


async def test_requests_for_which_all_targets_cool_down() -> None:
    """None was called, so that no target's count grows: the route and the model say how many were not sent."""
    said = Said()
    notices = FailureNotices(said)
    for group in (None, "ocr", "ocr", "ocr"):
        made = exchange()
        made.terms, made.model_group, made.outcome, made.error = RouteTerms("/r"), group, Outcome.REFUSED, "no_deployment"
        made.why = str(Reason.COOLING)
        notices.count(made)
    notices.close()
    assert ["/r: all cool down; a request was not sent.", "/r ocr: all cool down; a request was not sent."] == said.messages[:2]
    assert ["/r ocr: all cool down; 2 more requests were not sent in the last minute."] == said.messages[2:]


async def test_a_thousand_targets_are_remembered() -> None:
    """Of further ones nothing is said; a target's name cannot forge a line."""
    said = Said()
    notices = FailureNotices(said)
    for number in range(1100):
        notices.count(failing(Reason.REFUSED, target=f"host-{number}\n"))
    assert (1000, "host-0\\n: connection refused; a call failed.") == (len(said.messages), said.messages[0])
    notices.close()
