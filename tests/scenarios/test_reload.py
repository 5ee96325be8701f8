"""The configuration changes while the program runs: good rules come into force, bad ones change nothing."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.ocr_upstreams import OcrUpstream, always, ocr_upstreams, throttled
from tests.harness.process import Program, clean_environment, program
from tests.harness.upstream import Peer, RawUpstream, answering, ok, upstream
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.wire, pytest.mark.process]

OK = answering(ok(b'{"pages": []}', b"Content-Type: application/json"))
BROKEN = "pass_through_endpoints: [{path: /mistral, target: \n"


def configured(raw: RawUpstream, more: str = "") -> str:
    """Return a configuration with one route to the raw upstream."""
    return (
        f"pass_through_endpoints:\n  - {{path: /mistral, target: 'http://127.0.0.1:{raw.port}', include_subpath: true}}\n{more}"
    )


def replace(file: Path, text: str) -> None:
    """Put a new file in the place of the old one, as careful editors do."""
    new = file.with_name("new.yaml")
    new.write_text(text)
    new.replace(file)


async def ready(running: Program) -> dict[str, Any]:
    """Return what /readyz says."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.admin_port}/readyz") as answer:
        assert 200 == answer.status
        return dict(await answer.json())


async def until(running: Program, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask /readyz until what it says is as wanted, and return it."""
    return await eventually(lambda: ready(running), holds)


async def status_of(running: Program, path: str, **more: Any) -> int:
    """Return the status of one POST."""
    async with aiohttp.ClientSession() as session, session.post(running.url + path, data=b"{}", **more) as answer:
        await answer.read()
        return answer.status


async def becomes(running: Program, path: str, status: int, **more: Any) -> None:
    """Ask for a path until it is answered with `status`."""
    await eventually(lambda: status_of(running, path, **more), lambda found: found == status)


async def test_no_request_fails_while_the_file_is_rewritten(tmp_path: Path) -> None:
    """1000 requests pass while the file is written 50 times, every second time broken, in place or by a rename."""
    async with upstream(OK) as raw, program(tmp_path, configured(raw)) as running:
        file = tmp_path / "routes.yaml"
        writers: tuple[Callable[[str], Any], ...] = (file.write_text, lambda text: replace(file, text))
        served: list[int] = []
        turned = asyncio.Condition()

        async def requests() -> None:
            async with aiohttp.ClientSession() as session:
                for _ in range(250):
                    async with session.post(running.url + "/mistral/v1/ocr", data=b"{}") as answer:
                        await answer.read()
                        served.append(answer.status)
                    async with turned:
                        turned.notify_all()

        clients = [asyncio.create_task(requests()) for _ in range(4)]
        for turn in range(50):
            async with turned:  # spread over all requests
                await turned.wait_for(lambda: len(served) >= turn * 19)  # noqa: B023 - awaited at once
            writers[turn // 2 % 2](BROKEN if turn % 2 else configured(raw, f"# {turn}\n"))
            running.signal(signal.SIGHUP)
        await asyncio.gather(*clients)
        assert [200] * 1000 == served
        said = await until(running, lambda said: said["status"] == "degraded")
        assert "routes.yaml:2" in said["degraded"]["reload"]
        assert "last good one is in force" in said["degraded"]["reload"]
        assert 200 == await status_of(running, "/mistral/v1/ocr")
        replace(file, configured(raw))  # Found without a signal.
        assert {} == (await until(running, lambda said: said["status"] == "ok"))["degraded"]
        assert 1001 == len(await running.logs(1001))
        assert 0 == await running.stop()


async def test_a_route_that_is_added_is_live_with_its_key_from_env(tmp_path: Path) -> None:
    """A second provider in the file, and its key in .env, need no restart; the key reaches the target alone."""
    async with upstream(OK) as raw, program(tmp_path, configured(raw)) as running:
        assert 404 == await status_of(running, "/azure/v1/ocr")
        (tmp_path / ".env").write_text(f"AZURE_API_KEY=azure-key\nAZURE_OCR_ENDPOINT=http://127.0.0.1:{raw.port}/\n")
        (tmp_path / "routes.yaml").write_text(
            configured(raw)
            + "  - {path: /azure/v1/ocr, target: os.environ/AZURE_OCR_ENDPOINT/v1/ocr, "
            + "headers: {api-key: os.environ/AZURE_API_KEY}, meter: {shape: ocr, model: azure/mistral-document-ai-2512}}\n"
        )
        await becomes(running, "/azure/v1/ocr", 200)
        received = raw.received[-1]
        assert (b"POST /v1/ocr HTTP/1.1", [b"azure-key"]) == (received.line, received.values(b"api-key"))
        await running.says(r"Reloaded routes\.yaml: 2 routes, 0 client keys\.")


async def test_a_changed_env_alone_is_a_change(tmp_path: Path) -> None:
    """A key that is exchanged in .env is used from then on."""
    config = (
        "pass_through_endpoints:\n  - {{path: /m, target: 'http://127.0.0.1:{port}', headers: {{x-key: os.environ/SOME_KEY}}}}\n"
    )
    (tmp_path / ".env").write_text("SOME_KEY=first\n")
    async with upstream(OK) as raw, program(tmp_path, config.format(port=raw.port)) as running:
        assert 200 == await status_of(running, "/m")
        (tmp_path / ".env").write_text("SOME_KEY=second\n")

        async def sent() -> list[bytes]:
            assert 200 == await status_of(running, "/m")
            return raw.received[-1].values(b"x-key")

        await eventually(sent, lambda key: key == [b"second"])


async def test_keys_come_and_go(tmp_path: Path) -> None:
    """A client key that is removed is refused, one that is added is let in."""
    keys = "client_keys:\n  - {{name: someone, key: {}}}\n"
    first, second = "a-key-of-16-letters", "another-key-of-16"
    async with upstream(OK) as raw, program(tmp_path, configured(raw, keys.format(first))) as running:
        old, new = ({"headers": {"Authorization": f"Bearer {key}"}} for key in (first, second))
        assert (200, 401) == (await status_of(running, "/mistral", **old), await status_of(running, "/mistral", **new))
        replace(tmp_path / "routes.yaml", configured(raw, keys.format(second)))
        running.signal(signal.SIGHUP)
        await becomes(running, "/mistral", 200, **new)
        assert 401 == await status_of(running, "/mistral", **old)


async def test_a_symlink_that_is_turned_is_a_change(tmp_path: Path) -> None:
    """Kubernetes turns the link ..data to a new directory; the file's own name and link stay as they are."""
    folder = tmp_path / "mounted"
    async with upstream(OK) as raw:
        for name, text in (("..1", configured(raw)), ("..2", configured(raw).replace("/mistral", "/other"))):
            (folder / name).mkdir(parents=True)
            (folder / name / "routes.yaml").write_text(text)
        (folder / "..data").symlink_to("..1")
        (folder / "routes.yaml").symlink_to("..data/routes.yaml")
        async with program(tmp_path, None, "--config", "mounted/routes.yaml") as running:
            assert 200 == await status_of(running, "/mistral")
            (folder / "..data_tmp").symlink_to("..2")
            (folder / "..data_tmp").replace(folder / "..data")
            await becomes(running, "/other", 200)
            assert 404 == await status_of(running, "/mistral")


async def test_a_file_that_vanishes_changes_nothing(tmp_path: Path) -> None:
    """Without its file the program keeps its rules, says so, and takes the file up again when it is back."""
    async with upstream(OK) as raw, program(tmp_path, configured(raw)) as running:
        (tmp_path / "routes.yaml").unlink()
        said = await until(running, lambda said: said["status"] == "degraded")
        assert "routes.yaml" in said["degraded"]["reload"]
        assert 200 == await status_of(running, "/mistral")
        (tmp_path / "routes.yaml").write_text(configured(raw))
        await until(running, lambda said: said["status"] == "ok")


async def test_what_a_reload_cannot_change_is_said(tmp_path: Path) -> None:
    """Ports, drain time and ledger take a restart; the rest of the same file is in force at once."""
    async with upstream(OK) as raw, program(tmp_path, configured(raw)) as running:
        more = "ledger: sqlite:///other.db\ndrain_timeout: 7s\nlog_level: debug\nclient_keep_alive: 7s\nupstream_keep_alive: 7s\n"
        (tmp_path / "routes.yaml").write_text(configured(raw, more).replace("/mistral", "/other"))
        running.signal(signal.SIGHUP)
        for name in ("drain_timeout", "log_level", "client_keep_alive", "upstream_keep_alive", "ledger"):
            await running.says(f"'{name}' has changed; that takes a restart")
        assert 200 == await status_of(running, "/other")
        assert "'host'" not in "".join(running.said)


async def test_a_changed_port_is_said(tmp_path: Path) -> None:
    """Where the ports are the file's, changing them there is answered by the words that it takes a restart."""
    async with upstream(OK) as raw:
        (tmp_path / "routes.yaml").write_text(configured(raw, "port: 0\nadmin_port: 0\n"))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "passthrough", "serve"),
            cwd=tmp_path,
            env=clean_environment(),
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        assert b"Listening on" in await process.stderr.readline()
        replace(tmp_path / "routes.yaml", configured(raw, "port: 1\nadmin_port: 2\n"))
        process.send_signal(signal.SIGHUP)
        said = b""
        while said.count(b"restart") < 2:
            said += await asyncio.wait_for(process.stderr.readline(), 30)
        assert b"routes.yaml: 'port' has changed; that takes a restart." in said
        assert b"routes.yaml: 'admin_port' has changed; that takes a restart." in said
        process.terminate()
        await process.communicate()
        assert 0 == process.returncode


