"""The layout: modules import only from lower layers, nothing crosses the wall, and foreign libraries enter by their doors."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import passthrough

SOURCE = Path(passthrough.__file__).parent

LAYERS = """
errors causes verifying_adapter loopback aiohttp_internals extras pdfium_lock
secret worker background.* cli.fast_import
cli.standard_streams
meter.* sandbox.* client.*
exchange
credentials.*
proxy.* accounting.*
tracing.*
admin.* config.*
server.*
cli.*
__main__
"""
"""From the ground up: a module imports only from lines above its own, or from its own package. The most exact name counts."""

INSIDE = {
    "meter": """
        path_variants jsonscan.*
        usage plan
        cost_header inflate shapes.*
        bodies.*
        false_coding
        decode
        pipeline error_code
        request
        buffered
        meter
    """,
    "proxy": """
        net.* headers upload_rate retry_wait
        routes
        request_head auth origins deployments.* transform.* documents.url_rules
        rewrite concurrency error_response
        cors
        prepared
        downstream.* upstream.*
        replay_buffer documents.*
        request_body
        call
        request_context
        response_body attempts settle
        deployment_calls
        pool_sender ocr.*
        relay
        listener
    """,
    "client": """
        errors documents page_ranges shown threads
        options
        inputs.* pdf.* rendering.* output.* api.*
        runs.*
        batch.*
    """,
    "accounting": """
        money budget writable_folder
        named_labels
        entry periods
        text_log
        pricing.* ledger.*
        charge estimates refusals access_log journal.* budgets.* reports.*
        line_log notices failure_notices meter_steps backups.*
        bookkeeper
    """,
    "tracing": """
        settings parent
        attributes sampling collector_session
        encoding
        exporter
        tracer
    """,
}
"""The same inside a package, whose packages do not know each other where they stand on one line."""

WALL = ("proxy.*", "accounting.* tracing.* admin.*")
"""Bytes go straight through on one side, money is counted on the other: neither reaches the other. They meet in `server`."""

DOORS = {
    "aiohttp": """aiohttp_internals proxy.listener proxy.relay proxy.request_body proxy.ocr.client_body proxy.downstream.*
        admin.* sandbox.* client.api.*""",
    "aiohappyeyeballs": "proxy.upstream.pool",
    "yaml": "config.* accounting.pricing.price_list",
    "dotenv": "config.*",
    "pydantic": "config.*",
    "pydantic_core": "config.*",
    "idna": "config.* proxy.documents.url",
    "sqlalchemy": "accounting.*",
    "psycopg": "accounting.ledger.postgres_session",
    "orjson": "accounting.journal.codec meter.error_code meter.jsonscan.small_document",
    "prometheus_client": "admin.exposition admin.gauges admin.metrics",
    "click": "cli.main cli.init cli.completion cli.ocr.*",
    "rich": "cli.terminal cli.ocr.*",
    "markdown_it": "client.rendering.*",
    "brotli": "meter.decode",
    "isal": "meter.inflate",
    "zstandard": "meter.decode",
    "google": "credentials.google tracing.collector_session",
    "opentelemetry": "tracing.exporter tracing.encoding tracing.collector_session",
    "requests": "verifying_adapter credentials.bounded_session tracing.collector_session",
    "urllib3": "credentials.bounded_session credentials.time_limit tracing.collector_session",
    "azure": "credentials.entra",
    "uvloop": "server.run",
    "pypdfium2": "sandbox.* client.pdf.*",
    "PIL": "sandbox.*",
}
"""Which modules may import a foreign library: everywhere else its types and its exceptions are unknown."""


def name_of(path: Path) -> str:
    """Return a file's dotted name in the package; a package's own file is `config.__init__`."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


