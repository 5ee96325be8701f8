"""A client of what was started: Mistral's SDK, and the admin port; it keeps what it got, to compare it with the ledger."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from tests.harness.documents import pdf, words_of

MODEL: Final = "mistral-ocr-2512"


@dataclass(slots=True)
class Client:
    """Calls one address with one key, and counts the pages of the responses."""

    url: str
    key: str
    requests: int = 0
    pages: int = 0
    failures: list[str] = field(default_factory=list)

    def ocr(self, pages: int = 3) -> None:
        """Read a PDF, and see each page's words in the response. Raises OSError or AssertionError where that fails."""
        document = {"type": "document_url", "document_url": data_url(pages)}
        with Mistral(api_key=self.key, server_url=f"{self.url}/mistral", timeout_ms=60_000) as sdk:
            try:
                response = sdk.ocr.process(model=MODEL, document=document)  # type: ignore[arg-type]
            except SDKError as error:
                raise AssertionError(f"{error.status_code} {error.body[:300]}") from error
        assert len(response.pages) == pages == response.usage_info.pages_processed
        for page in response.pages:
            assert words_of(page.index) in page.markdown
        self.requests += 1
        self.pages += pages

    def accepted(self) -> bool:
        """Whether the key is one of the client keys: a call that is not billed."""
        status, _ = get(f"{self.url}/mistral/v1/models", self.key)
        assert status in {200, 401}, status
        return status == 200


def data_url(pages: int) -> str:
    """Return a PDF as a data URL."""
    return f"data:application/pdf;base64,{base64.b64encode(pdf(pages)).decode()}"


def get(url: str, key: str = "", scheme: str = "Bearer") -> tuple[int, str]:
    """Return status and text of a page, asked for with a key; `Basic` as a browser does, which asks people for a password.

    Raises OSError where there is none.
    """
    credentials = base64.b64encode(f"admin:{key}".encode()).decode() if scheme == "Basic" else key
    request = urllib.request.Request(url, headers={"Authorization": f"{scheme} {credentials}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()
    except http.client.HTTPException as broken:
        raise OSError(str(broken)) from broken


def ocr_total(usage: bytes | str) -> dict[str, Any]:
    """Return the total of `usage --format json`, numbers exact."""
    total: dict[str, Any] = json.loads(usage, parse_float=Decimal)["total"]
    return total
