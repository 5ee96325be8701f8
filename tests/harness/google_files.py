"""Google credentials files for tests."""

from __future__ import annotations

import json

from tests.harness.token_servers import TokenServer

GOOGLE = TokenServer("https://oauth2.googleapis.com")
"""Google's own, as files name it; nobody asks it."""


def service_account(**changes: object) -> str:
    """Return the text of a service account's file; a key that becomes None is left out."""
    made = GOOGLE.service_account(**changes)
    return json.dumps({key: value for key, value in made.items() if value is not None}, indent=2)
