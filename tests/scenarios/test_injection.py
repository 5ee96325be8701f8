"""What could leak or be smuggled by ways that are no traffic: reprs, configured and answered header values, a weak parser."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from passthrough.config.model import Config
from passthrough.exchange import new_exchange
from passthrough.proxy.auth import Authenticator
from passthrough.proxy.relay import Rules
from passthrough.proxy.request_context import RequestContext
from passthrough.proxy.request_head import RequestHead, validate
from passthrough.proxy.rewrite import HeaderRewriter
from passthrough.proxy.routes import Match, RouteTable
from passthrough.proxy.upstream.connection import Connection
from passthrough.proxy.upstream.response_head import parse_head
from tests.harness.client import RawClient, asking, client
from tests.harness.configs import loaded, problems
from tests.harness.process import command
from tests.harness.proxy import road, route_to
from tests.harness.upstream import Peer, Script, ok, upstream

SECRETS = tuple(
    f"{whose}-secret-71c2" for whose in ("client", "master", "upstream", "inline", "proxy", "query", "base", "default")
)
CLIENT, MASTER, UPSTREAM, INLINE, PROXY, QUERY, BASE, DEFAULT = SECRETS

CONFIG = f"""\
master_key: {MASTER}
client_keys: [{{name: someone, key: {CLIENT}}}]
pass_through_endpoints:
- path: /a
  target: http://127.0.0.1:9/base?key=os.environ/BASE_KEY
  default_query_params: {{token: os.environ/DEFAULT_KEY}}
  headers: {{Authorization: Bearer os.environ/UPSTREAM_KEY, x-inline: {INLINE}}}
  proxy: "http://user:{PROXY}@127.0.0.1:9"
"""


def arrived(path: bytes = b"/a") -> RequestHead:
    """Return the head of a request that carries a client's key and a query."""
    fields = ((b"Host", b"x"), (b"Authorization", b"Bearer " + CLIENT.encode()), (b"api-key", MASTER.encode()))
    return validate("POST", path + b"?key=" + QUERY.encode(), (1, 1), fields)


class _Client:
    """What a Way needs to know of its client for its repr: nothing."""


async def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    """Whatever a debugger, an assertion or a traceback's text may show of the core's values, keys and queries are not in it."""
    config = loaded(tmp_path, CONFIG, {"UPSTREAM_KEY": UPSTREAM, "BASE_KEY": BASE, "DEFAULT_KEY": DEFAULT})
    (route,) = config.routes
    gate, head = Authenticator(config.clients), arrived()
    exchange = new_exchange("POST", "/a")
    answer = parse_head(b"HTTP/1.1 200 OK\r\nX-Echo: " + UPSTREAM.encode(), "POST")
    shown: dict[str, object] = {
        "config": config,
        "route": route,
        "match": Match(route, b""),
        "target": route.targets[0],
        "origin": route.targets[0].origin,
        "client": config.clients[0],
        "gate": gate,
        "rules": Rules(RouteTable(config.routes), gate),
        "head": head,
        "exchange": exchange,
        "way": RequestContext(exchange, _Client(), head),  # type: ignore[arg-type]  # the client's side holds the socket, and has no repr
        "answer": answer,
        "connection": Connection(asyncio.get_running_loop(), "name"),
    }
    leaks = {name: [secret for secret in SECRETS if secret in repr(value) + str(value)] for name, value in shown.items()}
    assert {name: [] for name in shown} == leaks


# ── header injection through the configuration ──

PLACES: Mapping[str, str] = {
    "a path": "- path: PUT\n  target: http://a.example\n",
    "a target's host": "- path: /a\n  target: PUT\n",
    "a target's path": "- path: /a\n  target: http://a.example/PUT\n",
    "a target's query": "- path: /a\n  target: http://a.example/?q=PUT\n",
    "a header's value": "- path: /a\n  target: http://a.example\n  headers: {x-a: PUT}\n",
    "a bearer key": "- path: /a\n  target: http://a.example\n  headers: {Authorization: Bearer PUT}\n",
    "a header's name": "- path: /a\n  target: http://a.example\n  headers: {PUT: b}\n",
    "a default's name": "- path: /a\n  target: http://a.example\n  default_query_params: {PUT: b}\n",
    "a default's value": "- path: /a\n  target: http://a.example\n  default_query_params: {a: PUT}\n",
    "a method": "- path: /a\n  target: http://a.example\n  methods: [PUT]\n",
    "a label": "- path: /a\n  target: http://a.example\n  label_headers: [PUT]\n",
    "a proxy's host": "- path: /a\n  target: http://a.example\n  proxy: http://PUT\n",
    "a proxy's password": "- path: /a\n  target: http://a.example\n  proxy: http://u:PUT@p\n",
    "a client key's header": "- path: /a\n  target: http://a.example\n  headers: {litellm_user_api_key: PUT}\n",
}
INJECTED = (
    "v\r\nx-injected: 1",
    "v\nx-injected: 1",
    "v\rx-injected: 1",
    "v\r\n\r\nGET /x-injected HTTP/1.1",
    "v\0x-injected: 1",
    "v%0d%0ax-injected: 1",
)


def heads(config: Config) -> list[bytes]:
    """Return what each route sends for an ordinary request, and for one with a method of its own."""
    gate, made = Authenticator(config.clients), []
    for route in config.routes:
        for method in route.methods or {"POST"}:
            head = validate(method, route.path or b"/", (1, 1), ((b"Host", b"x"),))
            made.append(HeaderRewriter(route, gate).request_head(head, b"", route.targets[0]))
    return made


