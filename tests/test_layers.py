"""The house: rooms import only from lower floors, nothing crosses the wall, and foreign libraries enter by their doors."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import passthrough

HOUSE = Path(passthrough.__file__).parent

FLOORS = (
    "errors            tables            authorities       loopback",
    "secret            terminal          meter.*           road.fields       road.sockets      road.turn "
    "road.alarm        road.handshake    road.repeated     road.fairness     road.upload_rate     streams",
    "road.tls          road.resolver     road.own_ports "
    "exchange          seat              books.money       books.pricelist   books.backlog     books.sink "
    "books.backup      books.budget      books.waiters     books.webhook     books.postgres_url books.postgres_session "
    "books.arrivals",
    "road.straight     road.routes       road.room         books.entry       books.periods     books.rows",
    "road.access       books.prices      books.codec       books.schema      books.allowance   books.storable",
    "books.sums        books.segment     books.billing     books.purses      books.saying      books.summing "
    "books.estimates   books.refusals    books.clock "
    "books.sqlite      books.postgres",
    "books.appending   books.recent      books.spending    books.reading     books.migrations  books.pruning books.database",
    "books.ledger      books.lines       books.journal     books.refused",
    "config.*          road.wire         road.response     road.answers      books.report      books.leasing     books.feeder "
    "books.listing     books.destination",
    "road.malformed    road.forward      books.writer      books.budgets     books.export      books.repricing   books.retention "
    "road.origins      road.cors         road.incoming     admin.*           sandbox.*",
    "road.connection   books.bookkeeper  road.limits       road.retry        road.held         road.passage road.parser",
    "road.upstream     road.upload       road.downstream",
    "road.call",
    "road.settle       road.sending      road.flow",
    "road.relay",
    "road.listener",
    "reloading         ports             signals           messages          accounts          memory",
    "announcing        forking           opening           probe             certificate",
    "server            workers",
    "running",
    "cli",
    "__main__",
)
"""From the ground up. A room imports only from floors below its own; `*` is a whole apartment, free inside but without cycles."""

WALL = ({"road.*"}, {"books.*", "admin.*"})
"""Bytes go through on one side, money is counted on the other; neither side imports the other. They meet in `server`."""

DOORS = {
    "aiohttp": "road.downstream road.listener road.parser road.relay road.straight road.upload admin.* sandbox.* server running",
    "aiohappyeyeballs": "road.upstream",
    "yaml": "config.* books.pricelist",
    "dotenv": "config.*",
    "pydantic": "config.*",
    "pydantic_core": "config.*",
    "idna": "config.*",
    "sqlalchemy": "books.*",
    "psycopg": "books.postgres_session",
    "orjson": "books.codec meter.small",
    "prometheus_client": "admin.exposition admin.gauges admin.metrics",
    "click": "cli",
    "rich": "terminal",
    "brotli": "meter.decode",
    "isal": "meter.inflating",
    "zstandard": "meter.decode",
    "uvloop": "running",
    "pypdfium2": "sandbox.*",
    "PIL": "sandbox.*",
}
"""Which rooms may import a foreign library: everywhere else its types and its exceptions are unknown."""


def room_of(path: Path) -> str:
    """Return a file's name in the house: `road.wire`; a package's own file is `config.__init__`."""
    return ".".join(path.relative_to(HOUSE).with_suffix("").parts)


FILES = {room_of(path): path for path in sorted(HOUSE.rglob("*.py"))}
ROOMS = [room for room in FILES if "import " in FILES[room].read_text()]
"""All files that import something: the others, the packages' own one-line files, break no rule."""


def listed(room: str, names: str) -> bool:
    """Tell whether a room is among names, in which `config.*` is every room of config."""
    return any(fnmatchcase(room, name) for name in names.split())


def modules_in(room: str) -> Iterator[tuple[str, str]]:
    """Yield what a room imports, wherever in the file, as (absolute module, name)."""
    package = ["passthrough", *room.split(".")[:-1]]
    for node in ast.walk(ast.parse(FILES[room].read_text(), FILES[room].name)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


@cache
def imports(room: str) -> frozenset[str]:
    """Return the rooms that a room imports."""
    found = set()
    for module, name in modules_in(room):
        if module.partition(".")[0] != "passthrough":
            continue
        inside = module.removeprefix("passthrough").removeprefix(".")
        candidates = (
            f"{inside}.{name}".lstrip("."),
            f"{inside}.{name}.__init__".lstrip("."),
            inside,
            f"{inside}.__init__".lstrip("."),
        )
        target = next(candidate for candidate in candidates if candidate in FILES)
        found.add(target)
    return frozenset(found - {"__init__"})


def floor_of(room: str) -> int:
    """Return the floor on which a room lies, counted from the ground."""
    found = [number for number, names in enumerate(FLOORS) if listed(room, names)]
    assert [] != found, f"{room} lies on no floor: give it a place in FLOORS"
    assert 1 == len(found), f"{room} lies on several floors: {found}"
    return found[0]


def apartment(room: str) -> str | None:
    """Return the apartment that a room belongs to, if the floors name it as one."""
    whole = f"{room.partition('.')[0]}.*"
    return whole if any(whole in names.split() for names in FLOORS) else None


def too_high(room: str, used: str) -> bool:
    """Tell whether `room` may not import `used`."""
    if apartment(room) is not None and apartment(room) == apartment(used):
        return False
    return floor_of(used) >= floor_of(room)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_lower_floors(room: str) -> None:
    """What lies higher, or beside, is not known here."""
    assert [] == sorted(used for used in imports(room) if too_high(room, used))


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_crosses_the_wall(room: str) -> None:
    """No room of one side imports a room of the other, in either direction, not even by way of a third."""
    reached, open_ends = {room}, [room]
    while open_ends:
        for used in imports(open_ends.pop()) - reached:
            reached.add(used)
            open_ends.append(used)
    here = [number for number, side in enumerate(WALL) if any(fnmatchcase(room, names) for names in side)]
    if here:
        other = WALL[1 - here[0]]
        assert [] == sorted(used for used in reached if any(fnmatchcase(used, names) for names in other))


def test_no_room_imports_itself_by_way_of_others() -> None:
    """There are no cycles, inside an apartment neither."""
    inside = {room: imports(room) for room in ROOMS}
    assert len(ROOMS) <= len(list(TopologicalSorter(inside).static_order()))


@pytest.mark.parametrize("room", ROOMS)
def test_a_foreign_library_enters_by_its_door(room: str) -> None:
    """Libraries are imported where their errors become ours; each that is used has a door."""
    foreign = {module.partition(".")[0] for module, _ in modules_in(room)} - sys.stdlib_module_names - {"passthrough"}
    assert [] == sorted(name for name in foreign if not listed(room, DOORS.get(name, "")))


def test_the_client_of_aiohttp_is_not_used_where_authorities_matter() -> None:
    """It was imported without them (`authorities`): it asks the other workers, on their Unix sockets, and nobody else."""
    named = {room for room in ROOMS if ("aiohttp", "ClientSession") in modules_in(room)}
    assert {"admin.siblings"} == named
    assert [] == [room for room in ROOMS for name in ("request", "TCPConnector") if ("aiohttp", name) in modules_in(room)]


@pytest.mark.parametrize(
    "name", [*(name for names in FLOORS for name in names.split()), *(room for rooms in DOORS.values() for room in rooms.split())]
)
def test_the_plan_names_rooms_that_exist(name: str) -> None:
    """A room that was given up leaves the plan."""
    assert any(fnmatchcase(room, name) for room in FILES)
