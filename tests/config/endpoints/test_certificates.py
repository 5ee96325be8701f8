"""PEM files that are named, and hold nothing that can be read: said when the configuration is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.harness.configs import ROUTE, loaded


@pytest.fixture
def pems(tmp_path: Path) -> Path:
    """Return a folder with PEM files: a good pair, another key, and a broken certificate."""
    authority = trustme.CA()
    pair = authority.issue_cert("client.example")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    pair.private_key_pem.write_to_path(tmp_path / "key.pem")
    trustme.CA().issue_cert("other.example").private_key_pem.write_to_path(tmp_path / "other.pem")
    whole = (tmp_path / "cert.pem").read_text()
    (tmp_path / "broken.pem").write_text(whole[:200] + "!" + whole[200:])
    return tmp_path


@pytest.mark.fast
@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("sslmode=verify-full&sslrootcert=ca.pem&sslcert=cert.pem&sslkey=key.pem", None),
        ("sslrootcert=system", None),
        ("sslcert=cert.pem", None),
        ("", None),
        ("sslrootcert=broken.pem", "'sslrootcert', broken.pem, holds no certificate"),
        ("sslrootcert=nowhere.pem", "'sslrootcert', nowhere.pem, holds no certificate"),
        ("sslcert=broken.pem&sslkey=key.pem", "'sslcert', broken.pem, holds no certificate"),
        ("sslcert=key.pem&sslkey=key.pem", "'sslcert', key.pem, holds no certificate"),
        ("sslcert=cert.pem&sslkey=other.pem", "'sslkey', other.pem, is no key that"),
        ("sslcert=cert.pem&sslkey=nowhere.pem", "'sslkey', nowhere.pem, is no key that"),
    ],
)
def test_those_of_a_postgresql_ledger(pems: Path, query: str, what: str | None) -> None:
    """libpq reads them at each connect, so that the program starts, and a warning says what will not work."""
    found = loaded(pems, f"{ROUTE}ledger: 'postgresql://user:canary@127.0.0.1:1/name?{query}'\n").warnings
    assert "canary" not in "".join(map(str, found))
    odd = loaded(pems, f"{ROUTE}ledger: 'postgresql://user:ca[n/a?ry@127.0.0.1:1/name?{query}'\n").warnings
    assert [each.what for each in found] == [each.what for each in odd]  # a password with signs of a URL hides none
    assert [(6, "ledger", True)] * (what is not None) == [(each.line, each.key, (what or "") in each.what) for each in found]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("file", "is_good"), [("ca.pem", True), ("", True), ("broken.pem", False), ("key.pem", False), ("no", False)]
)
def test_those_of_the_whole_program(pems: Path, file: str, is_good: bool) -> None:
    """OpenSSL says nothing where it cannot read SSL_CERT_FILE, and trusts nobody. The sandbox needs none."""
    found = loaded(pems, ROUTE, {"SSL_CERT_FILE": file}).warnings
    assert [("environment", "SSL_CERT_FILE")] * (not is_good) == [(each.file, each.key) for each in found]
    assert () == loaded(pems, ROUTE, {"SSL_CERT_FILE": file}, sandbox=True).warnings
