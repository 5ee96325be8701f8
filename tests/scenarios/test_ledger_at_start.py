"""A ledger that can never be made is refused before anything listens, by `serve` and `check` alike; nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness.process import command, program

pytestmark = pytest.mark.process

ROUTES = "pass_through_endpoints: [{path: /m, target: 'http://127.0.0.1:9'}]\nledger: 'sqlite:///nowhere/ledger.db'\n"
SERVE = ("serve", "--port", "0", "--admin-port", "0")


@pytest.mark.parametrize("arguments", [("check",), SERVE, (*SERVE, "--workers", "2"), (*SERVE, "--sandbox")])
async def test_a_ledger_that_can_never_be_made_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Exit code 2, with the cure, and not a word of listening; neither a folder nor a file is made."""
    (tmp_path / "routes.yaml").write_text(ROUTES)
    code, out, err = await command(tmp_path, *arguments)
    expected = (
        f"routes.yaml ledger: The ledger {tmp_path}/nowhere/ledger.db cannot be made: there is no folder {tmp_path}/nowhere. "
        "The same is true of its journal. So nothing could be booked.\n"
        f"  Make it (mkdir -p {tmp_path}/nowhere), or change 'ledger'.\n"
    )
    assert (2, "", expected) == (code, out, err)
    assert ["routes.yaml"] == os.listdir(tmp_path)


async def test_check_warns_of_a_ledger_that_waits(tmp_path: Path) -> None:
    """With a journal elsewhere it serves: that is a warning, after the report, and exit code 0. Nothing is left behind."""
    (tmp_path / "routes.yaml").write_text(f"{ROUTES}journal: kept\n")
    code, out, err = await command(tmp_path, "check")
    assert (0, True) == (code, out.startswith("routes.yaml: fine, 1 route"))
    assert f"warning: routes.yaml ledger: The ledger {tmp_path}/nowhere/ledger.db cannot be made" in err
    assert "Entries wait until it can be written.\n  Make it (mkdir -p " in err
    assert ["routes.yaml"] == os.listdir(tmp_path)


async def test_check_leaves_nothing_behind(tmp_path: Path) -> None:
    """A ledger that can be made is not made by `check`, nor its journal."""
    (tmp_path / "routes.yaml").write_text("pass_through_endpoints: [{path: /m, target: 'http://127.0.0.1:9'}]\n")
    code, _, err = await command(tmp_path, "check")
    assert (0, False, False) == (code, "ledger" in err, "journal" in err), err
    assert ["routes.yaml"] == os.listdir(tmp_path)


async def test_serve_warns_of_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    """The ledger takes the entries, so it serves; a kill would cost those that wait, which is said at the start."""
    (tmp_path / "routes.yaml").write_text(
        "pass_through_endpoints: [{path: /m, target: 'http://127.0.0.1:9'}]\njournal: no/where\n"
    )
    async with program(tmp_path, None) as running:
        await running.says(r"routes.yaml journal: The journal \S+/no/where cannot be written: there is no folder \S+/no\.")
        assert 0 == await running.stop()
