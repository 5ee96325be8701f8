"""Responses that are no 2xx: what each means for its call, for its document, and for the run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from aiohttp import ClientResponse

from ..errors import DocumentError
from .connection import Endpoint
from .error_text import ErrorText, error_text
from .faults import BILLED_HINT, NETWORK
from .pauses import retry_after_s

_MAX_BODY: Final = 1 << 18
_CHECK_KEY: Final = "Check PASSTHROUGH_API_KEY or --api-key."
_CHECK_URL: Final = "Check --base-url or PASSTHROUGH_BASE_URL."
_GIVE_KEY: Final = "Give it by PASSTHROUGH_API_KEY or --api-key."
_CHECK_MODEL: Final = "Choose another with --model."
_BUDGET: Final = frozenset({"budget_spent", "budget_unpriced"})
_UNSENT: Final = frozenset({"upstream_unreachable", "upstream_credentials"})
_BROKEN: Final = frozenset({"upstream_broke", "bad_upstream_answer", "upstream_timeout"})
_LASTING: Final = frozenset(
    {"route_forbidden", "model_forbidden", "foreign_origin", "no_route", "method_not_allowed", "misdirected", "unknown_model",
     "proxy_loop"}
)  # fmt: skip
_NO_MODEL: Final = frozenset({"invalid_model", "1500", "unknown_model", "model_not_found"})
_NO_FILES: Final = frozenset({404, 405, 501})


class Meaning(Enum):
    """What a refusal means for the call."""

    FINAL = auto()
    PAUSE = auto()  # all workers wait
    UNSENT = auto()  # by the proxy: the provider got nothing
    FAILED = auto()  # on the API's side: it may have done the work


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response that is no 2xx. `code` is that of `X-Passthrough-Error`, empty where the proxy did not make the response."""

    status: int
    code: str
    text: ErrorText
    retry_after_s: float
    location: str

    @property
    def meaning(self) -> Meaning:
        """What it means for the call."""
        if self.code in _BUDGET:
            return Meaning.FINAL
        if self.status in {429, 503}:
            return Meaning.PAUSE
        if self.code in _UNSENT:
            return Meaning.UNSENT
        is_timeout = self.status == HTTPStatus.REQUEST_TIMEOUT and not self.code  # Azure's, while it works
        is_failure = self.status >= 500 and self.status not in {501, 505} and (not self.code or self.code in _BROKEN)
        if is_timeout or is_failure:
            return Meaning.FAILED
        return Meaning.FINAL

    @property
    def message(self) -> str:
        """What the API says, one line without its end; the status' phrase where it says nothing."""
        return self.text.message.rstrip(". ") or _phrase(self.status)

    @property
    def lacks_files(self) -> bool:
        """Whether it says that the API has no path for files."""
        return self.status in _NO_FILES or self.code == "route_forbidden"

    def error(self, endpoint: Endpoint, *, may_be_billed: bool) -> DocumentError:
        """Return it as the failure of a document."""
        status, message, hint = self.status, self.message, self.text.hint
        if self.code in _BUDGET:
            return DocumentError(f"{message}.", hint, ends_run=True)
        if status == HTTPStatus.UNAUTHORIZED:
            what, help_text = ("wants a key", _GIVE_KEY) if endpoint.key is None else ("does not accept the key", _CHECK_KEY)
            return DocumentError(f"The API {what} ({status}): {message}.", help_text, ends_run=True)
        if 300 <= status < 400:
            return DocumentError(f"The API redirects ({status}) to {self.location or 'nowhere'}.", _CHECK_URL, ends_run=True)
        if self.meaning is Meaning.PAUSE:
            what = "is asked too much" if status == HTTPStatus.TOO_MANY_REQUESTS else "is not available"
            return DocumentError(f"The API {what} ({status}): {message}.", hint or "Run it again later.")
        if self.meaning is Meaning.FAILED:
            billed, help_text = ("; it may have been billed", BILLED_HINT) if may_be_billed else ("", "Run it again later.")
            return DocumentError(f"The API failed ({status}): {message}{billed}.", help_text)
        if self.code == "no_route":  # its hint is for programs
            return DocumentError(f"The proxy has no such path ({status}): {message}.", _CHECK_URL, ends_run=True)
        if self._is_path_missing:
            return DocumentError(f"The API has no such path ({status}): {message}.", hint or _CHECK_URL, ends_run=True)
        if status in {HTTPStatus.FORBIDDEN, HTTPStatus.PAYMENT_REQUIRED} and not self.code:
            return DocumentError(f"The API refused it ({status}): {message}.", hint or _CHECK_KEY, ends_run=True)
        is_model_unknown = bool(self.text.kinds & _NO_MODEL) or "invalid model" in message.lower()  # a 422 has no kind
        ends_run = self.code in _LASTING | _UNSENT or is_model_unknown
        hint = hint or (_CHECK_MODEL if is_model_unknown else "")
        return DocumentError(f"The API refused it ({status}): {message}.", hint, ends_run=ends_run)

    @property
    def _is_path_missing(self) -> bool:
        """Whether the path of the call is not there, rather than what the call names: FastAPI's words, or a web server's page."""
        return self.status == HTTPStatus.METHOD_NOT_ALLOWED or (
            self.status == HTTPStatus.NOT_FOUND and not self.text.kinds and self.text.message.rstrip(".").lower() in _PATH_WORDS
        )


_PATH_WORDS: Final = frozenset({"", "not found", "404 not found", "404: not found", "404 page not found", "resource not found"})


async def read_refusal(response: ClientResponse, endpoint: Endpoint, now_utc: float) -> Refusal:
    """Return the meaning of a response. Reads at most 256 KB of its body: a 422 may echo the whole document."""
    secrets = () if endpoint.key is None else (endpoint.key.reveal(),)
    body = bytearray()
    try:
        while len(body) < _MAX_BODY and (piece := await response.content.read(_MAX_BODY)):
            body += piece
    except NETWORK:
        pass  # it was cut, which changes nothing: the status is what counts
    headers = response.headers
    return Refusal(
        response.status,
        headers.get("X-Passthrough-Error", ""),
        error_text(bytes(body), secrets),
        retry_after_s(headers.getall("Retry-After", []), now_utc),
        error_text(headers.get("Location", "").partition("?")[0], secrets).message,
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
