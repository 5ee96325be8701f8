"""The admin port: health for everybody, figures for who may see them, on loopback for loopback's names only."""

from __future__ import annotations

import asyncio
import base64
import csv
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from click.testing import CliRunner

from passthrough import __version__
from passthrough.accounting.budget import Budget, Per, Scope, Unit
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.admin.app import AdminView, app
from passthrough.admin.budget_status import BudgetStatus
from passthrough.admin.deployment_status import DeploymentStatus, deployments_json, merged
from passthrough.admin.health import Health, Phase
from passthrough.admin.ledger_reads import LedgerReads
from passthrough.cli.main import main
from passthrough.errors import LedgerError
from tests.harness.client import once
from tests.harness.entries import booked
from tests.harness.process import program
from tests.harness.waiting import WAIT_S, eventually

Asking = TestClient[Request, Application]
KEY = "canary-admin-key-ünï-0123456789"
DAY = 86400
NOON = 1_790_000_000.0 // DAY * DAY + DAY / 2
"""The middle of a day in 2026, UTC."""


@dataclass
class DegradedPart:
    """A part of the instance that may be in trouble."""

    trouble: str | None = None
    health: Health = field(init=False)

    def __post_init__(self) -> None:
        self.health = Health({"ledger": lambda: self.trouble}, Phase.READY)


@asynccontextmanager
async def admin_port(
    health: Health | None = None,
    *,
    on_loopback: bool = True,
    ledger: Ledger | None = None,
    key: str | None = None,
    budgets: tuple[BudgetStatus, ...] = (),
    deployments: tuple[DeploymentStatus, ...] = (),
    trial: str | None = None,
) -> AsyncIterator[Asking]:
    """Serve the admin application on a real socket."""
    digest = None if key is None else sha256(key.encode()).digest()
    view = AdminView(
        health or DegradedPart().health,
        ledger,
        lambda: [()],
        lambda: budgets,
        lambda: digest,
        deployments=lambda: deployments,
        trial=lambda: trial,
    )
    async with TestClient(TestServer(app(view, on_loopback=on_loopback))) as client:
        yield client


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with a few exchanges: two clients, two models, labels, an error, two days, one of the sandbox."""
    opened = Ledger.open(f"sqlite:///{tmp_path}/books.db")
    entries = [
        replace(booked("invoices", at=NOON, pages=3, cost_nano=6_000_000), labels='{"team": "red", "user": "eve"}'),
        replace(
            booked("invoices", at=NOON + 1, pages=4, cost_nano=8_000_000_001, model="other-model"),
            deployment="azure-1",
            model_group="ocr",
            why="vertex-1: 503",
        ),
        replace(booked("archive", at=NOON + 2 - DAY, pages=1, cost_nano=123), labels='{"team": "red"}'),
        replace(booked(None, at=NOON + 3, pages=2, cost_nano=None), label="<b>", status=200),
        booked("sandboxed", at=NOON + 4, pages=50, sandbox=True),
        replace(booked("invoices", at=NOON + 5), charges=(), status=500, unmetered="no_usage"),
    ]
    opened.append(entries)
    with closing(opened):
        yield opened


async def get_json(client: Asking, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
    """Return status and JSON of one GET."""
    async with client.get(path, headers=headers) as response:
        assert "application/json" == response.content_type
        return response.status, await response.json()


def basic(password: str, user: str = "admin") -> str:
    """Return the value of Authorization that a browser sends for a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# ── health ──


@pytest.mark.parametrize("path", ["/healthz", "/health/liveliness"])
@pytest.mark.parametrize("phase", list(Phase))
async def test_alive(path: str, phase: Phase) -> None:
    """A program that responds is alive, in every phase: a restart would cure nothing."""
    async with admin_port(Health(phase=phase)) as client:
        assert (200, {"status": "ok", "version": __version__}) == await get_json(client, path)


@pytest.mark.parametrize("path", ["/readyz", "/health/readiness"])
@pytest.mark.parametrize(
    ("phase", "trouble", "status", "word"),
    [
        (Phase.STARTING, None, 503, "starting"),
        (Phase.READY, None, 200, "ok"),
        (Phase.READY, "the disk is full", 200, "degraded"),
        (Phase.DRAINING, None, 503, "draining"),
        (Phase.DRAINING, "the disk is full", 503, "draining"),
    ],
)
async def test_ready(path: str, phase: Phase, trouble: str | None, status: int, word: str) -> None:
    """503 only while starting or draining; a trouble is shown beside 200, for it does not stop traffic."""
    part = DegradedPart(trouble)
    part.health.phase = phase
    async with admin_port(part.health) as client:
        degraded = {} if trouble is None else {"ledger": trouble}
        assert (status, {"status": word, "degraded": degraded, "version": __version__}) == await get_json(client, path)


