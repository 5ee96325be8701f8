"""What happened on the wire, once."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.exchange import NOTHING_READ, Exchange, Outcome, RouteTerms, new_exchange, new_id
from passthrough.meter.plan import MeterPlan
from passthrough.meter.usage import NOTHING

TIMES = st.floats(0, 2**48 / 1000 - 1, allow_nan=False)


@given(TIMES, TIMES)
def test_ids_sort_by_time(one: float, other: float) -> None:
    """An id is 32 hexadecimal digits that begin with the milliseconds, and sorts as they do."""
    first, second = new_id(one), new_id(other)
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert int(one * 1000) == int(first[:12], 16)
    if int(one * 1000) != int(other * 1000):
        assert (one < other) == (first < second)


def test_ids_of_one_moment_differ() -> None:
    """Nothing but chance tells exchanges of one millisecond apart, and it does."""
    assert 10_000 == len({new_id(0.0) for _ in range(10_000)})


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_ids_of_processes_that_were_forked_differ() -> None:
    """What a process had in stock for its ids goes to none of its children: worker after worker begins with bits of its own."""
    program = (
        "import os\n"
        "from passthrough.exchange import new_id\n"
        "ids = [new_id(0.0)]\n"
        "children = 0\n"
        "while children < 3 and os.fork():\n"
        "    children += 1\n"
        "ids += [new_id(0.0) for _ in range(250)]\n"
        "os.write(1, '\\n'.join([*(ids if children == 3 else ids[1:]), '']).encode())\n"
        "while children == 3:\n"
        "    try: os.wait()\n"
        "    except ChildProcessError: break\n"
    )
    said = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout
    assert 1001 == len(said.split()) == len(set(said.split()))


def test_an_exchange_begins_as_nothing_yet() -> None:
    """A new exchange was not admitted, has sent nothing, and counts as cut off until more is known."""
    exchange = new_exchange("POST", "/v1/ocr")
    expected = ("POST", "/v1/ocr", False, None, None, Outcome.CUT_OFF, 0, 0, 0, NOTHING_READ)
    assert expected == (
        exchange.method,
        exchange.path,
        exchange.admitted,
        exchange.status,
        exchange.error,
        exchange.outcome,
        exchange.attempts,
        exchange.bytes_up,
        exchange.bytes_down,
        exchange.usage_source,
    )
    assert int(exchange.began_utc * 1000) == int(exchange.id[:12], 16)


def test_an_end_is_measured_from_the_beginning() -> None:
    """`end` notes the whole span, on a clock that is never set back."""
    exchange = Exchange(id="0", began_utc=0.0, began=0.0, method="GET", path="/")
    exchange.end()
    assert exchange.total_s > 0.0


async def test_an_exchange_without_a_meter_has_used_nothing() -> None:
    """No meter, no count: neither pages nor a reason why there are none."""
    assert NOTHING == await new_exchange("GET", "/").usage_source.usage()


def test_terms_are_metered_automatically_unless_told() -> None:
    """A route without further terms has the automatic plan and no price of its own."""
    assert (MeterPlan("auto", None), None) == (RouteTerms("/a").plan, RouteTerms("/a").cost_per_request_nano)
