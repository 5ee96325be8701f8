"""A real Prometheus asks the real program, with traffic of all kinds: each panel of Grafana's dashboard has something to show."""

from __future__ import annotations

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.expressions import expressions, rules
from tests.harness.ocr_upstreams import AZURE, RESETS, Behaviour, OcrUpstream, in_turn, ocr_upstreams
from tests.harness.ports import free_port
from tests.harness.process import Program, program
from tests.harness.prometheus import configuration, prometheus, with_prometheus
from tests.harness.token_servers import TokenServer, token_server
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.process, with_prometheus]

KEY = "canary-of-a-client-0123456789"
ADMIN_KEY = "canary-of-the-admin-0123456789"
INLINE = {"type": "document_url", "document_url": "data:application/pdf;base64,JVBERi0xLjQK"}
CHAT = {
    "model": "mistral-small-latest",
    "choices": [],
    "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 4}},
}
UNCOUNTED = Behaviour(200, body=b'{"pages": [], "model": "mistral-ocr-2512"}')
CAME = [
    ("/mistral/v1/ocr", 200),
    ("/mistral/v1/ocr", 401),  # no client key
    ("/mistral/v1/chat/completions", 200),
    ("/mistral/v1/ocr", 502),  # broken off: perhaps billed, so it is estimated
    ("/mistral/v1/ocr", 200),  # without a count
    ("/mistral/v1/ocr", 422),  # the provider's own
    ("/pool/v1/ocr", 200),
    ("/cloud/v1/ocr", 200),
    ("/v1/ocr", 200),
    ("/v1/ocr", 200),
]
"""What `traffic` sends, and what comes of it."""
BOOKED = {"passthrough_charges_total": 6.0, "passthrough_estimated_pages_total": 3.0}
FIGURES: dict[str, Callable[[float], bool]] = {
    "Cost": lambda value: value > 0,
    "Pages": lambda value: value > 0,
    "Errors": lambda value: 0 < value < 1,
    "Unmetered": lambda value: value > 0,
    "Cooling down": lambda value: value >= 1,  # the target perhaps no more
    "Parts in trouble": lambda value: value == 0,
    "Tries for each request": lambda value: value >= 1,
    "Tokens: time left": lambda value: 3000 < value <= 3600,
}
"""What single figures of the dashboard must be after the traffic."""


@dataclass(slots=True)
class Street:
    """The program with all that it speaks to."""

    running: Program
    plain: OcrUpstream
    documents: str

    @property
    def admin(self) -> str:
        """Where Prometheus asks."""
        return f"127.0.0.1:{self.running.admin_port}"


def configured(folder: Path, plain: OcrUpstream, azure: OcrUpstream, cloud: OcrUpstream, tokens: TokenServer, port: int) -> str:
    """Return a file with a plain route, one with two targets, one whose token is fetched, and a model with two deployments."""
    (folder / "account.json").write_text(json.dumps(tokens.service_account()))
    own = {"Authorization": "Bearer provider-key"}
    dead = f"http://127.0.0.1:{free_port()}"
    endpoints = [
        {"path": "/mistral", "include_subpath": True, "target": plain.url, "headers": own},
        {
            "path": "/pool",
            "include_subpath": True,
            "targets": [
                {"target": dead, "id": "dead", "headers": own},
                {"target": plain.url, "id": "well", "order": 2, "headers": own},
            ],
        },
        {
            "path": "/cloud",
            "include_subpath": True,
            "target": cloud.url,
            "upstream_auth": {"google": {"credentials": "account.json"}},
        },
    ]
    models = [
        {
            "model_name": "ocr",
            "litellm_params": {"model": "mistral/mistral-ocr-2512", "api_key": "provider-key", "api_base": url, "order": order},
            "model_info": {"mode": "ocr", "id": name},
        }
        for order, (name, url) in enumerate({"east": dead, "west": plain.url}.items(), 1)
    ]
    models.append(
        {
            "model_name": "azure",
            "litellm_params": {"model": "azure_ai/mistral-document-ai-2512", "api_key": "provider-key", "api_base": azure.url},
            "model_info": {"mode": "ocr", "id": "azure"},
        }
    )
    return json.dumps(
        {
            "pass_through_endpoints": endpoints,
            "model_list": models,
            "client_keys": [{"name": "invoices", "key": KEY, "budget": {"pages": 100_000, "per": "day"}}],
            "litellm_settings": {"user_url_allowed_hosts": [f"127.0.0.1:{port}"]},
            "router_settings": {"cooldown_time": 600},
            "admin_key": ADMIN_KEY,
            "ledger": "sqlite:///books.db",
        }
    )


