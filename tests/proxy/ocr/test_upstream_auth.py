"""Deployments whose token is fetched: it goes up with each try, is renewed once where it is rejected; never without one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from passthrough.credentials.identity import EntraIdentity, GoogleIdentity
from passthrough.proxy.deployments.deployment import Deployment, Provider
from passthrough.proxy.documents.url_rules import UrlRules
from passthrough.proxy.ocr.settings import OcrSettings
from passthrough.proxy.routes import Timeouts
from tests.harness.issuer import IDENTITY, Issuer, sources_of
from tests.harness.ocr_client import DATA, ask, body_of, request, response, table
from tests.harness.ocr_upstreams import Behaviour, Mood, OcrUpstream, always, in_turn, ocr_upstreams
from tests.harness.proxy import Road, deployment_to, road
from tests.harness.upstream import Peer, ok, upstream
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

OTHER = EntraIdentity(managed_identity=True, name="another")
REJECTS = Behaviour(401, body=b"who are you?")
WELCOMES = Behaviour(200, body=b'{"pages": [], "model": "m", "usage_info": {"pages_processed": 1}}')


def tokens_of(above: OcrUpstream) -> list[str]:
    """Return the token of each call that came."""
    return [value.decode().removeprefix("Bearer ") for call in above.calls for value in call.received.values(b"authorization")]


def rotating(above: OcrUpstream, issuer: Issuer) -> Mood:
    """Treat each request as one that wants the issuer's latest token."""

    def mood() -> Behaviour:
        above.key = issuer.issued[-1]
        return Behaviour()

    return mood


@asynccontextmanager
async def one(issuer: Issuer, **settings: Any) -> AsyncIterator[tuple[Road, OcrUpstream]]:
    """Run a road with one deployment that takes the issuer's latest token."""
    above = OcrUpstream(settings.get("provider", Provider.MISTRAL))
    above.mood = rotating(above, issuer)
    lone = deployment_to(above.port, "eu", upstream_auth=IDENTITY, **settings)
    async with (
        ocr_upstreams(above),
        road(models=table(lone), tokens=issuer.sources(), settings=OcrSettings(urls=UrlRules(validated=False))) as house,
    ):
        yield house, above
        await house.quiet()
        assert (0, 0) == (house.relay.ocr.held.taken, house.relay.ocr.balancer.under_way(lone))


def pair(first: OcrUpstream, second: OcrUpstream) -> list[Deployment]:
    """Return two deployments, each with an identity of its own; the first one is tried first."""
    return [
        deployment_to(first.port, "first", order=1, upstream_auth=IDENTITY),
        deployment_to(second.port, "second", order=2, upstream_auth=OTHER),
    ]


async def test_the_token_goes_up_with_heads_that_are_cached() -> None:
    """On one connection, with the length of each body; the client's own credential stays here."""
    issuer = Issuer()
    async with one(issuer) as (house, above):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        for filler in ("", "", "A" * 500, "A" * 200_000):
            writer.write(request(body_of(filler=filler), "/v1/ocr", "Authorization: Bearer theirs", "X-Authorization: theirs"))
            assert 200 == (await response(reader))[0]
        writer.close()
        assert [issuer.issued[0]] * 4 == tokens_of(above)
        assert [[]] * 4 == [call.received.values(b"x-authorization") for call in above.calls]


@pytest.mark.parametrize("size", [10, 200_000], ids=["in one piece", "streamed"])
async def test_a_rejected_token_is_renewed_and_the_same_deployment_asked_again(size: int) -> None:
    """With the same body; the client hears of no retry, the balancer of no failure, and the call counts once."""
    issuer = Issuer()
    async with one(issuer) as (house, above):
        echo = (b"X-Seen: token-1-of-the-issuer", b"X-Seen: token-2-of-the-issuer")
        above.mood = in_turn(REJECTS, Behaviour(200, echo, WELCOMES.body))
        await until(lambda: bool(issuer.issued))
        status, fields, _ = await ask(house.port, request(body_of(filler="A" * size)))
        assert "x-seen" not in fields
        assert (200, "0") == (status, fields["x-litellm-attempted-retries"])
        assert issuer.issued == tokens_of(above)
        assert above.calls[0].received.body == above.calls[1].received.body
        (exchange,) = await house.booked()
        assert (2, None, "eu") == (exchange.attempts, exchange.why, exchange.deployment)
        assert 1 == (await exchange.usage_source.usage()).pages
        assert {("eu", "answered"): 1} == house.relay.ocr.balancer.tries


