"""Podman with a storage, networks and commands of its own: what runs here meets nothing else on the machine.

`docker` and `docker compose` are podman and podman-compose for what is run in `Podman.environ`: commands of the docs run as
they are written.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

NEEDED: Final = ("podman", "runc", "podman-compose", "debootstrap", "openssl")
"""Programs, all of them packages of Debian with these names."""
WAIT_S: Final = 60.0
"""How long is waited for what must happen; only a failure ever takes so long."""
COMMAND_S: Final = 1800.0
"""How long a command may take. Building is the longest."""

_CONTAINERS_CONF: Final = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=2000:2000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
# crun, Debian's default, does not start where cgroups are of version 1; the limits are for machines that may not raise their own.
_STORAGE_CONF: Final = """\
[storage]
driver = "{driver}"
graphroot = "{folder}/{driver}"
runroot = "{folder}/run"
"""
_PODMAN: Final = """\
#!/bin/sh
# A build takes the network and the certificates of this machine, and writes an image that can hold a HEALTHCHECK, as Docker's do.
if [ "$1" = build ]; then
    shift
    exec {podman} build --format docker --isolation chroot --network host --pull=never {volumes} "$@"
fi
exec {podman} "$@"
"""
_DOCKER: Final = """\
#!/bin/sh
if [ "$1" = compose ]; then
    shift
    exec podman-compose "$@"
