"""Faults × moments × sides × framings × starts, as one table: how an exchange ends when one of its peers fails.

`UPSTREAM` and `CLIENT` have a line for each fault and a column for each moment. A cell says how it ends, or why there is nothing
to try; where that depends on the framing or the start, it says so for each. `combinations` unfolds the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product
from typing import Final

from passthrough.exchange import Outcome
from passthrough.meter.usage import Unmetered

PAGES: Final = 3
"""What the answers of these tests count."""


class Side(StrEnum):
    """Whose fault it is."""

    UPSTREAM = "upstream"
    CLIENT = "client"


class Fault(StrEnum):
    """What goes wrong."""

    REFUSE = "refuse"
    HANG = "hang"
    RESET = "reset"
    CLOSE = "clean close"
    SHORT = "too short"
    LONG = "too long"
    GARBAGE = "garbage"
    DRIP = "slow drip"
    ENDLESS = "never-ending"
    INTERIM = "1xx first"
    EARLY_413 = "early 413"
    EARLY_401 = "early 401"
    NOT_JSON = "invalid JSON"
    NULL = "null"
    EMPTY = "empty"
    CUT_GZIP = "truncated gzip"


WAITING: Final = (Fault.HANG, Fault.DRIP, Fault.ENDLESS)
"""What a time-out ends, or takes nearly as long as one."""


class Moment(StrEnum):
    """When it goes wrong.

    `connect`: before a byte of the message, on a kept connection while it is idle. `head` and `body`: in the middle of these.
    `after`: behind the upstream's answer; behind the client's request, while the answer is on its way. Early answers go by the
    upload: behind its head, in its body, behind it (then they are not early at all).
    """

    CONNECT = "connect"
    HEAD = "head"
    BODY = "body"
    AFTER = "after"


class Framing(StrEnum):
    """How the body ends of the message that is broken: the answer's, also for clients that fail after their request."""

    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    CLOSE = "close-delimited"


class Start(StrEnum):
    """Whether the exchange is the first one on its connections or the second."""

    FRESH = "fresh"
    KEPT = "keep-alive"


class Seen(StrEnum):
    """What the client sees."""

    WHOLE = "the whole answer of the target"
    OWN = "a whole answer of ours"
    BROKEN = "the beginning of an answer that is visibly broken"
    NOTHING = "nothing"


class Sent(StrEnum):
    """What the upstream sees of the request."""

    WHOLE = "a whole request"
    BROKEN = "a request that is visibly broken"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How an exchange ends.

    `seen` None: not asked, what this client sees is its own doing. `status` None: the client was sent none. `outcome` None: there
    is no exchange at all. `errors`: the codes that it may have. `usage`: the pages, why they are not known, or None where none
    were expected. `split`: the break is in the middle of the body, so that it is tried before the count and behind it: then the
    pages are known. `more`: exchanges that the rest of what the client sent makes on its kept connection. `client_lives`,
    `pool_lives`: whether the client's connection and the pool's serve the next request.
    """

    seen: Seen | None = Seen.WHOLE
    status: int | None = 200
    outcome: Outcome | None = Outcome.COMPLETED
    errors: tuple[str | None, ...] = (None,)
    usage: int | Unmetered | None = PAGES
    split: bool = False
    sent: Sent = Sent.WHOLE
    attempts: int = 1
    more: int = 0
    client_lives: bool = True
    pool_lives: bool = True


Cell = Ends | str | Mapping[Framing | Start, "Ends | str"]


# ── how exchanges end ──


def _answered(
    status: int, *codes: str, sent: Sent = Sent.WHOLE, usage: Unmetered | None = Unmetered.BROKEN, attempts: int = 1
) -> Ends:
    """Return the end of an exchange whose target failed before its answer's head: our answer, on a connection that lives on."""
    return Ends(
        seen=Seen.OWN,
        status=status,
        outcome=Outcome.UPSTREAM_FAILED,
        errors=codes,
        usage=usage,
        sent=sent,
        attempts=attempts,
        pool_lives=False,
    )


def _broken(code: str, *, split: bool = True, usage: int | Unmetered = Unmetered.BROKEN) -> Ends:
    """Return the end of an exchange whose target failed in its answer's body: an answer that looks broken."""
    return Ends(
        seen=Seen.BROKEN,
        outcome=Outcome.UPSTREAM_FAILED,
        errors=(code,),
        usage=usage,
        split=split,
        client_lives=False,
        pool_lives=False,
    )


def _refused(status: int, *codes: str, sent: Sent = Sent.NOTHING) -> Ends:
    """Return the end of an exchange whose client failed before its request's end: a refusal, and both connections end."""
    return Ends(
        seen=Seen.OWN,
        status=status,
        outcome=Outcome.REFUSED,
        errors=codes,
        usage=None if sent is Sent.NOTHING else Unmetered.CANCELLED,
        sent=sent,
        attempts=0 if sent is Sent.NOTHING else 1,
        client_lives=False,
        pool_lives=sent is Sent.NOTHING,
    )


