"""Asks targets for their list of models, with what their requests carry, and says what came of that: `check --live`.

The list is free, and shows whether the provider takes the key. Where there is none to ask, a connection alone shows whether the
target can be reached. Nothing goes to any other host than a route's target, by its own proxy and authorities.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from .. import __version__
from ..config.model import Config
from ..config.problems import listed
from ..config.providers.apis import Api, api_of
from ..credentials.identity import Identity, shown
from ..credentials.token import Token
from ..errors import Reason, UpstreamFailure
from ..proxy.auth import CREDENTIAL_HEADERS, Authenticator
from ..proxy.prepared import head_with
from ..proxy.request_head import RequestHead
from ..proxy.rewrite import HeaderRewriter
from ..proxy.routes import Route, Target
from ..proxy.upstream.connection import Connection
from ..proxy.upstream.pool import ConnectionPool
from .live_tokens import Checked

TOTAL_S: Final = 20.0
"""How long one target may take, and how long of that a connection."""
_CONNECT_S: Final = 10.0
_MAX_BODY_BYTES: Final = 8_000_000
_MAX_AT_ONCE: Final = 16
_MAX_NAMED: Final = 3
_SANDBOX: Final = "sandbox"
_UNREACHED: Final = frozenset({"upstream_unreachable", "upstream_timeout", "proxy_loop"})
_AUTHORITY: Final = "Name the authority that signed it in 'upstream_tls: {ca_file: …}'."
_CURES: Final[Mapping[str | None, str]] = {
    Reason.NAME: "Check the spelling of the target's host.",
    Reason.REFUSED: "Check the target's host and port.",
    Reason.CONNECT_TIMEOUT: "Check the target's host and port, and the firewall.",
    Reason.NO_TLS: "Write http:// in the target where it speaks no TLS.",
    Reason.UNKNOWN_AUTHORITY: _AUTHORITY,
    Reason.OTHER_NAME: "Check the spelling of the target's host.",
    Reason.PROXY_NAME: "Check the spelling of the proxy's host.",
    Reason.PROXY_REFUSED: "Check the proxy's host and port.",
    Reason.PROXY_UNREACHABLE: "Check the proxy's host and port.",
    Reason.PROXY_TIMEOUT: "Check the proxy's host and port, and the firewall.",
}
"""What to do, by why a target cannot be reached."""
_FIELDS: Final = (
    (b"accept", b"Accept", b"application/json"),
    (b"accept-encoding", b"Accept-Encoding", b"identity"),
    (b"user-agent", b"User-Agent", f"passthrough/{__version__}".encode("ascii")),
)


@dataclass(frozen=True, slots=True)
class _Question:
    """What one target is asked. `path` is that of its list of models, None: it is only connected to, and `unasked` says why."""

    route: Route
    api: Api | None
    path: bytes | None
    unasked: str = ""

    @property
    def target(self) -> Target:
        return self.route.targets[0]


def asked_models(config: Config, tokens: Mapping[Identity, Token]) -> Iterator[Checked]:
    """Yield what came of asking each target, in the order of the file; those of one account are asked once.

    `tokens` are those of identities, as far as they could be fetched. Sixteen are asked at a time.
    """
    questions: dict[object, tuple[_Question, list[str]]] = {}
    for name, route in config.upstream_routes:
        question = _question(route)
        questions.setdefault(_key(question), (question, []))[1].append(name)
    found = asyncio.run(_all([question for question, _ in questions.values()], tokens))
    for (question, names), answer in zip(questions.values(), found, strict=True):
        yield Checked(f"{listed(names, _MAX_NAMED)} ({question.target.name}): {answer.text}", answer.is_good)


def _key(question: _Question) -> object:
    """Return what questions share that are one."""
    route = question.route
    headers = tuple((name.lower(), value) for name, value in route.headers)
    return question.target.origin, question.path, question.target.query, headers, route.upstream_auth


def _question(route: Route) -> _Question:
    target = route.targets[0]
    api = api_of(target.host)
    if target.name == _SANDBOX:
        return _Question(route, None, None, "the sandbox takes any key")
    if api is not None and api.models is None:
        return _Question(route, api, None, f"{api.name} is not asked for models: {api.unasked}")
    if route.forward_credentials:
        return _Question(route, api, None, "the key is each client's own")
    if api is not None:
        return _Question(route, api, api.models)
    if route.terms.plan.counted is not None or not (path := _models_path(route)):
        return _Question(route, None, None, "it is not known whether it has a list of models")
    return _Question(route, None, path)


def _models_path(route: Route) -> bytes | None:
    """Return where a server that is not known has its list of models, if it speaks OpenAI's or Mistral's API."""
    base = route.targets[0].base_path
    above, version, _ = (base + b"/").partition(b"/v1/")
    if version:
        return above + b"/v1/models"
    return base.rstrip(b"/") + b"/v1/models" if route.include_subpath or not base else None


async def _all(questions: Sequence[_Question], tokens: Mapping[Identity, Token]) -> list[Checked]:
    connections = ConnectionPool()
    found: list[Checked] = []
    try:
        while len(found) < len(questions):
            some = questions[len(found) : len(found) + _MAX_AT_ONCE]
            found += await asyncio.gather(*(_checked(connections, question, tokens) for question in some))
    finally:
        connections.close()
    return found


async def _checked(connections: ConnectionPool, question: _Question, tokens: Mapping[Identity, Token]) -> Checked:
    identity = question.route.upstream_auth
    if question.target.name == _SANDBOX:
        return Checked(f"not asked: {question.unasked}", is_good=True)
    if identity is not None and identity not in tokens:
        question = replace(question, path=None, unasked="its token could not be fetched")
    try:
        async with asyncio.timeout(TOTAL_S):
            connection = await connections.checkout_or_connect(question.target, _CONNECT_S, "GET")
            try:
                if question.path is None:
                    return Checked(f"can be reached; its key was not tried: {question.unasked}", is_good=True)
                connection.write(_head(question, question.path, None if identity is None else tokens[identity]))
                status, body = await _response(connection)
            finally:
                connection.abort()
    except UpstreamFailure as failure:
        what = "cannot be reached" if failure.kind.code in _UNREACHED else "sent no response"
        return Checked(f"{what}: {failure.message}{_cure(failure)}", is_good=False)
    except TimeoutError:
        return Checked(f"did not answer within {TOTAL_S:.0f} s", is_good=False)
    return _judged(question, status, body)


def _head(question: _Question, path: bytes, token: Token | None) -> bytes:
    """Return the head of the request, made as those that clients cause."""
    target = replace(question.target, base_path=path)
    head = RequestHead("GET", path, None, _FIELDS, frozenset(), False, False, None, False, False)
    made = HeaderRewriter(question.route, Authenticator(())).request_head(head, b"", target)
    return made if token is None else head_with(token, made)


async def _response(connection: Connection) -> tuple[int, bytes]:
    """Return the status and the body, up to a bound. Raises UpstreamFailure."""
    while (head := connection.take_response_head()) is None:
        await connection.arrived()
    body = bytearray()
    while (piece := connection.take()) != b"" and len(body) <= _MAX_BODY_BYTES:
        if piece is None:
            await connection.arrived()
        else:
            body += piece
    return head.status, bytes(body)


def _judged(question: _Question, status: int, body: bytes) -> Checked:
    """Say what a response means. Nothing of its body is shown: it may repeat the key."""
    count = _count(body)
    has_key = _sends_key(question.route)
    if status in {401, 403}:
        what = f"does not accept the key. {_checks(question.route)}" if has_key else "wants a key, and none is sent"
        return Checked(f"{status}: {what}", is_good=False)
    if 200 <= status < 300 and count is not None:
        models = f"{count} model{'' if count == 1 else 's'}"
        return Checked(f"accepts the key: {models}" if has_key else f"{models}; no key is sent", is_good=True)
    if question.api is not None or status >= 500 or status == 429:
        return Checked(f"{status}: no list of models came", is_good=False)
    key = "the key was not tried" if has_key else "no key is sent"
    return Checked(f"can be reached, and has no list of models ({status}): {key}", is_good=True)


def _checks(route: Route) -> str:
    """Return what to look at where a key is not accepted, by the names of variables only."""
    if route.upstream_auth is not None:
        return f"Check what {shown(route.upstream_auth)} may do."
    sent = [(name.decode("ascii"), value.shown) for name, value in route.headers if name.lower() in CREDENTIAL_HEADERS]
    named = " and ".join(name if shown_as == "***" else f"{name} ({shown_as})" for name, shown_as in sent)
    scheme = ", and 'Bearer' before it" if any(name.lower() == "authorization" for name, _ in sent) else ""
    return f"Check what the route's headers send: {named}{scheme}."


def _cure(failure: UpstreamFailure) -> str:
    cure = _CURES.get(failure.why, "")
    return f" {cure}" if cure else ""


def _sends_key(route: Route) -> bool:
    return route.upstream_auth is not None or any(name.lower() in CREDENTIAL_HEADERS for name, _ in route.headers)


def _count(body: bytes) -> int | None:
    """Return how many models a response lists, None where it is no list of models."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    models = found.get("data", found.get("models")) if isinstance(found, dict) else found
    return len(models) if isinstance(models, list) else None
