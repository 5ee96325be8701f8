"""Tokens from servers on loopback, by the real program: one fetch for all, renewed under load, and never a request without."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from tests.harness.accounts import AccountUpstream, account_upstreams
from tests.harness.process import Program, command, program
from tests.harness.token_servers import (
    ASSERTION,
    CLIENT,
    CLIENT_SECRET,
    TENANT,
    Answer,
    Asked,
    TokenServer,
    token_server,
)
from tests.harness.waiting import eventually, until

pytestmark = [pytest.mark.process, pytest.mark.faults]

CALLERS = 64
BODY = {"model": "m", "document": {"type": "document_url", "document_url": "data:application/pdf;base64,JVBERi0xLjQK"}}
DOWN = Answer(503, {"error": "temporarily_unavailable"})


@dataclass(slots=True)
class Issuer:
    """A token server with who trusts it: `authority` is its certificate's, where it speaks TLS."""

    server: TokenServer
    authority: trustme.CA | None = None
    begun: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.answer = self.noted

    def noted(self, asked: Asked) -> None:
        """Note when each token was asked for."""
        if asked.wants_token:
            self.begun.append(time.time())

    def account(self, value: bytes) -> str | None:
        """Tell whose an Authorization is, as a provider does: any token in force."""
        token = value.decode("latin-1").removeprefix("Bearer ")
        if not value.startswith(b"Bearer ") or token not in self.server.issued:
            return None
        ends = self.begun[self.server.issued.index(token)] + self.server.life_s
        return "good" if time.time() < ends else None


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to prove an identity: `upstream_auth`, the environment, and whether the server speaks TLS."""

    auth: Callable[[TokenServer, Path], dict[str, Any]]
    environment: Callable[[TokenServer], dict[str, str]] = lambda server: {}
    tls: bool = False


def key_file(server: TokenServer, folder: Path, **more: Any) -> dict[str, Any]:
    """Write a service account's key; return the `upstream_auth` that names it."""
    (folder / "account.json").write_text(json.dumps(server.service_account(**more)))
    return {"google": {"credentials": "account.json"}}


def federated_file(server: TokenServer, folder: Path) -> dict[str, Any]:
    """Write the file of another issuer's token, as Kubernetes does; return the `upstream_auth` that names it."""
    (folder / "token.jwt").write_text(ASSERTION + "\n")
    return entra(server, federated_token_file="token.jwt")


def pool_file(server: TokenServer, folder: Path) -> dict[str, Any]:
    """Write Google's file for a workload identity pool, whose token comes from a file, too."""
    (folder / "subject.jwt").write_text(ASSERTION)
    pool = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{server.url}/sts/token",
        "credential_source": {"file": str(folder / "subject.jwt")},
    }
    (folder / "pool.json").write_text(json.dumps(pool))
    noted = server.answer

    def sts(asked: Asked) -> Answer | None:
        noted(asked)
        if asked.path != "/sts/token":
            return None
        assert ASSERTION == asked.form["subject_token"]
        kind = "urn:ietf:params:oauth:token-type:access_token"
        return Answer(
            body={
                "access_token": server.token(),
                "issued_token_type": kind,
                "token_type": "Bearer",
                "expires_in": server.life_s,
            }
        )

    server.answer = sts
    return {"google": {"credentials": "pool.json"}}


def entra(server: TokenServer, **proof: Any) -> dict[str, Any]:
    """Return an `upstream_auth` of Entra."""
    return {"entra": {"tenant_id": TENANT, "client_id": CLIENT, "authority": server.url, **proof}}


KINDS = {
    "service account": Kind(key_file),
    "service account in a variable": Kind(
        lambda server, folder: {"google": {"credentials": "os.environ/GOOGLE_CREDENTIALS"}},
        lambda server: {"GOOGLE_CREDENTIALS": json.dumps(server.service_account())},
    ),
    "metadata server": Kind(lambda server, folder: {"google": {}}, lambda server: {"GCE_METADATA_HOST": server.host}),
    "workload identity pool": Kind(pool_file),
    "client secret": Kind(
        lambda server, folder: entra(server, client_secret="os.environ/AZURE_CLIENT_SECRET"),
        lambda server: {"AZURE_CLIENT_SECRET": CLIENT_SECRET},
        tls=True,
    ),
    "federated token file": Kind(federated_file, tls=True),
    "managed identity": Kind(lambda server, folder: {"entra": {"managed_identity": True}}, lambda server: server.azure_machine()),
}