def _early(status: int) -> Ends:
    """Return the end of an exchange that was answered before its upload ended: relayed as it is, and both connections end."""
    return Ends(status=status, usage=None, sent=Sent.BROKEN, client_lives=False, pool_lives=False)


WHOLE: Final = Ends()
SPOILT: Final = Ends(pool_lives=False)
"""A whole answer on a connection to the target that is not used again."""

RENEWED: Final = Ends()
"""A whole answer on a new connection: the kept one was spoilt while it was idle."""

UNCOUNTED: Final = {
    Fault.NOT_JSON: Ends(usage=Unmetered.NOT_JSON),
    Fault.NULL: Ends(usage=Unmetered.NO_USAGE),
    Fault.EMPTY: Ends(usage=Unmetered.NO_USAGE),
    Fault.CUT_GZIP: Ends(usage=Unmetered.UNKNOWN_CODING),
}
NO_REQUEST: Final = Ends(seen=Seen.NOTHING, status=None, outcome=None, sent=Sent.NOTHING, client_lives=False)
LEFT_EARLY: Final = Ends(
    seen=Seen.NOTHING,
    status=None,
    outcome=Outcome.CLIENT_GONE,
    usage=Unmetered.CANCELLED,
    sent=Sent.BROKEN,
    client_lives=False,
    pool_lives=False,
)
LEFT_LATE: Final = Ends(seen=Seen.BROKEN, outcome=Outcome.CLIENT_GONE, client_lives=False)
"""The client left after a whole request: its answer is read to its end for the books, and the target's connection lives on."""

MALFORMED: Final = _refused(400, "bad_request", sent=Sent.BROKEN)

# ── why there is nothing to try ──

NO_FRAMING: Final = "No byte of a message has come, so that it has no framing."
REQUESTS_HAVE_ENDS: Final = "A request never ends with its connection (RFC 9112 §6.3)."
KEPT_CONNECTS_NOT: Final = "On a kept connection nothing connects."
OPEN: Final = "A connection that is open is not refused any more."
LISTENS_NOT: Final = "A client does not listen, so that it refuses nothing."
LENGTHS_ARE_BODIES: Final = "What makes a length wrong is the body: see there."
NO_LENGTH: Final = "It declares no length."
ANY_BYTES: Final = "Any bytes are a body of that framing: see invalid JSON."
ANY_INTERIM: Final = "Between the head and the body's end, a 1xx is bytes of the body, or garbage among its chunks."
KERNELS: Final = "Connecting has no bytes of its own to drip."
ONE_BYTE: Final = "The first byte that nobody asked for is garbage: see there."
BODIES_ONLY: Final = "It is about the body: see there."
SERVERS_ONLY: Final = "Only a server answers."
CHANCE: Final = "Whether it overtakes the request on a new connection is chance: see garbage, and behind the head."
NO_CONNECTION: Final = "The connection ended with the answer."
BODY_ENDED: Final = "The message has its length: nothing is missing any more."

# ── the table: connect, head, body, after ──

