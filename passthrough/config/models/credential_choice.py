"""Which of the credentials that are there for a deployment it uses, and which keys then do nothing: as LiteLLM chooses.

LiteLLM 1.110: `get_azure_ad_token` in `llms/azure/common_utils.py`, `safe_get_vertex_ai_credentials` in
`llms/vertex_ai/vertex_llm_base.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum, auto
from typing import Final

from ...proxy.deployments.deployment import Provider

CREDENTIAL_HEADERS: Final = frozenset({"authorization", "api-key"})
_APPLICATION: Final = ("tenant_id", "client_id", "client_secret")
_PERSON: Final = ("azure_username", "azure_password")
_OIDC: Final = "oidc/"
_KEY_VARIABLE: Final = "AZURE_AI_API_KEY"


class Credential(Enum):
    """What a deployment's requests carry."""

    HEADER = auto()  # one of extra_headers
    API_KEY = auto()
    VARIABLE = auto()  # AZURE_AI_API_KEY, where the file has no key
    AZURE_AD_TOKEN = auto()  # a token as it stands in the file
    GOOGLE = auto()  # a token that is fetched, for vertex_credentials or the machine's own account
    ENTRA = auto()  # a token that is fetched, for an application
    MACHINE = auto()  # a token that is fetched, for the machine's own identity at Azure
    OIDC = auto()  # `azure_ad_token: oidc/…`, which is not served
    PERSON = auto()  # azure_username and azure_password, which are not served
    NONE = auto()


_USED: Final[Mapping[Credential, tuple[str, ...]]] = {
    Credential.AZURE_AD_TOKEN: ("azure_ad_token",),
    Credential.GOOGLE: ("vertex_credentials",),
    Credential.ENTRA: (*_APPLICATION, "azure_scope"),
    Credential.MACHINE: ("azure_scope",),
    Credential.OIDC: ("azure_ad_token", *_APPLICATION, "azure_scope", *_PERSON),
    Credential.PERSON: (*_APPLICATION, "azure_scope", *_PERSON),
}
_KEYS: Final = frozenset(key for used in _USED.values() for key in used)


def credential(
    provider: Provider, given: Mapping[str, object], headers: Collection[str], environ: Mapping[str, str], *, by_machine: bool
) -> Credential:
    """Return which credential a deployment uses.

    `given` are its keys, of its entry and of its entry of credential_list; `headers` the names of its `extra_headers` in lower
    case. `by_machine`: without any credential the machine's own identity asks (`enable_azure_ad_token_refresh`).

    1. A header, then `api_key`, of all providers.
    2. Vertex: else a token that is fetched.
    3. Azure: else an application that the file names, and that is complete, with variables or without; then a token in the file;
       then the variable of the key, and the application that variables alone name.
    4. What is incomplete, or not served, where nothing else is there.

    LiteLLM prefers AZURE_AI_API_KEY to an application in the file: that key is another resource's, then.
    """
    if not CREDENTIAL_HEADERS.isdisjoint(headers):
        return Credential.HEADER
    if given.get("api_key"):
        return Credential.API_KEY
    if provider is Provider.VERTEX:
        return Credential.GOOGLE
    return _azure(given, environ, by_machine=by_machine) if provider is Provider.AZURE else Credential.NONE


def _azure(given: Mapping[str, object], environ: Mapping[str, str], *, by_machine: bool) -> Credential:
    names_application = any(given.get(key) for key in _APPLICATION)
    there = {key for key in _APPLICATION if given.get(key) or environ.get(f"AZURE_{key.upper()}")}
    is_complete = {"tenant_id", "client_id"} <= there and ("client_secret" in there or environ.get("AZURE_FEDERATED_TOKEN_FILE"))
    if names_application and is_complete:
        return Credential.ENTRA
    token = given.get("azure_ad_token")
    is_exchanged = str(token).startswith(_OIDC)
    if token and not is_exchanged:
        return Credential.AZURE_AD_TOKEN
    if environ.get(_KEY_VARIABLE):
        return Credential.VARIABLE
    if is_complete:
        return Credential.ENTRA
    if is_exchanged:
        return Credential.OIDC
    if any(given.get(key) for key in _PERSON):
        return Credential.PERSON
    if names_application:
        return Credential.ENTRA
    return Credential.MACHINE if by_machine else Credential.NONE


def idle_keys(choice: Credential) -> frozenset[str]:
    """Return the keys of credentials that do nothing where another one is used."""
    return _KEYS.difference(_USED.get(choice, ()))


def lacking_key(choice: Credential, given: Mapping[str, object]) -> str | None:
    """Return the key of a credential that is not served; None for one that is."""
    if choice is Credential.OIDC:
        return "azure_ad_token"
    return next(key for key in _PERSON if given.get(key)) if choice is Credential.PERSON else None