async def test_nothing_changed(tmp_path: Path) -> None:
    """SIGHUP without a change reloads, says so, and disturbs nobody: the connection to the client lives on."""
    async with upstream(OK) as raw, program(tmp_path, configured(raw)) as running:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            for _ in range(3):
                async with session.post(running.url + "/mistral", data=b"{}") as answer:
                    assert 200 == answer.status
                running.signal(signal.SIGHUP)
        await running.says("(?s)(Reloaded.*){2}")
        assert 1 == raw.connections
        assert "restart" not in "".join(running.said)


async def test_the_last_key_does_not_go_while_others_can_reach_the_port(tmp_path: Path) -> None:
    """A file that says loopback and has no key is fine after a restart; the program that listens everywhere keeps its keys."""
    keys = "client_keys: [{name: someone, key: a-key-of-16-letters}]\n"
    async with upstream(OK) as raw, program(tmp_path, configured(raw, keys + "host: 0.0.0.0\n")) as running:
        (tmp_path / "routes.yaml").write_text(configured(raw, "host: 127.0.0.1\n"))
        said = await until(running, lambda said: said["status"] == "degraded")
        assert "0.0.0.0" in said["degraded"]["reload"]
        assert 401 == await status_of(running, "/mistral")
        (tmp_path / "routes.yaml").write_text(configured(raw, "host: 127.0.0.1\nallow_anonymous: true\n"))
        await becomes(running, "/mistral", 200)


