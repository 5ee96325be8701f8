"""Which hosts are this machine's own; at the start, on reload and in a Host field alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from passthrough.config.load import load
from passthrough.config.model import Config
from passthrough.config.reload import check_guarded
from passthrough.errors import ConfigError
from passthrough.loopback import is_loopback, names_loopback

OPEN = "pass_through_endpoints: [{path: /mistral, target: 'https://api.mistral.ai'}]\nledger: none\n"

HOSTS = {
    "127.0.0.1": True,
    "127.0.0.2": True,
    "127.255.255.254": True,
    "::1": True,
    "::ffff:127.0.0.1": True,  # Python before 3.13 takes it for no loopback.
    "::ffff:7f00:1": True,
    "localhost": True,
    "localhost.": True,
    "LOCALHOST": True,
    "app.localhost": True,  # RFC 6761 §6.3
    "a.b.Localhost.": True,
    "0.0.0.0": False,
    "::": False,
    "::ffff:10.0.0.1": False,
    "128.0.0.1": False,
    "192.168.0.1": False,
    "localhost.example": False,
    "notlocalhost": False,
    "localhost-app": False,
    "127.0.0.1.nip.io": False,
    "vm": False,
}


@pytest.mark.parametrize("host", HOSTS)
def test_loopback(host: str) -> None:
    """Addresses and names that are this machine's own, and those that only look so."""
    assert HOSTS[host] == is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", ".", "localhost..", ".localhost.example", "127.1", "2130706433", "0x7f000001", "unix:/run/x"]
)
def test_what_is_no_host(host: str) -> None:
    """What is neither a name below localhost nor an address in full is no loopback host."""
    assert not is_loopback(host)


@pytest.mark.parametrize("host", HOSTS)
def test_a_reload_judges_as_the_start_does(tmp_path: Path, host: str) -> None:
    """Where a file without keys starts, it can be reloaded; where it is refused at the start, so is the reload.

    `host: app.localhost` started, and then every reload was refused.
    """
    (tmp_path / "routes.yaml").write_text(f"{OPEN}host: '{host}'\n")

    def starts() -> bool:
        try:
            load("routes.yaml", {}, cwd=tmp_path)
        except ConfigError:
            return False
        return True

    def reloads() -> bool:
        try:
            check_guarded(Config("routes.yaml", ()), host)
        except ConfigError:
            return False
        return True

    assert (HOSTS[host], HOSTS[host]) == (starts(), reloads())


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("localhost", True),
        ("localhost:4000", True),
        ("localhost:", True),
        ("LocalHost.:80", True),
        ("app.localhost:65535", True),
        ("127.0.0.2:4000", True),
        ("[::1]", True),
        ("[::1]:4000", True),
        ("[::ffff:127.0.0.1]:4000", True),
        ("::1", False),
        ("0.0.0.0:4000", False),
        ("[::]:4000", False),
        ("", False),
        (":4000", False),
        ("localhost:x", False),
        ("localhost:4000:4000", False),
        ("localhost@evil.example", False),
        ("evil.example:127.0.0.1", False),
        ("evil.example", False),
        ("%6cocalhost", False),
    ],
)
def test_an_authority(authority: str, *, expected: bool) -> None:
    """A Host field names this machine with or without a port, an IPv6 address in brackets only (RFC 3986 §3.2.2)."""
    assert expected == names_loopback(authority)
