"""The internals of aiohttp's server that this program uses, each with its reason, and the check that they are there.

aiohttp promises nothing about these names: a new minor version may drop or change one. So they stand here and nowhere else. A
connection gets at them under names of its own, which are aiohttp's own slots and cost no call. `serve` ends with exit code 1
where `unsupported` finds one missing or of another type.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import MemberDescriptorType, NoneType
from typing import Any, Final, NamedTuple, Protocol, cast

import aiohttp
from aiohttp import StreamReader, http_exceptions, http_parser, web

SUPPORTED: Final = ">=3.14.5,<3.15"
"""The versions of aiohttp that were tried; pyproject.toml says the same. Another is tried by the whole test suite."""

_NO_C_PARSER: Final = (
    "aiohttp runs on its pure-Python parser, which has had request smuggling flaws that the other has not.\n"
    "  Install a wheel of aiohttp with C extensions, and unset AIOHTTP_NO_EXTENSIONS."
)

_REQUEST: Final = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb"
_UNREADABLE: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, http_exceptions.HttpProcessingError)


class Internal(NamedTuple):
    """One name that aiohttp does not document: whose it is, what types its values have, and why it is needed.

    `since` is the version of aiohttp from which on it is so. `parameters` are those of a method that is overridden here.
    """

    owner: str
    name: str
    types: tuple[Any, ...]
    since: str
    reason: str
    parameters: tuple[str, ...] = ()


_HANDLER: Final = "RequestHandler"
_PARSER: Final = "HttpRequestParser"
_MESSAGE: Final = "RawRequestMessage"
_BODY: Final = "StreamReader"
_METHOD: Final = (Callable,)

INTERNALS: Final = (
    # ── slots of a connection: `AiohttpConnection` has public names for them ──
    Internal(_HANDLER, "_messages", (deque,), "3.0", "A response is not batched where a pipelined request waits for it."),
    Internal(
        _HANDLER, "_waiter", (Future, NoneType), "3.0", "It alone tells an idle connection from one that reads a body away."
    ),
    Internal(_HANDLER, "_current_request", (web.BaseRequest, NoneType), "3.8", "It leads to the body that a handler waits for."),
    Internal(_HANDLER, "_request_count", (int,), "3.0", "Where no request came, no response is owed: abort instead of close."),
    Internal(_HANDLER, "_next_keepalive_close_time", (float,), "3.10", "It orders idle connections by their age, at no cost."),
    Internal(_HANDLER, "_close", (bool,), "3.0", "A connection that is about to close batches nothing. `close()` sets it."),
    Internal(_HANDLER, "_force_close", (bool,), "3.0", "A connection that is being closed is not idle. `force_close()` sets it."),
    Internal(
        _HANDLER, "_reading_paused", (bool,), "3.0", "No body is bypassed, and reading is resumed, where its stream is full."
    ),
    Internal(_HANDLER, "_buffer_paused", (bool,), "3.14.4", "The same, where the queue of pipelined requests is full."),
    Internal(
        _HANDLER, "_parser", (object,), "3.14", "No option takes a parser. Ours bounds a head, and judges a rejected one again."
    ),
    Internal(_HANDLER, "_read_bufsize", (int,), "3.14.4", "A new parser of the connection gets the same bound."),
    Internal(_HANDLER, "_max_msg_queue_size", (int,), "3.14.1", "A new parser of the connection gets the same bound."),
    # ── methods of a connection that are overridden ──
    Internal(
        _HANDLER, "resume_reading", _METHOD, "3.14", "Each piece taken of a body calls it, and it parses.", ("resume_parser",)
    ),
    Internal(_HANDLER, "finish_response", _METHOD, "3.8", "Taking a response is timed.", ("request", "resp", "start_time")),
    Internal(
        _HANDLER, "handle_error", _METHOD, "3.0", "A rejected head gets our response.", ("request", "status", "exc", "message")
    ),
    Internal(_HANDLER, "log_exception", _METHOD, "3.0", "A malformed body behind our response is not logged.", ("args", "kw")),
    # ── the parser: `Parser` has what aiohttp calls ──
    Internal(_PARSER, "feed_data", _METHOD, "3.0", "Our parser feeds aiohttp's own with what comes."),
    Internal(_PARSER, "feed_eof", _METHOD, "3.0", "aiohttp calls it; our parser passes it on."),
    Internal(_PARSER, "set_upgraded", _METHOD, "3.8", "aiohttp calls it; our parser passes it on."),
    Internal(_PARSER, "pause_reading", _METHOD, "3.14", "aiohttp calls it; our parser passes it on."),
    Internal(_PARSER, "message_consumed", _METHOD, "3.14.1", "aiohttp calls it; our parser passes it on."),
    # ── what the parser returns ──
    Internal(_MESSAGE, "path", (str,), "3.0", "A CONNECT may have none (3.14), on which aiohttp fails."),
    Internal(_MESSAGE, "headers", (Mapping,), "3.0", "Content-Length says where the next pipelined request begins."),
    Internal(_MESSAGE, "raw_headers", (tuple,), "3.0", "The header as it came; the error in a message's place has none."),
    Internal(_MESSAGE, "chunked", (bool, int), "3.0", "The framing of a chunked body is not in its stream's count."),
    Internal(_MESSAGE, "_replace", _METHOD, "3.5", "A message cannot be changed, and repeated fields get their own names back."),
    # ── the body's stream ──
    Internal(_BODY, "total_bytes", (int,), "3.0", "How much of a body the parser has passed on says where the body ends."),
    Internal(_BODY, "feed_data", _METHOD, "3.0", "The bypass leaves to the stream what is not taken from itself."),
    Internal(_BODY, "feed_eof", _METHOD, "3.0", "The bypass ends the stream: aiohttp goes on to the next request."),
    Internal(_BODY, "set_exception", _METHOD, "3.0", "3.14 queues a malformed body's error and never wakes the body's reader."),
)
"""Every name of aiohttp's that is not documented and that this program relies on."""