UPSTREAM: Final[Mapping[Fault, tuple[Cell, Cell, Cell, Cell]]] = {
    Fault.REFUSE: (
        {
            Start.FRESH: _answered(502, "upstream_unreachable", sent=Sent.NOTHING, usage=None, attempts=2),
            Start.KEPT: KEPT_CONNECTS_NOT,
        },
        OPEN,
        OPEN,
        OPEN,
    ),
    Fault.HANG: (
        {
            Start.FRESH: _answered(504, "upstream_timeout", sent=Sent.NOTHING, usage=None, attempts=2),
            Start.KEPT: KEPT_CONNECTS_NOT,
        },
        _answered(504, "upstream_timeout"),
        _broken("upstream_timeout"),
        {Framing.LENGTH: WHOLE, Framing.CHUNKED: WHOLE, Framing.CLOSE: NO_CONNECTION},
    ),
    Fault.RESET: (
        {
            Start.FRESH: _answered(502, "upstream_broke", "upstream_unreachable", sent=Sent.NOTHING),
            Start.KEPT: RENEWED,
        },
        _answered(502, "upstream_broke"),
        _broken("upstream_broke"),
        {Framing.LENGTH: SPOILT, Framing.CHUNKED: SPOILT, Framing.CLOSE: NO_CONNECTION},
    ),
    Fault.CLOSE: (
        {
            Start.FRESH: _answered(502, "upstream_broke", "upstream_unreachable", sent=Sent.NOTHING),
            Start.KEPT: RENEWED,
        },
        _answered(502, "upstream_broke"),
        {
            Framing.LENGTH: _broken("upstream_broke"),
            Framing.CHUNKED: _broken("upstream_broke"),
            # This is how such an answer ends: no proxy can tell that there should have been more (RFC 9112 §8).
            Framing.CLOSE: Ends(usage=Unmetered.NOT_JSON, split=True),
        },
        {Framing.LENGTH: SPOILT, Framing.CHUNKED: SPOILT, Framing.CLOSE: NO_CONNECTION},
    ),
    Fault.SHORT: (
        LENGTHS_ARE_BODIES,
        LENGTHS_ARE_BODIES,
        {
            Framing.LENGTH: _broken("upstream_broke", split=False, usage=PAGES),
            Framing.CHUNKED: _broken("upstream_broke", split=False, usage=PAGES),
            Framing.CLOSE: NO_LENGTH,
        },
        BODY_ENDED,
    ),
    Fault.LONG: (
        LENGTHS_ARE_BODIES,
        LENGTHS_ARE_BODIES,
        {Framing.LENGTH: SPOILT, Framing.CHUNKED: _broken("bad_upstream_answer"), Framing.CLOSE: NO_LENGTH},
        {Framing.LENGTH: SPOILT, Framing.CHUNKED: SPOILT, Framing.CLOSE: NO_CONNECTION},
    ),
    Fault.GARBAGE: (
        {
            Start.FRESH: _answered(502, "bad_upstream_answer", "upstream_unreachable", sent=Sent.NOTHING),
            Start.KEPT: RENEWED,
        },
        _answered(502, "bad_upstream_answer"),
        {Framing.LENGTH: ANY_BYTES, Framing.CHUNKED: _broken("bad_upstream_answer"), Framing.CLOSE: ANY_BYTES},
        {Framing.LENGTH: SPOILT, Framing.CHUNKED: SPOILT, Framing.CLOSE: NO_CONNECTION},
    ),
    Fault.DRIP: (KERNELS, _answered(504, "upstream_timeout"), WHOLE, ONE_BYTE),
    Fault.ENDLESS: (
        {
            Start.FRESH: _answered(502, "bad_upstream_answer", "upstream_unreachable", sent=Sent.NOTHING),
            Start.KEPT: RENEWED,
        },
        _answered(502, "bad_upstream_answer"),
        _broken("upstream_timeout"),
        {Framing.LENGTH: SPOILT, Framing.CHUNKED: SPOILT, Framing.CLOSE: NO_CONNECTION},
    ),
    Fault.INTERIM: (
        {Start.FRESH: CHANCE, Start.KEPT: RENEWED},
        WHOLE,
        ANY_INTERIM,
        {Framing.LENGTH: SPOILT, Framing.CHUNKED: SPOILT, Framing.CLOSE: NO_CONNECTION},
    ),
    Fault.EARLY_413: (
        {Start.FRESH: CHANCE, Start.KEPT: RENEWED},
        _early(413),
        _early(413),
        Ends(status=413, usage=None),
    ),
    Fault.EARLY_401: (
        {Start.FRESH: CHANCE, Start.KEPT: RENEWED},
        _early(401),
        _early(401),
        Ends(status=401, usage=None),
    ),
    **{fault: (BODIES_ONLY, BODIES_ONLY, ends, BODIES_ONLY) for fault, ends in UNCOUNTED.items()},
}