@contextmanager
def issuing(kind: Kind, folder: Path, life_s: float = 3600) -> Iterator[tuple[Issuer, dict[str, Any], dict[str, str]]]:
    """Run the token server of a kind; yield it, `upstream_auth`, and the environment that it needs."""
    authority = trustme.CA() if kind.tls else None
    with ExitStack() as stack:
        issuer = Issuer(stack.enter_context(token_server(authority)), authority)
        issuer.server.life_s = life_s
        # No credentials of whoever runs the tests.
        environment = {"HOME": str(folder), **kind.environment(issuer.server)}
        if authority is not None:
            authority.cert_pem.write_to_path(str(folder / "authority.pem"))
            environment["SSL_CERT_FILE"] = str(folder / "authority.pem")
        yield issuer, kind.auth(issuer.server, folder), environment


def configured(host: AccountUpstream, auth: dict[str, Any], **more: Any) -> str:
    """Return a file with one route whose token is fetched."""
    route = {"path": "/ocr", "target": host.url, "include_subpath": True, "upstream_auth": auth, **more}
    return json.dumps({"pass_through_endpoints": [route]})


async def ocr(session: aiohttp.ClientSession, running: Program, **more: Any) -> tuple[int, str | None]:
    """Send one OCR call; return its status, and the proxy's own code."""
    async with session.post(f"{running.url}/ocr/v1/ocr", json=BODY | more) as answer:
        await answer.read()
        return answer.status, answer.headers.get("X-Passthrough-Error")


async def many(running: Program, count: int = CALLERS, **more: Any) -> Counter[tuple[int, str | None]]:
    """Send calls at once; return what came of them."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return Counter(await asyncio.gather(*(ocr(session, running, **more) for _ in range(count))))


async def degraded(running: Program) -> dict[str, str]:
    """Return what /readyz says is in trouble."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.admin_port}/readyz") as answer:
        assert 200 == answer.status
        found: dict[str, str] = (await answer.json()).get("degraded", {})
        return found


ALL_WELL = Counter({(200, None): CALLERS})


@pytest.mark.parametrize("name", KINDS)
async def test_64_callers_at_the_start_wait_for_one_fetch(tmp_path: Path, name: str) -> None:
    """They all wait while it is under way, get a response with its token, and later ones cost no further fetch."""
    with issuing(KINDS[name], tmp_path) as (issuer, auth, environment):
        issuer.server.hold()
        host = AccountUpstream(issuer.account)
        async with account_upstreams(host), program(tmp_path, configured(host, auth), env=environment) as running:
            waiting = asyncio.create_task(many(running))
            await until(lambda: issuer.server.fetches == 1 or bool(issuer.server.asked))

            async def in_flight() -> float:
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(f"http://127.0.0.1:{running.admin_port}/metrics") as answer,
                ):
                    lines = (await answer.text()).splitlines()
                return float(next(line for line in lines if line.startswith("passthrough_requests_in_flight")).split()[1])

            await eventually(in_flight, lambda found: found == CALLERS)
            assert [] == host.steps
            issuer.server.release()
            assert await waiting == ALL_WELL
            assert await many(running) == ALL_WELL
            assert {} == await degraded(running)
            assert 0 == await running.stop()
    assert 1 == issuer.server.fetches
    (token,) = issuer.server.issued
    assert {f"Bearer {token}".encode()} == {step.received.values(b"authorization")[0] for step in host.steps}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["service account", "client secret"])
