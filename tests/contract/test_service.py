"""A machine without containers: the files for systemd, logrotate and launchd fit the program, and their own tools take them."""

from __future__ import annotations

import asyncio
import configparser
import gzip
import os
import plistlib
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from passthrough.cli.exits import EXIT_CONFIGURATION
from passthrough.config.model import Listen
from passthrough.server.instance import CLOSE_ACCOUNTING_S
from tests.harness.client import once
from tests.harness.process import program
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import eventually

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy/passthrough.service"
ROTATION = ROOT / "deploy/passthrough.logrotate"
LAUNCHD = ROOT / "deploy/passthrough.plist"
PAGE = (ROOT / "docs/deployment.md").read_text("utf-8")

MAX_EXPOSURE = 1.1
"""What systemd 252 says of the unit. A network server cannot have 0: it opens sockets, to any address."""

LOGROTATE = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Settings(configparser.RawConfigParser):
    """A unit's settings: names keep their case; a line that comes twice adds to a list, which is no matter here."""

    def optionxform(self, optionstr: str) -> str:
        """Return the name as it is written."""
        return optionstr


def service() -> dict[str, str]:
    """Return the settings of the unit's service; of a name that comes twice the last."""
    settings = Settings(strict=False, delimiters=("=",), interpolation=None)
    settings.read_string(UNIT.read_text("utf-8"))
    return dict(settings["Service"])


def arguments() -> list[str]:
    """Return launchd's command."""
    listed: dict[str, Any] = plistlib.loads(LAUNCHD.read_bytes())
    return [str(each) for each in listed["ProgramArguments"]]


# ── systemd ──


def test_the_unit_waits_for_the_drain() -> None:
    """The process is not killed before its requests have ended and its entries are written."""
    assert Listen().drain_timeout_s + CLOSE_ACCOUNTING_S < float(service()["TimeoutStopSec"])


def test_the_unit_does_not_start_what_cannot_start() -> None:
    """A wrong configuration has an exit code of its own; whatever else ends the program, it is started again."""
    assert (str(EXIT_CONFIGURATION), "on-failure") == (service()["RestartPreventExitStatus"], service()["Restart"])


def test_the_unit_knows_when_the_program_serves() -> None:
    """Else a reload right behind the start would end it; server/test_service_manager.py shows that the program says so."""
    assert "notify" == service()["Type"]


def test_the_unit_and_its_page_name_the_same_places() -> None:
    """The commands of the page make the user, the program and the folders that the unit names."""
    settings = service()
    assert f"useradd --system --home-dir {settings['WorkingDirectory']} " in PAGE
    assert {"passthrough"} == {settings[name] for name in ("User", "Group", "StateDirectory", "LogsDirectory")}
    program, *_ = settings["ExecStart"].split()
    folder = str(Path(program).parents[1])
    assert f"python3 -m venv {folder}\n" in PAGE
    config = re.search(r"--config (\S+)", settings["ExecStart"])
    assert config is not None
    assert f"install -d -m 0750 -g passthrough {Path(config[1]).parent}\n" in PAGE
    for file in (UNIT, ROTATION, LAUNCHD):
        assert f"(../deploy/{file.name})" in PAGE


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return the unit with a program that there is on every machine."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text("utf-8").replace("/opt/passthrough/bin/passthrough", "/bin/true"), "utf-8")
    return copy


def analyzed(*arguments: str | Path) -> str:
    """Return what systemd's own tool says; it takes what it is shown."""
    found = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)
    assert 0 == found.returncode, found.stdout + found.stderr
    return found.stdout + found.stderr


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_systemd_takes_the_unit(unit: Path) -> None:
    """No setting is misspelt: a newer systemd than what a setting needs would say nothing else."""
    assert "" == analyzed("verify", "--man=no", unit)


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_the_unit_is_closed_as_far_as_a_server_can_be(unit: Path) -> None:
    """What systemd says of its exposure, from 0 to 10, does not grow."""
    if "--offline" not in analyzed("--help"):
        pytest.skip("this systemd-analyze reads no unit that is not installed")
    said = analyzed("security", "--offline=true", "--no-pager", unit)
    figure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert figure is not None
    assert float(figure[1]) <= MAX_EXPOSURE, said


# ── logrotate ──


@pytest.mark.process
@pytest.mark.skipif(LOGROTATE is None, reason="there is no logrotate")
async def test_logrotate_moves_the_log_and_loses_no_line(tmp_path: Path) -> None:
    """The rules, with this test's folder, user and signal: each time there is a new file, and in all of them each line once."""
    folder = tmp_path / "log"
    folder.mkdir(mode=0o750)
    log = folder / "exchanges.jsonl"
    lines = partial(asyncio.to_thread, lines_in, folder)
    rules = (
        ROTATION.read_text("utf-8").replace("/var/log/passthrough", str(folder)).replace("    su passthrough passthrough\n", "")
    )
    async with upstream(answering(ok())) as raw:
        routes = f"pass_through_endpoints:\n  - {{path: /mistral, target: 'http://127.0.0.1:{raw.port}'}}\nledger: none\n"
        async with program(tmp_path, routes, "--log-file", str(log)) as running:
            signalled = rules.replace("systemctl reload passthrough", f"kill -HUP {running.process.pid}")
            assert signalled != rules
            (tmp_path / "rules").write_text(signalled, "utf-8")
            asked = 0
            for _ in range(3):
                while not any(
                    path == log for path, _ in await lines()
                ):  # those until the signal is handled come into the old file
                    await once(running.port, b"GET /mistral HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    asked += 1
                    await eventually(lines, lambda found, asked=asked: asked == len(found))
                assert (0, "") == await asyncio.to_thread(rotated, tmp_path)
                await eventually(lambda: asyncio.to_thread(log.exists), bool)
            names = sorted({path.name for path, _ in await lines()})
            assert ["exchanges.jsonl.1", "exchanges.jsonl.2.gz", "exchanges.jsonl.3.gz"] == names
            assert 0 == await running.stop()
            assert asked == len({line for _, line in await lines()})


def rotated(folder: Path) -> tuple[int, str]:
    """Run logrotate by the rules in a folder; return its exit code and what it complains of."""
    assert LOGROTATE is not None
    command = [LOGROTATE, "--force", "--state", folder / "state", folder / "rules"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return told.returncode, told.stderr


def lines_in(folder: Path) -> list[tuple[Path, bytes]]:
    """Return the lines of the log's files, each with its file."""
    texts = {path: path.read_bytes() for path in folder.iterdir()}
    plain = {path: gzip.decompress(text) if path.suffix == ".gz" else text for path, text in texts.items()}
    return [(path, line) for path, text in plain.items() for line in text.splitlines()]


# ── launchd ──


def test_launchd_starts_what_systemd_starts() -> None:
    """The same command, told when to wait, with the limit of open files; a stop has its time."""
    listed: dict[str, Any] = plistlib.loads(LAUNCHD.read_bytes())
    assert service()["ExecStart"].split()[1:3] == arguments()[1:3]
    assert float(service()["TimeoutStopSec"]) <= listed["ExitTimeOut"]
    assert int(service()["LimitNOFILE"]) == listed["SoftResourceLimits"]["NumberOfFiles"]
    assert {"SuccessfulExit": False} == listed["KeepAlive"]
