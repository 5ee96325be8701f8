"""An issuer of tokens in the test's process: it stands where google-auth and azure-identity stand, and is asked on threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from passthrough.credentials.identity import GoogleIdentity, Identity
from passthrough.credentials.token import FetchError, Token
from passthrough.credentials.token_sources import TokenSources
from passthrough.secret import Secret
from tests.harness.waiting import WAIT_S

IDENTITY = GoogleIdentity(name="TEST_CREDENTIALS (ocr@project.test)")


class Issuer:
    """Issues a token for each fetch: `first-token-…`, and so on. `issued` are all of them, `asked` is how many fetches began.

    `refuses` is why the next fetches fail; while `open` is not set they wait.
    """

    def __init__(self, *, refuses: str | None = None, is_open: bool = True) -> None:
        self.issued: list[str] = []
        self.asked = 0
        self.refuses = refuses
        self.open = threading.Event()
        if is_open:
            self.open.set()

    def fetch(self) -> Token:
        """Return the next token, good for an hour."""
        self.asked += 1
        self.open.wait(WAIT_S)
        if self.refuses is not None:
            raise FetchError(self.refuses)
        self.issued.append(f"token-{len(self.issued) + 1}-of-the-issuer")
        return Token(Secret(self.issued[-1]), time.time() + 3600)

    def sources(self, *identities: Identity) -> TokenSources:
        """Return the sources of these identities, IDENTITY by default, whose tokens come from here."""
        return sources_of(dict.fromkeys(identities or (IDENTITY,), self))


def sources_of(issuers: Mapping[Identity, Issuer]) -> TokenSources:
    """Return the sources of these identities, each with an issuer."""
    made = TokenSources(lambda message: None, lambda identity: issuers[identity].fetch)
    made.prepare(issuers)
    return made
