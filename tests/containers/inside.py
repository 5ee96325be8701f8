"""What a container is allowed, as the kernel says of its process 1: read in there, beside it."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.containers.podman import Podman

PYTHON: Final = "/opt/passthrough/bin/python"
_LOOK: Final = """
import json
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
mounts = {line.split()[4]: line.split()[5].split(",") for line in open("/proc/1/mountinfo")}
print(json.dumps({
    "program": open("/proc/1/cmdline").read().split("\\0")[:-1],
    "uid": status["Uid"].split(), "gid": status["Gid"].split(),
    "effective": int(status["CapEff"], 16), "bounding": int(status["CapBnd"], 16),
    "no_new_privileges": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
    "root": mounts["/"][0], "config": mounts.get("/etc/passthrough", ["-"])[0],
}))
"""


def seen(podman: Podman, name: str) -> dict[str, Any]:
    """Return what is seen from within a container of the image."""
    found: dict[str, Any] = json.loads(podman.run("exec", name, PYTHON, "-c", _LOOK).stdout)
    return found


def check(podman: Podman, name: str, *flags: str) -> str:
    """See that a container, whose `serve` has these flags, is as narrow as it should be, and return that in words."""
    found = seen(podman, name)
    assert found["program"][1:] == ["/opt/passthrough/bin/passthrough", "serve", *flags], found
    assert found["uid"] == ["10001"] * 4 == found["gid"], found
    assert (found["effective"], found["bounding"]) == (0, 0), found
    assert found["no_new_privileges"] == "1", found
    assert found["seccomp"] == "2", found
    assert (found["root"], found["config"]) == ("ro", "ro"), found
    return "pid 1 is the program, uid 10001, CapEff 0, CapBnd 0, NoNewPrivs 1, seccomp, / and configuration read-only"
