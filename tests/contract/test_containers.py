"""What the pages tell people to type for containers is run by `python -m tests.containers`, and fits the Compose file."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.containers.docs_lines import NOT_TRIED, ROOT, TRIED, command, commands


def service() -> dict[str, Any]:
    """Return the one service of the Compose file."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text("utf-8"))["services"]["passthrough"]
    return found


def test_every_docker_command_of_the_pages_is_run() -> None:
    """A command for containers that no scenario reads would be an example that was never started."""
    pages = [str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))]
    written = {(page, line) for page in pages for line in commands(page, "") if re.search(r"\bdocker\b(?!\.)", line)}
    run = {(page, line) for page, beginning in TRIED for line in commands(page, beginning)}
    assert [] == [line for _, line in written - run if not line.startswith(tuple(NOT_TRIED))]
    assert all(commands(page, beginning) for page, beginning in TRIED)


def test_the_docs_line_is_as_narrow_as_the_composition() -> None:
    """Ports, variables, mounts and rights of `docker run` are those of compose.yaml."""
    words = shlex.split(command("docs/deployment.md", "docker run"))

    def given(flag: str) -> list[str]:
        return [word for before, word in itertools.pairwise(words) if before == flag]

    assert given("-p") == service()["ports"]
    assert given("-e") == service()["environment"]
    assert [mount.split(":", 1)[1] for mount in given("-v")] == [mount.split(":", 1)[1] for mount in service()["volumes"]]
    assert "--read-only" in words
    assert service()["read_only"]
    assert given("--tmpfs") == service()["tmpfs"]
    assert given("--cap-drop") == service()["cap_drop"]
    assert [option.partition(":")[0] for option in service()["security_opt"]] == given("--security-opt")
    assert [service()["stop_grace_period"].removesuffix("s")] == given("--stop-timeout")
    assert words[-1] == service()["image"] == shlex.split(command("docs/deployment.md", "docker build"))[3]


def test_readme_names_the_keys_of_the_composition() -> None:
    """README's line sets what the composition needs in the sandbox, which needs no provider's key."""
    named = set(re.findall(r"\b([A-Z_]+)=", command("README.md", "PASSTHROUGH_SANDBOX=1")))
    assert named == {*service()["environment"]} - {"MISTRAL_API_KEY"}


def test_without_podman_the_scenarios_are_skipped_by_name(tmp_path: Path) -> None:
    """Where a program is missing, the run names it, and nothing has failed."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.containers", "--storage", str(tmp_path / "storage")],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (run.returncode, run.stderr)
    assert re.match(r"Skipped: (not installed: podman, |containers are tried on Linux, as root)", run.stdout)
    assert not (tmp_path / "storage").exists()
