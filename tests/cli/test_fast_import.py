"""The system's certificate authorities: not read for nothing, and trusted as before wherever a target is reached."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from passthrough.cli.fast_import import without_authorities
from tests.harness.client import client
from tests.harness.process import program
from tests.harness.upstream import answering, ok, upstream

pytestmark = pytest.mark.process

POST = b"POST /mistral/v1/ocr HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"

SCRIPT = """\
import os, ssl, sys
from passthrough.cli.fast_import import without_authorities
before = dict(os.environ)
with without_authorities(os.environ):
    import aiohttp
    assert [] == ssl.create_default_context().get_ca_certs(), "the list was read"
assert before == dict(os.environ), "the environment has changed"
assert 1 == len(ssl.create_default_context().get_ca_certs()), "the list is not read any more"
"""


def test_while_libraries_are_imported_the_list_is_not_read_and_afterwards_it_is(tmp_path: Path) -> None:
    """What stands in SSL_CERT_FILE counts again when the imports are done, as the operator has set it."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    env = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    "environ", [{}, {"SSL_CERT_FILE": "a.pem"}, {"SSL_CERT_DIR": ""}, {"OTHER": "x", "SSL_CERT_DIR": "certs"}]
)
def test_the_environment_is_as_it_was(environ: dict[str, str]) -> None:
    """Each variable has its value again, or is away again; after an error too."""
    held = dict(environ)
    with pytest.raises(ImportError), without_authorities(held):  # noqa: PT012 - what it holds meanwhile is asked there
        assert {"SSL_CERT_FILE", "SSL_CERT_DIR"} <= held.keys()
        raise ImportError
    assert environ == held


@pytest.mark.wire
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("trusted", "status"), [(True, b"200"), (False, b"502")])
async def test_a_target_is_trusted_as_the_system_says(tmp_path: Path, workers: str, trusted: bool, status: bytes) -> None:
    """A target whose authority the system's list has, here that of SSL_CERT_FILE, is reached; another one is refused."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(tmp_path / "system.pem")
    async with upstream(answering(ok()), ssl=context) as raw:
        config = f"pass_through_endpoints: [{{path: /mistral, target: 'https://localhost:{raw.port}', include_subpath: true}}]\n"
        env = {"SSL_CERT_FILE": str(tmp_path / "system.pem")}
        async with program(tmp_path, config, "--workers", workers, env=env) as running:
            async with client(running.port) as one:
                await one.send(POST)
                assert (await one.head()).startswith(b"HTTP/1.1 " + status)
            assert 0 == await running.stop()
