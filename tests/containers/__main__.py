"""Build the image, start what deploy/ and the docs offer, use it and stop it: `python -m tests.containers`.

It needs Linux, root, and Debian's packages of `podman.NEEDED`; where one is missing it says so and ends with 0. Base images are
made once and kept (`--storage`); with `--fresh` they are made again. The exit code is 1 where anything failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from tests.containers import image, machine, pod, replica_pods, replicas, single, upkeep, watched
from tests.containers.docs_lines import ROOT
from tests.containers.podman import Podman, leave_network, missing
from tests.containers.report import Report
from tests.containers.stand_ins import APPLICATION, NGINX, POSTGRES, PROMETHEUS, PYTHON, StandIn, default_folder, make

Scenario = Callable[[Podman, Report, Path], None]

SCENARIOS: Final[dict[str, tuple[Scenario, tuple[StandIn, ...]]]] = {
    "docker run": (single.docker_run, ()),
    "docker run: upkeep": (upkeep.upkeep, ()),
    "compose.yaml": (single.compose, ()),
    "compose-replicas.yaml": (replicas.replicas, (NGINX, POSTGRES)),
    "sidecar": (pod.sidecar, (APPLICATION,)),
    "no container: systemd": (machine.without_containers, (machine.MACHINE,)),
    "prometheus": (watched.prometheus, (PROMETHEUS,)),
    "prometheus beside replicas": (watched.prometheus_beside_replicas, (PROMETHEUS, NGINX, POSTGRES)),
    "kubernetes replicas": (replica_pods.replicas, (POSTGRES,)),
}
"""By name: what is done with a copy of the checkout, and which stand-ins it needs beside Python's."""
_NOT_COPIED: Final = shutil.ignore_patterns(".git", ".venv", "venv*", "__pycache__", ".*_cache", "*.egg-info", "bench-results")


def _stop(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.containers", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="which of them; may be given more than once")
    parser.add_argument("--storage", type=Path, default=default_folder(), help="where images are kept (%(default)s)")
    parser.add_argument("--driver", default="", help="podman's storage driver: overlay if that works here, else vfs")
    parser.add_argument("--fresh", action="store_true", help="make the base images again")
    return parser.parse_args()


def _copy(folder: Path, name: str) -> Path:
    """Return a copy of the checkout: a scenario may change its files."""
    checkout = folder / re.sub(r"\W+", "-", name)
    shutil.copytree(ROOT, checkout, ignore=_NOT_COPIED)
    return checkout


def _run(podman: Podman, report: Report, chosen: list[str], folder: Path) -> None:
    report.started = "image"
    with report.step("make stand-ins of the base images") as step:
        made = [PYTHON, *dict.fromkeys(each for name in chosen for each in SCENARIOS[name][1])]
        make(podman, *made)
        step.result = f"{', '.join(each.name for each in made)}, of Debian's packages; storage: {podman.driver}"
    image.build(podman, report, _copy(folder, "image"))
    leave_network()
    for name in chosen:
        with report.scenario(name):
            SCENARIOS[name][0](podman, report, _copy(folder, name))
        for left in podman.names(ended=True) if report.has_failed(name) else ():
            sys.stdout.write(f"── {left}\n{podman.logs(left)[-4000:]}\n")
        podman.clear()


def main() -> int:
    """Run the scenarios and return the exit code."""
    arguments = _arguments()
    if platform.system() != "Linux" or os.geteuid() != 0:
        sys.stdout.write("Skipped: containers are tried on Linux, as root.\n")
        return 0
    if absent := missing():
        sys.stdout.write(f"Skipped: not installed: {', '.join(absent)}.\n")
        return 0
    signal.signal(signal.SIGTERM, _stop)
    podman, report = Podman(arguments.storage, arguments.driver), Report()
    (podman.remove_images if arguments.fresh else podman.clear)()
    try:
        with tempfile.TemporaryDirectory() as folder, report.scenario("image"):
            _run(podman, report, arguments.only or list(SCENARIOS), Path(folder))
    except KeyboardInterrupt:
        sys.stdout.write("Interrupted.\n")
        return 130
    finally:
        podman.clear()
        sys.stdout.write(f"\n{report.table()}\n")
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())
