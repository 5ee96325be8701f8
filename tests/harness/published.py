"""Outputs that are published in the tests, and the process that publishes them and is killed at a step."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from passthrough.client.output.disk import Step, no_step
from passthrough.client.output.place import Place
from passthrough.client.output.publish import publish
from passthrough.client.output.work_folder import WorkFolder, claim

ROOT = Path(__file__).parents[2]


def sha256(content: bytes) -> str:
    """Return the hash of bytes."""
    return hashlib.sha256(content).hexdigest()


def render(work: WorkFolder, files: Mapping[str, str]) -> list[str]:
    """Write files as if they had been rendered, and return their names."""
    for name, text in files.items():
        path = work.outputs / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return list(files)


def done(place: Place, files: Mapping[str, str], version: str, *, overwrite: bool = False, step: Step = no_step) -> int:
    """Do a document from the claim to the end, and return how many calls of the API it took: 0 or 1."""
    with claim(place) as work:
        work.prepare(version, "options")
        response = work.response_path(0)
        calls = 0 if response.exists() else 1
        response.write_text("{}")
        publish(work, render(work, files), overwrite=overwrite, step=step)
    return calls


def versions(version: str) -> dict[str, str]:
    """Return the outputs of a version of a document: some have the same names in each, some have not."""
    return {
        "a.md": f"text of {version}",
        "a.html": f"page of {version}",
        "a_images/same.png": f"picture of {version}",
        f"a_images/only-{version}.png": f"another of {version}",
    }


def done_and_killed(folder: Path, version: str, at: str) -> None:
    """Do a version in another process, which is killed right after a step."""
    command = [sys.executable, "-m", "tests.harness.published", str(folder), version, at]
    ended = subprocess.run(command, cwd=ROOT, check=False)
    assert -signal.SIGKILL == ended.returncode


def _main(folder: str, version: str, at: str) -> None:
    def step(name: str) -> None:
        if name == at:
            os.kill(os.getpid(), signal.SIGKILL)

    done(Place(Path(folder), "a", "a.pdf"), versions(version), version, step=step)


if __name__ == "__main__":
    _main(*sys.argv[1:])
