"""Odd requests, mutated at random, in random pieces, against the road before a strict target; what must hold, holds or is shown.

By hand: `python -m tests.soak.fuzz --seconds 600`. Each trial is sent twice on connections of its own, whole and in pieces.
Its invariants: (1) every answer is one HTTP/1.1 answer, none of them 500, 502 or 504, and none of ours shows the canary; (2) what
goes up is nothing but plain requests; (3) both sendings put the same requests up, as far as they go; (4) every answer is booked
once, and every request that went up whole; (5) nothing is logged as a defect, and nothing is left when the client has gone;
(6) meanwhile no ping by another route is held up (see stalls).
Ends with 1 where anything was found; `--seed` and the number of a trial repeat it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import uvloop

from passthrough.exchange import Outcome
from passthrough.proxy.origins import PageGuard
from tests.harness.proxy import Road, road, route_to
from tests.harness.strict_peers import NOTHING, Malformed, Request, Speaker, StrictTarget, Told, speaker
from tests.harness.tables.odd_requests import CANARY, TABLE
from tests.harness.upstream import upstream
from tests.harness.waiting import WAIT_S, until

from .stalls import bare_server, watched

_STATUS_LINE = b"HTTP/1.1 "
_NAMED = re.compile(rb"'[^']*'")
"""A field's name in a message of ours: it alone is told again."""

WORKERS = 64
GUARDED_EACH = 4
"""Each of so many trials is a route's that asks for no key and minds web pages: what is refused leaves the connection open."""
QUIET_S = 0.05
PATIENT_S = 2.0
LONG = 0.02
SINGLE_BYTES = 8_000
SEEDS = [case for case in TABLE if len(case.sent) < 2000]
PLAIN = [case for case in SEEDS if case.refused is None]

TOKENS = (
    *(bytes([byte]) for byte in b"\x00\x01\t\n\x0b\r \"#%&'*+,-./0159:;<=>?@AZ[\\]_`az{|}~\x7f\x80\xa0\xc3\xff"),
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"\r\n ",
        b"\r\n\t",
        b"0\r\n\r\n",
        b"3\r\nabc\r\n",
        b";a=b",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/2.0",
    ),
    *(
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"OPTIONS * ",
        b"CONNECT ",
        b"http://else.test",
        b"/..",
        b"%2e%2e",
        b"chunked",
        b"gzip, ",
        b"close",
    ),
    *(b"keep-alive", b"100-continue", b"upgrade", b"18446744073709551616", b"ffffffffffffffff", b"0x", b"-1", b"\xef\xbb\xbf"),
)
FIELDS = (
    *(
        b"Content-Length: 3",
        b"Content-Length: 0",
        b"Content-Length: 30",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
    ),
    *(
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: Upgrade",
        b"Upgrade: h2c",
        b"Upgrade: websocket",
        b"Host: b",
    ),
    *(
        b"Expect: 100-continue",
        b"TE: trailers",
        b"Trailer: A",
        b"Connection: content-length, host",
        b"X: y",
        b" folded",
        b"Content_Length: 9",
    ),
)


def _insert(sent: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(sent) + 1)
    return sent[:at] + chance.choice(TOKENS) + sent[at:]


def _replace(sent: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(sent) + 1)
    return sent[:at] + chance.choice(TOKENS) + sent[at + chance.randrange(1, 4) :]


def _flip(sent: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(sent) + 1)
    return sent[:at] + bytes([byte ^ (1 << chance.randrange(8)) for byte in sent[at : at + 1]]) + sent[at + 1 :]


def _delete(sent: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(sent) + 1)
    return sent[:at] + sent[at + chance.choice((1, 1, 2, 4, 20)) :]


def _repeat(sent: bytes, chance: random.Random) -> bytes:
    at, size = chance.randrange(len(sent) + 1), chance.choice((1, 2, 8, 40))
    return sent[: at + size] + sent[at:]


def _field(sent: bytes, chance: random.Random) -> bytes:
    lines = sent.split(b"\r\n")
    lines.insert(chance.randrange(1, len(lines) + 1), chance.choice(FIELDS))
    return b"\r\n".join(lines)


def _swap(sent: bytes, chance: random.Random) -> bytes:
    lines = sent.split(b"\r\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines)


def _splice(sent: bytes, chance: random.Random) -> bytes:
    other = chance.choice(SEEDS).sent
    return sent[: chance.randrange(len(sent) + 1)] + other[chance.randrange(len(other)) :]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _insert, _insert, _replace, _flip, _delete, _repeat, _field, _field, _swap, _splice,
)  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """Return one trial's bytes: one to three cases of the table behind each other, changed at up to four places."""
    count = chance.choice((1, 1, 2, 3))
    sent = b"".join(chance.choice(SEEDS if chance.random() < 0.4 else PLAIN).sent for _ in range(count))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 4))):
        sent = chance.choice(MUTATIONS)(sent, chance)
    return _long(chance) + sent if chance.random() < LONG else sent


