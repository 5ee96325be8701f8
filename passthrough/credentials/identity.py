"""Who asks for tokens: a Google or an Entra identity, as the configuration describes it; values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ..secret import Secret

GOOGLE_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
ENTRA_SCOPE: Final = "https://cognitiveservices.azure.com/.default"
"""The scope of Azure AI Foundry, as LiteLLM has it."""


@dataclass(frozen=True, slots=True)
class GoogleIdentity:
    """A Google identity: what a credentials file says, or the machine's own (application default credentials).

    `info` is the JSON text of a credentials file of any type that google-auth knows (service account, authorized user, external
    account); None: google-auth looks for the machine's: gcloud's file, then the metadata server. `name` is what people see:
    `GOOGLE_CREDENTIALS (ocr@project.iam.gserviceaccount.com)`; it takes no part in comparisons. `proxy` is the URL of an HTTP
    proxy on the way to the token's server, credentials included; what is on this machine or its link is asked without.
    """

    info: Secret | None = None
    scopes: tuple[str, ...] = GOOGLE_SCOPES
    name: str = field(default="Google", compare=False)
    proxy: Secret | None = None


@dataclass(frozen=True, slots=True)
class EntraIdentity:
    """An Entra (Azure AD) identity. Exactly one of three proves it.

    `client_secret` and `federated_token_file` (workload identity: the file is read at each fetch) need `tenant_id` and
    `client_id`; `managed_identity` is the machine's own, where `client_id` names a user-assigned one. `authority` is the URL of
    the token server, None: Entra's own, or AZURE_AUTHORITY_HOST's. `name` is what people see; it takes no part in comparisons.
    `proxy` is as for Google.
    """

    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    federated_token_file: str | None = None
    managed_identity: bool = False
    scope: str = ENTRA_SCOPE
    authority: str | None = None
    name: str = field(default="Entra", compare=False)
    proxy: Secret | None = None


Identity = GoogleIdentity | EntraIdentity


def shown(identity: Identity) -> str:
    """Return an identity as people see it: by the key of `upstream_auth` that names it, what proves it, and the account."""
    return f"{'google' if isinstance(identity, GoogleIdentity) else 'entra'}: {identity.name}"
