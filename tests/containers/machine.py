"""A machine without containers: Debian with systemd as process 1, on which the page's commands are typed as they are written.

The machine is itself a container, with the capabilities that systemd needs for its services. It shares this process's network,
which is one of its own, and has a folder of wheels in the place of a package index.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
import time
import tomllib
from pathlib import Path
from typing import Any, Final

from tests.containers.client import Client, ocr_total
from tests.containers.docs_lines import ROOT
from tests.containers.podman import Podman, until
from tests.containers.report import Report
from tests.containers.single import booked
from tests.containers.stand_ins import INSTALL, StandIn

PAGE: Final = "docs/deployment.md"
NAME: Final = "machine"
MAX_EXPOSURE: Final = 1.1
"""What systemd says of the unit, as the page has it."""
STOP_S: Final = 40.0

_EXTRAS: Final = ("postgres", "sandbox")
_ROUTES: Final = "/etc/passthrough/routes.yaml"
_LOG: Final = "/var/log/passthrough/exchanges.jsonl"
_DROP_IN: Final = "/etc/systemd/system/passthrough.service.d/override.conf"


def _requirements() -> dict[str, list[str]]:
    """Return what the program is built with and needs, and the pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    wanted += [each for extra in _EXTRAS for each in project["project"]["optional-dependencies"][extra]]
    pins = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return {"wanted": wanted, "pins": [line for line in pins if not line.startswith("#")]}


def _machine() -> StandIn:
    files = [f"printf '%s\\n' {shlex.join(lines)} > /tmp/{name}" for name, lines in _requirements().items()]
    # No kernel modules, kernel settings or terminals: those are the real machine's.
    masked = "systemd-modules-load.service systemd-sysctl.service getty.target"
    packages = "ca-certificates dbus logrotate procps python3 python3-pip python3-venv systemd systemd-sysv"
    return StandIn(
        NAME,
        f"""\
RUN {INSTALL} {packages} && rm -rf /var/lib/apt/lists/* && systemctl mask {masked}
RUN {" && ".join(files)} && python3 -m pip wheel -q -w /srv/wheels -c /tmp/pins -r /tmp/wanted
CMD ["/sbin/init"]
STOPSIGNAL SIGRTMIN+3
""",
    )


MACHINE: Final = _machine()


def block(heading: str, number: int = 0) -> str:
    """Return one of the page's blocks of commands behind a heading."""
    section = re.split(rf"^##+ {re.escape(heading)}$", (ROOT / PAGE).read_text("utf-8"), maxsplit=1, flags=re.MULTILINE)[1]
    found: str = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)[number]
    return found


def replaced(text: str, old: str, new: str) -> str:
    """Return a text with one thing replaced, which is there."""
    assert text.count(old) == 1, (old, text)
    return text.replace(old, new)


def on(podman: Podman, script: str) -> str:
    """Run a script on the machine as root, in the checkout; return what it wrote on stdout."""
    at_once = "cd /root/checkout; export PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv/wheels PIP_ROOT_USER_ACTION=ignore\n"
    return podman.run("exec", NAME, "sh", "-euc", at_once + script).stdout.decode()


def shown(podman: Podman) -> dict[str, str]:
    """Return what systemd knows of the service."""
    lines = on(podman, "systemctl show passthrough").splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def without_containers(podman: Podman, report: Report, checkout: Path) -> None:
    """Install the service as the page says, use it, hurt it, rotate its log, upgrade it, and stop it."""
    with report.step("start systemd") as step:
        podman.run(
            *("run", "--detach", "--name", NAME, "--systemd=always", "--network=host", "--volume", f"{checkout}:/root/checkout"),
            *("--cap-add=ALL", "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined", f"localhost/{NAME}"),
        )
        until(lambda: on(podman, "systemctl is-system-running").strip() == "running", what="systemd")
        version = on(podman, "systemctl --version").split()[1]
        step.result = f"systemd {version} is process 1"
    client = _install(podman, report)
    _use(podman, report, client)
    _hurt(podman, report, client)
    _rotate(podman, report, client)
    with report.step("upgrade, as the page says") as step:
        # The checkout is what it was: there is nothing to pull.
        on(podman, _offline(replaced(block("Upgrades"), "git pull\n", "")))
        client.ocr(pages=1)
        step.result = "health: ok; OCR: 200"
    with report.step("usage, as the page says") as step:
        (line,) = re.findall(r"^runuser .* usage .*$", block("systemd", 1), re.MULTILINE)

        def total() -> dict[str, Any]:
            return ocr_total(on(podman, f"cd /var/lib/passthrough; {line} --format json"))

        until(lambda: total()["pages"] == client.pages, what="all entries in the ledger")
        step.result = booked(total(), client)
    with report.step("systemctl stop") as step:
        began = time.monotonic()
        on(podman, "systemctl stop passthrough")
        assert time.monotonic() - began < STOP_S
        found = shown(podman)
        assert ("inactive", "success", "0") == (found["ActiveState"], found["Result"], found["ExecMainStatus"]), found
        step.result = "exit code 0"


def _offline(commands: str) -> str:
    """Return the page's commands with what stands in for the provider."""
    return replaced(commands, "'.[postgres]'", "'.[postgres,sandbox]'")


