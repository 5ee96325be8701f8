"""One example of each route: what a client asks for, and the provider's URL that it goes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from passthrough.config.providers.example import example
from tests.harness.configs import loaded

VERTEX = "https://us-central1-aiplatform.googleapis.com"
PREDICT = "/publishers/mistralai/models/mistral-ocr-2505:rawPredict"
AZURE = "https://r.services.ai.azure.com"
VERSION = "?api-version=2024-05-01-preview"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("path: /mistral, target: 'https://api.mistral.ai', include_subpath: true",
         ("POST", "/mistral/v1/ocr", "https://api.mistral.ai/v1/ocr")),
        ("path: /mistral/v1, target: 'https://api.mistral.ai/v1/', include_subpath: true",
         ("POST", "/mistral/v1/ocr", "https://api.mistral.ai/v1/ocr")),
        ("path: /, target: 'https://api.mistral.ai', include_subpath: true", ("POST", "/v1/ocr", "https://api.mistral.ai/v1/ocr")),
        ("path: /o, target: 'https://api.mistral.ai/v1/ocr'", ("POST", "/o", "https://api.mistral.ai/v1/ocr")),
        ("path: /o, target: 'https://api.mistral.ai'", ("POST", "/o", "https://api.mistral.ai/")),
        ("path: /c, target: 'https://api.mistral.ai', include_subpath: true, meter: chat",
         ("POST", "/c/v1/chat/completions", "https://api.mistral.ai/v1/chat/completions")),
        ("path: /f, target: 'https://api.mistral.ai/v1/files', include_subpath: true", ("POST", "/f/…", "https://api.mistral.ai/v1/files/…")),
        ("path: /b, target: 'https://api.mistral.ai', include_subpath: true, methods: [GET, HEAD], meter: batch",
         ("GET", "/b/…", "https://api.mistral.ai/…")),
        (f"path: /azure, target: '{AZURE}', include_subpath: true",
         ("POST", f"/azure/providers/mistral/azure/ocr{VERSION}", f"{AZURE}/providers/mistral/azure/ocr{VERSION}")),
        (f"path: /azure, target: '{AZURE}?api-version=2&key=canary', include_subpath: true",
         ("POST", "/azure/providers/mistral/azure/ocr", f"{AZURE}/providers/mistral/azure/ocr")),
        (f"path: /a/ocr, target: '{AZURE}/providers/mistral/azure/ocr'",
         ("POST", f"/a/ocr{VERSION}", f"{AZURE}/providers/mistral/azure/ocr{VERSION}")),
        (f"path: /di, target: '{AZURE}', include_subpath: true, meter: {{shape: json, count: analyzeResult.pages}}",
         ("POST", "/di/…", f"{AZURE}/…")),
        ("path: /s, target: 'https://e.eastus2.models.ai.azure.com', include_subpath: true",
         ("POST", "/s/v1/ocr", "https://e.eastus2.models.ai.azure.com/v1/ocr")),
        (f"path: /vertex, target: '{VERTEX}/v1/projects/p/locations/us-central1', include_subpath: true",
         ("POST", f"/vertex{PREDICT}", f"{VERTEX}/v1/projects/p/locations/us-central1{PREDICT}")),
        (f"path: /vertex, target: '{VERTEX}', include_subpath: true",
         ("POST", f"/vertex/v1/projects/PROJECT/locations/us-central1{PREDICT}",
          f"{VERTEX}/v1/projects/PROJECT/locations/us-central1{PREDICT}")),
        ("path: /aiml, target: 'https://api.aimlapi.com', include_subpath: true",
         ("POST", "/aiml/v1/ocr", "https://api.aimlapi.com/v1/ocr")),
        ("path: /router, target: 'https://openrouter.ai/api', include_subpath: true",
         ("POST", "/router/v1/chat/completions", "https://openrouter.ai/api/v1/chat/completions")),
        ("path: /gw, target: 'http://litellm.internal:4000', include_subpath: true",
         ("POST", "/gw/v1/ocr", "http://litellm.internal:4000/v1/ocr")),
        ("path: /gw, target: 'http://[::1]:8000/api/v1', include_subpath: true, meter: chat",
         ("POST", "/gw/chat/completions", "http://[::1]:8000/api/v1/chat/completions")),
        *((f"path: /other, target: 'https://{host}', include_subpath: true", ("POST", "/other/…", f"https://{host}/…"))
          for host in ("api.anthropic.com", "api.cohere.com", "generativelanguage.googleapis.com", "platform.reducto.ai",
                       "r.openai.azure.com", "textract.eu-west-1.amazonaws.com")),
        ("path: /p, target: 'https://api.cohere.com/v2/parse'", ("POST", "/p", "https://api.cohere.com/v2/parse")),
        ("path: /elb, target: 'https://gw.elb.amazonaws.com', include_subpath: true",
         ("POST", "/elb/v1/ocr", "https://gw.elb.amazonaws.com/v1/ocr")),
    ],
)  # fmt: skip
def test_example(tmp_path: Path, route: str, expected: tuple[str, str, str]) -> None:
    """By the provider that the host is of; a host that is not known speaks Mistral's API. No query of the operator's is shown."""
    assert expected == example(loaded(tmp_path, f"pass_through_endpoints: [{{{route}}}]\n").routes[0])