def _long(chance: random.Random) -> bytes:
    """Return a request whose body goes past the parser; its length may be a few bytes wrong."""
    filler = chance.choice((b"a", b"\r\n", PLAIN[0].sent))
    body = (filler * (600_000 // len(filler) + 1))[: chance.randrange(150_000, 600_000)]
    length = len(body) + chance.choice((0, 0, 0, 0, -3, -1, 1, 2, 3))
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (length, body)


def pieces_of(sent: bytes, chance: random.Random) -> list[bytes]:
    """Return the bytes in pieces: at a few places, or byte by byte, of many the last ones."""
    if chance.random() < 0.2:
        begun = max(0, len(sent) - SINGLE_BYTES)
        return [*filter(None, [sent[:begun]]), *(sent[at : at + 1] for at in range(begun, len(sent)))]
    cuts = sorted(chance.randrange(len(sent) + 1) for _ in range(chance.randrange(1, 5)))
    return [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True) if start < end]


@dataclass(slots=True)
class Findings:
    """What was found, and how much was tried."""

    seed: int
    found: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def note(self, trial: int, pieces: list[bytes], why: str) -> None:
        """Keep one finding, and show the first ones at once."""
        self.found.append(why)
        if len(self.found) <= 20:
            sys.stdout.write(f"FOUND (--seed {self.seed}, trial {trial}): {why}\n  {[piece[-4_000:] for piece in pieces]!r}\n")
            sys.stdout.flush()


class Listening(logging.Handler):
    """Hears what the program, aiohttp and asyncio log as a defect."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message, with its exception."""
        self.heard.append(self.format(record))


def _bodiless(raw: Speaker, *, follows: bytes) -> list[Told]:
    """Take the answer of ours to a HEAD request, whose declared body never comes, where this `follows` its head, or nothing.

    Which requests are HEAD, a mutation decides. But each body of ours is JSON: a status line is none.
    """
    head, end, behind = raw.held.partition(b"\r\n\r\n")
    if not end or not _is_ours(head) or not _is_next(behind, follows):
        return []
    raw.held = behind
    return [Told(int(head[9:12]), head[:8], (), b"", head + end)]


def _is_next(behind: bytes, follows: bytes) -> bool:
    return behind.startswith(follows) if follows else not behind


async def _answers(raw: Speaker, house: Road, target: StrictTarget, sending: asyncio.Future[None], quiet_s: float) -> list[Told]:
    """Read answers until the connection ends, or all is sent and nothing has moved for a while."""
    told: list[Told] = []
    before = (-1, -1, -1)
    reading = asyncio.ensure_future(_answer(raw))
    try:
        while True:
            await asyncio.wait({reading}, timeout=quiet_s)
            if reading.done():
                answer = reading.result()
                if answer is None:
                    return told + _bodiless(raw, follows=b"")
                told.append(answer)
                reading = asyncio.ensure_future(_answer(raw))
                continue
            now = (len(house.exchanges), len(target.raw), len(raw.held))
            if now == before and sending.done():
                return told + _bodiless(raw, follows=b"")
            before = now
    finally:
        reading.cancel()


async def _answer(raw: Speaker) -> Told | None:
    """Return the next answer; None where the connection ended before it was whole."""
    while (end := raw.held.find(b"\r\n\r\n")) < 0 or (len(raw.held) < end + 4 + len(_STATUS_LINE) and _is_ours(raw.held[:end])):
        if not await raw.more():
            break
    bodiless = _bodiless(raw, follows=_STATUS_LINE)
    return bodiless[0] if bodiless else await raw.answer()


def _is_ours(head: bytes) -> bool:
    return b"X-Passthrough-Error" in head


async def _sent(
    house: Road, target: StrictTarget, pieces: list[bytes], complain: Callable[[str], None], quiet_s: float = QUIET_S
) -> list[Request]:
    """Send one trial on a connection of its own, check what can be checked, and return what went up."""
    booked, up, bad = len(house.exchanges), len(target.requests), len(target.malformed)
    with speaker(house.port) as raw:
        sending = asyncio.ensure_future(raw.send(pieces))
        try:
            told = await _answers(raw, house, target, sending, quiet_s)
        except (Malformed, ValueError) as why:
            complain(f"no plain answer: {why}")
            told = []
        sending.cancel()
    try:
        await house.quiet()
        await until(lambda: not house.listener.connections)
    except TimeoutError:
        complain(f"something is left: {house.listener.connections}, {house.relay.active}")
    for answer in told:
        ours = any(name == b"x-passthrough-error" for name, _ in answer.fields)
        if (
            answer.version != b"HTTP/1.1"
            or answer.status in {500, 502, 503, 504}
            or (ours and CANARY in _NAMED.sub(b"", answer.raw))
        ):
            complain(f"an answer: {answer.raw!r}")
    exchanges, requests = house.exchanges[booked:], target.requests[up:]
    gone = sum(exchange.outcome is Outcome.CLIENT_GONE for exchange in exchanges)
    answered = sum(exchange.status is not None for exchange in exchanges)
    completed = sum(exchange.outcome is Outcome.COMPLETED for exchange in exchanges)
    if len(told) < answered - gone and quiet_s < PATIENT_S:
        # On a busy machine an answer may come later than that: it is lost only where it does not come to who waits for it either.
        return await _sent(house, target, pieces, complain, PATIENT_S)
    if not answered - gone <= len(told) <= answered:
        complain(f"{len(told)} answers, {answered} booked as answered, {gone} clients gone")
    if not completed <= len(requests) <= completed + gone:
        complain(f"{len(requests)} requests went up, {completed} are booked as complete, {gone} clients gone")
    if any(exchange.outcome is Outcome.UPSTREAM_FAILED for exchange in exchanges):
        complain("the target is blamed")
    for why in target.malformed[bad:]:
        complain(f"what went up is no plain request: {why}")
    return requests


def _meaning(requests: list[Request]) -> list[tuple[bytes, str, bytes]]:
    return [(request.line, request.framing, request.body) for request in requests]


async def _work(numbers: Any, until_s: float, findings: Findings, heard: list[str]) -> None:
    target = StrictTarget(answer=NOTHING)  # The same for HEAD, which a mutation may make or unmake.
    # No street: it takes for left over what the other workers have begun since it was entered.
    async with upstream(target.script) as above, road(route_to(above.port)) as house:
        plain = house.relay.rules
        guarded = replace(plain, guard=PageGuard())
        while time.monotonic() < until_s:
            trial = next(numbers)
            house.relay.rules = plain if trial % GUARDED_EACH else guarded
            chance = random.Random(f"{findings.seed}.{trial}")
            sent = mutated(chance)
            both = []
            for pieces in ([sent], pieces_of(sent, chance)):

                def complain(why: str, pieces: list[bytes] = pieces, trial: int = trial) -> None:
                    findings.note(trial, pieces, why)

                requests = await _sent(house, target, pieces, complain)
                both.append(_meaning(requests))
                findings.counts.update(exchange.error or str(exchange.outcome) for exchange in house.exchanges)
                findings.counts["(sent)"] += 1
                findings.counts["(went up)"] += len(requests)
                for words in heard:
                    complain(f"logged: {words}")
                for grown in (heard, house.exchanges, target.requests, target.malformed, target.unfinished, target.raw):
                    grown.clear()
            shorter, longer = sorted(both, key=len)
            if longer[: len(shorter)] != shorter:
                findings.note(trial, [sent], f"whole and in pieces it means another thing: {both}")


async def _left(tasks: set[asyncio.Task[Any]]) -> list[str]:
    """Return what the tasks are that do not end, once all trials have."""
    pending = (await asyncio.wait(tasks, timeout=WAIT_S))[1] if tasks else ()
    return [f"a task is left: {task}" for task in pending]


async def fuzz(seconds: float, seed: int, first: int) -> Findings:
    """Run trials for so long and return what was found."""
    findings, listening = Findings(seed), Listening()
    logging.getLogger().addHandler(listening)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: listening.heard.append(repr(context)))
    numbers = iter(range(first, sys.maxsize))
    until_s = time.monotonic() + seconds
    before = asyncio.all_tasks()
    async with bare_server() as bare, road(route_to(bare)) as beside, watched(bare, beside.port, "/") as pinged:
        await asyncio.gather(*(_work(numbers, until_s, findings, listening.heard) for _ in range(WORKERS)))
    at_the_end = pinged.findings + await _left(asyncio.all_tasks() - before)
    findings.found += at_the_end
    sys.stdout.write("".join(f"FOUND {each}\n" for each in at_the_end[:20]) + pinged.figures + "\n")
    return findings


def main() -> int:
    """Run, and print what was tried and found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--first", type=int, default=0, help="the number of the first trial")
    chosen = parser.parse_args()
    findings = uvloop.run(fuzz(chosen.seconds, chosen.seed, chosen.first))
    sys.stdout.write(f"seed {chosen.seed}: {len(findings.found)} findings; {dict(findings.counts.most_common())}\n")
    return 1 if findings.found else 0


if __name__ == "__main__":
    sys.exit(main())
