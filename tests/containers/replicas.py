"""compose-replicas.yaml: two replicas behind nginx with PostgreSQL, used while a replica and then the database is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.containers import inside
from tests.containers.client import Client, ocr_total
from tests.containers.docs_lines import command
from tests.containers.podman import Podman, until
from tests.containers.report import Report, Step
from tests.containers.single import PAGE, Keys, booked, healthy

URL: Final = "http://127.0.0.1:4000"
PASSWORD: Final = "p@ss:w/rd?#%20&=$HOME${X}'\"\\ ü"
"""What a URL, a shell, a composition and SQL each read in a way of their own."""
CALLERS: Final = 6
RESTART_S: Final = 240.0
"""How long a replica that was killed may take to come back: beside six callers, on a machine that does other things, a minute."""
_COMPOSE: Final = "docker compose -f deploy/compose-replicas.yaml"
_LEDGER: Final = "postgresql://passthrough@database/passthrough"


@dataclass(slots=True)
class Callers:
    """Threads that read PDFs with the SDK, one after the other, until they are told to stop."""

    clients: list[Client]
    ended: threading.Event = field(default_factory=threading.Event)
    failed: list[tuple[float, str]] = field(default_factory=list)
    """When each call that failed began, and what came of it."""

    def call(self, client: Client) -> None:
        """Call, until the end."""
        while not self.ended.is_set():
            began = time.monotonic()
            try:
                client.ocr(pages=2)
            except (AssertionError, OSError) as error:
                self.failed.append((began, str(error)))

    @property
    def requests(self) -> int:
        """How many calls succeeded."""
        return sum(client.requests for client in self.clients)

    def go_on(self, count: int) -> None:
        """Wait until so many more calls have succeeded."""
        goal = self.requests + count
        until(lambda: self.requests >= goal, what=f"{goal} calls; failed: {self.failed[-3:]}")


@contextmanager
def calling(total: Client) -> Iterator[Callers]:
    """Call all the time; what the callers got is added to `total` at the end."""
    callers = Callers([Client(total.url, total.key) for _ in range(CALLERS)])
    threads = [threading.Thread(target=callers.call, args=(client,), daemon=True) for client in callers.clients]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        callers.ended.set()
        for thread in threads:
            thread.join(60)
        total.requests += callers.requests
        total.pages += sum(client.pages for client in callers.clients)


def kill(podman: Podman, name: str) -> None:
    """Kill a container's process from outside, as the kernel does where memory is short: `podman kill` would be an order."""
    os.kill(podman.inspect(name)["State"]["Pid"], signal.SIGKILL)


def asked(podman: Podman, name: str, keys: Keys, path: str) -> Any:
    """Return what a replica's admin port answers, asked from within: no matter with which status."""
    look = (
        "import sys, urllib.request as r, urllib.error as e\n"
        f"q = r.Request('http://127.0.0.1:4001/{path}', headers={{'Authorization': 'Bearer {keys.admin}'}})\n"
        "try: print(r.urlopen(q).read().decode())\n"
        "except e.HTTPError as error: print(error.read().decode())"
    )
    return json.loads(podman.run("exec", name, inside.PYTHON, "-c", look).stdout)


def used(podman: Podman) -> dict[str, Any]:
    """Return the ledger's total, from another container in the composition's network."""
    more = ("--network", "deploy_default", "-e", f"PGPASSWORD={PASSWORD}")
    return ocr_total(podman.run("run", "--rm", *more, "passthrough", "usage", "--ledger", _LEDGER, "--format", "json").stdout)


def served(podman: Podman, name: str) -> int:
    """Return how many OCR calls a container's log has."""
    return podman.logs(name).count('"path": "/mistral/v1/ocr"')


