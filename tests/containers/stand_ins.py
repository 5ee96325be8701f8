"""Stand-ins for the base images that the files name: made of Debian's packages, since no registry may be at hand.

Each is a Containerfile on `localhost/debian`, which debootstrap makes of Debian 13, the same release that `python:3.13-slim`
is made of. They have the program, the user and the command of the image whose name they bear, not its every file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from base64 import b64encode
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.containers.podman import COMMAND_S, Podman

SUITE: Final = "trixie"
INSTALL: Final = "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends"
_DEBIAN: Final = "localhost/debian"


@dataclass(frozen=True, slots=True)
class StandIn:
    """An image by the `name` that files use for it, and the Containerfile that makes it, behind its FROM line."""

    name: str
    containerfile: str


PYTHON: Final = StandIn(
    "python:3.13-slim",
    # Python, pip and their names as the official image has them.
    f"""\
RUN {INSTALL} ca-certificates python3 python3-venv python3-pip \\
 && ln -sf python3 /usr/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
""",
)
APPLICATION: Final = StandIn(
    "application",
    # The application of a Pod: it has Mistral's SDK, and does nothing until it is asked.
    f"""\
RUN {INSTALL} ca-certificates python3 python3-venv && python3 -m venv /opt/application && rm -rf /var/lib/apt/lists/* \\
 && /opt/application/bin/pip install -q mistralai=={version("mistralai")}
USER 1000:1000
CMD ["sleep", "infinity"]
STOPSIGNAL SIGKILL
""",
)
PROMETHEUS: Final = StandIn(
    "prom/prometheus",
    # Debian's Prometheus, as the official image has it: nobody runs it, in the folder of its data.
    f"""\
RUN {INSTALL} prometheus && rm -rf /var/lib/apt/lists/* && install -d -o nobody -g nogroup /prometheus
USER nobody
WORKDIR /prometheus
EXPOSE 9090
VOLUME ["/prometheus"]
ENTRYPOINT ["/usr/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
""",
)
NGINX: Final = StandIn(
    "nginx:stable-alpine",
    # Without the official image's script before it, which does nothing for another command.
    f"""\
RUN {INSTALL} nginx-light && rm -rf /var/lib/apt/lists/*
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
""",
)
_POSTGRES_START: Final = """\
#!/bin/sh
set -eu
if [ "$(id -u)" = 0 ]; then
    chown postgres "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf '%s\\n' "$POSTGRES_PASSWORD" > /tmp/password
    initdb -D "$PGDATA" -U "$POSTGRES_USER" -E UTF8 --auth-local=trust --auth-host=scram-sha-256 --pwfile=/tmp/password
    rm /tmp/password
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@"
"""
POSTGRES: Final = StandIn(
    "postgres:17-alpine",
    # The official image's variables, its folder of data, and its way to begin.
    f"""\
RUN {INSTALL} postgresql-17 && rm -rf /var/lib/apt/lists/* && install -d -o postgres /var/lib/postgresql/data
RUN echo {b64encode(_POSTGRES_START.encode()).decode()} | base64 -d > /usr/local/bin/docker-entrypoint.sh \\
 && chmod +x /usr/local/bin/docker-entrypoint.sh
ENV PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/17/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
VOLUME ["/var/lib/postgresql/data"]
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres", "-c", "listen_addresses=*", "-k", "/var/run/postgresql"]
""",
)


def mirror() -> list[str]:
    """Return where this machine's apt takes Debian's packages from; nothing where it does not say: debootstrap has a default."""
    asked = subprocess.run(["apt-get", "download", "--print-uris", "hello"], capture_output=True, text=True, check=False)
    found = re.match(r"'([^']+?)/pool/", asked.stdout)
    return [found[1]] if found else []


def _build(podman: Podman, name: str, containerfile: str, context: Path) -> None:
    mark = hashlib.sha256(containerfile.encode()).hexdigest()[:12]
    label = podman.run("image", "inspect", "--format", "{{.Labels.stand_in}}", f"localhost/{name}", check=False)
    if label.stdout.decode().strip() == mark:
        return
    (context / "Containerfile").write_text(f"{containerfile}LABEL stand_in={mark}\n")
    podman.run("build", "--layers=false", "-t", f"localhost/{name}", "-f", str(context / "Containerfile"), str(context))


def make(podman: Podman, *wanted: StandIn) -> None:
    """Make the stand-ins that are not there, or were made in another way."""
    with tempfile.TemporaryDirectory(dir=podman.folder) as made:
        folder = Path(made)
        if podman.run("image", "exists", _DEBIAN, check=False).returncode:
            root = folder / "root"
            command = ["debootstrap", "--variant=minbase", SUITE, str(root), *mirror()]
            made_root = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
            assert made_root.returncode == 0, made_root.stdout[-2000:] + made_root.stderr
            for cached in root.glob("var/cache/apt/archives/*.deb"):
                cached.unlink()
            (folder / "Containerfile").write_text('FROM scratch\nCOPY root /\nCMD ["bash"]\n')
            podman.run("build", "--layers=false", "-t", _DEBIAN, "-f", str(folder / "Containerfile"), str(folder))
            shutil.rmtree(root)
        for each in wanted:
            _build(podman, each.name, f"FROM {_DEBIAN}\n{each.containerfile}", folder)


def default_folder() -> Path:
    """Return the folder in which the storage, with these images, is kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "passthrough-containers"