async def test_a_request_keeps_the_rules_that_it_began_with(tmp_path: Path) -> None:
    """A reload in the middle of an answer does not touch it, even when its route is gone."""
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        arrived.set()
        await go.wait()
        await peer.send(b"def")

    async with (
        upstream(slow) as raw,
        program(tmp_path, configured(raw)) as running,
        aiohttp.ClientSession() as session,
        session.post(running.url + "/mistral", data=b"{}") as answer,
    ):
        await arrived.wait()
        replace(tmp_path / "routes.yaml", configured(raw).replace("/mistral", "/other"))
        running.signal(signal.SIGHUP)
        await running.says("Reloaded")
        assert 404 == await status_of(running, "/mistral")
        go.set()
        assert b"abcdef" == await answer.read()


async def test_a_change_between_reading_and_listening_is_found(tmp_path: Path) -> None:
    """The file is replaced again and again while the program starts; in the end the last one is in force."""
    async with upstream(OK) as raw:
        file = tmp_path / "routes.yaml"
        started = asyncio.Event()
        replace(file, configured(raw))

        async def rewrite() -> str:
            for turn in itertools.count():
                replace(file, configured(raw).replace("/mistral", f"/turn{turn}"))
                if started.is_set():
                    return f"/turn{turn}"
                await asyncio.sleep(0.002)
            raise AssertionError

        rewriting = asyncio.create_task(rewrite())
        async with program(tmp_path, None) as running:
            started.set()
            await becomes(running, await rewriting, 200)


async def test_a_pool_is_swapped_whole_and_what_cools_stays_so(tmp_path: Path) -> None:
    """A deployment that is added is there with the next request; one that was throttled is left alone as before."""
    throttled_one, well, added = OcrUpstream(), OcrUpstream(), OcrUpstream()
    throttled_one.mood = always(throttled("600"))

    def pool(*members: tuple[str, OcrUpstream]) -> str:
        entries = [
            f"  - {{model_name: scan, litellm_params: {{model: mistral/mistral-ocr-latest, api_key: provider-key, "
            f"api_base: '{each.url}', order: 1}}, model_info: {{mode: ocr, id: {name}}}}}\n"
            for name, each in members
        ]
        return "ledger: none\nmodel_list:\n" + "".join(entries)

    async def deployments() -> dict[str, str | None]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{running.admin_port}/deployments") as response,
        ):
            found = (await response.json())["deployments"]
        return {each["deployment"]: each["cooling"] for each in found}

    async def asked() -> str:
        body = {"model": "scan", "document": {"document_url": "data:application/pdf;base64,JVBERi0xLjQK"}}
        url = f"http://127.0.0.1:{running.port}/v1/ocr"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
            assert 200 == response.status
            return response.headers["x-passthrough-deployment"]

    async with ocr_upstreams(throttled_one, well, added):
        before = pool(("first", throttled_one), ("well", well))
        async with program(tmp_path, before) as running:
            while not throttled_one.calls:
                await asked()
            assert {"first": "429", "well": None} == await deployments()
            (tmp_path / "routes.yaml").write_text(pool(("first", throttled_one), ("added", added)))
            assert {"first": "429", "added": None} == await eventually(deployments, lambda found: "added" in found)
            assert {"added"} == {await asked() for _ in range(5)}
            assert 1 == len(throttled_one.calls)
            assert 0 == await running.stop()
