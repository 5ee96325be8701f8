"""A certificate that is renewed is shown to new connections, without a restart; a bad one changes nothing."""

from __future__ import annotations

import asyncio
import signal
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from tests.harness.configs import ROUTE, problems
from tests.harness.process import Program, program
from tests.harness.rights import let_all_in, ordinary_user
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.process

AUTHORITY = trustme.CA()
OK = answering(ok(b"{}", b"Content-Type: application/json"))
FLAGS = ("--tls-cert", "cert.pem", "--tls-key", "key.pem")


def issue(key: trustme.KeyType = trustme.KeyType.ECDSA, *names: str) -> tuple[bytes, bytes]:
    """Return a new certificate and its key, PEM."""
    made = AUTHORITY.issue_cert("localhost", *names, key_type=key)
    return made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()


def put(folder: Path, pair: tuple[bytes, bytes]) -> None:
    """Write both files in place."""
    (folder / "cert.pem").write_bytes(pair[0])
    (folder / "key.pem").write_bytes(pair[1])


def trusting() -> ssl.SSLContext:
    """Return a client's context."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


async def shown(port: int, *, name: str | None = "localhost", context: ssl.SSLContext | None = None) -> bytes:
    """Return the certificate that a new connection is shown; `name` None: the client names no server."""
    context = context or trusting()
    context.check_hostname = name is not None
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name or "")
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return ssl.DER_cert_to_PEM_cert(certificate).encode()


def is_shown(port: int, pair: tuple[bytes, bytes], **how: Any) -> Any:
    """Wait until new connections are shown a certificate."""
    return eventually(lambda: shown(port, **how), lambda pem: pem.split() == pair[0].split())


async def readyz(running: Program) -> dict[str, Any]:
    """Return what /readyz says."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.admin_port}/readyz") as answer:
        assert 200 == answer.status
        return dict(await answer.json())


async def many_shown(port: int) -> set[bytes]:
    """Return the certificates that many connections see; this many reach every worker."""
    return {b"".join((await shown(port)).split()) for _ in range(20)}


@pytest.mark.wire
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("trigger", ["by a signal", "by the files"])
async def test_a_renewed_certificate_is_shown(tmp_path: Path, workers: str, trigger: str) -> None:
    """New connections get it, in every worker and whatever kind its key has; a connection that is there goes on."""
    first, second = issue(trustme.KeyType.RSA), issue(trustme.KeyType.ECDSA)
    put(tmp_path, first)
    async with upstream(OK) as raw:
        config = f"pass_through_endpoints: [{{path: /m, target: 'http://127.0.0.1:{raw.port}'}}]\n"
        async with program(tmp_path, config, *FLAGS, "--workers", workers) as running, aiohttp.ClientSession() as session:
            url = f"https://localhost:{running.port}/m"
            await is_shown(running.port, first)
            async with session.post(url, data=b"{}", ssl=trusting()) as answer:
                assert 200 == answer.status
            put(tmp_path, second)
            if trigger == "by a signal":
                running.signal(signal.SIGHUP)
            await running.says(r"Reloaded routes\.yaml")
            await is_shown(running.port, second)
            await is_shown(running.port, second, name=None)
            only = b"".join(second[0].split())
            await eventually(lambda: many_shown(running.port), lambda found: found == {only})
            rsa = trusting()
            rsa.maximum_version = ssl.TLSVersion.TLSv1_2
            rsa.set_ciphers("aRSA")
            with pytest.raises((ssl.SSLError, ConnectionError)):  # No client gets the one that has been replaced.
                await shown(running.port, context=rsa)
            for _ in range(2):
                async with session.post(url, data=b"{}", ssl=trusting()) as answer:
                    assert 200 == answer.status
            assert {"status": "ok", "degraded": {}} == {key: (await readyz(running))[key] for key in ("status", "degraded")}
            assert "restart" not in "".join(running.said)
            assert 0 == await running.stop()


