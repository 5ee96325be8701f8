"""The aiohttp that is installed has the internals that are used, and one that has not is refused with a clear word."""

from __future__ import annotations

import ast
import asyncio
import inspect
import pkgutil
import sys
import textwrap
from collections import deque
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from aiohttp import base_protocol, web, web_protocol
from packaging.specifiers import SpecifierSet

import passthrough
from passthrough.aiohttp_internals import INTERNALS, SUPPORTED, AiohttpConnection, Internal, problems, unsupported
from tests.harness.client import asking, client
from tests.harness.process import clean_environment
from tests.harness.proxy import street
from tests.harness.upstream import Peer, ok
from tests.harness.waiting import until

SLOTS = [each for each in INTERNALS if each.owner == "RequestHandler" and each.name.startswith("_")]
METHODS = [each for each in INTERNALS if each.owner == "RequestHandler" and not each.name.startswith("_")]


def doctored(*changes: tuple[str, str]) -> type[web.RequestHandler]:
    """Return the class of connections of an aiohttp whose source has been changed."""
    made: dict[str, Any] = {}
    for module in (base_protocol, web_protocol):
        text = inspect.getsource(module).replace("from .base_protocol import BaseProtocol", "")
        for old, new in changes:
            text = text.replace(old, new)
        other = ModuleType(module.__name__)
        other.__dict__.update(made, __package__="aiohttp")
        exec(compile(text, module.__name__, "exec"), other.__dict__)
        made = {"BaseProtocol": other.__dict__["BaseProtocol"]}
    handler: type[web.RequestHandler] = other.__dict__["RequestHandler"]
    return handler


# ── the aiohttp that is installed ──


def test_it_has_them_all() -> None:
    """Nothing is missing, nothing is of another type, and the version is one of those that are said to work."""
    assert [] == problems(web.RequestHandler)
    assert "" == unsupported()
    assert version("aiohttp") in SpecifierSet(SUPPORTED)


def test_what_is_built_from_its_source_has_them_too() -> None:
    """The doctored ones below differ from a good one in what they change only."""
    assert [] == problems(doctored())


@pytest.mark.wire
def test_each_has_its_types_while_it_serves() -> None:
    """The values are of these types in the middle of a request, too, with one in the queue, and when it is idle again."""

    def judged(connection: web.RequestHandler) -> list[str]:
        return [each.name for each in SLOTS if not isinstance(getattr(connection, each.name), each.types)]

    async def run() -> None:
        go = asyncio.Event()

        async def script(peer: Peer) -> None:
            while True:
                await peer.request()
                await go.wait()
                await peer.send(ok(b"whole"))

        async with street(script) as (house, _), client(house.port) as raw:
            await until(lambda: len(house.listener.connections) == 1)
            connection = house.listener.connections[0]
            assert isinstance(connection, AiohttpConnection)
            await until(lambda: connection.request_waiter is not None)
            assert [] == judged(connection)
            await raw.send(asking() * 2)
            await until(lambda: len(connection.queued_messages) == 1)
            assert (None, 2, True) == (
                connection.request_waiter,
                connection.request_count,
                isinstance(connection.current_request, web.BaseRequest),
            )
            assert [] == judged(connection)
            go.set()
            await raw.answer()
            await raw.answer()
            await until(lambda: connection.request_waiter is not None)
            assert ([], deque()) == (judged(connection), connection.queued_messages)

    asyncio.run(run())


def test_public_names_are_aiohttps_own_slots() -> None:
    """Each is the descriptor itself, which costs no call, and none hides a name of aiohttp's."""
    own = {name: value for name, value in vars(AiohttpConnection).items() if not name.startswith("_")}
    hidden = [name for name in own if hasattr(web.RequestHandler, name)]
    slots = {id(getattr(web.RequestHandler, each.name)): each.name for each in SLOTS}
    found = {slots[id(value)] for value in own.values() if id(value) in slots}
    assert ([], {"_parser"}) == (hidden, {each.name for each in SLOTS} - found)


# ── another aiohttp ──