async def test_tokens_are_renewed_under_load(tmp_path: Path, name: str) -> None:
    """Tokens of six seconds: over four of them no call fails, and none has one that has ended."""
    with issuing(KINDS[name], tmp_path, 6) as (issuer, auth, environment):
        host = AccountUpstream(issuer.account)
        async with account_upstreams(host), program(tmp_path, configured(host, auth), env=environment) as running:
            found: Counter[tuple[int, str | None]] = Counter()

            async def caller() -> None:
                async with aiohttp.ClientSession() as session:
                    while issuer.server.fetches < 4:
                        found[await ocr(session, running)] += 1
                        await asyncio.sleep(0)

            def used() -> set[bytes]:
                return {step.received.values(b"authorization")[0] for step in host.steps}

            await asyncio.gather(*(caller() for _ in range(16)))
            await eventually(lambda: many(running), lambda _: len(used()) >= 4)  # the fourth was asked for, and comes
            assert {} == await degraded(running)
            assert 0 == await running.stop()
    assert {(200, None)} == set(found)
    assert {"good"} == {step.account for step in host.steps}


@pytest.mark.slow
async def test_while_the_token_server_is_down_the_old_token_serves(tmp_path: Path) -> None:
    """Until it ends: /readyz says what is the matter. Then 502, and the provider sees nothing. When it is back, all is well."""
    with issuing(KINDS["service account"], tmp_path, 12) as (issuer, auth, environment):
        host = AccountUpstream(issuer.account)
        async with account_upstreams(host), program(tmp_path, configured(host, auth), env=environment) as running:
            assert await many(running) == ALL_WELL
            issuer.server.answer = lambda asked: DOWN
            trouble = await eventually(lambda: degraded(running), lambda found: "credentials" in found)
            assert "account.json (ocr@canary-project.iam.gserviceaccount.com)" in trouble["credentials"]
            assert " 503" in trouble["credentials"]
            assert (await many(running, 4)) == Counter({(200, None): 4})
            async with aiohttp.ClientSession() as session:
                await eventually(lambda: ocr(session, running), lambda found: found == (502, "upstream_credentials"))
                seen = len(host.steps)
                assert await many(running) == Counter({(502, "upstream_credentials"): CALLERS})
                assert seen == len(host.steps)
                asked = issuer.server.fetches
                assert await many(running) == Counter({(502, "upstream_credentials"): CALLERS})
                assert issuer.server.fetches <= asked + 2  # not one for each request
                issuer.server.answer = issuer.noted
                issuer.begun = issuer.begun[: len(issuer.server.issued)]
                await eventually(lambda: ocr(session, running), lambda found: found == (200, None))
            assert await many(running) == ALL_WELL
            assert {} == await degraded(running)
            log = running.log
            assert 0 == await running.stop()
    assert {"good"} == {step.account for step in host.steps}
    refused = [line for line in log if line["error"] == "upstream_credentials"]
    assert {(502, "upstream_failed", None)} == {(line["status"], line["outcome"], line["pages"]) for line in refused}


async def test_a_rejected_token_is_renewed_once(tmp_path: Path) -> None:
    """64 callers with a token that the provider no longer takes: one fetch, and nobody notices. Their bodies are small."""
    with issuing(KINDS["service account"], tmp_path) as (issuer, auth, environment):
        host = AccountUpstream(issuer.account)
        async with account_upstreams(host), program(tmp_path, configured(host, auth), env=environment) as running:
            assert await many(running) == ALL_WELL
            host.rejected = {f"Bearer {token}".encode() for token in issuer.server.issued}
            assert await many(running) == ALL_WELL
            log = await running.logs(2 * CALLERS)
            assert 0 == await running.stop()
    assert 2 == issuer.server.fetches
    rejected = len(host.seen_by(None))
    assert 1 <= rejected <= CALLERS
    assert 2 * CALLERS + rejected == sum(line["attempts"] for line in log)


