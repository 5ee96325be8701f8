"""One container: the line of the docs, and compose.yaml. Both serve on the docs' ports, by the configuration of deploy/etc."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tests.containers import inside
from tests.containers.client import Client, get, ocr_total
from tests.containers.docs_lines import command, commands
from tests.containers.podman import Podman, until, words
from tests.containers.report import Report

PAGE: Final = "docs/deployment.md"
PAGE_PRICE: Final = Decimal("0.002")
STOP_S: Final = 40.0
"""What the docs give a container to stop."""


@dataclass(slots=True)
class Keys:
    """The variables of a deployment, made for one run."""

    mistral: str
    client: str
    admin: str

    @staticmethod
    def new() -> Keys:
        """Return keys that nothing else has, two of them made as the docs say."""
        made = command(PAGE, "export CLIENT_KEY").partition("#")[0]
        ended = subprocess.run(
            ["sh", "-euc", f'{made}; echo "$CLIENT_KEY" "$ADMIN_KEY"'], capture_output=True, text=True, check=True
        )
        return Keys(f"mistral-{secrets.token_hex(16)}", *ended.stdout.split())

    @property
    def variables(self) -> dict[str, str]:
        """Return them by the names that the files use, with the sandbox in the provider's place."""
        return {
            "MISTRAL_API_KEY": self.mistral,
            "CLIENT_KEY": self.client,
            "ADMIN_KEY": self.admin,
            "PASSTHROUGH_SANDBOX": "1",
        }


def healthy(podman: Podman, name: str) -> bool:
    """Whether the image's own health check succeeds."""
    return podman.run("healthcheck", "run", name, check=False).returncode == 0


def use(podman: Podman, report: Report, name: str, client: Client, keys: Keys, routes: Path) -> None:
    """Look into a running container, ask it with the SDK, look at its dashboard, and reload a changed configuration."""
    with report.step("look from inside") as step:
        step.result = inside.check(podman, name)
    with report.step("OCR of a PDF with Mistral's SDK, in the sandbox") as step:
        client.ocr(pages=3)
        client.ocr(pages=2)
        step.result = "200: 3 and 2 pages, the words of each page"
    with report.step("open the dashboard and the metrics") as step:
        base = "http://127.0.0.1:4001"
        assert [401, 401] == [get(f"{base}/{path}")[0] for path in ("", "metrics")]
        page, figures = get(f"{base}/", keys.admin, "Basic"), get(f"{base}/metrics", keys.admin)
        assert (200, 200) == (page[0], figures[0]), (page, figures)
        assert "<html" in page[1], page[1][:200]
        assert "passthrough_pages_total" in figures[1], figures[1][:200]
        step.result = "401 without ADMIN_KEY, 200 with it: the page, and the metrics"
    with report.step("add a client key to the mounted routes.yaml") as step:
        reload(podman, name, client, routes)
        step.result = "401 before, 200 after; process 1 is the same"


def reload(podman: Podman, name: str, client: Client, routes: Path) -> None:
    """Replace the mounted configuration as an editor does, and see that a new key is taken without a restart."""
    started = podman.inspect(name)["State"]["StartedAt"]
    other = Client(client.url, f"new-{secrets.token_hex(16)}")
    assert not other.accepted()
    text = routes.read_text("utf-8")
    changed = text.replace("client_keys:\n", f"client_keys:\n  - {{name: second, key: {other.key}}}\n")
    assert changed != text
    beside = routes.with_suffix(".new")
    beside.write_text(changed, "utf-8")
    beside.rename(routes)
    until(other.accepted, what="the key that was added")
    assert client.accepted()
    other.ocr(pages=1)
    client.requests += other.requests
    client.pages += other.pages
    assert started == podman.inspect(name)["State"]["StartedAt"]