async def test_a_trouble_that_ends_is_said_no_more() -> None:
    """Every response is computed again."""
    part = DegradedPart("locked")
    async with admin_port(part.health) as client:
        assert "degraded" == (await get_json(client, "/readyz"))[1]["status"]
        part.trouble = None
        assert "ok" == (await get_json(client, "/readyz"))[1]["status"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("POST", "/", 405),
        ("POST", "/usage", 405),
        ("GET", "/assets/", 404),
        ("GET", "/assets/../app.py", 404),
        ("GET", "/mistral/v1/ocr", 404),
        ("GET", "/healthz/", 404),
        ("POST", "/healthz", 405),
        ("DELETE", "/readyz", 405),
        ("HEAD", "/readyz", 200),
    ],
)
async def test_what_there_is_not(method: str, path: str, status: int) -> None:
    """Unknown paths are 404, other methods 405."""
    async with admin_port() as client, client.request(method, path) as response:
        assert status == response.status


HOSTS = {
    "localhost": 200,
    "LOCALHOST:4001": 200,
    "localhost.:4001": 200,
    "127.0.0.1": 200,
    "127.0.0.1:4001": 200,
    "127.9.9.9": 200,
    "app.localhost:4001": 200,
    "[::ffff:127.0.0.1]:4001": 200,
    "[::1]": 200,
    "[::1]:4001": 200,
    "evil.example": 421,
    "localhost.evil.example": 421,
    "127.0.0.1.nip.io": 421,
    "evil.example:127.0.0.1": 421,
    "localhost@evil.example": 421,
    "10.0.0.1": 421,
    "[::2]": 421,
    "::1": 421,
    "0.0.0.0": 421,
}


@pytest.mark.parametrize("host", HOSTS)
async def test_a_foreign_name_gets_nothing(host: str) -> None:
    """On loopback only loopback's names are answered, on every path: a page whose name was rebound learns nothing."""
    async with admin_port() as client:
        for path, status in (("/readyz", 200), ("/healthz", 200), ("/nothing", 404)):
            async with client.get(path, headers={"Host": host}) as response:
                assert (status if HOSTS[host] == 200 else 421) == response.status
                assert HOSTS[host] == 200 or __version__ not in await response.text()


@pytest.mark.wire
async def test_no_host_is_a_foreign_name() -> None:
    """HTTP/1.0 may leave Host out: that names no host."""
    async with admin_port() as client:
        assert client.port is not None
        assert (await once(client.port, b"GET /readyz HTTP/1.0\r\n\r\n")).split(b" ")[1] == b"421"


async def test_off_loopback_every_name_is_answered() -> None:
    """An orchestrator asks by the address of the day: no name is foreign where the port is open anyway."""
    async with (
        admin_port(on_loopback=False) as client,
        client.get("/readyz", headers={"Host": "10.1.2.3:4001"}) as response,
    ):
        assert 200 == response.status


# ── who may ask ──

OPEN = ("/healthz", "/readyz", "/health/liveliness", "/health/readiness")
GUARDED = (
    "/",
    "/metrics",
    "/usage",
    "/usage.csv",
    "/exchanges",
    "/labels",
    "/budgets",
    "/trial",
    "/assets/dashboard.js",
    "/nothing",
    "/healthz/x",
)


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize("key", [None, KEY])
async def test_health_is_asked_without_a_key(path: str, key: str | None) -> None:
    """Orchestrators have none, and learn only how the instance is."""
    async with admin_port(on_loopback=False, key=key) as client:
        assert 200 == (await get_json(client, path))[0]


@pytest.mark.parametrize("path", GUARDED)
async def test_without_any_key_others_get_nothing(path: str) -> None:
    """Off loopback, where no admin_key is set, nothing is shown, and the response gives a hint."""
    async with admin_port(on_loopback=False) as client:
        status, response = await get_json(client, path, Authorization=f"Bearer {KEY}")
        assert (403, "no_admin_key") == (status, response["status"])
        assert "admin_key" in response["hint"]


