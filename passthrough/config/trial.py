"""The command that tries a sandbox: a request with the smallest document, to the first route that the sandbox can read it on."""

from __future__ import annotations

import re
from typing import Final

from ..proxy.deployments.deployment import OCR_ROUTE
from ..proxy.routes import Route
from .model import Config

_OCR: Final = b"/v1/ocr"
_IMAGE: Final = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs="
_ENDS: Final = (b"/v1/ocr", b"/providers/mistral/azure/ocr")
"""The ends of the paths at which the sandbox reads documents, without those that name a model."""

_MODEL: Final = "mistral-ocr-latest"
_PLAIN: Final = re.compile(r"[\w./:@-]+", re.ASCII)
"""What a model's name is made of that a shell and JSON take as it stands."""


def trial(config: Config, url: str) -> str | None:
    """Return a message with a command for a shell, in lines of its own; None where no route leads to OCR.

    `url` is where the program listens. A client key is not known here, only its hash: the command takes it from CLIENT_KEY.
    """
    found = next(((path, route.auth) for route in config.routes if (path := _path(route)) is not None), None)
    model = _MODEL
    if found is None and config.models is not None:
        model = next(filter(_PLAIN.fullmatch, config.models.names()), "")
        found = (OCR_ROUTE, True) if model else None
    if found is None:
        return None
    path, needs_key = found
    needs_key = needs_key and bool(config.clients)
    lines = [
        f"curl {'-k ' if url.startswith('https:') else ''}-w '\\n' '{url}{path}' \\",
        *(['  -H "Authorization: Bearer $CLIENT_KEY" \\'] if needs_key else []),
        "  -H 'Content-Type: application/json' \\",
        f'  -d \'{{"model": "{model}", "document": {{"image_url":',
        f'      "{_IMAGE}"}}}}\'',
    ]
    title = "Try it, with a client's key in CLIENT_KEY:" if needs_key else "Try it:"
    return "\n".join((title, "", *lines, ""))


def _path(route: Route) -> str | None:
    """Return the path at which clients reach OCR by a route, None where they do not."""
    if not route.targets or not route.allows("POST") or route.terms.plan.shape not in {"auto", "ocr"}:
        return None
    base = route.targets[0].base_path
    if not route.include_subpath:
        return route.path.decode("ascii") if base.endswith(_ENDS) else None
    suffix = _OCR[len(b"/v1") :] if base.endswith(b"/v1") else _OCR
    return (route.path + suffix).decode("ascii") if base in {b"", b"/v1"} else None
