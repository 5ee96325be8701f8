"""The providers' APIs that are known: by their hosts, which credentials they take, and where OCR and the list of models are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from ...credentials.identity import EntraIdentity, GoogleIdentity, Identity

_AUTHORIZATION: Final = b"authorization"


@dataclass(frozen=True, slots=True)
class Api:
    """One provider's API. Paths are raw.

    `headers` are the fields that it reads a credential in (lower case). `needs_bearer`: Authorization takes `Bearer` and the
    key. `example` is a field that proves who calls, as the configuration has it. `identity` is the sort of identity whose tokens
    it takes, None for none. `call` is the path of the call that people make first, with `query` where it needs one. `models` is
    the path of the list of models that a key alone opens, None where there is none to ask; `unasked` says why. `versioned`: all
    of its paths begin with `/v1`.
    """

    name: str
    hosts: tuple[str, ...]
    example: str
    call: bytes
    headers: frozenset[bytes] = frozenset({_AUTHORIZATION})
    needs_bearer: bool = True
    identity: type[Identity] | None = None
    query: bytes = b""
    models: bytes | None = None
    unasked: str = ""
    versioned: bool = False

    def covers(self, host: str) -> bool:
        """Tell whether a host is one of this API's."""
        return any(fnmatchcase(host, pattern) for pattern in self.hosts)

    def is_above(self, base_path: bytes) -> bool:
        """Tell whether a target's path is only the beginning of a call's: what is there by itself is nothing."""
        path = base_path.rstrip(b"/")
        return self.call.startswith(path + b"/") or (self is VERTEX and b":" not in path)


def _header(text: str) -> str:
    return f"headers: {{{text}}}"


_AZURE_HEADERS: Final = frozenset({_AUTHORIZATION, b"api-key"})
_AZURE_KEY: Final = _header("api-key: os.environ/AZURE_API_KEY")
_AZURE_UNASKED: Final = "whether it has one for this account is not known"

VERTEX: Final = Api(
    "Vertex",
    ("*-aiplatform.googleapis.com", "aiplatform.googleapis.com", "aiplatform.*.rep.googleapis.com"),
    "upstream_auth: {google: {}}",
    b"/v1/projects/PROJECT/locations/LOCATION/publishers/mistralai/models/mistral-ocr-2505:rawPredict",
    frozenset({_AUTHORIZATION, b"x-goog-api-key"}),
    identity=GoogleIdentity,
    unasked="it has none of a project's own; the fetched token says more",
)

APIS: Final = (
    Api(
        "Mistral", ("api.mistral.ai", "api.eu.mistral.ai", "api.us.mistral.ai"),
        _header("Authorization: Bearer os.environ/MISTRAL_API_KEY"), b"/v1/ocr", models=b"/v1/models", versioned=True,
    ),
    Api(
        "Codestral", ("codestral.mistral.ai",), _header("Authorization: Bearer os.environ/CODESTRAL_API_KEY"),
        b"/v1/chat/completions", versioned=True, unasked="this host has none",
    ),
    Api(
        "Azure", ("*.models.ai.azure.com",), _header("Authorization: Bearer os.environ/AZURE_API_KEY"), b"/v1/ocr",
        _AZURE_HEADERS, needs_bearer=False, identity=EntraIdentity, unasked=_AZURE_UNASKED,
    ),
    Api(
        "Azure", ("*.services.ai.azure.com", "*.cognitiveservices.azure.com"), _AZURE_KEY, b"/providers/mistral/azure/ocr",
        _AZURE_HEADERS | {b"ocp-apim-subscription-key"}, needs_bearer=False, identity=EntraIdentity,
        query=b"api-version=2024-05-01-preview", unasked=_AZURE_UNASKED,
    ),
    VERTEX,
    Api(
        "AI/ML API", ("api.aimlapi.com",), _header("Authorization: Bearer os.environ/AIML_API_KEY"), b"/v1/ocr",
        unasked="its list is public, and says nothing of a key",
    ),
    Api(
        "OpenAI", ("api.openai.com",), _header("Authorization: Bearer os.environ/OPENAI_API_KEY"), b"/v1/chat/completions",
        models=b"/v1/models", versioned=True,
    ),
    Api(
        "OpenRouter", ("openrouter.ai",), _header("Authorization: Bearer os.environ/OPENROUTER_API_KEY"),
        b"/api/v1/chat/completions", unasked="its list is public, and says nothing of a key",
    ),
)  # fmt: skip
"""Checked 2026-11 in the providers' documentation: docs/providers.md says what of it concerns people."""

_OTHERS: Final = (
    "*.openai.azure.com", "api.anthropic.com", "generativelanguage.googleapis.com", "api.deepseek.com", "api.cohere.com",
    "api.cohere.ai", "platform.reducto.ai", "*.cloud.llamaindex.ai", "*.cloud.eu.llamaindex.ai", "www.datalab.to",
    "api.mathpix.com", "*.landing.ai", "*.unstructuredapp.io", "*.unstructured.io", "api.nutrient.io", "*.mindee.net",
    "textract.*.amazonaws.com", "bedrock-runtime.*.amazonaws.com", "documentai.googleapis.com", "*-documentai.googleapis.com",
    "api.upstage.ai", "*.aistudio-app.com",
)  # fmt: skip
"""Hosts of other providers: they do not have Mistral's paths, and theirs are not known here."""

_REGION: Final = re.compile(r"([a-z0-9-]+)-aiplatform\.googleapis\.com")


def api_of(host: str) -> Api | None:
    """Return the API of a host, None where it is not known."""
    name = host.rstrip(".").lower()
    return next((api for api in APIS if api.covers(name)), None)


def is_other(host: str) -> bool:
    """Tell whether a host is known not to have Mistral's paths, and nothing else is known of it."""
    name = host.rstrip(".").lower()
    return any(fnmatchcase(name, pattern) for pattern in _OTHERS)


def call_of(api: Api, host: str) -> bytes:
    """Return the path of an API's first call at a host: the region of Vertex is in both."""
    region = _REGION.fullmatch(host.lower())
    return api.call if region is None else api.call.replace(b"LOCATION", region[1].encode("ascii"))
