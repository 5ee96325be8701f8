"""Fetches Entra's tokens, by azure-identity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .identity import EntraIdentity
from .token import FetchError

if TYPE_CHECKING:
    from .bounded_session import BoundedSession

_OF_MACHINE: Final = ("IDENTITY_HEADER", "MSI_SECRET")
"""Variables by which a platform lets its programs ask for the managed identity: secrets."""


def fetch(identity: EntraIdentity, session: BoundedSession, environ: Mapping[str, str]) -> tuple[Any, float]:
    """Return a token and when it ends, in seconds since the epoch. Raises FetchError, and azure-identity's errors.

    Each fetch has a credential of its own: one that is kept would return the token that it has.
    """
    from azure.core.pipeline.transport import RequestsTransport  # noqa: PLC0415 - an optional extra

    session.secrets |= {environ[name] for name in _OF_MACHINE if environ.get(name)}
    # The source repeats what fails, so that the library need not.
    options = {"transport": RequestsTransport(session=session, session_owner=False), "retry_total": 0}
    with _credential(identity, session, options) as credential:
        token = credential.get_token(identity.scope)
    return token.token, float(token.expires_on)


def _credential(identity: EntraIdentity, session: BoundedSession, options: dict[str, Any]) -> Any:
    import azure.identity  # noqa: PLC0415

    if identity.managed_identity:
        return azure.identity.ManagedIdentityCredential(client_id=identity.client_id, **options)
    if identity.authority is not None:
        options["authority"] = identity.authority
    # Discovery asks Microsoft whether an authority is one of its own: the configuration says which one to trust, and a private
    # one is unknown there.
    options["disable_instance_discovery"] = True
    tenant_id, client_id = identity.tenant_id or "", identity.client_id or ""
    if identity.client_secret is not None:
        secret = identity.client_secret.reveal()
        session.secrets.add(secret)
        return azure.identity.ClientSecretCredential(tenant_id, client_id, secret, **options)
    assertion = _assertion(Path(identity.federated_token_file or ""))
    session.secrets.add(assertion)
    # WorkloadIdentityCredential is this with a file: it sends the line feed at a file's end, and Entra rejects that.
    return azure.identity.ClientAssertionCredential(tenant_id, client_id, lambda: assertion, **options)


def _assertion(path: Path) -> str:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no token"
        raise FetchError(f"{path}, the federated token file, cannot be read: {reason}.") from None
    if not text:
        raise FetchError(f"{path}, the federated token file, is empty.")
    return text
