"""The schema of `upstream_auth` as pydantic models: on an endpoint, and on one of its targets."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ...credentials.identity import ENTRA_SCOPE, GOOGLE_SCOPES
from .. import types


class GooglePart(types.Part):
    """Google's tokens."""

    credentials: types.GoogleCredentials | None = Field(
        default=None,
        description="A credentials file, relative to this file, or its JSON; by default GOOGLE_APPLICATION_CREDENTIALS, else "
        "the machine's own.",
    )
    scopes: Annotated[list[types.GoogleScope], types.OneOrMany()] = Field(
        default=list(GOOGLE_SCOPES), description="What the tokens are for; all of Google Cloud by default."
    )


class EntraPart(types.Part):
    """Entra's (Azure AD's) tokens: one of client_secret, federated_token_file and managed_identity proves who asks."""

    tenant_id: types.TenantId | None = Field(default=None, description="The tenant; else AZURE_TENANT_ID.")
    client_id: types.ClientId | None = Field(
        default=None, description="The application, or a user-assigned managed identity; else AZURE_CLIENT_ID."
    )
    client_secret: types.ClientSecret | None = Field(default=None, description="Its secret; else AZURE_CLIENT_SECRET.")
    federated_token_file: types.FileName | None = Field(
        default=None,
        description="The file with the token of another issuer (workload identity); else AZURE_FEDERATED_TOKEN_FILE.",
    )
    managed_identity: types.Switch = Field(default=False, description="true: the machine's own identity.")
    scope: types.EntraScope = Field(default=ENTRA_SCOPE, description="What the tokens are for; Azure AI Foundry by default.")
    authority: types.Authority | None = Field(
        default=None, description="The server of the tokens; else AZURE_AUTHORITY_HOST, else https://login.microsoftonline.com"
    )


class UpstreamAuthPart(types.Part):
    """Whose token is fetched: exactly one of the two."""

    google: GooglePart | None = Field(default=None, description="{}: the machine's own identity at Google.")
    entra: EntraPart | None = Field(default=None, description="An application, or a managed identity, at Entra (Azure AD).")
