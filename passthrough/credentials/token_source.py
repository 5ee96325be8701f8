"""The token of one identity: fetched on a thread before it is needed, renewed before it ends, one fetch for all who wait.

1. `start` fetches the first token; later ones follow by themselves, before the one in force ends.
2. While a token is good, `token` returns it at once. Else all who call wait for the one fetch that is under way.
3. A fetch that fails is repeated after a pause that doubles. Meanwhile the old token serves while it is good, and `trouble` says
   why there is no new one; then `token` fails at once, without a request to the token's server for each.
4. A token that the provider rejects (401) is renewed once: `after_rejection`.
5. A fetch that does not end gets another one beside it, at most. What it brings in the end is used only if nothing newer came.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ..errors import Reason, UpstreamFailure
from .clock import Clock, Handle, LoopClock
from .token import FetchError, Token

Fetch = Callable[[], Token]
"""Fetches a token; blocks, is called on a thread. Raises FetchError."""

MAX_FETCHES: Final = 2
"""How many fetches for one identity, each on a thread, may run at once."""


MAX_SORTS: Final = 20
"""How many sorts of trouble are logged until all is well again: a server may find ever new words."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When tokens are renewed, in seconds.

    A token's life counts for `max_life_s` at most, whatever its server says. It is renewed `lead_share` of its life, at most
    `max_lead_s`, before its end; one that lives less than `short_s`, in the middle of its life. Up to half of that time earlier,
    so that many workers do not come together. It counts as good until `margin_s` before its end: a request takes a moment to
    arrive; of a short life, until a tenth is left. Between fetches are `least_s`, after failures `pause_s`, doubled each time up
    to `max_pause_s`. A fetch that runs for `hangs_s` may never end. What came because of a rejection is not renewed by another
    one for `settle_s`: a provider that answers 401 to everything must not make us hammer the token's server.
    """

    max_life_s: float = 86_400.0
    lead_share: float = 0.2
    max_lead_s: float = 300.0
    short_s: float = 60.0
    margin_s: float = 5.0
    least_s: float = 1.0
    pause_s: float = 1.0
    max_pause_s: float = 60.0
    hangs_s: float = 30.0
    settle_s: float = 60.0


@dataclass(frozen=True, slots=True)
class TokenReading:
    """What metrics and /readyz see of one identity.

    `fetched` and `failed` count the fetches that have ended. `good_until_utc` is when the token in force ends, in seconds since
    the epoch; None where there is none that is good.
    """

    name: str
    fetched: int
    failed: int
    good_until_utc: float | None
    trouble: str | None


@dataclass(slots=True)
class _Held:
    """The token in force. Times are steady ones. `answers_rejection`: it was fetched because the one before was rejected."""

    token: Token
    asked_at: float
    came_at: float
    good_until: float
    answers_rejection: bool
    rejected: bool = False


class TokenSource:
    """The token of one identity. Every method is called on the event loop."""

    trouble: str | None
    """Why there is no new token, None where all is well. It names no secret."""

    def __init__(
        self,
        name: str,
        fetch: Fetch,
        warn: Callable[[str], None],
        *,
        clock: Clock | None = None,
        pace: Pace = Pace(),
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`name` is the identity's, for metrics and messages; `users` may be set to who needs the token, for messages.

        `warn` gets one when a sort of trouble begins, and when all is well again. `chance` gives numbers from 0 to 1, by which
        workers differ.
        """
        self.name = name
        self.users = ""
        self.trouble = None
        self._fetch = fetch
        self._warn = warn
        self._loop = asyncio.get_running_loop()
        self._clock = clock or LoopClock()
        self._pace = pace
        self._chance = chance
        self._runs = False
        self._held: _Held | None = None
        self._running: list[float] = []  # when each fetch that is running began
        self._due_at = float("-inf")
        self._hung_at = float("-inf")  # when the last fetch that hung began
        self._timer: Handle | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._failures = self._failed = self._fetched = 0
        self._warned: set[str] = set()

    def start(self) -> None:
        """Begin to fetch the first token, and to keep it renewed. Idempotent."""
        if not self._runs:
            self._runs = True
            self._go_on()

    def close(self) -> None:
        """Renew no more; who waits for a fetch that is under way gets what it brings: a reload fails no request. Idempotent."""
        self._runs = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell()

    @property
    def described(self) -> str:
        """The identity's name with those who need its token."""
        return f"{self.name} for {self.users}" if self.users else self.name

    @property
    def reading(self) -> TokenReading:
        """What is known now."""
        held = self._good(self._clock.steady_s())
        until = None if held is None else held.token.good_until_utc
        return TokenReading(self.name, self._fetched, self._failed, until, self.trouble)

    async def token(self, within_s: float | None) -> Token:
        """Return a token that is good now. Raises UpstreamFailure (upstream_credentials) where there is none within this time."""
        now = self._clock.steady_s()
        if now >= self._due_at:
            self._go_on()
        held = self._good(now)
        if held is None:
            held = await self._other(None, within_s)
        if held is None:
            raise UpstreamFailure(
                "upstream_credentials", "There is no token for the provider: it could not be fetched.", why=Reason.CREDENTIALS
            )
        return held.token

    async def after_rejection(self, rejected: Token, within_s: float | None) -> Token | None:
        """Return another token than this one, which the provider rejected; None where there is none, or it was renewed before."""
        held = self._held
        if held is not None and held.token.secret == rejected.secret:
            now = self._clock.steady_s()
            if held.answers_rejection and now - held.came_at < self._pace.settle_s:
                return None
            if not held.rejected:
                held.rejected = True
                if not self._failures:  # Else the fetch that is due is not brought forward.
                    self._due_at = now
        held = await self._other(rejected, within_s)
        return None if held is None else held.token

    async def _other(self, than: Token | None, within_s: float | None) -> _Held | None:
        """Wait for a good token that is another one; return None where the fetches that are under way bring none."""
        until = None if within_s is None else self._loop.time() + within_s
        while True:
            now = self._clock.steady_s()
            held = self._good(now)
            if held is not None and (than is None or held.token.secret != than.secret):
                return held
            self._go_on()
            left_s = None if until is None else until - self._loop.time()
            if not self._is_under_way(now) or (left_s is not None and left_s <= 0):
                return None
            if not self._runs:  # No timer tells of a fetch that hangs.
                hangs_in_s = self._running[-1] + self._pace.hangs_s - now
                left_s = hangs_in_s if left_s is None else min(left_s, hangs_in_s)
            # One for each: thousands that leave one future at the same time would search its callbacks thousands of times.
            news = self._loop.create_future()
            self._waiting.add(news)
            try:
                await asyncio.wait({news}, timeout=left_s)
            finally:
                self._waiting.discard(news)

    def _good(self, now: float) -> _Held | None:
        return self._held if self._held is not None and now < self._held.good_until else None

    def _is_under_way(self, now: float) -> bool:
        """Tell whether a fetch runs that may still end soon."""
        return bool(self._running) and now - self._running[-1] < self._pace.hangs_s

    def _go_on(self) -> None:
        """Start a fetch if one is due, and see to it that the next step comes in time."""
        if not self._runs:
            return
        now = self._clock.steady_s()
        if now >= self._due_at and not self._is_under_way(now):
            if self._running and self._running[-1] > self._hung_at:
                self._hung_at = self._running[-1]
                self._note(FetchError(f"The token's server has not answered for {self._pace.hangs_s:.0f} s.", "hangs"))
                self._tell()
            if len(self._running) < MAX_FETCHES:
                self._begin(now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if now < self._due_at:
            self._timer = self._clock.later(self._due_at - now, self._go_on)
        elif self._is_under_way(now):
            self._timer = self._clock.later(self._running[-1] + self._pace.hangs_s - now, self._go_on)

    def _begin(self, now: float) -> None:
        self._running.append(now)
        try:
            # A daemon: the end of the process does not wait for it.
            threading.Thread(target=self._ask, args=(now,), name="token", daemon=True).start()
        except RuntimeError:
            self._loop.call_soon(self._ended, now, FetchError("No thread can be started."))

    def _ask(self, began: float) -> None:
        """Fetch a token, on a thread, and pass it to the event loop."""
        came: Token | FetchError = FetchError("The fetch of a token ended without one.")
        try:
            came = self._fetch()
        except FetchError as error:
            came = error
        finally:
            with suppress(RuntimeError):  # The loop has been closed meanwhile.
                self._loop.call_soon_threadsafe(self._ended, began, came)

    def _ended(self, began: float, came: Token | FetchError) -> None:
        self._running.remove(began)
        if isinstance(came, Token) and came.good_until_utc - self._clock.utc_s() < self._pace.least_s:
            came = FetchError("The token that came has ended already: compare this machine's clock with the server's.")
        if isinstance(came, FetchError):
            self._failed += 1
        else:
            self._fetched += 1
        if self._held is None or began >= self._held.asked_at:  # Else a fetch that began later has already ended.
            now = self._clock.steady_s()
            if isinstance(came, Token):
                self._take(came, began, now)
            elif self._runs:
                self._fail(came, now)
        self._tell()
        self._go_on()

    def _take(self, token: Token, began: float, now: float) -> None:
        pace = self._pace
        life_s = min(token.good_until_utc - self._clock.utc_s(), pace.max_life_s)
        lead_s = life_s / 2 if life_s < pace.short_s else min(life_s * pace.lead_share, pace.max_lead_s)
        good_until = now + life_s - min(pace.margin_s, life_s / 10)
        answers = self._held is not None and self._held.rejected
        self._held = _Held(token, began, now, good_until, answers_rejection=answers)
        self._due_at = now + max(life_s - lead_s * (1 + self._chance() / 2), pace.least_s)
        self._failures = 0
        if self.trouble is not None:
            self.trouble = None
            self._warned.clear()
            self._warn(f"The token of {self.described} is fetched again.")

    def _fail(self, error: FetchError, now: float) -> None:
        pause_s = min(self._pace.pause_s * 2 ** min(self._failures, 30), self._pace.max_pause_s)
        self._failures += 1
        self._due_at = now + pause_s * (1 - self._chance() / 4)
        self._note(error)

    def _note(self, error: FetchError) -> None:
        """Say why there is no new token, in the log once for each sort of trouble."""
        rejected = self._held is not None and self._held.rejected
        self.trouble = f"The provider rejects the token, and there is no new one: {error}" if rejected else str(error)
        if error.sort not in self._warned and len(self._warned) < MAX_SORTS:
            self._warned.add(error.sort)
            what = "No token" if self._held is None else "No new token"
            self._warn(f"{what} for {self.described}: {self.trouble}")

    def _tell(self) -> None:
        """Let all who wait look again."""
        waiting, self._waiting = self._waiting, set()
        for news in waiting:
            news.set_result(None)
