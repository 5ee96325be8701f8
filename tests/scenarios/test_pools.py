"""A pool of four deployments under 64 callers: one is throttled, one fails at random, one refuses connections, one is well."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from passthrough.proxy.deployments.deployment import ModelGroup, Routing
from passthrough.proxy.deployments.model_table import ModelTable
from tests.harness.ocr_client import ask, body_of, request
from tests.harness.ocr_upstreams import (
    AZURE,
    MISTRAL,
    UNAVAILABLE,
    VERTEX,
    WELL,
    Behaviour,
    OcrUpstream,
    at_random,
    ocr_upstreams,
    throttled,
)
from tests.harness.process import program
from tests.harness.proxy import deployment_to, road
from tests.harness.waiting import eventually

pytestmark = pytest.mark.faults

CALLERS, EACH = 64, 12
PROVIDERS = ((MISTRAL, "throttled"), (AZURE, "random"), (VERTEX, "closed"), (MISTRAL, "well"))


async def test_every_client_gets_its_answer_while_three_of_four_misbehave() -> None:
    """No request is answered twice by 200, and the pages that were read are those that the providers answered.

    Before and after, each of the four has its share within a band; the one that is throttled is left alone meanwhile.
    """
    names = ("throttled", "random", "closed", "well")
    above = {name: OcrUpstream(pages=number + 1) for number, name in enumerate(names)}
    async with ocr_upstreams(*above.values()):
        pool = ModelGroup("mistral-ocr", tuple(deployment_to(each.port, name) for name, each in above.items()))
        async with road(models=ModelTable([pool], Routing(cooldown_s=0.2, num_retries=8))) as house:

            async def all_answered() -> Counter[str]:
                """Let each caller ask some times; return who answered how often."""
                found: Counter[str] = Counter()

                async def caller(number: int) -> None:
                    for turn in range(EACH):
                        status, fields, _ = await ask(house.port, request(body_of(id=f"{number}-{turn}")))
                        assert 200 == status
                        found[fields["x-passthrough-deployment"]] += 1

                await asyncio.gather(*(caller(number) for number in range(CALLERS)))
                return found

            async def cooling() -> set[str]:
                return {name for name, _, _ in house.relay.ocr.balancer.cooling()}

            def assert_shares(found: Counter[str]) -> None:
                # A quarter each: with 768 draws, 17 to 33 percent are more than five standard deviations away.
                assert all(0.17 * CALLERS * EACH < found[name] < 0.33 * CALLERS * EACH for name in names), found

            assert_shares(await all_answered())
            above["throttled"].mood = lambda: throttled("30")
            above["random"].mood = at_random(UNAVAILABLE, 0.5, Random(4))
            above["closed"].refuse()
            meanwhile = await all_answered()
            assert 0 == meanwhile["throttled"] == meanwhile["closed"]
            assert CALLERS * EACH == meanwhile["random"] + meanwhile["well"]
            asked = sum(1 for call in above["throttled"].calls if call.status == 429)
            assert 1 <= asked <= CALLERS  # those that were under way when the first of them learnt it
            await above["closed"].open()
            above["throttled"].mood = above["random"].mood = lambda: WELL
            await eventually(cooling, lambda found: found == {"throttled"})
            after = await all_answered()
            assert all(0.24 * CALLERS * EACH < after[name] < 0.43 * CALLERS * EACH for name in names[1:]), after
            exchanges = await house.booked(3 * CALLERS * EACH)
            pages = sum([(await each.usage_source.usage()).pages or 0 for each in exchanges])
            assert sum(each.pages_answered for each in above.values()) == pages
            answered = Counter(call.body["id"] for each in above.values() for call in each.answered)
            assert {3} == set(answered.values())  # once in each of the three rounds


@pytest.mark.parametrize("status", [429, 503, 401, 403, 408])
async def test_an_early_refusal_of_an_upload_goes_on_with_the_rest(status: int) -> None:
    """The next deployment gets what is held, then what still comes; the first one never gets a whole request."""
    early, good = OcrUpstream(), OcrUpstream()
    body = body_of(filler="A" * 2_000_000)
    async with ocr_upstreams(early, good):
        early.mood = lambda: Behaviour(status, early=True)
        began = asyncio.Event()

        def on_head() -> Behaviour:
            began.set()
            return WELL

        good.mood = on_head
        pool = (deployment_to(early.port, "early", order=1), deployment_to(good.port, "good", order=2))
        async with road(models=ModelTable([ModelGroup("mistral-ocr", pool)])) as house:
            reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
            writer.write(request(body)[:1_000_000])
            async with asyncio.timeout(20):
                await began.wait()
            writer.write(request(body)[1_000_000:])
            answer = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            assert answer.startswith(b"HTTP/1.1 200")
            assert [body.replace(b'"mistral-ocr"', b'"mistral-ocr-latest"')] == [call.received.body for call in good.calls]
            assert [] == early.calls


async def test_a_client_that_leaves_is_settled() -> None:
    """Its request was complete: the provider's answer is read for its pages, and the deployment is released after that."""
    until, began = asyncio.Event(), asyncio.Event()
    above = OcrUpstream(pages=7)

    def on_head() -> Behaviour:
        began.set()
        return Behaviour(until=until)

    async with ocr_upstreams(above):
        above.mood = on_head
        async with road(models=ModelTable([ModelGroup("mistral-ocr", (deployment_to(above.port),))])) as house:
            _, writer = await asyncio.open_connection("127.0.0.1", house.port)
            writer.write(request(body_of()))
            await writer.drain()
            async with asyncio.timeout(20):
                await began.wait()
            writer.close()

            async def settling() -> int:
                return len(house.settling)

            await eventually(settling, lambda found: found == 1)
            (deployment,) = house.relay.rules.models.deployments if house.relay.rules.models else ()
            assert 1 == house.relay.ocr.balancer.under_way(deployment)
            until.set()
            (exchange,) = await house.booked()
            assert 7 == (await exchange.usage_source.usage()).pages
            assert 0 == house.relay.ocr.balancer.under_way(deployment)


