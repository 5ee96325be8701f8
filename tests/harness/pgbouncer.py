"""The real PgBouncer in front of a server, as an operator sets it up: passwords by SCRAM, transactions pooled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tests.harness.ports import free_port
from tests.harness.postgres import PASSWORD, Postgres, as_user
from tests.harness.waiting import WAIT_S


class PgBouncer:
    """One that runs, with two connections to the server for each user and database."""

    def __init__(self, program: str, folder: Path, server: Postgres, **settings: str) -> None:
        self.port = free_port()
        self._server = server
        self._folder = folder
        (folder / "users").write_text(f'"me" "{PASSWORD}"\n')
        whole = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": f"{folder}/users",
            "pool_mode": "transaction",
            "default_pool_size": "2",
            "server_login_retry": "1",
            **settings,
        }
        lines = (f"{name} = {value}" for name, value in whole.items())
        (folder / "pgbouncer.ini").write_text("\n".join(("[pgbouncer]", *lines, "%include " + str(folder / "databases"), "")))
        self.write(server)
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)
        command = [program, str(folder / "pgbouncer.ini")]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **as_user())
        self._wait()

    def write(self, server: Postgres) -> None:
        """Name another server, for connections after `reload`."""
        (self._folder / "databases").write_text(f"[databases]\n* = host=127.0.0.1 port={server.port}\n")

    def url(self, database: str, query: str = "") -> str:
        """Return the URL of a database behind it."""
        return self._server.tcp(database, query=query).replace(f":{self._server.port}/", f":{self.port}/")

    def reload(self) -> None:
        """Have it read its configuration again."""
        self._process.send_signal(signal.SIGHUP)

    def _wait(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while True:
            with suppress(psycopg.OperationalError), closing(psycopg.connect(self.url("postgres"))):
                return
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def pgbouncer(server: Postgres, **settings: str) -> Iterator[PgBouncer]:
    """Run one; skip the test where there is none."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("there is no pgbouncer here: install the system's package")
    folder = Path("/tmp") / f"pgb{os.urandom(4).hex()}"  # where the user that runs it may read
    folder.mkdir()
    try:
        running = PgBouncer(program, folder, server, **settings)
        try:
            yield running
        finally:
            running.kill()
    finally:
        shutil.rmtree(folder)