async def test_a_provider_that_rejects_every_token_is_believed(tmp_path: Path) -> None:
    """Its 401 is relayed; the token's server is asked once more, not for each request. A long body is not held for it."""
    with issuing(KINDS["service account"], tmp_path) as (issuer, auth, environment):
        host = AccountUpstream(lambda value: None)
        async with account_upstreams(host), program(tmp_path, configured(host, auth), env=environment) as running:
            for _ in range(3):
                assert await many(running) == Counter({(401, None): CALLERS})
            assert 2 == issuer.server.fetches
            assert (await many(running, 4, filler="x" * 100_000)) == Counter({(401, None): 4})
            assert 2 == issuer.server.fetches
            assert 0 == await running.stop()


async def test_replaced_credentials_are_taken_by_a_reload(tmp_path: Path) -> None:
    """A key that is replaced on disk is in force without a restart or a failed request; a broken one changes nothing."""
    with issuing(KINDS["service account"], tmp_path) as (issuer, auth, environment):
        host = AccountUpstream(issuer.account)
        async with account_upstreams(host), program(tmp_path, configured(host, auth), env=environment) as running:
            assert await many(running) == ALL_WELL
            (tmp_path / "account.json").write_text('{"type": "service_account"')
            await eventually(lambda: degraded(running), lambda found: "reload" in found)
            assert await many(running) == ALL_WELL
            assert 1 == issuer.server.fetches
            found: Counter[tuple[int, str | None]] = Counter()

            async def caller() -> None:
                async with aiohttp.ClientSession() as session:
                    while "Bearer " + issuer.server.issued[-1] not in seen() or issuer.server.fetches < 2:
                        found[await ocr(session, running)] += 1

            def seen() -> str:
                return host.steps[-1].received.values(b"authorization")[0].decode() if host.steps else ""

            callers = [asyncio.create_task(caller()) for _ in range(8)]
            key_file(issuer.server, tmp_path, private_key_id="4567")
            await asyncio.gather(*callers)
            assert {} == await degraded(running)
            assert 0 == await running.stop()
    assert {(200, None)} == set(found)
    assert 2 == issuer.server.fetches


async def test_check_names_identities_and_fetches_with_live_alone(tmp_path: Path) -> None:
    """`check` asks nobody; `check --live` fetches one token, says until when it is good, and shows neither token nor secret."""
    with issuing(KINDS["service account"], tmp_path) as (issuer, auth, environment):
        host = AccountUpstream(issuer.account)
        # With the shape `json` it is not asked for a list of models.
        (tmp_path / "routes.yaml").write_text(configured(host, auth, meter={"shape": "json", "constant": 1}))
        code, out, err = await command(tmp_path, "check", **environment)
        assert (0, 0) == (code, issuer.server.fetches), err
        assert "account.json" in out
        async with account_upstreams(host):
            code, live, err = await command(tmp_path, "check", "--live", **environment)
        assert (0, 1) == (code, issuer.server.fetches), live + err
        assert "account.json" in live
        issuer.server.answer = lambda asked: Answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT"})
        code, failed, said = await command(tmp_path, "check", "--live", **environment)
        assert code != 0
        assert "invalid_grant" in failed + said
    assert not any(token in out + live + failed + said for token in issuer.server.issued)


async def test_a_token_server_that_hangs_costs_the_time_for_connecting(tmp_path: Path) -> None:
    """Who waits gets 502 after `timeouts.connect`; what was not sent is tried by nobody; the next ones get the late token."""
    with issuing(KINDS["metadata server"], tmp_path) as (issuer, auth, environment):
        issuer.server.hold()
        host = AccountUpstream(issuer.account)
        config = configured(host, auth, timeouts={"connect": "0.5s"})
        async with account_upstreams(host), program(tmp_path, config, env=environment) as running:
            assert await many(running) == Counter({(502, "upstream_credentials"): CALLERS})
            assert [] == host.steps
            issuer.server.release()
            async with aiohttp.ClientSession() as session:
                await eventually(lambda: ocr(session, running), lambda found: found == (200, None))
            assert await many(running) == ALL_WELL
            assert 0 == await running.stop()