fi
exec podman "$@"
"""
_CLONE_NEWNET: Final = 0x40000000
_CLONE_NEWNS: Final = 0x00020000
_PODMANS_NAMES: Final = Path("/run/containers")
"""Where podman keeps the one name server of its networks: for root it is always here, whatever the configuration says."""


def missing() -> list[str]:
    """Return the needed programs that are not there."""
    return [name for name in NEEDED if shutil.which(name) is None]


def leave_network() -> None:
    """Move this process, and all that it starts, into a network of its own: only loopback, every port free, no way out.

    So published ports are those of the docs, whatever else runs on the machine, and rules of bridges vanish with the process. The
    name server of podman's networks is its own, too: else it would run in the network of whoever started podman first.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET | _CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "There is no network of its own for these tests: they need root.")
    _PODMANS_NAMES.mkdir(parents=True, exist_ok=True)
    for arguments in (("--make-rprivate", "/"), ("-t", "tmpfs", "tmpfs", str(_PODMANS_NAMES))):
        subprocess.run(["mount", *arguments], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        up = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(asked, 0x8914, up)  # SIOCSIFFLAGS


class Podman:
    """Podman in one folder. `environ` is what its commands, and those of the docs, run with."""

    def __init__(self, folder: Path, driver: str = "") -> None:
        """Write the configuration into `folder`. Raises SystemExit where another run has it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"{folder} is in use by another run: name another with --storage.") from None
        (self.folder / "bin").mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PASSTHROUGH_", "MISTRAL_"))}
        self.environ: dict[str, str] = kept | {
            "PATH": f"{self.folder / 'bin'}:{kept['PATH']}",
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "COMPOSE_PROJECT_NAME": "deploy",
        }
        (self.folder / "containers.conf").write_text(_CONTAINERS_CONF.format(folder=self.folder))
        self._write_commands()
        for chosen in (
            [driver] if driver else ["overlay", "vfs"]
        ):  # overlay is quicker by far, and not to be had within a container
            (self.folder / "storage.conf").write_text(_STORAGE_CONF.format(folder=self.folder, driver=chosen))
            self.driver = chosen
            if self.run("info", check=False).returncode == 0:
                break

    def _write_commands(self) -> None:
        config = "[global]\n"
        volumes = []
        if authorities := os.environ.get("SSL_CERT_FILE"):  # the same certificate authorities inside as outside
            config += "cert = /mnt/authorities.pem\n"
            volumes.append(f"-v {authorities}:/mnt/authorities.pem:ro")
        if index := os.environ.get("PIP_INDEX_URL"):
            config += f"index-url = {index}\n"
        (self.folder / "pip.conf").write_text(config)
        volumes.append(f"-v {self.folder}/pip.conf:/etc/pip.conf:ro")
        for name, text in (
            ("podman", _PODMAN.format(podman=shutil.which("podman"), volumes=" ".join(volumes))),
            ("docker", _DOCKER),
        ):
            (self.folder / "bin" / name).write_text(text)
            (self.folder / "bin" / name).chmod(0o755)

    def run(
        self, *arguments: str, check: bool = True, stdin: bytes | None = None, timeout: float = COMMAND_S
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `podman …`. Raises AssertionError with what it wrote, where its exit code is not 0 and that is an error."""
        return self.command([str(self.folder / "bin/podman"), *arguments], check=check, stdin=stdin, timeout=timeout)

    def command(
        self,
        command: str | list[str],
        *,
        check: bool = True,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        more: Mapping[str, str] | None = None,
        timeout: float = COMMAND_S,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command, or a line for a shell, where `docker` is podman, with `more` variables."""
        result = subprocess.run(
            command if isinstance(command, list) else ["sh", "-euc", command],
            cwd=cwd,
            env={**self.environ, **(more or {})},
            input=b"" if stdin is None else stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        if check and result.returncode:
            raise AssertionError(f"{command}: exit code {result.returncode}\n{words(result)}")
        return result

    @contextmanager
    def foreground(self, line: str, *, cwd: Path, more: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """Start a line of the docs that stays in the foreground; what it writes goes into foreground.log of the storage."""
        with (self.folder / "foreground.log").open("wb") as log:
            # Its own session: Ctrl-C at these tests is for them to handle.
            process = subprocess.Popen(
                ["sh", "-euc", line],
                cwd=cwd,
                env={**self.environ, **(more or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                if process.poll() is None:
                    self.clear()
                    process.wait(WAIT_S)

    def foreground_log(self) -> str:
        """Return the end of what the line in the foreground wrote."""
        return (self.folder / "foreground.log").read_text("utf-8", "replace")[-4000:]

    def output(self, *arguments: str) -> str:
        """Run `podman …` and return its stdout without the last line break."""
        return self.run(*arguments).stdout.decode().rstrip("\n")

    def inspect(self, name: str) -> Any:
        """Return what podman knows of a container."""
        return json.loads(self.output("container", "inspect", name))[0]

    def logs(self, name: str) -> str:
        """Return what a container wrote on stdout and stderr, in turn."""
        return words(self.run("logs", name, check=False))

    def names(self, *filters: str, ended: bool = False) -> list[str]:
        """Return the names of the running containers, those that have `ended` too, all that podman's `filters` let through."""
        chosen = [part for each in filters for part in ("--filter", each)] + ["--all"] * ended
        return self.output("ps", "--format", "{{.Names}}", *chosen).split()

    def clear(self) -> None:
        """Remove all containers, Pods, volumes, networks and secrets of this storage. Images that have a name stay."""
        for arguments in (
            ("pod", "rm", "--all", "--force", "--time", "0"),
            ("rm", "--all", "--force", "--volumes", "--time", "0"),
            ("volume", "rm", "--all", "--force"),
            ("network", "prune", "--force"),
            ("secret", "rm", "--all"),
            ("image", "prune", "--force", "--filter", "until=24h"),  # layers of builds that are long gone
        ):
            self.run(*arguments, check=False)
        # What a build that was interrupted left: its containers are mounted, and podman knows them as another program's.
        if left := self.run("ps", "--all", "--quiet", "--external", check=False).stdout.decode().split():
            self.run("rm", "--force", *left, check=False)

    def remove_images(self) -> None:
        """Remove all images, those that stand in for base images too."""
        self.clear()
        self.run("rmi", "--all", "--force", check=False)


def words(result: subprocess.CompletedProcess[bytes]) -> str:
    """Return what a command wrote, stderr last."""
    return (result.stdout + result.stderr).decode(errors="replace")


def until(ask: Any, *, within: float = WAIT_S, what: str = "") -> Any:
    """Ask until the answer is true, and return it. An AssertionError, OSError or the like of `ask` counts as a no."""
    deadline = time.monotonic() + within
    last: object = None
    while True:
        try:
            if found := ask():
                return found
            last = found
        except (AssertionError, OSError, ValueError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"Not seen within {within:.0f} s: {what or ask}. Last: {last}")
        time.sleep(0.1)  # what is asked about is another program's: it sets no event here
