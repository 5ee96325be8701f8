"""The lines that the docs tell people to type, read from the pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


TRIED: Final = (
    ("README.md", "PASSTHROUGH_SANDBOX=1 CLIENT_KEY="),
    ("docs/deployment.md", "docker build"),
    ("docs/deployment.md", "docker run"),
    ("docs/deployment.md", "docker compose -f deploy/compose.yaml"),
    ("docs/deployment.md", "docker compose -f deploy/compose-replicas.yaml up"),
    ("docs/releases.md", "docker build"),
    ("docs/releases.md", "docker run"),
)
"""Beginnings of commands of the pages that the scenarios run as they are written."""
NOT_TRIED: Final = {
    "docker compose -f deploy/compose-replicas.yaml exec": (
        "podman-compose 1.0.3 sets the composition's variables to None in what it executes; the scenario executes by podman"
    ),
}
"""Beginnings of commands of the pages that podman and podman-compose cannot run, and why."""


def commands(page: str, beginning: str) -> list[str]:
    """Return the commands of a page's `sh` blocks that begin so, lines that go on joined as the shell would."""
    text = (ROOT / page).read_text("utf-8")
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        found += [line for line in lines if line.startswith(beginning)]
    return found


def command(page: str, beginning: str, having: str = "") -> str:
    """Return the first command of a page that begins so, and has something in it."""
    return next(line for line in commands(page, beginning) if having in line)
