"""Fetches of tokens that end when a test says so, and a clock that it moves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from passthrough.credentials.token import FetchError, Token
from passthrough.secret import Secret
from tests.harness.waiting import WAIT_S, until


@dataclass(eq=False)
class Timer:
    """A call that is to come."""

    at: float
    call: Callable[[], None]
    due: list[Timer]

    def cancel(self) -> None:
        """Call it off."""
        if self in self.due:
            self.due.remove(self)


@dataclass
class ManualClock:
    """Time stands still until the test moves it."""

    steady: float = 1_000.0
    utc: float = 1_800_000_000.0
    due: list[Timer] = field(default_factory=list)

    def steady_s(self) -> float:
        """As Clock."""
        return self.steady

    def utc_s(self) -> float:
        """As Clock."""
        return self.utc

    def later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """As Clock."""
        timer = Timer(self.steady + delay_s, call, self.due)
        self.due.append(timer)
        return timer

    def move(self, seconds: float) -> None:
        """Let time pass, and call what is due, in its order."""
        end, utc = self.steady + seconds, self.utc + seconds
        while timers := sorted((each for each in self.due if each.at <= end), key=lambda each: each.at):
            timers[0].cancel()
            self.utc += timers[0].at - self.steady
            self.steady = timers[0].at
            timers[0].call()
        self.steady, self.utc = end, utc

    def move_on(self) -> None:
        """Let time pass until the next call is due, and make it."""
        self.move(min(each.at for each in self.due) - self.steady)

    def sleep(self, seconds: float) -> None:
        """Let the machine sleep: time passes, and nothing is called."""
        self.steady += seconds
        self.utc += seconds

    def token(self, name: str, life_s: float = 3600.0) -> Token:
        """Return a token that ends after this time."""
        return Token(Secret(name), self.utc + life_s)


class Fetch:
    """One fetch, on its thread."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._came: Token | FetchError = FetchError("The test is over.")

    def wait(self) -> Token:
        """Be the fetch."""
        self._over.wait(WAIT_S)
        if isinstance(self._came, FetchError):
            raise self._came
        return self._came

    def end(self, came: Token | FetchError) -> None:
        """Let it end."""
        self._came = came
        self._over.set()


class Fetches:
    """All fetches of a source: each is under way until the test ends it."""

    def __init__(self) -> None:
        self.made: list[Fetch] = []

    def __call__(self) -> Token:
        """Fetch, on whatever thread."""
        fetch = Fetch()
        self.made.append(fetch)
        return fetch.wait()

    async def next(self, number: int) -> Fetch:
        """Wait until so many were begun; return the last one."""
        await until(lambda: len(self.made) >= number)
        assert number == len(self.made)
        return self.made[-1]

    def end_all(self) -> None:
        """Let no thread wait any longer."""
        for fetch in self.made:
            fetch.end(FetchError("The test is over."))