WRONG = {
    "nothing": {},
    "another key": {"Authorization": "Bearer another"},
    "a beginning": {"Authorization": f"Bearer {KEY[:-1]}"},
    "more": {"Authorization": f"Bearer {KEY}x"},
    "empty": {"Authorization": "Bearer "},
    "without scheme": {"Authorization": KEY},
    "as the user": {"Authorization": basic("", KEY)},
    "broken base64": {"Authorization": "Basic !!!"},
    "without colon": {"Authorization": "Basic " + base64.b64encode(KEY.encode()).decode()},
    "another scheme": {"Authorization": f"Digest {KEY}"},
    "another field": {"x-api-key": "x"},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_key_gets_nothing(wrong: str) -> None:
    """Off loopback everything but health needs the key; the answer asks for it, so that a browser does, and echoes nothing."""
    async with admin_port(on_loopback=False, key=KEY) as client:
        for path in GUARDED:
            async with client.get(path, headers=WRONG[wrong]) as response:
                assert 401 == response.status
                assert response.headers["WWW-Authenticate"].startswith('Basic realm="passthrough"')
                assert "canary" not in await response.text()


@pytest.mark.parametrize("given", [f"Bearer {KEY}", f"bearer  {KEY}", basic(KEY), basic(KEY, "anybody"), basic(KEY, "")])
async def test_the_key_opens(given: str) -> None:
    """As Bearer, or as the password of Basic, whatever the user's name."""
    async with admin_port(on_loopback=False, key=KEY) as client:
        for path, status in (("/", 200), ("/metrics", 200), ("/budgets", 200), ("/usage", 404), ("/nothing", 404)):
            async with client.get(path, headers={"Authorization": given}) as response:
                assert status == response.status


async def test_on_loopback_no_key_is_asked_for() -> None:
    """Who is on the machine may see the figures, also where there is a key."""
    async with admin_port(key=KEY) as client, client.get("/") as response:
        assert 200 == response.status


@pytest.mark.process
async def test_the_key_is_changed_by_a_reload(tmp_path: Path) -> None:
    """The program says that there is none; one that is added opens at once, and the master key does so no more then."""
    key = "canary-admin-key-0123456789"
    routes = "pass_through_endpoints:\n  - {path: /a, target: 'http://127.0.0.1:9'}\n"
    async with program(tmp_path, routes, "--admin-host", "0.0.0.0") as running, aiohttp.ClientSession() as session:
        await running.says("no admin_key: it answers health only")

        async def opened_by(given: str) -> int:
            headers = {"Authorization": f"Bearer {given}"}
            async with session.get(f"http://127.0.0.1:{running.admin_port}/budgets", headers=headers) as response:
                return response.status

        assert 403 == await opened_by(key)
        for more, opens in ((f"master_key: {key}\n", key), (f"master_key: {key}\nadmin_key: another-{key}\n", f"another-{key}")):
            await asyncio.to_thread((tmp_path / "routes.yaml").write_text, routes + more)
            await eventually(partial(opened_by, opens), lambda status: status == 200)
        assert 401 == await opened_by(key)
        assert 0 == await running.stop()


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/budgets", "/usage", "/nothing", "/assets/uPlot.js"])
@pytest.mark.parametrize("on_loopback", [True, False])
async def test_answers_are_kept_together(path: str, on_loopback: bool) -> None:
    """Every answer, errors too, is stored nowhere, framed nowhere, and runs no script but ours."""
    async with admin_port(on_loopback=on_loopback) as client, client.get(path) as response:
        assert "no-store" == response.headers["Cache-Control"]
        assert "nosniff" == response.headers["X-Content-Type-Options"]
        policy = response.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'self'", "frame-ancestors 'none'"} <= set(policy)


# ── what the ledger says ──


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"by": "model"},
        {"by": "client,day"},
        {"by": "label", "since": "2026-01-01"},
        {"by": "label.team,client"},
        {"by": "status", "until": "2026-09-21T12:00:01Z"},
        {"by": "month", "sandbox": "include"},
        {"by": "client", "sandbox": "only"},
    ],
)
async def test_usage_is_what_the_command_prints(ledger: Ledger, tmp_path: Path, flags: Mapping[str, str]) -> None:
    """/usage and /usage.csv are `passthrough usage --format json` and `csv`, to the byte."""
    options = [f"--{name}={value}" for name, value in flags.items()]
    printed = {}
    for form in ("json", "csv"):
        run = CliRunner().invoke(main, ["usage", "--ledger", f"sqlite:///{tmp_path}/books.db", "--format", form, *options])
        assert 0 == run.exit_code, run.output
        printed[form] = run.stdout
    async with admin_port(ledger=ledger) as client:
        async with client.get("/usage", params=flags) as response:
            assert (200, printed["json"]) == (response.status, await response.text() + "\n")
        async with client.get("/usage.csv", params=flags) as response:
            assert list(csv.reader(printed["csv"].splitlines())) == list(csv.reader((await response.text()).splitlines()))
            assert ("text/csv", "attachment") == (response.content_type, response.headers["Content-Disposition"].split(";")[0])