class Parser(Protocol):
    """What aiohttp calls on a connection's parser (3.14)."""

    def feed_data(self, data: bytes, /) -> Any:
        """Take what came; return the messages, whether the protocol changes, and what is then left over."""

    def feed_eof(self) -> Any:
        """Note that no more comes."""

    def set_upgraded(self, val: bool, /) -> None:
        """Note whether the protocol changes."""

    def pause_reading(self) -> None:
        """Stop at the next piece of a body."""

    def message_consumed(self) -> None:
        """Note that a message left the queue."""


def _slot(name: str) -> Any:
    """Return the descriptor of one of aiohttp's slots: under a second name it costs as much as under its own.

    None where there is no such slot: the import must not fail, `unsupported` says it.
    """
    return getattr(web.RequestHandler, name, None)


class AiohttpConnection(web.RequestHandler):
    """A connection as aiohttp's server drives it, with public names for those of its slots that the program uses."""

    __slots__ = ()

    queued_messages: deque[tuple[Any, StreamReader]] = _slot("_messages")
    """The requests that the parser has returned and no handler has taken yet; in a malformed one's place stands its error."""

    request_waiter: Future[None] | None = _slot("_waiter")
    """What waits for the next request; None while one is handled."""

    current_request: web.BaseRequest | None = _slot("_current_request")
    """The request that is being handled."""

    request_count: int = _slot("_request_count")
    """How many requests have come, those in the queue and malformed ones among them."""

    keep_alive_until: float = _slot("_next_keepalive_close_time")
    """The loop's time until which it may wait for a request's first byte."""

    closes_when_idle: bool = _slot("_close")
    """Whether it parses no more, and closes behind what is being handled."""

    force_closed: bool = _slot("_force_close")
    """Whether it is being closed at once."""

    reading_paused: bool = _slot("_reading_paused")
    """Whether reading rests because the body's stream holds enough."""

    buffer_paused: bool = _slot("_buffer_paused")
    """Whether reading rests because enough requests are queued."""

    read_buffer_bytes: int = _slot("_read_bufsize")
    """Where twice as much of a body waits to be taken, reading rests."""

    max_queued_messages: int = _slot("_max_msg_queue_size")
    """How many requests may be queued."""

    def use_parser(self, parser: Parser) -> None:
        """Have another parser fed with what comes; aiohttp drops it when the connection has ended."""
        self._parser = cast(Any, parser)

    def new_parser(self) -> Parser:
        """Return a parser such as aiohttp 3.14 makes for a connection, but one that decodes no body."""
        return _new_parser(self, asyncio.get_running_loop(), self.read_buffer_bytes, self.max_queued_messages)


