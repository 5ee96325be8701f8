"""The command that installs an extra, as it can be typed."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from passthrough.extras import install_command


@pytest.mark.parametrize("extra", ["sandbox", "postgres", "google", "azure"])
def test_it_can_be_typed(extra: str) -> None:
    """It is the pip of the Python that runs this, and a shell takes the name of the extra as one word."""
    assert [sys.executable, "-m", "pip", "install", f"passthrough-ocr[{extra}]"] == shlex.split(install_command(extra))


def test_a_blank_in_the_path_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python may live in a folder with a blank in its name."""
    monkeypatch.setattr(sys, "executable", "/home/a b/bin/python")
    assert "/home/a b/bin/python" == shlex.split(install_command("sandbox"))[0]


@pytest.mark.process
def test_a_missing_driver_names_its_cure() -> None:
    """A ledger in PostgreSQL without the extra says what to install, as the other extras do."""
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from passthrough.accounting.ledger.ledger import Ledger\n"
        "from passthrough.errors import LedgerError\n"
        "try: Ledger.at('postgresql://localhost/usage')\n"
        "except LedgerError as missing: print(missing)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    expected = f"A ledger in PostgreSQL needs psycopg.\nInstall it: {install_command('postgres')}\n"
    assert (expected, "") == (ran.stdout, ran.stderr)