FILTERED = [
    ({"client": "invoices"}, (3, 7, "8.006000001")),
    ({"client": "invoices", "model": "other-model"}, (1, 4, "8.000000001")),
    ({"client": "invoices", "by": "client"}, (3, 7, "8.006000001")),
    ({"client": ""}, (1, 2, "0")),
    ({"label": "<b>", "by": "day"}, (1, 2, "0")),
    ({"route": "/mistral", "by": "month"}, (5, 10, "8.006000124")),
    ({"client": "nobody"}, (0, 0, "0")),
    ({"label.team": "red"}, (2, 4, "0.006000123")),
    ({"label.team": "red", "by": "label.user"}, (2, 4, "0.006000123")),
    ({"label.team": "red", "client": "archive", "by": "label.team,day"}, (1, 1, "0.000000123")),
    ({"label.team": "", "by": "label"}, (3, 6, "8.000000001")),
    ({"label.team": "blue"}, (0, 0, "0")),
    ({"deployment": "azure-1"}, (1, 4, "8.000000001")),
    ({"model_group": "ocr", "by": "deployment"}, (1, 4, "8.000000001")),
    ({"deployment": "", "by": "model_group,client"}, (4, 6, "0.006000123")),
]


@pytest.mark.parametrize(("query", "expected"), FILTERED)
async def test_usage_is_narrowed(ledger: Ledger, query: Mapping[str, str], expected: tuple[int, int, str]) -> None:
    """A filter leaves what has that value; an empty one, what has none. Groups and total agree, to the last digit."""
    async with admin_port(ledger=ledger) as client, client.get("/usage", params=query) as response:
        assert 200 == response.status
        found = json.loads(await response.text(), parse_float=str, parse_int=str)
        total = found["total"]
        assert tuple(map(str, expected)) == (total["requests"], total["pages"], total["cost_usd"])
        for name in ("requests", "pages", "unmetered", "unpriced"):
            assert int(total[name]) == sum(int(group[name]) for group in found["groups"])
        by = query.get("by", "client").split(",")
        assert all(set(by) == set(group) - set(total) for group in found["groups"])


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/usage?by=colour", "colour"),
        ("/usage?since=yesterday", "since: 'yesterday' is no time"),
        ("/usage?until=2026-13-01", "until"),
        ("/usage?since=2026-10-02&until=2026-10-01", "since, until: The period ends (2026-10-01T00:00:00Z) before it begins"),
        ("/usage.csv?since=1d&until=2d", "before it begins"),
        ("/usage?sandbox=maybe", "sandbox"),
        ("/usage?as_told=yes", "as_told: 'yes' is neither true nor false"),
        ("/usage?sinse=30d", "no parameter 'sinse'"),
        ("/usage?client=a&client=b", "client: this is given twice"),
        ("/usage.csv?limit=3", "no parameter 'limit'"),
        ("/exchanges?limit=0", "limit"),
        ("/exchanges?limit=1001", "limit"),
        ("/exchanges?limit=99999999999999999999", "limit"),
        ("/exchanges?limit=%C2%B2", "limit"),
        ("/exchanges?by=day", "no parameter 'by'"),
        ("/usage?by=label.nothing", "No request has a label named nothing. There are: label.team, label.user."),
        ("/usage?by=label.Team", "label.Team; there are client, "),
        ("/usage?label.team=a&label.team=b", "label.team: this is given twice"),
        (
            "/exchanges?label.=a",
            "no parameter 'label.'; there are limit, since, until, client, route, model, label, deployment, model_group, ",
        ),
        ("/exchanges?label.a%20b=a", "no parameter 'label.a b'"),
        ("/exchanges?since=yesterday", "since: 'yesterday' is no time"),
        ("/exchanges?since=2026-10-02&until=2026-10-01", "before it begins"),
        ("/exchanges?unmetered=some", "unmetered: 'some' is none of any, none, no_usage, "),
        ("/exchanges?unpriced=yes", "unpriced: 'yes' is neither true nor false"),
        ("/exchanges?errors=", "errors: '' is neither true nor false"),
        ("/exchanges?sandbox=auto", "sandbox: 'auto' is none of include, exclude, only"),
        *((f"/recent?status={text}", f"status: '{text}' is no status") for text in ("5xx", "50", "5021", "²00")),
        ("/recent?limit=3", "no parameter 'limit'; there are since, until, client, "),
        ("/recent?status=502&status=503", "status: this is given twice"),
    ],
)
async def test_a_question_that_is_not_understood_is_said(ledger: Ledger, path: str, says: str) -> None:
    """400, with the parameter and what would do."""
    async with admin_port(ledger=ledger) as client:
        status, response = await get_json(client, path)
        assert (400, "bad_question") == (status, response["status"])
        assert says in response["why"]