def _new_parser(protocol: web.RequestHandler, loop: asyncio.AbstractEventLoop, bufsize: int, max_queued: int) -> Parser:
    return http_parser.HttpRequestParser(
        protocol,
        loop,
        bufsize,
        max_line_size=protocol.max_line_size,
        max_field_size=protocol.max_field_size,
        max_headers=protocol.max_headers,
        payload_exception=web.RequestPayloadError,
        auto_decompress=False,
        max_msg_queue_size=max_queued,
    )


def with_raw_headers(message: Any, raw_headers: tuple[tuple[bytes, bytes], ...]) -> Any:
    """Return a copy of a message of the parser's that has another header."""
    return message._replace(raw_headers=raw_headers)


# ── the check ──


def unsupported(handler: type[web.RequestHandler] = web.RequestHandler) -> str:
    """Return why this program cannot serve on the aiohttp that is installed, and what to do; "" where it can."""
    if not hasattr(http_parser, "HttpRequestParserC"):
        return _NO_C_PARSER
    wrong = "; ".join(problems(handler))
    return wrong and (
        f"aiohttp {aiohttp.__version__} is not supported: {wrong}.\n  Install a version that is: pip install 'aiohttp{SUPPORTED}'"
    )


def problems(handler: type[web.RequestHandler]) -> list[str]:
    """Return what of `INTERNALS` this class of connections, its parser and their values lack, or have otherwise."""
    missing = [problem for each in INTERNALS if each.owner == _HANDLER for problem in _missing_of(each, handler)]
    if missing:
        return missing
    try:
        values = _values(handler)
    except _UNREADABLE as error:
        return [f"its parser cannot be made, or fails on a request ({type(error).__name__}: {error})"]
    known = {(each.owner, each.name) for each in INTERNALS}
    return [problem for each in INTERNALS for problem in _problems_of(each, values[each.owner])] + [
        f"{_PARSER} has a method {name!r}, which no parser here has"
        for name in dir(values[_PARSER])
        if not name.startswith("_") and callable(getattr(values[_PARSER], name)) and (_PARSER, name) not in known
    ]


def _values(handler: type[web.RequestHandler]) -> dict[str, Any]:
    """Return one value of each class that `INTERNALS` names: a connection that was never made, and what its parser returns."""

    async def no_handler(request: web.BaseRequest) -> web.StreamResponse:
        raise NotImplementedError

    loop = cast(asyncio.AbstractEventLoop, object())  # Nothing runs on it.
    connection = handler(web.Server(no_handler, loop=loop), loop=loop)
    parser = _new_parser(connection, loop, len(_REQUEST), 1)
    messages, _, _ = parser.feed_data(_REQUEST)
    message, body = messages[0]
    return {_HANDLER: connection, _PARSER: parser, _MESSAGE: message, _BODY: body}


def _missing_of(internal: Internal, handler: type[web.RequestHandler]) -> Iterator[str]:
    """Yield what is wrong where a class of connections has no such slot or method: then none may be made of it."""
    found = getattr(handler, internal.name, None)
    if internal.types is not _METHOD and not isinstance(found, MemberDescriptorType):
        yield f"{_HANDLER} has no slot {internal.name!r}"
    elif found is None:
        yield f"{_HANDLER} has no method {internal.name!r}"


def _problems_of(internal: Internal, value: Any) -> Iterator[str]:
    try:
        found = getattr(value, internal.name)
    except AttributeError:
        yield f"{internal.owner} has no {internal.name!r}"
        return
    if not isinstance(found, internal.types):
        yield f"{internal.owner}.{internal.name} is of type {type(found).__name__!r}"
    elif internal.parameters and (now := tuple(inspect.signature(found).parameters)) != internal.parameters:
        yield f"{internal.owner}.{internal.name} takes ({', '.join(now)})"