async def test_an_early_rejection_of_a_body_that_is_held() -> None:
    """What of it has come is sent again, and then the rest of it as it comes from the client."""
    issuer, body = Issuer(), body_of(filler="A" * 700_000)
    async with one(issuer) as (house, above):
        above.mood = in_turn(Behaviour(401, early=True))
        await until(lambda: bool(issuer.issued))
        above.key = "token-2-of-the-issuer"
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(request(body)[:400_000])
        await until(lambda: len(issuer.issued) == 2)
        writer.write(request(body)[400_000:])
        assert 200 == (await response(reader))[0]
        writer.close()
        assert body.replace(b'"mistral-ocr"', b'"mistral-ocr-latest"') == above.calls[-1].received.body


async def test_a_body_that_is_not_held_is_sent_once_and_the_next_has_a_new_token() -> None:
    """The provider's own 401 is relayed; the renewal has begun."""
    issuer = Issuer()
    async with one(issuer) as (house, above):
        above.mood = in_turn(REJECTS)
        status, _, answer = await ask(house.port, request(body_of(filler="A" * 3_000_000)))
        assert (401, b"who are you?") == (status, answer)
        await until(lambda: len(issuer.issued) == 2)
        above.key = issuer.issued[1]
        assert 200 == (await ask(house.port, request(body_of())))[0]
        assert issuer.issued == tokens_of(above)


async def test_a_provider_that_rejects_every_token_is_asked_twice_and_then_another() -> None:
    """Then 401 counts as the deployment's failure: it cools down, and the next request does not go there."""
    bad, good, issuer = OcrUpstream(), OcrUpstream(), Issuer()
    async with ocr_upstreams(bad, good):
        bad.mood, good.mood = always(REJECTS), always(WELCOMES)
        async with road(models=table(*pair(bad, good)), tokens=issuer.sources(IDENTITY, OTHER)) as house:
            for retries in ("1", "0"):
                status, fields, _ = await ask(house.port, request(body_of()))
                assert (200, "second", retries) == (
                    status,
                    fields["x-passthrough-deployment"],
                    fields["x-litellm-attempted-retries"],
                )
            assert (2, 2) == (len(bad.calls), len(good.calls))
            assert 2 == len(set(tokens_of(bad)))
            first, second = await house.booked(2)
            assert [("first: 401", 3), (None, 1)] == [(each.why, each.attempts) for each in (first, second)]


async def test_one_without_a_token_is_passed_over() -> None:
    """Nothing is sent to it, another one answers whatever the body; it cools down at once."""
    poor, rich = OcrUpstream(), OcrUpstream()
    refusing, issuer = Issuer(refuses="The key was deleted."), Issuer()
    async with ocr_upstreams(poor, rich):
        rich.mood = rotating(rich, issuer)
        sources = sources_of({IDENTITY: refusing, OTHER: issuer})
        async with road(models=table(*pair(poor, rich)), tokens=sources) as house:
            for retries in ("1", "0"):
                status, fields, _ = await ask(house.port, request(body_of(filler="A" * 3_000_000)))
                assert (200, retries) == (status, fields["x-litellm-attempted-retries"])
            assert (0, 2) == (poor.connections, len(rich.calls))
            assert [("first: credentials", 2), (None, 1)] == [(each.why, each.attempts) for each in await house.booked(2)]
            assert [("first", "credentials")] == [(key, why) for key, why, _ in house.relay.ocr.balancer.cooling()]


