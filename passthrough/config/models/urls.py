"""The URLs of deployments, as LiteLLM makes them of `api_base`, project, location and the model's name."""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import quote

from ...proxy.deployments.deployment import Provider
from ..syntax import Location

MISTRAL_HOST: Final = "api.mistral.ai"
_AZURE_PATH: Final = b"/providers/mistral/azure/ocr"
_JURISDICTIONS: Final = frozenset({"us", "eu"})


def mistral(base: Location | None) -> Location:
    """Return the URL of Mistral's API, and of those that speak it: `…`, `…/v1` and `…/v1/` become `…/v1/ocr`."""
    base = base or Location(True, MISTRAL_HOST, 443, b"", b"")
    path = base.base_path.rstrip(b"/")
    if path.endswith(b"/ocr"):
        return replace(base, base_path=path)
    return replace(base, base_path=path + (b"/ocr" if path.endswith(b"/v1") else b"/v1/ocr"))


def azure(base: Location, api_version: str | None) -> Location:
    """Return the URL at Azure; a whole one stays, and so does a query. `api_version` is for a base without one."""
    path = base.base_path.rstrip(b"/")
    query = base.query or (b"" if api_version is None else f"api-version={api_version}".encode("ascii"))
    return replace(base, base_path=path if path.endswith(_AZURE_PATH) else path + _AZURE_PATH, query=query)


def vertex(base: Location | None, project: str, location: str, model: str) -> Location:
    """Return the URL at Google: the host is the location's, unless `base` replaces it."""
    host = {"global": "aiplatform.googleapis.com"}.get(location, f"{location}-aiplatform.googleapis.com")
    if location in _JURISDICTIONS:
        host = f"aiplatform.{location}.rep.googleapis.com"
    base = base or Location(True, host, 443, b"", b"")
    path = base.base_path.rstrip(b"/")
    if path.endswith(b":rawPredict"):
        return replace(base, base_path=path)
    below = f"/v1/projects/{project}/locations/{location}/publishers/mistralai/models/{quote(model, safe='*@:')}:rawPredict"
    return replace(base, base_path=path + below.encode("ascii"))


NAMED: Final = {provider.value: provider for provider in Provider}


def provider_of(model: str, named: str | None = None) -> tuple[Provider, str] | None:
    """Return the provider and the model's own name, of `mistral/mistral-ocr-latest`; None where it is not served.

    `named` is `custom_llm_provider`. Azure's Document Intelligence, and models of other publishers at Vertex, speak other APIs.
    """
    prefix, _, name = model.partition("/")
    if named is not None and prefix != named:
        prefix, name = named, model
    provider = NAMED.get(prefix)
    name = name.removeprefix("mistralai/") if provider is Provider.VERTEX else name
    if provider is None or not name or (provider is not Provider.MISTRAL and "/" in name):
        return None
    if provider is Provider.AZURE and name.startswith("doc-intelligence"):
        return None
    if provider is Provider.VERTEX and not (name.startswith("mistral") or "*" in name):
        return None
    return provider, name