@pytest.mark.parametrize("sticky", [True, False])
async def test_a_target_without_a_token_leaves_its_requests_to_another(tmp_path: Path, sticky: bool) -> None:
    """Nothing was sent, so another target may have them, also of clients that stay; when the token is there, it serves again."""
    with issuing(KINDS["service account"], tmp_path) as (issuer, auth, environment):
        issuer.server.answer = lambda asked: DOWN
        host = AccountUpstream(lambda value: "key" if value == b"Bearer key-of-other" else issuer.account(value))
        targets = [
            {"id": "fetched", "target": host.url, "upstream_auth": auth, "order": 1},
            {"id": "other", "target": host.url, "headers": {"Authorization": "Bearer key-of-other"}, "order": 2},
        ]
        endpoint = {"path": "/ocr", "include_subpath": True, "sticky": sticky, "targets": targets}
        config = json.dumps({"pass_through_endpoints": [endpoint]})
        async with account_upstreams(host), program(tmp_path, config, env=environment) as running:
            assert await many(running) == ALL_WELL
            assert {"key"} == {step.account for step in host.steps}
            assert ["other"] * CALLERS == [line["deployment"] for line in await running.logs(CALLERS)]
            assert {"fetched: credentials", None} == {line["why"] for line in running.log} | {None}
            issuer.server.answer = issuer.noted

            async def home() -> str | None:
                assert (await many(running, 1)) == Counter({(200, None): 1})
                return host.steps[-1].account

            await eventually(home, lambda account: account == "good")
            assert 0 == await running.stop()
    assert None not in {step.account for step in host.steps}


async def test_each_worker_fetches_once(tmp_path: Path) -> None:
    """Two workers are two processes with a token each; 64 callers at the start cost two fetches at most."""
    with issuing(KINDS["client secret"], tmp_path) as (issuer, auth, environment):
        host = AccountUpstream(issuer.account)
        flags = ("--workers", "2")
        async with account_upstreams(host), program(tmp_path, configured(host, auth), *flags, env=environment) as running:
            assert await many(running) == ALL_WELL
            assert await many(running) == ALL_WELL
            assert 0 == await running.stop()
    assert 1 <= issuer.server.fetches <= 2


def key_id(asked: Asked) -> str:
    """Return which of the account's keys signed an assertion."""
    head = asked.form["assertion"].partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


@pytest.mark.slow
async def test_replaced_credentials_reach_all_workers(tmp_path: Path) -> None:
    """A key that is replaced on disk is in force in both: after a while no request carries a token of the old one."""
    with issuing(KINDS["service account"], tmp_path) as (issuer, auth, environment):
        host = AccountUpstream(issuer.account)
        flags = ("--workers", "2")
        async with account_upstreams(host), program(tmp_path, configured(host, auth), *flags, env=environment) as running:
            assert await many(running) == ALL_WELL
            key_file(issuer.server, tmp_path, private_key_id="4567")

            async def of_new_key() -> bool:
                seen = len(host.steps)
                assert await many(running) == ALL_WELL
                keys = [key_id(each) for each in issuer.server.asked]
                good = {token for token, key in zip(issuer.server.issued, keys, strict=True) if key == "4567"}
                used = {step.received.values(b"authorization")[0].decode()[7:] for step in host.steps[seen:]}
                return used <= good

            await eventually(of_new_key, bool)
            assert 0 == await running.stop()
    assert ["0123", "4567"] == list(dict.fromkeys(map(key_id, issuer.server.asked)))
    assert 2 <= issuer.server.fetches <= 4


async def test_the_sandbox_needs_no_token(tmp_path: Path) -> None:
    """With `--sandbox` no token's server is asked, and nothing that proves an identity has to be there."""
    with issuing(KINDS["metadata server"], tmp_path) as (issuer, _, environment):
        host = AccountUpstream(issuer.account)
        missing = configured(host, {"google": {"credentials": "not-there.json"}})
        async with account_upstreams(host), program(tmp_path, missing, "--sandbox", env=environment) as running:
            async with aiohttp.ClientSession() as session, session.get(f"{running.url}/ocr/v1/models") as answer:
                assert 200 == answer.status
            assert {} == await degraded(running)
            assert 0 == await running.stop()
        assert ([], []) == (issuer.server.asked, host.steps)
