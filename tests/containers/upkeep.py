"""What a container goes through beside serving: workers, a stop within a request, back-up and restore, other commands."""

from __future__ import annotations

import json
import re
import socket
import threading
from pathlib import Path
from typing import Final

from tests.containers import inside
from tests.containers.client import MODEL, Client, data_url, get, ocr_total
from tests.containers.docs_lines import command
from tests.containers.podman import Podman, until, words
from tests.containers.report import Report
from tests.containers.single import PAGE, STOP_S, Keys, booked, healthy, said
from tests.harness.documents import pdf, words_of

PORT: Final = 4000


def upkeep(podman: Podman, report: Report, checkout: Path) -> None:
    """Run the docs' line with two workers; stop it within an upload; back its ledger up, lose it, and restore it."""
    line, keys = command(PAGE, "docker run"), Keys.new()
    client = Client(f"http://127.0.0.1:{PORT}", keys.client)
    with podman.foreground(f"{line} serve --workers 2", cwd=checkout, more=keys.variables) as process:
        with report.step("the docs' line with serve --workers 2") as step:
            (name,) = until(podman.names, what="a container")
            until(lambda: healthy(podman, name), what="healthy")
            client.ocr()
            step.result = f"healthy, serves; the supervisor: {inside.check(podman, name, '--workers', '2')}"
        with report.step("docker stop while a document is half uploaded") as step:
            response = stop_within_an_upload(podman, name, client, keys)
            assert 0 == process.wait(STOP_S), podman.foreground_log()
            step.result = f"{response}; then exit code 0"
    other_commands(podman, report, checkout, line, keys)
    back_up_and_restore(podman, report, checkout, line, keys, client)


def stop_within_an_upload(podman: Podman, name: str, client: Client, keys: Keys) -> str:
    """Begin a request, stop the container, send the rest once no new connection is taken, and return the response in words."""
    body = json.dumps({"model": MODEL, "document": {"type": "document_url", "document_url": data_url(4)}}).encode()
    head = (
        f"POST /mistral/v1/ocr HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nAuthorization: Bearer {client.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    half = len(body) // 2
    with socket.create_connection(("127.0.0.1", PORT), timeout=STOP_S) as connection:
        connection.sendall(head.encode() + body[:half])
        under_way = re.compile(r"^passthrough_requests_in_flight 1(\.0)?$", re.MULTILINE)
        until(lambda: under_way.search(get("http://127.0.0.1:4001/metrics", keys.admin)[1]), what="a request in flight")
        stopping = threading.Thread(target=podman.run, args=("stop", name))
        stopping.start()
        until(refused, what="a port that takes no new connections")
        connection.sendall(body[half:])
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        stopping.join(STOP_S)
    assert received.startswith(b"HTTP/1.1 200 "), received[:300]
    assert words_of(3).encode() in received
    client.requests += 1
    client.pages += 4
    return "no new connections, and the upload goes on: 200 with its 4 pages"


def refused() -> bool:
    """Whether a new connection is refused, or ended before it has asked."""
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=5) as connection:
            connection.sendall(b"GET /mistral/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return not connection.recv(1)
    except OSError:
        return True


def other_commands(podman: Podman, report: Report, checkout: Path, line: str, keys: Keys) -> None:
    """Run the image without a configuration of its own, and its other commands."""
    with report.step("docker run --rm passthrough, nothing else") as step:
        ended = podman.command("docker run --rm passthrough", cwd=checkout, check=False)
        assert (2, True) == (ended.returncode, "client_keys" in words(ended)), words(ended)
        step.result = f"exit code 2: “{said(ended)}”"
    with report.step("the docs' line with check") as step:
        checked = podman.command(f"{line} check", cwd=checkout, more=keys.variables)
        assert not any(key in words(checked) for key in (keys.mistral, keys.client, keys.admin))
        step.result = "exit code 0, and no key in what it prints"
    with report.step("docker run … ocr --sandbox, the docs' line") as step:
        folder = checkout / "to-read"
        folder.mkdir()
        (folder / "invoice.pdf").write_bytes(pdf(2))
        podman.command(command(PAGE, "docker run", " ocr "), cwd=folder)
        assert words_of(1) in (folder / "invoice.md").read_text("utf-8")
        assert (folder / "invoice.md").stat().st_uid == folder.stat().st_uid
        step.result = "invoice.md, owned by who called"


def back_up_and_restore(podman: Podman, report: Report, checkout: Path, line: str, keys: Keys, client: Client) -> None:
    """Follow the docs: a back-up while it serves; the ledger lost; a restore by another container of the image."""
    with podman.foreground(line, cwd=checkout, more=keys.variables) as process:
        with report.step("docker exec … passthrough backup /data/backup.db") as step:
            (name,) = until(podman.names, what="a container")
            until(lambda: healthy(podman, name), what="healthy")
            podman.command(f"docker exec {name} passthrough backup /data/backup.db", cwd=checkout)
            step.result = "exit code 0, while it serves"
        podman.run("stop", name)
        assert 0 == process.wait(STOP_S), podman.foreground_log()
    unpublished = re.sub(r" -p \S+", "", line)
    with report.step("lose the ledger, restore /data/backup.db") as step:
        volume = Path(podman.output("volume", "inspect", "--format", "{{.Mountpoint}}", "passthrough"))
        for lost in volume.glob("passthrough.db*"):
            lost.unlink()
        podman.command(f"{unpublished} restore /data/backup.db", cwd=checkout, more=keys.variables)
        usage = podman.command(f"{unpublished} usage --format json", cwd=checkout, more=keys.variables)
        step.result = booked(ocr_total(usage.stdout), client)
