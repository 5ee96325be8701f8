"""Google credentials files for tests: of each type, with a key that is made once."""

from __future__ import annotations

import json
from functools import cache

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

EMAIL = "ocr@project.iam.gserviceaccount.com"


@cache
def private_key() -> str:
    """Return a private key as Google's files have it: PKCS #8, as PEM."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def service_account(**changes: object) -> str:
    """Return the JSON of a service account's key; a key that becomes None is left out."""
    made: dict[str, object] = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "0123456789abcdef",
        "private_key": private_key(),
        "client_email": EMAIL,
        "client_id": "100000000000000000001",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return json.dumps({key: value for key, value in (made | changes).items() if value is not None}, indent=2)