@asynccontextmanager
async def street(folder: Path) -> AsyncIterator[Street]:
    """Run the program, the providers, a host of documents, and a server of tokens."""
    plain, azure, cloud = OcrUpstream(pages=3), OcrUpstream(AZURE), OcrUpstream(admits=lambda value: True)
    async with AsyncExitStack() as stack:
        tokens = stack.enter_context(token_server())
        await stack.enter_async_context(ocr_upstreams(plain, azure, cloud))
        host = await stack.enter_async_context(upstream(answering(ok(b"%PDF-1.4\n", b"Content-Type: application/pdf"))))
        text = configured(folder, plain, azure, cloud, tokens, host.port)
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}  # a collector that is away
        running = await stack.enter_async_context(program(folder, text, "--admin-host", "0.0.0.0", env=env))
        yield Street(running, plain, f"http://127.0.0.1:{host.port}/a.pdf")


async def traffic(here: Street) -> list[tuple[str, int]]:
    """Send one request of each kind; return what came of each."""
    found = []
    async with aiohttp.ClientSession() as session:

        async def send(path: str, key: str = KEY, **body: Any) -> None:
            sent = {"model": "mistral-ocr-latest", "document": INLINE, **body}
            fields = {"Authorization": f"Bearer {key}"}
            try:
                async with session.post(here.running.url + path, json=sent, headers=fields) as response:
                    await response.read()
                    found.append((path, response.status))
            except aiohttp.ClientError:
                found.append((path, 0))

        await send("/mistral/v1/ocr")
        await send("/mistral/v1/ocr", "no-key-of-ours")
        for mood in (Behaviour(200, body=json.dumps(CHAT).encode()), RESETS, UNCOUNTED, Behaviour(422)):
            here.plain.mood = in_turn(mood)
            await send("/mistral/v1/chat/completions" if mood.body and b"usage" in mood.body else "/mistral/v1/ocr")
        await send("/pool/v1/ocr")
        await send("/cloud/v1/ocr")
        await send("/v1/ocr", model="ocr")
        await send("/v1/ocr", model="azure", document={"type": "document_url", "document_url": here.documents})
    return found


async def metrics(admin: str) -> bytes:
    """Return what Prometheus is told."""
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with aiohttp.ClientSession() as session, session.get(f"http://{admin}/metrics", headers=headers) as response:
        assert 200 == response.status
        return await response.read()


async def test_prometheus_gets_in_with_the_admin_key_and_evaluates_the_rules(tmp_path: Path) -> None:
    """With another key the instance is down, and Prometheus says why; with the right one no rule fires at what is well."""
    key = tmp_path / "admin_key"
    key.write_text("another-key-0123456789")
    text = json.dumps({"pass_through_endpoints": [{"path": "/a", "target": "http://127.0.0.1:9"}], "admin_key": ADMIN_KEY})
    async with program(tmp_path, text, "--admin-host", "0.0.0.0") as running:
        admin = f"127.0.0.1:{running.admin_port}"
        async with prometheus(tmp_path / "prometheus", configuration(key, admin)) as watcher:
            rejected = {admin: ("down", "server returned HTTP status 401 Unauthorized")}
            await eventually(watcher.targets, lambda found: found == rejected)
            key.write_text(ADMIN_KEY)  # it is read again each time
            await eventually(watcher.targets, lambda found: found == {admin: ("up", "")})

            async def evaluated() -> dict[str, tuple[str, str]]:
                (group,) = (await watcher.get("rules"))["groups"]
                return {rule["name"]: (rule["health"], rule["state"]) for rule in group["rules"]}

            await eventually(evaluated, lambda found: found == {rule["alert"]: ("ok", "inactive") for rule in rules()})
        assert 0 == await running.stop()


async def test_each_panel_has_something_to_show(tmp_path: Path) -> None:
    """After traffic of all kinds every expression of the dashboard has a series, and figures are what happened."""
    panels = [each for each in expressions() if not each.is_alert]
    (tmp_path / "admin_key").write_text(ADMIN_KEY)
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(street(tmp_path))
        text = configuration(tmp_path / "admin_key", here.admin)
        watcher = await stack.enter_async_context(prometheus(tmp_path / "prometheus", text))
        assert CAME == await traffic(here)

        async def booked() -> dict[str, float]:
            """Return what Prometheus knows to be booked: a counter that begins with its first event has no increase yet."""
            found = {each: await watcher.query(f"sum({each})") for each in BOOKED}
            return {name: float(series[0]["value"][1]) for name, series in found.items() if series}

        await eventually(booked, lambda found: found == BOOKED)
        assert CAME == await traffic(here)

        async def silent() -> list[str]:
            return [each.where for each in panels if not await watcher.query(each.filled("1m"))]

        assert [] == await eventually(silent, lambda found: not found)

        async def figures() -> dict[str, float]:
            single = [each for each in panels if each.where in FIGURES]
            return {each.where: float((await watcher.query(each.filled("1m")))[0]["value"][1]) for each in single}

        await eventually(figures, lambda found: all(FIGURES[where](value) for where, value in found.items()))
        if shutil.which("promtool"):  # Its linter: names, units, types, help.
            lint = await asyncio.create_subprocess_exec("promtool", "check", "metrics", stdin=PIPE, stdout=PIPE, stderr=STDOUT)
            assert (b"", None) == await lint.communicate(await metrics(here.admin))
        assert 0 == await here.running.stop()
