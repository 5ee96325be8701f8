"""Measures what the meter alone costs on a plain answer of 20 MB, in µs/MB. By hand: `python -m tests.bench.meter`."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import uvloop

from passthrough.meter.meter import ResponseFacts, open_meter
from passthrough.meter.plan import MeterPlan

from .bodies import MB, answer_body

CHUNK = 256_000  # what uvloop reads at once: most of a large answer comes in such pieces
ROUNDS = 15


async def cost_us_per_mb() -> float:
    """Return the cheapest of some rounds: pages and model are found, by chunks as the road feeds them."""
    body = answer_body(20 * MB)
    chunks = [body[at : at + CHUNK] for at in range(0, len(body), CHUNK)]
    spans = []
    with ThreadPoolExecutor(1) as decoders:
        for _ in range(ROUNDS):
            began = time.process_time()
            meter = open_meter(MeterPlan(), ResponseFacts("POST", b"/v1/ocr", 200), decoders, passed=lambda _: None)
            assert meter is not None
            for chunk in chunks:
                if not meter.feed(chunk):
                    await meter.drained()
            meter.end(None)
            usage = await meter.usage()
            spans.append(time.process_time() - began)
            assert (100, "mistral-ocr-2512") == (usage.pages, usage.model)
    return min(spans) * 1e6 / (len(body) / MB)


if __name__ == "__main__":
    sys.stdout.write(f"{uvloop.run(cost_us_per_mb()):.1f}\n")