@pytest.mark.wire
async def test_a_connection_outlives_the_certificate_that_it_began_with(tmp_path: Path) -> None:
    """One connection serves before and after the renewal."""
    first, second = issue(), issue()
    put(tmp_path, first)
    async with upstream(OK) as raw:
        config = f"pass_through_endpoints: [{{path: /m, target: 'http://127.0.0.1:{raw.port}'}}]\n"
        async with program(tmp_path, config, *FLAGS) as running:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=trusting(), server_hostname="localhost")
            for turn in range(3):
                writer.write(b"POST /m HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
                assert b"HTTP/1.1 200" in await reader.readuntil(b"\r\n\r\n")
                assert b"{}" == await reader.readexactly(2)
                if turn == 0:
                    put(tmp_path, second)
                    running.signal(signal.SIGHUP)
                    await is_shown(running.port, second)
            writer.close()


BAD = {
    "another's key": lambda first, second: (second[0], first[1]),
    "half a certificate": lambda first, second: (second[0][: len(second[0]) // 2], second[1]),
    "half a key": lambda first, second: (second[0], second[1][: len(second[1]) // 2]),
    "nothing": lambda first, second: (b"", b""),
    "no PEM": lambda first, second: (b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n", second[1]),
}


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_bad_certificate_changes_nothing(tmp_path: Path, workers: str) -> None:
    """It is logged and shows in /readyz, the old one stays in use, and a good one ends the trouble."""
    first, second = issue(), issue()
    put(tmp_path, first)
    async with program(tmp_path, ROUTE, *FLAGS, "--workers", workers) as running:
        for name, bad in BAD.items():
            put(tmp_path, bad(first, second))
            said = await eventually(lambda: readyz(running), lambda said: said["status"] == "degraded")
            (why,) = set(said["degraded"].values())
            assert "the last good one is in force" in why, name
            assert "--tls-cert" in why, name
            await is_shown(running.port, first)
            put(tmp_path, first)
            await eventually(lambda: readyz(running), lambda said: said["status"] == "ok")
        (tmp_path / "key.pem").unlink()
        said = await eventually(lambda: readyz(running), lambda said: said["status"] == "degraded")
        assert "--tls-key key.pem: There is no such file." in str(said["degraded"])
        put(tmp_path, second)
        await is_shown(running.port, second)
        assert "Traceback" not in "".join(running.said)
        assert 0 == await running.stop()


@pytest.mark.parametrize("named", ["file", "reference", "variable", ".env"])
async def test_it_is_found_behind_links_wherever_it_is_named(tmp_path: Path, named: str) -> None:
    """A mounted Secret changes by its link `..data`, whether the file, a reference in it, a variable or .env names it."""
    pairs = issue(), issue()
    folder = tmp_path / "tls"
    for name, pair in zip(("..1", "..2"), pairs, strict=True):
        (folder / name).mkdir(parents=True)
        put(folder / name, pair)
    (folder / "..data").symlink_to("..1")
    for name in ("cert.pem", "key.pem"):
        (folder / name).symlink_to(f"..data/{name}")
    config, env = ROUTE, {}
    if named == "file":
        config += "tls_cert: tls/cert.pem\ntls_key: tls/key.pem\n"
    elif named == "reference":
        config += "tls_cert: os.environ/CERT\ntls_key: os.environ/KEY\n"
        env = {"CERT": "tls/cert.pem", "KEY": "tls/key.pem"}
    else:
        env = {"PASSTHROUGH_TLS_CERT": "tls/cert.pem", "PASSTHROUGH_TLS_KEY": "tls/key.pem"}
        if named == ".env":
            (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in env.items()))
            env = {}
    async with program(tmp_path, config, env=env) as running:
        await is_shown(running.port, pairs[0])
        (folder / "..data_tmp").symlink_to("..2")
        (folder / "..data_tmp").replace(folder / "..data")
        await is_shown(running.port, pairs[1])


async def test_other_files_may_be_named_but_tls_takes_a_restart(tmp_path: Path) -> None:
    """A configuration that names other files is in force at once; one without TLS, or with it for the first time, is not."""
    first, second = issue(), issue()
    put(tmp_path, first)
    (tmp_path / "more").mkdir()
    put(tmp_path / "more", second)
    config = ROUTE.replace("{", "{{").replace("}", "}}") + "tls_cert: {0}cert.pem\ntls_key: {0}key.pem\n"
    async with program(tmp_path, config.format("")) as running:
        (tmp_path / "routes.yaml").write_text(config.format("more/"))
        await is_shown(running.port, second)
        third = issue()
        put(tmp_path / "more", third)  # They are watched too.
        await is_shown(running.port, third)
        assert "restart" not in "".join(running.said)
        (tmp_path / "routes.yaml").write_text(ROUTE)
        await running.says("'tls_cert' has changed; that takes a restart")
        await is_shown(running.port, third)
    async with program(tmp_path, ROUTE) as running:
        (tmp_path / "routes.yaml").write_text(config.format(""))
        await running.says("'tls_cert' has changed; that takes a restart")
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.port}/none") as answer:
            assert 404 == answer.status


@pytest.mark.wire
async def test_authorities_named_by_a_variable_are_read_again(tmp_path: Path) -> None:
    """`upstream_tls: {ca_file: os.environ/CA}`: the file's change is found, though the configuration does not spell its name."""
    other = trustme.CA()
    other.cert_pem.write_to_path(tmp_path / "ca.pem")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("localhost").configure_cert(served)
    async with upstream(OK, ssl=served) as raw:
        config = (
            f"pass_through_endpoints: [{{path: /m, target: 'https://localhost:{raw.port}', "
            "upstream_tls: {ca_file: os.environ/CA}}]\n"
        )
        async with program(tmp_path, config, env={"CA": "ca.pem"}) as running, aiohttp.ClientSession() as session:

            async def status() -> int:
                async with session.post(running.url + "/m", data=b"{}") as answer:
                    return answer.status

            assert 502 == await status()
            AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
            assert 200 == await eventually(status, lambda status: status == 200)


def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    """The user that the program runs as may not read the key, or search a folder: the message says so, without a traceback."""
    put(tmp_path, issue())
    (tmp_path / "key.pem").chmod(0)
    (tmp_path / "shut").mkdir(mode=0)
    assert () == problems(tmp_path, ROUTE)  # What is imported lazily may lie where only root may read.
    (tmp_path / "routes.yaml").chmod(0o666)
    let_all_in(tmp_path)
    with ordinary_user():
        (problem,) = problems(tmp_path, ROUTE + "tls_cert: cert.pem\ntls_key: key.pem\n")
        assert "routes.yaml:7 tls_key key.pem: The file may not be read: permission denied.\n" in str(problem)
        found = problems(tmp_path, ROUTE + "tls_cert: shut/c.pem\ntls_key: shut/k.pem\njournal: shut/journal\n")
        assert {"There is no such file."} == {problem.what for problem in found}
        (problem,) = problems(tmp_path, ROUTE + "    upstream_tls: {ca_file: shut/ca.pem}\n")
        assert "There is no such file." == problem.what