def booked(total: dict[str, object], client: Client) -> str:
    """See that the ledger has what the client got, and return that in words."""
    assert total["pages"] == client.pages, total
    cost = client.pages * PAGE_PRICE
    assert total["cost_usd"] == cost, total
    return f"{total['requests']} requests, {client.pages} pages, {cost} USD: what the client got"


def booked_in(podman: Podman, container: str, client: Client) -> str:
    """Wait until the ledger of a container that serves has what the client got, and return that in words."""

    def total() -> dict[str, Any]:
        return ocr_total(podman.run("exec", container, "passthrough", "usage", "--format", "json").stdout)

    until(lambda: total()["pages"] == client.pages, what="all entries in the ledger")
    return booked(total(), client)


def docker_run(podman: Podman, report: Report, checkout: Path) -> None:
    """Run the docs' line, twice over the same volume; then with configurations that are wrong."""
    line, keys = command(PAGE, "docker run"), Keys.new()
    usage = re.sub(r"\bpassthrough$", "passthrough usage --format json", line)
    usage = re.sub(r" -p \S+", "", usage)
    routes = checkout / "deploy/etc/routes.yaml"
    original = routes.read_text("utf-8")
    client = Client("http://127.0.0.1:4000", keys.client)
    for time_of in ("first", "second"):
        with podman.foreground(line, cwd=checkout, more=keys.variables) as process:
            with report.step(f"the docs' line, {time_of} time") as step:
                (name,) = until(podman.names, what="a container")
                until(lambda name=name: healthy(podman, name), what="healthy")
                step.result = "healthy (podman healthcheck run)"
            if time_of == "first":
                use(podman, report, name, client, keys, routes)
            else:
                client.ocr()
                with report.step("docker kill --signal HUP") as step:
                    podman.run("kill", "--signal", "HUP", name)
                    until(lambda: "Reloaded" in podman.foreground_log(), what="a reload")
                    client.ocr()
                    step.result = "reloaded; it serves"
            with report.step("docker stop") as step:
                began = time.monotonic()
                podman.run("stop", name)
                assert 0 == process.wait(STOP_S), podman.foreground_log()
                assert time.monotonic() - began < STOP_S
                step.result = "exit code 0, by SIGTERM"
        with report.step("usage in another container over the same volume") as step:
            step.result = booked(ocr_total(podman.command(usage, cwd=checkout, more=keys.variables).stdout), client)
    with report.step("Ctrl-C (SIGINT)") as step, podman.foreground(line, cwd=checkout, more=keys.variables) as process:
        (name,) = until(podman.names, what="a container")
        until(lambda: healthy(podman, name), what="healthy")
        podman.run("kill", "--signal", "INT", name)
        assert 0 == process.wait(STOP_S)
        step.result = "exit code 0"
    refused(podman, report, checkout, line, keys, original)


def said(ended: subprocess.CompletedProcess[bytes]) -> str:
    """Return the first line that the program wrote: podman speaks of health checks' timers where there is no systemd."""
    return next(line for line in words(ended).splitlines() if line.strip() and not line.startswith("time="))


def refused(podman: Podman, report: Report, checkout: Path, line: str, keys: Keys, original: str) -> None:
    """See what the line says where a variable is not set, or the configuration is wrong."""
    routes = checkout / "deploy/etc/routes.yaml"
    routes.write_text(original, "utf-8")
    for variable in ("ADMIN_KEY", "CLIENT_KEY"):
        with report.step(f"without {variable}") as step:
            without = {name: value for name, value in keys.variables.items() if name != variable}
            ended = podman.command(line, cwd=checkout, more=without, check=False)
            assert (2, True) == (ended.returncode, f"{variable} is not set." in words(ended)), words(ended)
            step.result = f"exit code 2: “{said(ended)}”"
    with report.step("a misspelt key in routes.yaml") as step:
        routes.write_text(original.replace("client_keys", "client_key"), "utf-8")
        ended = podman.command(line, cwd=checkout, more=keys.variables, check=False)
        assert 2 == ended.returncode, words(ended)
        assert "client_keys" in words(ended), words(ended)
        step.result = f"exit code 2: “{said(ended)}”"
    routes.write_text(original, "utf-8")


