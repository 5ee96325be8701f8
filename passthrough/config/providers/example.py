"""One example of a route: what a client asks of the proxy, and where that goes."""

from __future__ import annotations

from typing import Final, NamedTuple

from ...proxy.routes import Route
from .apis import api_of, call_of, is_other

_ANYTHING: Final = b"/\xe2\x80\xa6"  # …
_CHAT: Final = b"/chat/completions"


class Example(NamedTuple):
    """A call: its method, the client's path with its query, and the URL that it goes to. No query of the operator's is in it."""

    method: str
    path: str
    url: str


def example(route: Route) -> Example:
    """Return an example of a route with one target.

    1. A route without `include_subpath` serves its path alone. 2. At a provider that is known it is that provider's call.
    3. Elsewhere it is Mistral's, for what speaks its API; 4. and anything where the meter says that it is not, or the host is
    of a provider that has paths of its own.
    """
    target = route.targets[0]
    suffix = _suffix(route) if route.include_subpath else b""
    api = api_of(target.host)
    query = b""
    if api is not None and api.query and not target.query and (target.base_path + suffix).endswith(api.call):
        query = b"?" + api.query
    scheme = "https" if target.tls else "http"
    base = target.base_path if suffix or target.base_path else b"/"
    methods = sorted(route.methods or {"POST"})
    path = _text((route.path or (b"" if suffix else b"/")) + suffix + query)
    url = f"{scheme}://{target.authority.decode('ascii')}{_text(base + suffix + query)}"
    return Example("POST" if "POST" in methods else methods[0], path, url)


def _suffix(route: Route) -> bytes:
    """Return what a client asks for below a route."""
    target, plan = route.targets[0], route.terms.plan
    if plan.counted is not None or plan.shape == "batch" or is_other(target.host):
        return _ANYTHING
    base, api = target.base_path.rstrip(b"/"), api_of(target.host)
    if api is None:
        call = _CHAT if plan.shape == "chat" else b"/ocr"
        return call if base.endswith(b"/v1") else b"/v1" + call
    call = call_of(api, target.host)
    if plan.shape == "chat" and call.endswith(b"/v1/ocr"):
        call = call.removesuffix(b"/ocr") + _CHAT
    if call.startswith(base + b"/"):
        return call.removeprefix(base)
    # The same depth in another project, say.
    below = call.split(b"/")[base.count(b"/") + 1 :]
    return b"/" + b"/".join(below) if below and api.is_above(base) else _ANYTHING


def _text(path: bytes) -> str:
    return path.decode("utf-8", "replace")
