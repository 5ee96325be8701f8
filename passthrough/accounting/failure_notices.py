"""Tells the operator which targets fail, and which clients speak the wrong protocol: at once, then once a minute with a count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from ..errors import Reason
from ..exchange import Exchange
from .entry import printable

_COOLING: Final = str(Reason.COOLING)
_MAX_SUBJECTS: Final = 1000
_SILENT: Final = frozenset({str(Reason.CREDENTIALS)})
"""What is said elsewhere: see `credentials`."""

_PLAIN: Final = str(Reason.PLAIN_ON_TLS)

_IN_CLEAR: Final = "client key in clear on the TLS port"

_CLIENTS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        str(Reason.TLS_ON_PLAIN): (
            "TLS came to the plain port: a client calls https:// where http:// is meant.",
            "Correct the client's URL, or serve TLS with --tls-cert and --tls-key.",
        ),
        _PLAIN: (
            "A plain request came to the TLS port: a client calls http:// where https:// is meant.",
            "Correct the client's URL.",
        ),
        _IN_CLEAR: (
            "A client's key came to the TLS port in clear: it may have been read on the way. The log says whose it is.",
            "Correct the client's URL, and give it another key.",
        ),
        str(Reason.TLS_TWICE): (
            "What a client sent within TLS is TLS once more.",
            "Let the client, or the proxy before this one, encrypt once only.",
        ),
        str(Reason.HTTP2_IN_TLS): (
            "A client spoke HTTP/2 within TLS although no ALPN chose it: HTTP/2 is not spoken here.",
            "Let it, or the proxy before this one, send HTTP/1.1.",
        ),
        str(Reason.HTTP2): (
            "A client spoke HTTP/2 without TLS (prior knowledge), which is not spoken here.",
            "Let it, or the proxy before this one, send HTTP/1.1.",
        ),
    }
)
"""Why a client is not understood → what is said of it, and how to fix it."""


@dataclass(slots=True)
class _Minute:
    """What was counted of one subject since something was last said of it."""

    reasons: Counter[str] = field(default_factory=Counter)
    timer: asyncio.TimerHandle | None = None


class FailureNotices:
    """Counts failures on the event loop's thread. Of each target something is said once a minute at most.

    Memory is bounded: beyond a thousand targets nothing is said of a further one.
    """

    def __init__(self, warn: Callable[[str], None], *, minute_s: float = 60.0) -> None:
        """`warn` takes messages for the operator."""
        self._warn = warn
        self._minute_s = minute_s
        self._minutes: dict[str, _Minute] = {}

    def count(self, exchange: Exchange) -> None:
        """Take an ended exchange: the calls of it that failed, unless it was sent again to the same target and had a response.

        Where all targets cool down none was called: its route, and the model that was asked for, then stand for them.
        """
        if exchange.failures and (exchange.error is not None or exchange.deployment is not None):
            for target, why in exchange.failures:
                if why not in _SILENT:
                    self._count(printable(target) or "", why)
        elif exchange.why == _COOLING:
            named = ("" if exchange.terms is None else exchange.terms.route, exchange.model_group)
            self._count(printable(" ".join(filter(None, named))) or "", exchange.why)
        elif exchange.why is not None and exchange.why in _CLIENTS:
            self._count("", exchange.why)
            if exchange.why == _PLAIN and exchange.client is not None:
                self._count("", _IN_CLEAR)

    @property
    def is_counting(self) -> bool:
        """Whether the minute of a target runs."""
        return bool(self._minutes)

    def close(self) -> None:
        """Say what was counted and not said yet, and count nothing more. Idempotent."""
        for subject, minute in self._minutes.items():
            if minute.timer is not None:
                minute.timer.cancel()
            if minute.reasons:
                self._say(subject, minute.reasons)
        self._minutes.clear()

    def _count(self, subject: str, why: str) -> None:
        key = subject or why
        minute = self._minutes.get(key)
        if minute is not None:
            minute.reasons[why] += 1
            return
        if len(self._minutes) >= _MAX_SUBJECTS:
            return
        minute = self._minutes[key] = _Minute()
        if subject:
            self._warn(f"{subject}: {why}; {_counted(1, why)}.")
        else:
            self._warn("\n".join(_CLIENTS[why]))
        self._start(key, minute)

    def _start(self, key: str, minute: _Minute) -> None:
        minute.timer = asyncio.get_running_loop().call_later(self._minute_s, self._end, key, minute)

    def _end(self, key: str, minute: _Minute) -> None:
        """Say what the minute had; forget a subject of which it had nothing."""
        if not minute.reasons:
            del self._minutes[key]
            return
        self._say(key, minute.reasons)
        minute.reasons = Counter()
        self._start(key, minute)

    def _say(self, key: str, reasons: Counter[str]) -> None:
        total = reasons.total()
        if key in _CLIENTS:
            self._warn(f"{key}: {total} more {'request' if total == 1 else 'requests'} in the last minute.")
            return
        ordered = reasons.most_common()
        named = ordered[0][0] if len(ordered) == 1 else ", ".join(f"{why} ({number})" for why, number in ordered)
        self._warn(f"{key}: {named}; {_counted(total, ordered[0][0], 'more')} in the last minute.")


def _counted(count: int, why: str, *more: str) -> str:
    """Say how many calls of a target failed; of one request there may be several, and a further one may have gone well."""
    if why == _COOLING:
        what, ended = "request", "was not sent" if count == 1 else "were not sent"
    else:
        what, ended = "call", "failed"
    number = "a" if count == 1 and not more else str(count)
    return " ".join((number, *more, what if count == 1 else f"{what}s", ended))