CLIENT: Final[Mapping[Fault, tuple[Cell, Cell, Cell, Cell]]] = {
    Fault.REFUSE: (LISTENS_NOT, LISTENS_NOT, LISTENS_NOT, LISTENS_NOT),
    Fault.HANG: (
        replace(NO_REQUEST, client_lives=True),
        _refused(408, "slow_request"),
        _refused(408, "slow_request", sent=Sent.BROKEN),
        LEFT_LATE,
    ),
    Fault.RESET: (NO_REQUEST, NO_REQUEST, LEFT_EARLY, LEFT_LATE),
    Fault.CLOSE: (NO_REQUEST, NO_REQUEST, LEFT_EARLY, LEFT_LATE),
    Fault.SHORT: (
        LENGTHS_ARE_BODIES,
        LENGTHS_ARE_BODIES,
        # What follows is taken for the rest of the body, here and at the target alike; what is left of it is no request.
        {Framing.LENGTH: Ends(more=1, client_lives=False), Framing.CHUNKED: MALFORMED},
        BODY_ENDED,
    ),
    Fault.LONG: (
        LENGTHS_ARE_BODIES,
        LENGTHS_ARE_BODIES,
        {Framing.LENGTH: Ends(more=1, client_lives=False), Framing.CHUNKED: MALFORMED},
        Ends(more=1),  # A further request: it is answered in its turn.
    ),
    Fault.GARBAGE: (
        _refused(400, "bad_request"),
        _refused(400, "bad_request"),
        {Framing.LENGTH: ANY_BYTES, Framing.CHUNKED: MALFORMED},
        Ends(more=1, client_lives=False),
    ),
    Fault.DRIP: (KERNELS, _refused(408, "slow_request"), WHOLE, WHOLE),
    Fault.ENDLESS: (
        _refused(408, "slow_request"),
        _refused(431, "headers_too_large"),
        {
            Framing.LENGTH: _refused(413, "body_too_large"),
            Framing.CHUNKED: _refused(413, "body_too_large", sent=Sent.BROKEN),
        },
        Ends(seen=None, more=1, client_lives=False),
    ),
    Fault.INTERIM: (SERVERS_ONLY, SERVERS_ONLY, SERVERS_ONLY, SERVERS_ONLY),
    Fault.EARLY_413: (SERVERS_ONLY, SERVERS_ONLY, SERVERS_ONLY, SERVERS_ONLY),
    Fault.EARLY_401: (SERVERS_ONLY, SERVERS_ONLY, SERVERS_ONLY, SERVERS_ONLY),
    **dict.fromkeys(UNCOUNTED, (BODIES_ONLY, BODIES_ONLY, WHOLE, BODIES_ONLY)),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One combination, and how it ends or why there is nothing to try.

    `http10`: the client speaks HTTP/1.0, to which only a length or the connection's end can delimit an answer.
    `counted_first`: the answer's count comes before the break.
    """

    side: Side
    fault: Fault
    moment: Moment
    framing: Framing
    start: Start
    ends: Ends | str
    http10: bool = False
    counted_first: bool = False

    def __str__(self) -> str:
        marks = [mark for mark, holds in (("HTTP/1.0", self.http10), ("counted", self.counted_first)) if holds]
        return ", ".join([self.side, self.fault, self.moment, self.framing, self.start, *marks])

    @property
    def at(self) -> tuple[Side, Fault, Moment]:
        """The line and column of the table that it comes from."""
        return self.side, self.fault, self.moment

    @property
    def waits(self) -> bool:
        """Whether it takes its time."""
        return self.fault in WAITING

    @property
    def of_answer(self) -> bool:
        """Whether its framing is the answer's, else the request's."""
        return self.side is Side.UPSTREAM or self.moment is Moment.AFTER

    @property
    def answer_framing(self) -> Framing:
        """How the target's answer ends."""
        return self.framing if self.of_answer else Framing.LENGTH

    @property
    def chunked_request(self) -> bool:
        """Whether the request is chunked; an answer that is chunked gets such a request, where the client can."""
        return self.framing is Framing.CHUNKED and not self.http10 and self.at[1:] != (Fault.HANG, Moment.AFTER)


def ends_of(case: Case) -> Ends:
    """Return how the case ends, with what follows from framings alone: whom they let live on, and where the count is."""
    assert isinstance(case.ends, Ends)
    ends = case.ends
    if ends.split and case.counted_first:
        ends = replace(ends, usage=PAGES)
    if ends.seen in {Seen.WHOLE, None} and case.http10 and case.answer_framing is not Framing.LENGTH:
        ends = replace(ends, client_lives=False, more=0)
    if ends.sent is Sent.WHOLE and case.answer_framing is Framing.CLOSE:
        # A further request that is served has opened another connection.
        ends = replace(ends, pool_lives=ends.more > 0 and ends.client_lives)
    return ends


def _cell(side: Side, fault: Fault, moment: Moment, framing: Framing, start: Start) -> Ends | str:
    """Return what the table says of a combination."""
    if moment is Moment.CONNECT and framing is not Framing.LENGTH:
        return NO_FRAMING
    if side is Side.CLIENT and moment is not Moment.AFTER and framing is Framing.CLOSE:
        return REQUESTS_HAVE_ENDS
    cell = (UPSTREAM if side is Side.UPSTREAM else CLIENT)[fault][list(Moment).index(moment)]
    if isinstance(cell, Ends | str):
        return cell
    return cell[start] if start in cell else cell[framing]


def combinations() -> Iterator[Case]:
    """Yield every combination of the five, once."""
    for at in product(Side, Fault, Moment, Framing, Start):
        yield Case(*at, _cell(*at))


def cases() -> Iterator[Case]:
    """Yield what is tried: all that makes sense, for each version of HTTP and each place of the count that matter."""
    for case in combinations():
        if isinstance(case.ends, str):
            continue
        for http10 in (False, True) if case.of_answer else (False,):
            for counted_first in (False, True) if case.ends.split else (False,):
                yield replace(case, http10=http10, counted_first=counted_first)