async def test_a_lone_one_without_a_token_fails_with_its_name_alone() -> None:
    """502: neither who its identity is, nor why there is no token, nor where it is, is the client's affair."""
    issuer = Issuer(refuses="The key of ocr@project.test was deleted.")
    async with one(issuer) as (house, above):
        status, fields, body = await ask(house.port, request(body_of()))
        assert (502, "upstream_credentials") == (status, fields["x-passthrough-error"])
        assert b"deployment eu" in body
        assert not [each for each in (b"project.test", b"deleted", b"127.0.0.1", b"TEST_CREDENTIALS") if each in body]
        assert 0 == above.connections
        (exchange,) = await house.booked()
        assert ("eu: credentials", 1, False) == (exchange.why, exchange.attempts, exchange.went_up)


async def test_a_file_stays_with_its_account_though_that_has_no_token() -> None:
    """Another account does not know it."""
    poor, rich = OcrUpstream(), OcrUpstream()
    refusing, issuer = Issuer(refuses="The key was deleted."), Issuer()
    async with ocr_upstreams(poor, rich):
        sources = sources_of({IDENTITY: refusing, OTHER: issuer})
        async with road(models=table(*pair(poor, rich)), tokens=sources) as house:
            body = b'{"model": "mistral-ocr", "document": {"type": "file", "file_id": "a"}}'
            assert 502 == (await ask(house.port, request(body)))[0]
            assert (0, 0) == (poor.connections, rich.connections)


async def test_the_wait_for_a_token_has_an_end_and_a_client_may_leave_it() -> None:
    """The deployment's time-out; who leaves frees it."""
    issuer = Issuer(is_open=False)
    async with one(issuer, timeouts=Timeouts(total_s=0.05)) as (house, above):
        assert 502 == (await ask(house.port, request(body_of())))[0]
    async with one(issuer) as (house, above):
        _, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(request(body_of()))
        await until(lambda: bool(house.relay.active))
        writer.close()
        (exchange,) = await house.booked()
        assert (None, 0) == (exchange.status, above.connections)
        issuer.open.set()


async def test_a_document_that_is_put_into_the_body_is_there_again_and_its_host_sees_no_token() -> None:
    """It is fetched once; its host is another than the provider's."""
    issuer, heads, pdf = Issuer(), list[bytes](), b"%PDF-1.4\n" + b"x" * 100_000

    async def host(peer: Peer) -> None:
        heads.append((await peer.head())[2])
        await peer.send(ok(pdf, b"Content-Type: application/pdf"))

    vertex = {"base": b"/v1/projects/p/locations/l/publishers/mistralai/models/m:rawPredict", "provider": Provider.VERTEX}
    async with upstream(host) as raw, one(issuer, inlines_documents=True, **vertex) as (house, above):
        above.mood = in_turn(REJECTS)
        await until(lambda: bool(issuer.issued))
        above.key = "token-2-of-the-issuer"
        status, _, answer = await ask(house.port, request(body_of(url=f"http://127.0.0.1:{raw.port}/a.pdf")))
        assert 200 == status, answer
        url = "data:application/pdf;base64," + base64.b64encode(pdf).decode()
        assert [url, url] == [call.body["document"]["document_url"] for call in above.calls]
        assert issuer.issued == tokens_of(above)
        assert (1, False) == (len(heads), b"of-the-issuer" in heads[0] or b"uthorization" in heads[0])


async def test_a_token_that_is_echoed_stays_here() -> None:
    """Also that of the second try."""
    issuer = Issuer()

    async def echo(peer: Peer) -> None:
        while True:
            (value,) = (await peer.request()).values(b"authorization")
            status = b"401 " if len(peer.upstream.received) == 1 else b"200 "
            await peer.send(ok(b"{}", b"X-Echo: " + value, b"X-Request-Id: " + value, status=status + value))

    async with upstream(echo) as raw:
        lone = deployment_to(raw.port, upstream_auth=GoogleIdentity(name="another name"))
        async with road(models=table(lone), tokens=issuer.sources()) as house:
            status, fields, _ = await ask(house.port, request(body_of(url=DATA)))
            assert (200, False) == (status, "of-the-issuer" in str(fields))
            assert None is (await house.booked())[0].upstream_request_id
            assert 2 == len(raw.received)
