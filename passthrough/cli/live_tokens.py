"""Fetches one token for each identity of a configuration, and says how that went: `check --live`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import NamedTuple

from ..credentials.fetchers import fetcher
from ..credentials.identity import Identity, shown
from ..credentials.token import FetchError, Token


class Checked(NamedTuple):
    """What came of asking: a sentence, without a secret, and whether it is good."""

    text: str
    is_good: bool


class Fetched(NamedTuple):
    """How the token of one identity was fetched: a sentence, without a secret, whether it is good, and the token then."""

    text: str
    is_good: bool
    token: Token | None = None


def fetched(identities: Sequence[Identity], now: Callable[[], float] = time.time) -> Iterator[Fetched]:
    """Yield how it went for each identity, in order; they are fetched at the same time, which takes half a minute at most."""
    under_way = [_begun(identity, now) for identity in identities]
    for each in under_way:
        yield each.result()


def _begun(identity: Identity, now: Callable[[], float]) -> Future[Fetched]:
    """Fetch on a thread that the end of the program, or Ctrl-C, does not wait for."""
    result: Future[Fetched] = Future()

    def run() -> None:
        try:
            result.set_result(_fetched(identity, now))
        except BaseException as defect:  # noqa: BLE001 - who waits for it raises it
            result.set_exception(defect)

    Thread(target=run, name="token", daemon=True).start()
    return result


def _fetched(identity: Identity, now: Callable[[], float]) -> Fetched:
    name = shown(identity)
    try:
        token = fetcher(identity)()
    except FetchError as error:
        return Fetched(f"{name}: {error}", is_good=False)
    left_s = token.good_until_utc - now()
    if left_s <= 0:
        return Fetched(f"{name}: the token that came has ended already. Check this machine's clock.", is_good=False)
    return Fetched(f"{name}: a token, good for {_duration(left_s)}", is_good=True, token=token)


def _duration(seconds: float) -> str:
    """Return a time in its largest whole unit: `59 min`, `23 h`; below two of one unit, in the next smaller one."""
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{int(seconds // unit_s)} {unit}"
    return f"{int(seconds)} s"
