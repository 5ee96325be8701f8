"""The result of reading a configuration: the values that a server is built from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ..accounting.budget import Budget, Calendar
from ..accounting.pricing.prices import Price
from ..credentials.identity import Identity
from ..errors import Problem
from ..proxy.auth import ClientKey
from ..proxy.deployments.model_table import ModelTable
from ..proxy.deployments.pool import Pool
from ..proxy.ocr.settings import OcrSettings
from ..proxy.routes import Route
from ..tracing.settings import TracingSettings
from .problems import listed

_MAX_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Listen:
    """How the program listens, runs and logs; a change needs a restart. Port 0 lets the system choose.

    `tls_cert` and `tls_key` are PEM files, both or neither. `log_format` is auto, json or text. `log_file` is where the access
    log goes, None: stdout. `max_connections` None: as many as the process's limit of open files allows. `client_keep_alive_s`
    and `upstream_keep_alive_s` are how long an unused connection is kept, to a client and to a target.
    """

    host: str = "127.0.0.1"
    port: int = 4000
    admin_host: str = "127.0.0.1"
    admin_port: int = 4001
    workers: int = 1
    drain_delay_s: float = 0.0
    drain_timeout_s: float = 25.0
    log_format: str = "auto"
    log_file: str | None = None
    log_level: str = "info"
    tls_cert: str | None = None
    tls_key: str | None = None
    max_connections: int | None = None
    client_keep_alive_s: float = 75.0
    upstream_keep_alive_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Config:
    """A valid configuration.

    `clients` holds the master key too, as `auth.MASTER`. `key_header` (lower case) is a further header that carries client
    keys. `cors` are the origins whose web pages may call. `prices` are the user's own, `price_map` are the
    rows of LiteLLM's price map in the file `price_map_file`. `ledger` is a URL, None for none;
    `ledger_keep_days` None means without end. `admin_digest` is the SHA-256 of the key that opens the admin port. `budgets` are
    those of clients, of routes and of everything together, requests and pages per minute among them. `calendar` says where their
    periods begin. `refuse_unlent`: a request is refused where the ledger is away and its lease is used up. `budget_webhook` is
    where warnings are posted. `journal` is the folder for entries that are not in the ledger yet, None: beside the ledger.
    `max_parallel` bounds the requests under way in all. `models` are the groups of model_list that are for OCR, None without any;
    `ocr_routes` serve them, and have no target of their own; `ocr` are their bounds. `pools` are those of endpoints with
    `targets`; their routes are among `routes`. `credential_files` are those whose content proves identities. `tracing` is how
    spans are exported, None: not at all. `warnings` are for the operator.
    """

    file: str
    routes: tuple[Route, ...]
    clients: tuple[ClientKey, ...] = ()
    key_header: bytes | None = None
    allow_anonymous: bool = False
    cors: tuple[bytes, ...] = ()
    prices: tuple[Price, ...] = ()
    price_map: tuple[Price, ...] = field(default=(), repr=False)  # thousands of rows
    price_map_file: str | None = None
    ledger: str | None = field(default="sqlite:///passthrough.db", repr=False)  # it may hold a password
    ledger_keep_days: int | None = 400
    admin_digest: bytes | None = None
    budgets: tuple[Budget, ...] = ()
    calendar: Calendar = Calendar()
    refuse_unlent: bool = False
    budget_webhook: str | None = field(default=None, repr=False)  # it may hold a key
    journal: str | None = None
    max_parallel: int | None = None
    models: ModelTable | None = None
    ocr_routes: tuple[Route, ...] = ()
    ocr: OcrSettings = OcrSettings()
    pools: tuple[Pool, ...] = ()
    credential_files: tuple[str, ...] = ()
    listen: Listen = field(default_factory=Listen)
    tracing: TracingSettings | None = None
    warnings: tuple[Problem, ...] = ()

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Whose tokens are fetched, for routes, targets and deployments: each identity once, in the order of the file."""
        return tuple(
            dict.fromkeys(identity for _, route in self.upstream_routes if (identity := route.upstream_auth) is not None)
        )

    @property
    def identity_users(self) -> Mapping[Identity, str]:
        """Who needs the token of each identity, for messages: `/vertex/*, /b`."""
        found: dict[Identity, list[str]] = {}
        for name, route in self.upstream_routes:
            if route.upstream_auth is not None:
                found.setdefault(route.upstream_auth, []).append(name)
        return {identity: listed(names, _MAX_NAMED) for identity, names in found.items()}

    @property
    def upstream_routes(self) -> Iterator[tuple[str, Route]]:
        """All that is called by itself, with the name that people know it by: routes by their paths, then deployments."""
        for route in self.routes:
            if route.targets:
                yield route.path.decode("ascii") + ("/*" if route.include_subpath else ""), route
        for pool in self.pools:
            yield from ((each.id, each.route) for each in pool.deployments)
        if self.models is not None:
            yield from ((each.id, each.route) for each in self.models.deployments)