FILES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def modules_in(module: str) -> Iterator[tuple[str, str]]:
    """Yield what a module imports, wherever in the file, as (absolute module, name)."""
    package = ["passthrough", *module.split(".")[:-1]]
    for node in ast.walk(ast.parse(FILES[module].read_text("utf-8"), FILES[module].name)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            yield from ((".".join([*base, *([node.module] if node.module else [])]), alias.name) for alias in node.names)


@cache
def imports(module: str) -> frozenset[str]:
    """Return the modules of the package that a module imports."""
    found = set()
    for source, name in modules_in(module):
        if source.partition(".")[0] == "passthrough":
            inside = source.removeprefix("passthrough").removeprefix(".")
            named = f"{inside}.{name}".lstrip(".")
            candidates = (named, f"{named}.__init__", inside, f"{inside}.__init__".lstrip("."))
            found.add(next(candidate for candidate in candidates if candidate in FILES))
    return frozenset(found - {"__init__"})


def listed(module: str, names: str) -> bool:
    """Tell whether a module is among names, in which `config.*` is every module of config."""
    return any(fnmatchcase(module, name) for name in names.split())


def place_of(module: str, layers: str) -> tuple[int, str]:
    """Return the line on which a module stands, and the name by which it stands there: the longest that fits."""
    lines = [line.split() for line in layers.strip().splitlines()]
    found = [(len(name), number, name) for number, names in enumerate(lines) for name in names if fnmatchcase(module, name)]
    assert [] != found, f"{module} stands in no layer: give it a place"
    _, number, name = max(found)
    return number, name


def is_upward(module: str, used: str, layers: str) -> bool:
    """Tell whether `module` may not import `used`."""
    (line, name), (used_line, used_name) = place_of(module, layers), place_of(used, layers)
    return used_line >= line and not (name == used_name and name.endswith("*"))


def reached_from(module: str) -> set[str]:
    """Return all modules that a module imports, also by way of others."""
    reached, open_ends = {module}, [module]
    while open_ends:
        new = imports(open_ends.pop()) - reached
        reached |= new
        open_ends.extend(new)
    return reached


def test_modules_import_only_from_lower_layers() -> None:
    """What stands higher, or beside, is not known."""
    assert [] == [(module, used) for module in FILES for used in sorted(imports(module)) if is_upward(module, used, LAYERS)]


def test_modules_of_a_package_import_only_from_its_lower_layers() -> None:
    """The same inside the packages that have layers of their own."""
    offenders = []
    for package, layers in INSIDE.items():
        for module in (name for name in FILES if name.startswith(f"{package}.") and name != f"{package}.__init__"):
            inside = [used for used in sorted(imports(module)) if used.startswith(f"{package}.")]
            short = [(module.removeprefix(f"{package}."), used.removeprefix(f"{package}.")) for used in inside]
            offenders += [(package, *pair) for pair in short if is_upward(*pair, layers)]
    assert [] == offenders


def test_nothing_crosses_the_wall() -> None:
    """No module of one side reaches a module of the other, not even by way of a third."""
    sides = [{module for module in FILES if listed(module, names)} for names in WALL]
    crossing = [(module, sorted(reached_from(module) & sides[1 - here])) for here in (0, 1) for module in sorted(sides[here])]
    assert [] == [(module, others) for module, others in crossing if others]


def test_no_module_imports_itself_by_way_of_others() -> None:
    """There are no cycles."""
    assert len(FILES) <= len(list(TopologicalSorter({module: imports(module) for module in FILES}).static_order()))


def test_foreign_libraries_enter_by_their_doors() -> None:
    """Libraries are imported where their errors become ours; each that is used has a door."""
    offenders = []
    for module in FILES:
        foreign = {source.partition(".")[0] for source, _ in modules_in(module)} - sys.stdlib_module_names - {"passthrough"}
        offenders += [(module, library) for library in sorted(foreign) if not listed(module, DOORS.get(library, ""))]
    assert [] == offenders


def test_the_client_of_aiohttp_is_not_used_where_authorities_matter() -> None:
    """It was imported without them (`cli.fast_import`): it asks the other workers, on their Unix sockets, and no other server.

    The client's connection brings authorities of its own.
    """
    session = {module for module in FILES if ("aiohttp", "ClientSession") in modules_in(module)}
    assert {"admin.peers", "client.api.connection"} == session
    others = [module for module in FILES for name in ("request", "TCPConnector") if ("aiohttp", name) in modules_in(module)]
    assert ["client.api.connection"] == others


def test_folders_are_small() -> None:
    """A folder of more than twenty-four files wants a second level."""
    folders = {path.parent for path in FILES.values()}
    assert [] == [str(folder) for folder in sorted(folders) if len(list(folder.glob("*.py"))) > 24]


def test_the_plan_names_modules_that_exist() -> None:
    """A module that was given up leaves the plan."""
    inside = [f"{package}.{name}" for package, layers in INSIDE.items() for name in layers.split()]
    names = [*LAYERS.split(), *inside, *" ".join([*WALL, *DOORS.values()]).split()]
    assert [] == [name for name in names if not any(fnmatchcase(module, name) for module in FILES)]


def test_no_group_is_repeated_possessively() -> None:
    """Python 3.11.2, which is Debian 12's, forgets where such a repetition began that fails in its middle: counts were wrong."""
    possessive = re.compile(r"\)(?:[*+?]|\{[0-9,%d]*\})\+(?!,)")  # `()*+,` stands in sets of characters
    samples = ["(?:ab)++", "(a|b){0,8}+c", "(x)?+"]
    assert samples == [text for text in (*samples, "(a)+b", "[()*+,]") if possessive.search(text)]
    assert [] == [(name, found[0]) for name, path in FILES.items() for found in possessive.finditer(path.read_text("utf-8"))]
