"""Fetched tokens, against servers on loopback: each file tests the module that it is named after.

* `test_token_source`: token_source, clock, by a clock that the test moves.
* `test_fetchers`: fetchers, google, entra, bounded_session, time_limit, with the real libraries.
* `test_token_sources`: token_sources, token, identity.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme


@pytest.fixture
def authority() -> trustme.CA:
    """An authority of its own."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """The file that names it."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)
