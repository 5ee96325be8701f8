"""TLS to a PostgreSQL server: each `sslmode`, right and wrong authorities and names, and clients' certificates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest
import trustme

from passthrough.accounting.ledger.ledger import Ledger
from passthrough.errors import LedgerError
from tests.harness.entries import booked, one
from tests.harness.postgres import Postgres, programs

HINT = r"\n.*sslmode.*sslrootcert"


@pytest.fixture(scope="module")
def issuer() -> trustme.CA:
    """Return the authority of the server and of its clients."""
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_server(issuer: trustme.CA) -> Iterator[Postgres]:
    """Yield a server with a certificate for `localhost`, which asks for clients' certificates, too."""
    folder = programs(with_tls=True)
    if folder is None:
        pytest.skip("there is no PostgreSQL with TLS here: install the system's package")
    server, pair = Postgres(folder), issuer.issue_cert("localhost")
    try:
        server.set(
            ssl="on",
            ssl_cert_file=server.put("server.pem", pair.cert_chain_pems[0].bytes()),
            ssl_key_file=server.put("server.key", pair.private_key_pem.bytes()),
            ssl_ca_file=server.put("ca.pem", issuer.cert_pem.bytes()),
        )
        server.start()
        server.create("books")
        yield server
    finally:
        server.end()


@pytest.fixture
def pems(issuer: trustme.CA, tmp_path: Path) -> Path:
    """Return a folder with the authority, another one, and certificates of the user `me` from both."""
    for name, signer in (("right", issuer), ("wrong", trustme.CA())):
        signer.cert_pem.write_to_path(tmp_path / f"{name}-ca.pem")
        pair = signer.issue_cert("me", common_name="me")
        pair.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        pair.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        (tmp_path / f"{name}.key").chmod(0o600)
    return tmp_path


def connect(server: Postgres, host: str = "localhost", **parameters: object) -> str | None:
    """Book an entry on a connection with these parameters, and return its TLS version; None: without TLS."""
    url = server.tcp("books", query=f"?{urlencode(parameters)}").replace("@127.0.0.1", f"@{host}")
    with closing(Ledger.open(url)) as ledger:
        ledger.append([booked()])
        assert one(ledger)[0] >= 1
        with ledger.transaction() as connection:
            found = connection.exec_driver_sql("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar()
    return None if found is None else str(found)


def test_each_sslmode(tls_server: Postgres, pems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encrypted by default, verified where that is asked for: the authority, and with verify-full the name, too."""
    tls_server.admit("host all all all scram-sha-256")
    right, wrong = pems / "right-ca.pem", pems / "wrong-ca.pem"
    for mode in ("prefer", "require"):
        assert "TLSv1.3" == connect(tls_server, sslmode=mode)
    assert "TLSv1.3" == connect(tls_server)
    assert None is connect(tls_server, sslmode="disable")
    for host, mode in (("localhost", "verify-ca"), ("127.0.0.1", "verify-ca"), ("localhost", "verify-full")):
        assert "TLSv1.3" == connect(tls_server, host, sslmode=mode, sslrootcert=right)
    with pytest.raises(LedgerError, match=f"does not match host name.*{HINT}"):
        connect(tls_server, "127.0.0.1", sslmode="verify-full", sslrootcert=right)
    for mode in ("require", "verify-ca", "verify-full"):
        with pytest.raises(LedgerError, match=f"certificate verify failed.*{HINT}"):
            connect(tls_server, sslmode=mode, sslrootcert=wrong)
    with pytest.raises(LedgerError, match=f"does not exist.*{HINT}"):
        connect(tls_server, sslmode="verify-full", sslrootcert=pems / "none.pem")
    with pytest.raises(LedgerError, match=f"weak sslmode.*{HINT}"):
        connect(tls_server, sslmode="require", sslrootcert="system")
    monkeypatch.setenv("SSL_CERT_FILE", str(right))
    assert "TLSv1.3" == connect(tls_server, sslmode="verify-full", sslrootcert="system")


def test_a_server_that_takes_only_tls(tls_server: Postgres) -> None:
    """Who comes without it is told so."""
    tls_server.admit("hostssl all all all scram-sha-256")
    assert "TLSv1.3" == connect(tls_server)
    with pytest.raises(LedgerError, match=f"no encryption.*{HINT}"):
        connect(tls_server, sslmode="disable")


def test_a_clients_certificate(tls_server: Postgres, pems: Path) -> None:
    """It stands for the password. Of another authority, missing, or with a key that others may read, it does not."""
    tls_server.admit("hostssl all all all cert")
    verified = {"sslmode": "verify-full", "sslrootcert": pems / "right-ca.pem"}
    assert "TLSv1.3" == connect(tls_server, **verified, sslcert=pems / "right.pem", sslkey=pems / "right.key")
    with pytest.raises(LedgerError, match=f"requires a valid client certificate.*{HINT}"):
        connect(tls_server, **verified)
    with pytest.raises(LedgerError, match=HINT):
        connect(tls_server, **verified, sslcert=pems / "wrong.pem", sslkey=pems / "wrong.key")
    (pems / "right.key").chmod(0o644)
    with pytest.raises(LedgerError, match=f"has group or world access.*{HINT}"):
        connect(tls_server, **verified, sslcert=pems / "right.pem", sslkey=pems / "right.key")