@pytest.mark.parametrize("internal", SLOTS, ids=lambda internal: internal.name)
def test_a_name_that_is_gone_is_named(internal: Internal) -> None:
    """Each slot, renamed as a new version might do it."""
    handler = doctored((internal.name, f"{internal.name}_of_old"))
    assert f"RequestHandler has no slot {internal.name!r}" in problems(handler)
    refusal = unsupported(handler)
    assert refusal.startswith(f"aiohttp {aiohttp.__version__} is not supported: RequestHandler has no slot '_")
    assert f"RequestHandler has no slot {internal.name!r}" in refusal
    assert refusal.endswith(f"\n  Install a version that is: pip install 'aiohttp{SUPPORTED}'")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("deque[_MsgType] = deque()", "list[_MsgType] = []", "RequestHandler._messages is of type 'list'"),
        ("_waiter: asyncio.Future[None] | None = None", "_waiter = asyncio.Event()", "RequestHandler._waiter is of type 'Event'"),
        ("self._close = False", "self._close = None", "RequestHandler._close is of type 'NoneType'"),
        ("self._force_close = False", "self._force_close = 0", "RequestHandler._force_close is of type 'int'"),
        ("self._reading_paused = False", "self._reading_paused = set()", "RequestHandler._reading_paused is of type 'set'"),
        ("self._next_keepalive_close_time = 0.0", "pass", "RequestHandler has no '_next_keepalive_close_time'"),
        ("start_time", "began", "RequestHandler.finish_response takes (request, resp, began)"),
        ("resume_parser", "parse", "its parser cannot be made, or fails on a request (TypeError: "),
    ],
)
def test_another_type_is_named(old: str, new: str, problem: str) -> None:
    """A value, or a method, that is no longer what it was."""
    assert problem in "\n".join(problems(doctored((old, new))))


@pytest.mark.parametrize("internal", METHODS, ids=lambda internal: internal.name)
def test_a_method_that_is_gone_is_named(internal: Internal) -> None:
    """What is overridden here would never be called."""
    assert f"RequestHandler has no method {internal.name!r}" in problems(
        doctored((f"def {internal.name}(", f"def {internal.name}_now("))
    )


@pytest.mark.process
async def test_serve_refuses_such_an_aiohttp(tmp_path: Path) -> None:
    """Exit 1, what is wrong, which versions work, how to install one; nothing has listened, nothing was made."""
    (tmp_path / "routes.yaml").write_text("pass_through_endpoints: [{path: /a, target: 'http://127.0.0.1:9'}]\n")
    lines = (
        "from aiohttp import web",
        "del web.RequestHandler._messages",
        "from passthrough.cli.main import main",
        "main(['serve', '--port', '0', '--admin-port', '0'])",
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "\n".join(lines)),
        cwd=tmp_path,
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (1, b"") == (process.returncode, out)
    assert (
        f"passthrough: aiohttp {aiohttp.__version__} is not supported: RequestHandler has no slot '_messages'.\n"
        f"  Install a version that is: pip install 'aiohttp{SUPPORTED}'\n"
    ) == err.decode()
    assert ["routes.yaml"] == [file.name for file in tmp_path.iterdir()]  # noqa: ASYNC240 - a folder of one file


# ── nowhere else ──


def derived() -> Iterator[type]:
    """Yield every class of the package that has one of aiohttp's above it, but for the module that may use its internals."""
    for found in pkgutil.walk_packages(passthrough.__path__, "passthrough."):
        if found.name in {"passthrough.__main__", AiohttpConnection.__module__}:
            continue
        for each in vars(import_module(found.name)).values():
            if isinstance(each, type) and each.__module__ == found.name and any(_is_aiohttps(base) for base in each.__mro__):
                yield each


def _is_aiohttps(base: type) -> bool:
    return base.__module__.partition(".")[0] == "aiohttp"


def test_no_other_module_uses_a_private_name() -> None:
    """A class that inherits from one of aiohttp's uses the private names that are its own."""
    offenders = []
    seen = []
    for each in derived():
        seen.append(each.__name__)
        private = {name for base in each.__mro__ if _is_aiohttps(base) for name in vars(base) if name.startswith("_")}
        tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and not node.attr.startswith("__")}
        offenders += [(each.__name__, name) for name in sorted(used & private)]
    assert {"ClientConnection", "Listener", "Sent", "_Protocol"} <= set(seen)
    assert [] == offenders


def test_no_module_reaches_into_a_value_of_aiohttps() -> None:
    """Where aiohttp is imported, a private name is used of `self`, of `cls` and of one's own classes only."""
    package = Path(passthrough.__file__).parent
    offenders = []
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        if path.stem == "aiohttp_internals" or "aiohttp" not in {
            (node.module or "").partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and not node.level
        }:
            continue
        offenders += [
            (path.name, node.lineno, node.attr)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
            if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
        ]
    assert [] == offenders