def compose(podman: Podman, report: Report, checkout: Path) -> None:
    """Start compose.yaml as README and the docs say, use it, kill it, restart it, stop it."""
    line = command("README.md", "PASSTHROUGH_SANDBOX=1 CLIENT_KEY=")
    named = dict(part.split("=", 1) for part in line.split() if "=" in part)
    keys = Keys(f"mistral-{secrets.token_hex(16)}", named["CLIENT_KEY"], named["ADMIN_KEY"])
    routes = checkout / "deploy/etc/routes.yaml"
    original = routes.read_text("utf-8")
    client = Client("http://127.0.0.1:4000", keys.client)
    with podman.foreground(line, cwd=checkout, more={"MISTRAL_API_KEY": keys.mistral}) as process:
        with report.step("README's line, docker compose up --build") as step:
            (name,) = until(podman.names, what="a container")
            until(lambda: healthy(podman, name), what="healthy")
            step.result = "healthy (podman healthcheck run)"
        use(podman, report, name, client, keys, routes)
        with report.step("kill -9 of its process 1, from outside") as step:
            os.kill(podman.inspect(name)["State"]["Pid"], signal.SIGKILL)
            until(lambda: podman.inspect(name)["RestartCount"] == 1, what="a restart")
            until(lambda: healthy(podman, name), what="healthy")
            client.ocr()
            step.result = "restarted by its policy, healthy; it serves"
        with report.step("podman restart") as step:
            podman.run("restart", name)
            until(lambda: healthy(podman, name), what="healthy")
            client.ocr()
            step.result = "healthy again; it serves"
        with report.step("podman exec … usage, while it serves") as step:
            step.result = booked_in(podman, name, client)
        with report.step("docker compose stop") as step:
            podman.command("docker compose -f deploy/compose.yaml stop", cwd=checkout)
            state = podman.inspect(name)["State"]
            assert ("exited", 0) == (state["Status"], state["ExitCode"]), (state, podman.logs(name)[-2000:])
            process.wait(STOP_S)
            step.result = "exit code 0"
    again(podman, report, checkout, keys, client)
    routes.write_text(original, "utf-8")


def again(podman: Podman, report: Report, checkout: Path, keys: Keys, client: Client) -> None:
    """Take the composition down, and up as the docs say, with the variables in .env beside the file."""
    up, logs, down = (line.partition("#")[0] for line in commands(PAGE, "docker compose -f deploy/compose.yaml"))
    with report.step("docker compose down; up -d with the keys in deploy/etc/.env") as step:
        podman.command(down, cwd=checkout)
        assert [] == podman.names()
        beside = checkout / "deploy/etc/.env"
        beside.write_text(f"MISTRAL_API_KEY={keys.mistral}\nCLIENT_KEY={keys.client}\nADMIN_KEY={keys.admin}\n")
        shutil.chown(beside, group=10001)
        beside.chmod(0o640)
        podman.command(up, cwd=checkout, more={"PASSTHROUGH_SANDBOX": "1"})
        (name,) = until(podman.names, what="a container")
        until(lambda: healthy(podman, name), what="healthy")
        client.ocr()
        assert "Listening on" in words(podman.command(logs, cwd=checkout))
        step.result = "healthy; it serves"
    with report.step("docker compose down, then usage over its volume") as step:
        volume = next(each["Name"] for each in podman.inspect(name)["Mounts"] if each["Destination"] == "/data")
        podman.command(down, cwd=checkout)
        beside.unlink()
        usage = podman.run("run", "--rm", "-v", f"{volume}:/data", "passthrough", "usage", "--format", "json")
        step.result = booked(ocr_total(usage.stdout), client)