async def test_a_broken_connection_is_not_sent_again_by_itself() -> None:
    """It may have been billed: 502, unless the file says `num_retries`."""
    for routing, status in ((Routing(), 502), (Routing(num_retries=1), 200)):
        bad, good = OcrUpstream(), OcrUpstream()
        async with ocr_upstreams(bad, good):
            bad.mood = lambda: Behaviour(reset=True)
            pool = (deployment_to(bad.port, "bad", order=1), deployment_to(good.port, "good", order=2))
            async with road(models=ModelTable([ModelGroup("mistral-ocr", pool)], routing)) as house:
                assert status == (await ask(house.port, request(body_of())))[0]
                (exchange,) = await house.booked()
                assert "bad: connection reset" == exchange.why


@pytest.mark.process
async def test_the_ledgers_pages_are_those_of_the_providers(tmp_path: Path) -> None:
    """The program, with LiteLLM's file, a ledger and four providers of three kinds, of which three misbehave under 64 callers.

    Each client gets its answer, none is answered 200 twice, and each deployment is booked with the pages that it answered.
    """
    above = {name: OcrUpstream(kind, pages=number + 1) for number, (kind, name) in enumerate(PROVIDERS)}
    above["throttled"].mood = lambda: throttled("1")
    above["random"].mood = at_random(UNAVAILABLE, 0.3, Random(4))
    entries = [
        {
            "model_name": "mistral-ocr",
            "litellm_params": {
                "model": f"{each.provider}/mistral-ocr-2505",
                "api_base": each.url,
                "api_key": each.key,
                **({"vertex_project": "p"} if each.provider == VERTEX else {}),
            },
            "model_info": {"id": name},
        }
        for name, each in above.items()
    ]
    file = json.dumps({"model_list": entries, "router_settings": {"num_retries": 8, "cooldown_time": 0.2}})
    done = 0
    async with ocr_upstreams(*above.values()), program(tmp_path, file) as running:
        above["closed"].refuse()

        async def caller(number: int) -> None:
            nonlocal done
            for turn in range(EACH):
                body = request(body_of(id=f"{number}-{turn}")).replace(b"Host: x", b"Host: localhost", 1)
                assert 200 == (await ask(running.port, body))[0]
                done += 1
                if done == CALLERS * EACH // 2:
                    await above["closed"].open()

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))
        log = await running.logs(CALLERS * EACH)
        assert 0 == await running.stop()
    with closing(sqlite3.connect(tmp_path / "passthrough.db")) as ledger:
        sums = "SELECT e.deployment, sum(c.pages) FROM exchanges e JOIN charges c ON c.exchange_id = e.id GROUP BY 1"
        booked = dict(ledger.execute(sums).fetchall())
    assert {name: each.pages_answered for name, each in above.items() if each.answered} == booked
    assert sum(booked.values()) == sum(line["pages"] for line in log)
    answered = Counter(call.body["id"] for each in above.values() for call in each.answered)
    assert (CALLERS * EACH, {1}) == (len(answered), set(answered.values()))
    tried = [(name, call.body["id"]) for name, each in above.items() for call in each.calls]
    assert sum(line["attempts"] for line in log) >= len(tried) == len(set(tried))  # never twice at one; refused ones saw nothing