@pytest.mark.parametrize("spelt", ['"%s"', "os.environ/EVIL"])
@pytest.mark.parametrize("injected", INJECTED)
@pytest.mark.parametrize("place", PLACES)
def test_no_configured_value_becomes_another_line(tmp_path: Path, place: str, injected: str, spelt: str) -> None:
    """A line end in a value, written or from the environment, is refused or coded: what is sent stays one head without it."""
    escaped = injected.replace("\r", "\\r").replace("\n", "\\n").replace("\0", "\\0")
    before, _, after = PLACES[place].partition("PUT")
    word = re.search(r"[^ \[{]*$", before)
    assert word is not None
    if spelt == "os.environ/EVIL":
        text = before + spelt + after
    else:  # The whole value in quotes, so that YAML takes the escapes.
        start = before.rfind(": ") + 2 if place in {"a bearer key"} else word.start()
        rest = re.match(r"[^\],}\n:]*", after)
        assert rest is not None
        text = before[:start] + spelt % (before[start:] + escaped + rest[0]) + after[rest.end() :]
    text = "pass_through_endpoints:\n" + text
    if found := problems(tmp_path, text, {"EVIL": injected}):
        assert not any("\nx-injected" in str(problem) for problem in found)
        return
    config = loaded(tmp_path, text, {"EVIL": injected})
    for head in heads(config):
        assert head.endswith(b"\r\n\r\n")
        lines = head[:-4].split(b"\r\n")
        assert all(re.fullmatch(rb"[^\r\n\0]+", line) for line in lines)
        assert not any(line.lower().startswith((b"x-injected", b"get /x-injected")) for line in lines)


# ── header injection through what a target answers ──

HOSTILE = {
    "a line feed in a value": b"HTTP/1.1 200 OK\r\nX-A: v\nX-Injected: 1\r\nContent-Length: 2\r\n\r\nok",
    "a carriage return in a value": b"HTTP/1.1 200 OK\r\nX-A: v\rX-Injected: 1\r\nContent-Length: 2\r\n\r\nok",
    "a NUL in a value": b"HTTP/1.1 200 OK\r\nX-A: v\0X-Injected: 1\r\nContent-Length: 2\r\n\r\nok",
    "a folded line": b"HTTP/1.1 200 OK\r\nX-A: v\r\n X-Injected: 1\r\nContent-Length: 2\r\n\r\nok",
    "a line feed in the reason": b"HTTP/1.1 200 OK\nX-Injected: 1\r\nContent-Length: 2\r\n\r\nok",
    "a carriage return in the reason": b"HTTP/1.1 200 OK\rX-Injected: 1\r\nContent-Length: 2\r\n\r\nok",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nX-Injected : 1\r\nContent-Length: 2\r\n\r\nok",
    "a name with a line feed": b"HTTP/1.1 200 OK\r\nX-A\nX-Injected: 1\r\nContent-Length: 2\r\n\r\nok",
    "in a trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Injected: 1\r\n\r\n",
    "in a chunk's extension": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0;X-Injected\r\n\r\n",
    "in an interim answer": b"HTTP/1.1 103 Early Hints\r\nX-Injected: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "in a second answer": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX-Injected: 1\r\n\r\n",
}
"""How a target may try to put a line into the answer's head → what it sends."""

WHOLE = {"in a trailer", "in a chunk's extension", "in an interim answer", "in a second answer"}
"""Where the answer is good nonetheless, once what was put in is dropped."""


@pytest.mark.wire
@pytest.mark.parametrize("how", HOSTILE)
async def test_no_target_puts_a_line_into_an_answer(how: str) -> None:
    """The client gets one well-formed answer without it, or 502; the next request on its connection is answered right."""
    pieces = [HOSTILE[how], ok(b"fine")]
    async with upstream(_one_after_another(pieces)) as above, road(route_to(above.port)) as house, client(house.port) as one:
        head, body = await _asked(one)
        assert b"x-injected" not in (head + body).lower()
        assert (b"200", b"ok") == (head[9:12], body) if how in WHOLE else b"502" == head[9:12]
        head, body = await _asked(one)
        assert (b"200", b"fine") == (head[9:12], body)


def _one_after_another(answers: list[bytes]) -> Script:
    left = iter(answers)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(next(left))

    return script


async def _asked(one: RawClient) -> tuple[bytes, bytes]:
    await one.send(asking())
    return await one.answer()


# ── the parser ──


@pytest.mark.process
async def test_it_does_not_start_on_the_pure_python_parser(tmp_path: Path) -> None:
    """Without aiohttp's C extensions it ends with 1 and says why and what to do; nothing has listened, nothing was made."""
    (tmp_path / "routes.yaml").write_text("pass_through_endpoints: [{path: /a, target: 'http://127.0.0.1:9'}]\n")
    flags = ("--port", "0", "--admin-port", "0")
    code, out, err = await command(tmp_path, "serve", *flags, AIOHTTP_NO_EXTENSIONS="1")
    assert (1, "") == (code, out)
    assert "pure-Python parser" in err
    assert "unset AIOHTTP_NO_EXTENSIONS" in err
    assert "Traceback" not in err
    assert "Listening" not in err
    assert ["routes.yaml"] == [file.name for file in tmp_path.iterdir()]  # noqa: ASYNC240 - a folder of one file