async def test_the_latest_exchanges(ledger: Ledger) -> None:
    """The youngest first, with what they came to; unknown is null, and money has all its digits."""
    async with admin_port(ledger=ledger) as client:
        async with client.get("/exchanges", params={"limit": "3"}) as response:
            found = json.loads(await response.text(), parse_float=str)["exchanges"]
        assert ["invoices", "sandboxed", None] == [each["client"] for each in found]
        assert [(500, None, None, "no_usage"), (200, 50, "0.002", None), (200, 2, None, "unpriced")] == [
            (each["status"], each["pages"], each["cost_usd"], each["unmetered"]) for each in found
        ]
        assert [False, True, False] == [each["sandbox"] for each in found]
        assert "2026-09-21T12:00:05.000Z" == found[0]["time"]
        _, narrowed = await get_json(client, "/exchanges?client=invoices&model=other-model")
        assert [4] == [each["pages"] for each in narrowed["exchanges"]]
        tried = [tuple(each[name] for name in ("deployment", "model_group", "attempts", "why")) for each in narrowed["exchanges"]]
        assert [("azure-1", "ocr", 1, "vertex-1: 503")] == tried
        for only in ("deployment=azure-1", "model_group=ocr"):
            _, again = await get_json(client, f"/exchanges?{only}")
            assert narrowed == again
        _, none = await get_json(client, "/exchanges?client=")
        assert [2] == [each["pages"] for each in none["exchanges"]]
        _, red = await get_json(client, "/exchanges?label.team=red")
        labels = [{"team": "red", "user": "eve"}, {"team": "red"}]
        assert [(3, None, labels[0]), (1, None, labels[1])] == [
            (each["pages"], each["label"], each["labels"]) for each in red["exchanges"]
        ]
        _, teamless = await get_json(client, "/exchanges?label.team=&client=invoices")
        assert [(None, None), (4, None)] == [(each["pages"], each["labels"]) for each in teamless["exchanges"]]


@pytest.mark.parametrize(
    ("query", "pages"),
    [
        ("errors=true", [None]),
        ("errors=false&sandbox=exclude", [2, 4, 3, 1]),
        ("sandbox=only", [50]),
        ("status=500", [None]),
        ("status=", []),
        ("unmetered=any", [None]),
        ("unmetered=none&client=invoices", [4, 3]),
        ("unmetered=unpriced", [2]),
        ("unpriced=true", [2]),
        ("unpriced=false&client=", []),
        ("target=api.mistral.ai&client=archive", [1]),
        ("target=other.example", []),
        ("error=&errors=true", [None]),
        ("error=upstream_timeout", []),
        ("outcome=completed&status=500", [None]),
        ("since=2026-09-21T12:00:04Z", [None, 50]),
        ("since=2026-09-21T12:00:01Z&until=2026-09-21T12:00:04Z", [2, 4]),
        ("until=2026-09-21", [1]),
    ],
)
async def test_the_latest_exchanges_are_selected(ledger: Ledger, query: str, pages: list[int | None]) -> None:
    """By period, by what is amiss, and by the values of columns; all must hold."""
    async with admin_port(ledger=ledger) as client:
        status, found = await get_json(client, f"/exchanges?{query}")
        assert (200, pages) == (status, [each["pages"] for each in found["exchanges"]])


