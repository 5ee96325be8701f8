"""Routes and their targets, and the table that finds the route of a method and a raw path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from ..credentials.identity import Identity
from ..errors import Refusal
from ..exchange import RouteTerms
from ..meter.path_variants import MAX_ODD_BYTES, folded, is_too_odd, variants
from ..secret import Secret


@dataclass(frozen=True, slots=True)
class Timeouts:
    """A route's time-outs in seconds, None for none.

    To connect; for the response's head, from the request's last byte on; between two pieces of a body; for the whole exchange.
    """

    connect_s: float = 10.0
    header_s: float = 300.0
    idle_s: float = 60.0
    total_s: float | None = None

    @property
    def opening_s(self) -> float | None:
        """How long a connection may take to open: `connect_s`, but no longer than `total_s`."""
        return min([limit for limit in (self.connect_s, self.total_s) if limit is not None], default=None)


@dataclass(frozen=True, slots=True)
class Retries:
    """When a route's requests are sent again. By default never: each further attempt may be billed.

    `attempts` is the number of further attempts, and `statuses` are the responses after which one is made. A request whose body
    is larger than `held_bytes` is sent once only, unless `spool` lets a file hold it. No wait between two attempts is longer
    than `max_wait_s`.
    """

    attempts: int = 0
    statuses: frozenset[int] = frozenset({429, 500, 502, 503, 504})
    held_bytes: int = 1_000_000
    spool: bool = False
    max_wait_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Origin:
    """The key of the connection pool: what connections must share to serve each other's requests."""

    tls: bool
    host: str
    port: int
    ca_file: str | None
    proxy: Secret | None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a route's requests go. Bytes are as on the wire.

    `host` is without brackets; `base_path` is empty instead of a single slash; `query` is without `?`. `ca_file` is a PEM file to
    trust instead of the system's; `proxy` is the URL of an HTTP proxy, credentials included. `name` is what the log and the
    ledger call it: its authority, or `sandbox`. `authority` is the value of Host: the port only where it is not the scheme's own
    (RFC 9110 §4.2.3), and without a zone, which means nothing elsewhere (RFC 6874 §1). `tls_name` is what its certificate must
    hold, and what SNI names: the host without a zone and without the dot at the end (RFC 6066 §3).
    """

    tls: bool
    host: str
    port: int
    base_path: bytes
    query: bytes = field(default=b"", repr=False)  # it may carry a key
    ca_file: str | None = None
    proxy: Secret | None = None
    name: str = ""
    authority: bytes = field(init=False, compare=False)
    tls_name: str = field(init=False, compare=False, repr=False)
    origin: Origin = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Compute once what follows from the rest: every request needs it."""
        bare = self.host.partition("%")[0]
        host = f"[{bare}]" if ":" in bare else bare
        authority = (host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}").encode("ascii")
        object.__setattr__(self, "authority", authority)
        object.__setattr__(self, "tls_name", bare.removesuffix("."))
        object.__setattr__(self, "origin", Origin(self.tls, self.host, self.port, self.ca_file, self.proxy))


@dataclass(frozen=True, slots=True)
class LabelHeader:
    """A request header whose value labels the exchange; `forward` tells whether it still goes upstream. `name` is lower case.

    `fills` is the named label that the value goes into, None for the plain one.
    """

    name: bytes
    forward: bool = True
    fills: str | None = None


class Serves(Enum):
    """What a route without a target of its own serves: see `deployments`."""

    OCR = auto()  # the body names the model
    PREDICTION = auto()  # Vertex' rawPredict: the path names it
    MODELS = auto()  # the list of models, which the proxy itself returns
    POOL = auto()  # an endpoint with `targets`: one of them is chosen, by weight or by the client's key


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of pass_through_endpoints, resolved.

    `path` is raw; where `include_subpath` holds it does not end in `/`, so that the root is empty. `methods` None means all of
    them. `headers` are set on every request to the target, in order; their names are as configured. `key_header` is a further
    client header that carries the client's key (lower case). `default_query` are raw `name=value` pairs. `settles`: what becomes
    of an upstream call whose client left after a complete upload; None: settle where it is to be metered, else cancel.
    `max_parallel` is how many of its requests may be active at once, None any number. `serves`: the route is one of those that
    choose a target by the request's model or out of a pool, and has no target; None: an entry of pass_through_endpoints with one
    target. `upstream_auth`: whose token is set as Authorization on every request to the target; None: no token is fetched.
    """

    path: bytes
    targets: tuple[Target, ...]
    terms: RouteTerms
    include_subpath: bool = False
    methods: frozenset[str] | None = None
    headers: tuple[tuple[bytes, Secret], ...] = ()
    forward_headers: bool = False
    forward_credentials: bool = False
    auth: bool = True
    key_header: bytes | None = None
    merge_query_params: bool = False
    default_query: tuple[bytes, ...] = field(default=(), repr=False)  # they may carry a key
    max_body_bytes: int = 10**9
    min_upload_rate: int | None = 200
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: Retries = field(default_factory=Retries)
    settles: bool | None = None
    label_headers: tuple[LabelHeader, ...] = ()
    max_parallel: int | None = None
    serves: Serves | None = None
    upstream_auth: Identity | None = None

    def at_port(self, port: int) -> Route:
        """Return the same route with all targets at another port: the sandbox's, which is known when it runs."""
        return replace(self, targets=tuple(replace(target, port=port) for target in self.targets))

    def allows(self, method: str) -> bool:
        """Tell whether the route serves this method."""
        return self.methods is None or method in self.methods


