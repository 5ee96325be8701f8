"""One call of the API with its tries: what never reached it is sent again, what may have been billed is not (RFC 9110 §9.2.2)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NoReturn, TypeVar

from aiohttp import ClientResponse

from ..errors import DocumentError
from .connection import Connection
from .faults import NETWORK, Fault, Moment, fault_of
from .pauses import OnWait, doubled_delay_s
from .refusals import Meaning, Refusal, read_refusal
from .request_body import RequestBody

T = TypeVar("T")

_MAX_PAUSED_S: Final = 600.0


class _Cause(Enum):
    """Why a call is sent again, each counted by itself."""

    PAUSE = auto()
    UNSENT = auto()
    FREE = auto()


_MAX_TRIES: Final = {_Cause.PAUSE: 8, _Cause.UNSENT: 3, _Cause.FREE: 5}


class Refused(DocumentError):
    """The API refused a call; `refusal` is its response."""

    def __init__(self, error: DocumentError, refusal: Refusal) -> None:
        super().__init__(error.why, error.hint, ends_run=error.ends_run)
        self.refusal = refusal


class UnknownOutcome(DocumentError):
    """A call left, and there is no response to tell whether the API did what it says."""

    def __init__(self, error: DocumentError) -> None:
        super().__init__(error.why, error.hint, ends_run=error.ends_run)


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `body` makes the body, another one for each try.

    `is_free`: it costs nothing, and may be done twice. `is_urgent`: it does not wait for a pause that others were asked for.
    `is_order`: it may have been done where a gateway responds with 503, too.
    """

    method: str
    url: str
    body: Callable[[], RequestBody] | None = None
    is_free: bool = True
    is_urgent: bool = False
    is_order: bool = False


async def send(connection: Connection, call: Call, receive: Callable[[ClientResponse], Awaitable[T]], on_wait: OnWait) -> T:
    """Return what `receive` makes of the 2xx response to a call; a free one's it may be given again, from its beginning.

    Raises DocumentError: Refused, UnknownOutcome, or what `receive` raises.
    """
    tries = _Tries(connection, call, on_wait)
    while True:
        if not call.is_urgent or tries.counted[_Cause.PAUSE]:
            await connection.pauses.passed()
        body = call.body() if call.body is not None else None
        is_answered = False
        try:
            async with connection.request(call.method, call.url, body) as response:
                if 200 <= response.status < 300:
                    is_answered = True
                    received = await receive(response)
                    connection.pauses.successes += 1
                    return received
                refusal = await read_refusal(response, connection.endpoint, connection.timing.utc_s())
        except asyncio.CancelledError:
            if body is not None:
                body.abort()
                connection.abandoned += body.is_whole and not call.is_free and not call.is_order
            raise
        except NETWORK as error:
            if body is not None and body.failure is not None:
                raise body.failure from None
            fault = fault_of(error, is_sent=is_answered or body is None or body.is_whole)
            await tries.after_fault(fault)
        else:
            await tries.after_refusal(refusal)


@dataclass(slots=True)
class _Tries:
    """The tries of one call so far: decides whether there is another, and waits for it."""

    connection: Connection
    call: Call
    on_wait: OnWait
    counted: Counter[_Cause] = field(default_factory=Counter)
    paused_since_s: float | None = None
    successes: int = 0

    async def after_fault(self, fault: Fault) -> None:
        """Return where the call may be sent again. Raises DocumentError."""
        error = fault.error(self.connection.endpoint, may_be_billed=not self.call.is_free)
        if fault.is_malformed and not self.connection.pauses.successes:
            error.ends_run = True  # something else listens there
        if fault.moment is not Moment.WAITING:
            await self._wait(_Cause.UNSENT, fault.why, error)
        elif self.call.is_free:
            await self._wait(_Cause.FREE, fault.why, UnknownOutcome(error))
        else:
            raise UnknownOutcome(error) from None

    async def after_refusal(self, refusal: Refusal) -> None:
        """Return where the call may be sent again. Raises DocumentError."""
        error = Refused(refusal.error(self.connection.endpoint, may_be_billed=not self.call.is_free), refusal)
        match refusal.meaning:
            case Meaning.PAUSE if self.call.is_order and refusal.status == 503 and not refusal.code:
                raise UnknownOutcome(error)
            case Meaning.PAUSE:
                self._pause(refusal, error)
            case Meaning.UNSENT:
                await self._wait(_Cause.UNSENT, refusal.message, error)
            case Meaning.FAILED if self.call.is_free:
                await self._wait(_Cause.FREE, refusal.message, error)
            case Meaning.FAILED:
                raise UnknownOutcome(error)
            case _:
                raise error

    async def _wait(self, cause: _Cause, why: str, error: DocumentError) -> None:
        delay_s = self._delay_s(cause, error)
        self.on_wait(delay_s, why)
        await self.connection.timing.sleep(delay_s)

    def _pause(self, refusal: Refusal, error: Refused) -> None:
        """Close the gate for all workers, which the next try passes like every other call."""
        pauses, now_s = self.connection.pauses, self.connection.timing.steady_s()
        if self.paused_since_s is None:
            self.paused_since_s, self.successes = now_s, pauses.successes
        if self.counted[_Cause.PAUSE] + 1 >= _MAX_TRIES[_Cause.PAUSE]:
            self._give_up(error)
        delay_s = max(self._delay_s(_Cause.PAUSE, error), refusal.retry_after_s)
        if now_s + delay_s > self.paused_since_s + _MAX_PAUSED_S:
            self._give_up(error)
        if pauses.extend(delay_s):
            self.on_wait(delay_s, refusal.message)

    def _give_up(self, error: Refused) -> NoReturn:
        """Raise the refusal. It ends the run where the API answered no call well in all that time.

        A 503 does so only where it never answered one well: it may be about this document alone.
        """
        successes = self.connection.pauses.successes
        error.ends_run = successes == (self.successes if error.refusal.status == 429 else 0)
        raise error

    def _delay_s(self, cause: _Cause, error: DocumentError) -> float:
        self.counted[cause] += 1
        if self.counted[cause] >= _MAX_TRIES[cause]:
            raise error
        return doubled_delay_s(self.counted[cause], self.connection.timing.chance())