async def test_how_the_newest_ended(ledger: Ledger) -> None:
    """How many were looked at, latency of what a target answered, errors by kind, and targets that refuse their key."""
    refused = replace(
        booked("invoices", at=NOON + 9), charges=(), status=429, outcome="refused", error="rate_limited", requests=7
    )
    ledger.append([replace(refused, target=None), replace(booked("a", at=NOON + 8), charges=(), status=401, deployment="eu")])
    async with admin_port(ledger=ledger) as client:
        status, found = await get_json(client, "/recent?since=2026-09-21&sandbox=exclude")
        assert (200, 6, True) == (status, found["of"], found["is_all"])
        assert [(429, "rate_limited", "refused", 7), (401, None, "completed", 1), (500, None, "completed", 1)] == [
            (each["status"], each["error"], each["outcome"], each["requests"]) for each in found["errors"]
        ]
        assert ["2026-09-21T12:00:09.000Z", "2026-09-21T12:00:08.000Z"] == [each["latest"] for each in found["errors"][:2]]
        latest = "2026-09-21T12:00:08.000Z"
        assert [{"target": "api.mistral.ai", "deployment": "eu", "status": 401, "latest": latest}] == found["rejected"]
        assert {"median_s", "p95_s"} == set(found["latency"])
        _, none = await get_json(client, "/recent?client=nobody")
        latency = {"median_s": None, "p95_s": None}
        assert {"of": 0, "is_all": True, "latency": latency, "errors": [], "rejected": []} == none


async def test_the_names_of_labels(ledger: Ledger) -> None:
    """All that any exchange ever had, sorted."""
    async with admin_port(ledger=ledger) as client:
        assert (200, {"labels": ["team", "user"]}) == await get_json(client, "/labels")


@pytest.mark.parametrize("path", ["/usage", "/usage.csv", "/exchanges", "/recent", "/labels"])
async def test_no_ledger_is_said(path: str) -> None:
    """Where the ledger is `none`, that is what the answer says."""
    async with admin_port() as client:
        status, response = await get_json(client, path)
        assert (404, "no_ledger") == (status, response["status"])


@pytest.mark.parametrize("path", ["/usage", "/usage.csv", "/exchanges", "/recent", "/labels"])
async def test_a_ledger_that_cannot_be_read_is_said(tmp_path: Path, path: str) -> None:
    """503, with why and the cure; the port goes on, and answers when the ledger can be read again."""
    file = tmp_path / "books.db"
    file.write_bytes(b"this is no database, but long enough to be looked at as one" * 20)
    damaged = Ledger.at(f"sqlite:///{file}")
    with closing(damaged):
        async with admin_port(ledger=damaged) as client:
            status, response = await get_json(client, path)
            assert (503, "ledger_unreadable") == (status, response["status"])
            assert str(file) in response["why"]
            assert response["hint"]