def _install(podman: Podman, report: Report) -> Client:
    with report.step("install and start, as the page says") as step:
        on(
            podman,
            f"mkdir -p {_DROP_IN.rpartition('/')[0]}; printf '[Service]\\nEnvironment=PASSTHROUGH_SANDBOX=1\\n' > {_DROP_IN}",
        )
        on(podman, f"echo mistral-{secrets.token_hex(16)} > /root/mistral.key")
        # The page's init asks; here the answers are its flags.
        asked = f"passthrough init --config {_ROUTES}"
        said = on(podman, _offline(replaced(block("systemd"), asked, f"{asked} --yes --key-file /root/mistral.key")))
        key = re.search(r"export CLIENT_KEY=(\S+)", said)
        assert key is not None, said
        assert said.rstrip().endswith("ok"), said
        step.result = "health: ok"
    return Client("http://127.0.0.1:4000", key[1])


def _use(podman: Podman, report: Report, client: Client) -> None:
    with report.step("systemd's own judgement") as step:
        said = on(podman, "systemd-analyze verify --man=no passthrough.service 2>&1; systemd-analyze security passthrough")
        exposure = re.search(r"exposure level for passthrough.service: ([\d.]+)", said)
        assert exposure is not None, said
        assert float(exposure[1]) <= MAX_EXPOSURE, said
        step.result = f"verify: nothing to say; security: {exposure[1]}"
    with report.step("look at its process") as step:
        status = dict(
            line.split(":", 1) for line in on(podman, f"cat /proc/{shown(podman)['MainPID']}/status").splitlines() if ":" in line
        )
        assert {int(status[name], 16) for name in ("CapEff", "CapBnd", "CapPrm", "CapAmb")} == {0}, status
        assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2"), status
        uid = on(podman, "id -u passthrough").strip()
        assert status["Uid"].split() == [uid] * 4
        step.result = f"uid {uid}, no capabilities, NoNewPrivs 1, seccomp"
    with report.step("OCR of a PDF with Mistral's SDK, in the sandbox") as step:
        client.ocr(pages=3)
        step.result = "200: 3 pages, the words of each page"
    with report.step("reload right behind a restart") as step:
        on(podman, "systemctl restart passthrough; systemctl reload passthrough")
        until(lambda: "Reloaded" in on(podman, "journalctl -u passthrough -o cat"), what="a reload")
        client.ocr(pages=1)
        step.result = "it serves"


def _hurt(podman: Podman, report: Report, client: Client) -> None:
    with report.step("two workers and a log file; kill -9 one worker") as step:
        on(podman, f"printf 'workers: 2\\nlog_file: {_LOG}\\n' >> {_ROUTES}; systemctl restart passthrough")
        worker = on(podman, "pgrep -P $(systemctl show -P MainPID passthrough) | tail -1").strip()
        client.ocr(pages=2)
        on(podman, f"kill -9 {worker}")
        until(lambda: re.search(r"was ended by SIGKILL", on(podman, "journalctl -u passthrough -o cat")), what="its end")
        until(lambda: on(podman, "passthrough health") == "ok\n", what="health")
        client.ocr(pages=2)
        assert shown(podman)["NRestarts"] == "0"
        step.result = "another takes its place; systemd has nothing to do"
    with report.step("kill -9 the main process") as step:
        on(podman, f"kill -9 {shown(podman)['MainPID']}")
        until(lambda: shown(podman)["NRestarts"] == "1" and shown(podman)["ActiveState"] == "active", what="a restart")
        client.ocr(pages=2)
        step.result = "systemd starts it again; OCR: 200"
    with report.step("start with a wrong configuration") as step:
        on(podman, f"cp {_ROUTES} /root/routes.yaml; systemctl stop passthrough; echo 'nonsense: 1' >> {_ROUTES}")
        assert podman.run("exec", NAME, "systemctl", "start", "passthrough", check=False).returncode == 1
        found = shown(podman)
        assert ("failed", "2", "0") == (found["ActiveState"], found["ExecMainStatus"], found["NRestarts"]), found
        assert "nonsense: There is no such key." in on(podman, "journalctl -u passthrough -o cat -n 9")
        on(podman, f"cat /root/routes.yaml > {_ROUTES}; systemctl start passthrough")
        step.result = "systemctl start fails, exit code 2, no further try; mended, it starts"


def _rotate(podman: Podman, report: Report, client: Client) -> None:
    with report.step("logrotate, as the page says") as step:
        before = len(on(podman, f"cat {_LOG}").splitlines())
        assert before
        on(podman, f"{block('Log files', 1)}\nlogrotate --force /etc/logrotate.d/passthrough")
        until(lambda: on(podman, f"ls {_LOG}"), what="a new file")
        client.ocr(pages=1)
        until(lambda: len(on(podman, f"cat {_LOG} {_LOG}.1").splitlines()) == before + 1, what="the line")
        lines = [json.loads(line) for line in on(podman, f"cat {_LOG} {_LOG}.1").splitlines()]
        assert len({line["id"] for line in lines}) == before + 1
        step.result = "a new file; each line is there once"
