"""The messages of a program that has begun to listen: where it does, the dashboard, and a command that tries the sandbox."""

from __future__ import annotations

import logging
import re
from typing import Final

from ..config import announce, builtin
from ..config.model import Config
from ..loopback import is_loopback
from ..proxy.deployments.deployment import OCR_ROUTE
from ..proxy.routes import Route

_OCR: Final = b"/v1/ocr"
_IMAGE: Final = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs="
_ENDS: Final = (b"/v1/ocr", b"/providers/mistral/azure/ocr")
"""The ends of the paths at which the sandbox reads documents, without those that name a model."""

_MODEL: Final = "mistral-ocr-latest"
_PLAIN: Final = re.compile(r"[\w./:@-]+", re.ASCII)
"""What a model's name is made of that a shell and JSON take as it stands."""


def started(config: Config, traffic: str, admin: str, *, sandbox: bool) -> announce.Messages:
    """Yield the messages once the program listens; `traffic` and `admin` are URLs."""
    yield logging.INFO, f"Listening on {traffic}, admin on {admin}."
    if config.admin_digest is not None or is_loopback(config.listen.admin_host):
        yield logging.INFO, f"Dashboard: {reachable(admin)}/"
    if config.listen.log_file is not None:
        yield logging.INFO, f"The log goes to {config.listen.log_file}."
    if config.file == builtin.NAME:
        yield logging.INFO, builtin.NOTICE
    if sandbox:
        yield (
            logging.INFO,
            "Sandbox: every route goes to a local imitation of Mistral's API; nothing is billed, and its key is not needed.",
        )
    if config.models is not None:
        yield logging.INFO, f"{announce.models_text(config.models)} under {OCR_ROUTE}."
    if (lists := announce.price_lists(config)) is not None:
        yield logging.INFO, lists
    if not config.clients:
        yield logging.WARNING, announce.ANONYMOUS
    if config.listen.workers > 1 and config.ledger is None and config.budgets:
        yield logging.WARNING, "Without a ledger workers share no budgets: each allows as much as if it were alone."
    if config.admin_digest is None and not is_loopback(config.listen.admin_host):
        yield logging.INFO, "The admin port is open to other machines, and there is no admin_key: it answers health only."
    if sandbox and (command := trial(config, reachable(traffic))) is not None:
        yield logging.INFO, command


def reachable(url: str) -> str:
    """Return a URL that leads to an address that is listened on: this machine's, where that is every address."""
    for every, own in (("//0.0.0.0:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
        url = url.replace(every, own)
    return url


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