async def test_readers_never_wait_for_a_writer(ledger: Ledger, tmp_path: Path) -> None:
    """While another process holds the ledger's lock for writing, it is read."""
    with closing(sqlite3.connect(tmp_path / "books.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with admin_port(ledger=ledger) as client:
            assert 200 == (await get_json(client, "/usage"))[0]


async def test_two_read_at_once_and_the_third_waits() -> None:
    """Reads take turns on two threads, so that they cannot take the machine from the traffic."""
    reads, started, going_on = LedgerReads(), threading.Semaphore(0), threading.Event()

    def slow() -> int:
        started.release()
        assert going_on.wait(WAIT_S)
        return threading.active_count()

    asked = [asyncio.create_task(reads.run(slow)) for _ in range(3)]
    assert all([await asyncio.to_thread(started.acquire, timeout=WAIT_S) for _ in range(2)])
    assert not started.acquire(blocking=False)
    going_on.set()
    assert 3 == len(await asyncio.gather(*asked))
    reads.close()


async def test_a_read_that_takes_too_long_is_given_up() -> None:
    """The client gets a response; the thread ends by itself."""
    reads, going_on = LedgerReads(timeout_s=0.01), threading.Event()
    with pytest.raises(LedgerError, match="not read within"):
        await reads.run(lambda: going_on.wait(WAIT_S))
    going_on.set()
    reads.close()


# ── budgets ──


async def test_budgets() -> None:
    """Whose, how much of how much, in its own unit, and when it resets."""
    reset = NOON + DAY / 2
    standings = (
        BudgetStatus(Budget(Scope("client", "invoices"), Unit.PAGES, Per.DAY, 5000, 0.8), 4650, 12, reset),
        BudgetStatus(Budget(Scope("all"), Unit.USD, Per.MONTH, 50 * 10**9), 50_000_000_001, 0, reset, "model 'm'"),
        BudgetStatus(Budget(Scope("route", "/mistral"), Unit.REQUESTS, Per.MINUTE, 0), 0, 0, reset),
    )
    async with admin_port(budgets=standings) as client, client.get("/budgets") as response:
        found = json.loads(await response.text(), parse_float=str)["budgets"]
    names = (
        "scope",
        "name",
        "unit",
        "per",
        "spent",
        "reserved",
        "limit",
        "used_percent",
        "used_up",
        "warn_at",
        "resets",
        "unpriced",
    )
    when = "2026-09-22T00:00:00Z"
    assert [
        ("client", "invoices", "pages", "day", 4650, 12, 5000, "93.0", False, "0.8", when, None),
        ("all", "", "usd", "month", "50.000000001", 0, 50, "100.0", True, None, when, "model 'm'"),
        ("route", "/mistral", "requests", "minute", 0, 0, 0, "100.0", True, None, when, None),
    ] == [tuple(each.values()) for each in found]
    assert all(names == tuple(each) for each in found)


# ── a first request ──


@pytest.mark.parametrize(
    ("trial", "title", "command"),
    [("Try it:", "Try it:", None), ("Try it:\n\ncurl \\\n  x\n", "Try it:", "curl \\\n  x"), (None, None, None)],
)
async def test_trial(trial: str | None, title: str | None, command: str | None) -> None:
    """A title, and a command that can be pasted; where no route leads to OCR there is none."""
    async with admin_port(trial=trial) as client:
        assert (200, {"title": title, "command": command}) == await get_json(client, "/trial")


# ── deployments ──


async def test_deployments() -> None:
    """Which group, where it goes, what it answered, and why one cools until when."""
    one = DeploymentStatus("mistral-ocr", "mistral/m", "mistral", "api.mistral.ai", 1, 1.0, 2, {"answered": 7}, {})
    two = replace(one, deployment="eu", weight=2.5, tries={}, cooldowns={"429": 1}, cooling="429", until_utc=NOON + 0.25)
    async with admin_port(deployments=(one, two)) as client, client.get("/deployments") as response:
        found = (await response.json())["deployments"]
    whose = {"model_group": "mistral-ocr", "provider": "mistral", "target": "api.mistral.ai", "order": 1, "in_flight": 2}
    assert [
        {
            **whose,
            "deployment": "mistral/m",
            "weight": 1,
            "tries": {"answered": 7},
            "cooldowns": {},
            "cooling": None,
            "until": None,
        },
        {
            **whose,
            "deployment": "eu",
            "weight": 2.5,
            "tries": {},
            "cooldowns": {"429": 1},
            "cooling": "429",
            "until": "2026-09-21T12:00:00.250Z",
        },
    ] == found


async def test_deployments_of_all_workers() -> None:
    """Counts add up, and of the cool-downs the one that ends last is shown, whichever worker has it."""
    own = DeploymentStatus("m", "d", "mistral", "h", 1, 1.0, 2, {"answered": 7, "503": 1}, {"503": 1}, "503", NOON)
    others = [
        json.loads(deployments_json([replace(own, tries={"answered": 3, "429": 2}, cooling="429", until_utc=NOON + 9)])),
        json.loads(deployments_json([replace(own, cooling=None, until_utc=None)])),
    ]
    expected = replace(
        own,
        in_flight=6,
        tries={"answered": 17, "503": 2, "429": 2},
        cooldowns={"503": 3},
        cooling="429",
        until_utc=NOON + 9,
    )
    assert expected == merged(own, [one for other in others for one in other["deployments"]])
    assert own == merged(own, [])
    target = replace(own, provider=None, model_group="/mistral", deployment="/mistral#1")
    (same,) = json.loads(deployments_json([target]))["deployments"]
    both = merged(target, [same])
    assert (None, None, "/mistral", 4) == (same["provider"], both.provider, both.model_group, both.in_flight)