def replicas(podman: Podman, report: Report, checkout: Path) -> None:
    """Start them as the first lines say, use them while parts die, reload, stop; the ledger has what the clients got."""
    keys = Keys.new()
    more = keys.variables | {"POSTGRES_PASSWORD": PASSWORD}
    client = Client(URL, keys.client)
    with report.step("docker compose up --build -d, POSTGRES_PASSWORD with odd characters") as step:
        podman.command(command(PAGE, _COMPOSE, " up "), cwd=checkout, more=more)
        both = until(lambda: two if len(two := podman.names("name=passthrough")) == 2 else None, what="two replicas")
        for name in both:
            until(lambda name=name: healthy(podman, name), what=f"{name} healthy")
        until(client.accepted, what="nginx lets the key through")
        until(lambda: all(asked(podman, name, keys, "readyz")["status"] == "ok" for name in both), what="a ledger that is there")
        step.result = "two replicas, both healthy; nginx finds them by their name; the ledger is reached"
    with report.step("look from inside") as step:
        for name in both:
            step.result = inside.check(podman, name)
        (nginx,) = podman.names("name=nginx")
        status = podman.output("exec", nginx, "grep", "-E", "^(Uid|CapEff|CapBnd|NoNewPrivs)", "/proc/1/status").split()
        assert ["Uid:", *["101"] * 4, "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"] == status, status
        assert podman.inspect(nginx)["HostConfig"]["ReadonlyRootfs"]
        version = podman.run("exec", nginx, "nginx", "-v").stderr.decode().strip().removeprefix("nginx version: ")
        step.result += f"; {version}: uid 101, no capabilities, / read-only"
    failed: list[tuple[float, str]] = []
    with calling(client) as callers:
        with report.step(f"OCR by {CALLERS} callers with the SDK, kill -9 of a replica meanwhile") as step:
            killed(podman, keys, both, callers, step)
            failed = callers.failed.copy()
        with report.step("kill the database meanwhile, start it later") as step:
            without_database(podman, keys, both, callers, step)
            assert failed == callers.failed, callers.failed
    with report.step("usage in another container, and /budgets of both") as step:
        # At most the calls that were in the dying replica may be booked, and not have reached their client.
        wanted = range(client.pages, client.pages + 2 * len(failed) + 1)
        until(lambda: used(podman)["pages"] in wanted, what=f"{wanted} pages in the ledger")
        total = used(podman)
        for name in both:
            until(lambda name=name: spent(podman, name, keys) == total["pages"], what="a budget that both share")
        client.pages = total["pages"]
        written = podman.command(command(PAGE, _COMPOSE, " usage"), cwd=checkout, more=more).stdout.decode()
        assert str(total["pages"]) in written, written
        step.result = f"{booked(total, client)}; both say that as much of the budget is spent; so does the docs' command"
    with report.step("change the budget in the mounted routes.yaml to 1 page, and back") as step:
        routes = checkout / "deploy/replicas/routes.yaml"
        text = routes.read_text("utf-8")
        replace(routes, text.replace("pages: 10000", "pages: 1"))
        until(lambda: all("429" in refusal(client) for _ in range(10)), what="ten refusals one after the other")
        replace(routes, text)
        until(lambda: all(refusal(client) == "" for _ in range(5)), what="five responses one after the other")
        step.result = "429 from both, then 200 again"
    with report.step("change the mounted nginx.conf, and send HUP as the docs say") as step:
        conf = checkout / "deploy/replicas/nginx/nginx.conf"
        replace(conf, conf.read_text("utf-8").replace("error_log stderr warn;", "error_log stderr notice;"))
        podman.command(command(PAGE, _COMPOSE, " -HUP "), cwd=checkout, more=more)
        until(lambda: "start worker processes" in podman.logs(nginx), what="new workers")
        client.ocr()
        step.result = "new workers, by the changed file; it serves"
    with report.step("docker compose stop -t 45") as step:
        until(lambda: used(podman)["pages"] == client.pages, what="all entries in the ledger")
        # podman-compose 1.0 knows no stop_grace_period, and stops the database first: then replicas give it their 10 s.
        podman.command(f"{_COMPOSE} stop -t 45", cwd=checkout, more=more)
        codes = {
            name: podman.inspect(name)["State"]["ExitCode"]
            for name in podman.output("ps", "-a", "--format", "{{.Names}}").split()
        }
        assert {0} == set(codes.values()), (codes, [podman.logs(name)[-1500:] for name, code in codes.items() if code])
        step.result = f"exit code 0, all {len(codes)}"
    with report.step("start the database alone, usage in another container") as step:
        podman.run("start", next(name for name in codes if "database" in name))
        until(lambda: used(podman)["pages"] == client.pages, what="what the clients got")
        step.result = booked(used(podman), client)


def killed(podman: Podman, keys: Keys, both: list[str], callers: Callers, step: Step) -> None:
    """Kill a replica under load: what it had is lost, nothing that begins later; it comes back, and is used again."""
    callers.go_on(2 * CALLERS)
    dying, pid = both[0], podman.inspect(both[0])["State"]["Pid"]
    kill(podman, dying)
    dead = time.monotonic()
    callers.go_on(4 * CALLERS)
    until(lambda: podman.inspect(dying)["State"]["Pid"] not in {0, pid}, within=RESTART_S, what=f"{dying} back")
    until(lambda: healthy(podman, dying), within=RESTART_S, what=f"{dying} healthy")
    before = served(podman, dying)
    until(lambda: served(podman, dying) > before, within=RESTART_S, what=f"{dying} used again")
    for began, what in callers.failed:
        assert began < dead, f"a call failed that began {began - dead:.2f} s after the kill: {what}"
        assert "replica_lost" in what, what
    lost = len(callers.failed)
    step.result = f"{lost} calls that it had were 502 replica_lost, none that began later failed; it came back and is used"


def without_database(podman: Podman, keys: Keys, both: list[str], callers: Callers, step: Step) -> None:
    """Kill the database: calls go on, entries wait; when it is back they come in."""
    (database,) = podman.names("name=database")
    podman.run("kill", database)  # an order: it stays down
    callers.go_on(2 * CALLERS)
    until(lambda: all(asked(podman, name, keys, "readyz")["status"] != "ok" for name in both), what="/readyz that says so")
    said = asked(podman, both[0], keys, "readyz")
    callers.go_on(2 * CALLERS)
    podman.run("start", database)
    until(lambda: all(asked(podman, name, keys, "readyz")["status"] == "ok" for name in both), what="/readyz is well again")
    step.result = f"no call failed; /readyz said {re.sub(r'[{}]', '', json.dumps(said))[:120]}; then well again"


def spent(podman: Podman, name: str, keys: Keys) -> int:
    """Return how many pages of the budget are spent, as a replica says."""
    (budget,) = asked(podman, name, keys, "budgets")["budgets"]
    return int(budget["spent"])


def replace(file: Path, text: str) -> None:
    """Replace a file as an editor does."""
    beside = file.with_suffix(".new")
    beside.write_text(text, "utf-8")
    beside.rename(file)


def refusal(client: Client) -> str:
    """Return what a call failed with; nothing where it did not."""
    try:
        client.ocr(pages=1)
    except AssertionError as error:
        return str(error)
    return ""