@dataclass(slots=True)  # not frozen, as request_head.RequestHead
class Match:
    """A route, and the raw bytes of the path behind the route's own (empty, or beginning with `/`)."""

    route: Route
    suffix: bytes

    def metered_path(self, method: str, path: bytes) -> bytes:
        """Return the raw path that selects the meter's shape: the target's, or the client's where the target's selects none."""
        sent = self.route.targets[0].base_path + self.suffix
        return path if path.endswith(sent) or self.route.terms.plan.reads(method, sent) is None else sent


_NONE: Final[tuple[Route, ...]] = ()


class OddPath(Refusal):
    """The refusal of a path that a lenient server would read as that of the route `meant`. It does not name the route."""

    def __init__(self, meant: Route) -> None:
        super().__init__("no_route", "No route has this path.")
        self.meant = meant


_USUAL: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class RouteTable:
    """Finds the route of a method and path, in time that does not grow with the number of routes.

    The rule: exact path first, then the longest prefix that ends on a segment boundary; `/a` and `/a/` differ, but both are
    below a route `/a` with `include_subpath`. Routes with the same path differ by their methods.
    """

    __slots__ = ("_exact", "_lenient", "_longest", "_prefixes", "routes")

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        exact: dict[bytes, tuple[Route, ...]] = {}
        prefixes: dict[bytes, tuple[Route, ...]] = {}
        lenient: dict[bytes, tuple[Route, ...]] = {}
        for route in self.routes:
            # A route for everything below the root has the path b""; a request to `/` itself is then below it.
            exact[route.path] = (*exact.get(route.path, _NONE), route)
            if route.include_subpath:
                prefixes[route.path] = (*prefixes.get(route.path, _NONE), route)
            plain = folded(variants(route.path)[0])
            lenient[plain] = (*lenient.get(plain, _NONE), route)
        self._longest = max(map(len, (*prefixes, *lenient)), default=0)  # No route has a longer prefix.
        self._exact: Mapping[bytes, tuple[Route, ...]] = MappingProxyType(exact)
        self._prefixes: Mapping[bytes, tuple[Route, ...]] = MappingProxyType(prefixes)
        self._lenient: Mapping[bytes, tuple[Route, ...]] = MappingProxyType(lenient)

    def methods(self) -> list[str]:
        """Return the methods that any route allows, sorted: the usual ones where a route allows all, and always OPTIONS."""
        allowed = {"OPTIONS"}
        for route in self.routes:
            allowed |= _USUAL if route.methods is None else route.methods
        return sorted(allowed)

    def match(self, method: str, path: bytes) -> Match:
        """Return the route of `method` and the raw `path` (without query).

        Raises Refusal: `no_route`, or `method_not_allowed` (with Allow) where the path has routes for other methods only. A path
        that a lenient server would read as another route's (`/%6Fcr`, `/ocr/`, `/OCR`) has no route: it would evade that route's
        limits and budgets (OddPath). A path that is spelt exactly as a route's is that route's. `target_too_long`: to find out
        what a server may read takes too long.
        """
        allowed: set[str] = set()
        match = self._match(method, path, allowed)
        if match is None:
            if allowed:
                raise Refusal("method_not_allowed", "The route does not allow this method.", allow=sorted(allowed))
            raise Refusal("no_route", "No route has this path.")
        if match.suffix and is_too_odd(path):
            why = f"A path of more than {MAX_ODD_BYTES} bytes may have nothing encoded or unusual in it."
            raise Refusal("target_too_long", why)
        if match.suffix and len(self.routes) > 1:
            self._check_variants(method, path, match.route)
        return match

    def _check_variants(self, method: str, path: bytes, route: Route) -> None:
        """Raise Refusal where a lenient server may read the path as that of another route than `route`."""
        for variant in variants(path):
            others = self._routes_of_variant(method, folded(variant))
            if others and route not in others:
                raise OddPath(others[0])

    def _routes_of_variant(self, method: str, variant: bytes) -> tuple[Route, ...]:
        """Return the routes of a path in lower case: those with the longest prefix that allow the method."""
        end = len(variant)
        at: bytes = variant
        while True:
            found = [
                route
                for route in self._lenient.get(at, _NONE)
                if route.allows(method) and (route.include_subpath or end == len(variant))
            ]
            if found:
                return tuple(found)
            end = variant.rfind(b"/", 0, min(end, self._longest + 1))
            if end < 0:
                return _NONE
            at = variant[:end]

    def _match(self, method: str, path: bytes, allowed: set[str]) -> Match | None:
        """Return the match, None where there is none; the methods that the path's routes allow instead are added to `allowed`."""
        for route in self._exact.get(path, _NONE):
            if route.allows(method):
                return Match(route, b"")
            allowed |= route.methods or set()
        end = min(len(path), self._longest + 1)
        while (end := path.rfind(b"/", 0, end)) >= 0:
            for route in self._prefixes.get(path[:end], _NONE):
                if route.allows(method):
                    return Match(route, path[end:])
                allowed |= route.methods or set()
        return None
