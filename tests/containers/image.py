"""The image: built as the docs say, and asked what it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from passthrough import __version__
from tests.containers.docs_lines import ROOT, command, commands
from tests.containers.podman import Podman
from tests.containers.report import Report

RELEASES: Final = "docs/releases.md"


def build(podman: Podman, report: Report, checkout: Path) -> None:
    """Build it with both commands of the docs: the plain one, and that of a release, whose labels name the commit."""
    with report.step("docker build, as the docs say") as step:
        podman.command(command("docs/deployment.md", "docker build"), cwd=checkout)
        step.result = f"built, {size(podman)} MB with its base"
    if (ROOT / ".git").is_dir():
        with report.step("docker build with a release's labels, as the docs say") as step:
            podman.command(command(RELEASES, "docker build"), cwd=checkout, more={"GIT_DIR": str(ROOT / ".git")})
            labels = json.loads(podman.output("image", "inspect", "--format", "{{json .Labels}}", "passthrough"))
            named = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
            commit = podman.command(["git", "-C", str(ROOT), "rev-parse", "HEAD"]).stdout.decode().strip()
            assert (__version__, commit) == (named["version"], named["revision"]), named
            step.result = f"version {named['version']}, revision {commit[:8]}, created {named['created']}"
    with report.step("read what it holds, as the docs say") as step:
        bill, licences = (podman.command(line).stdout for line in commands(RELEASES, "docker run"))
        components = json.loads(bill)["components"]
        assert "aiohttp" in {each["name"] for each in components}
        assert b"aiohttp" in licences
        step.result = f"{len(components)} components with their licences"


def size(podman: Podman) -> int:
    """Return the image's size in MB."""
    return int(podman.output("image", "inspect", "--format", "{{.Size}}", "passthrough")) // 1_000_000
