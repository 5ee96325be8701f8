"""The files that `passthrough init` writes: a configuration with one provider and one client, and a `.env` for its keys."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ..config.problems import InvalidValue
from ..config.values import name
from ..errors import PassthroughError
from ..proxy.auth import MASTER

PRIVATE: Final = 0o600
"""The mode of `.env`: its owner's alone."""

_PUBLIC: Final = 0o666  # less what the user's umask takes away
_UNQUOTED: Final = re.compile(r"[A-Za-z0-9_.+/=~:@%-]+", re.ASCII)


class StarterError(PassthroughError):
    """A file cannot be written; the message says which and why. None of them was left."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that `init` knows: its name, the variables of its key and of its address, and its route as YAML.

    `endpoint` is empty where the address is always the same. `base_url` is what a client's program is told, below the proxy's
    address, and `replaces` what it was told before.
    """

    title: str
    path: str
    key: str
    route: str
    base_url: str
    replaces: str
    endpoint: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that the route refers to."""
        return (self.endpoint, self.key) if self.endpoint else (self.key,)


PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType({
    "mistral": Provider(
        "Mistral", "/mistral", "MISTRAL_API_KEY",
        """\
  # http://127.0.0.1:4000/mistral/v1/ocr goes to https://api.mistral.ai/v1/ocr
  - path: /mistral
    target: https://api.mistral.ai
    include_subpath: true            # everything below the path, too
    forward_headers: true            # the client's headers cross, its credentials never do
    headers: {Authorization: Bearer os.environ/MISTRAL_API_KEY}   # of .env, or of the environment
""",
        "/mistral", "https://api.mistral.ai",
    ),
    "azure": Provider(
        "Azure", "/azure", "AZURE_API_KEY",
        """\
  # clients call /azure/providers/mistral/azure/ocr?api-version=2024-05-01-preview
  - path: /azure
    target: os.environ/AZURE_ENDPOINT   # https://….services.ai.azure.com: of .env, or of the environment
    include_subpath: true            # everything below the path, too
    forward_headers: true            # the client's headers cross, its credentials never do
    headers: {api-key: os.environ/AZURE_API_KEY}
    meter: {model: azure/mistral-document-ai-2512}   # Azure's responses name a deployment: this is the model for the price
""",
        "/azure", "your resource's address", "AZURE_ENDPOINT",
    ),
    "aimlapi": Provider(
        "AI/ML API", "/aiml", "AIML_API_KEY",
        """\
  # http://127.0.0.1:4000/aiml/v1/ocr goes to https://api.aimlapi.com/v1/ocr
  - path: /aiml
    target: https://api.aimlapi.com
    include_subpath: true            # everything below the path, too
    forward_headers: true            # the client's headers cross, its credentials never do
    headers: {Authorization: Bearer os.environ/AIML_API_KEY}   # of .env, or of the environment
    meter: {cost_header: x-aimlapi-usd-spent}   # the provider states what each call has cost
""",
        "/aiml", "https://api.aimlapi.com",
    ),
})  # fmt: skip
"""What `--provider` may be."""


def client_key() -> str:
    """Return a new client key."""
    return f"pt-{secrets.token_urlsafe(32)}"


def checked_name(text: str) -> str:
    """Return a client's name. Raises InvalidValue."""
    if text == MASTER:
        raise InvalidValue(f"'{MASTER}' is what calls with the master key are booked as.", "Choose another name.")
    return name(text)


def routes_yaml(provider: Provider, client: str, key: str) -> str:
    """Return the configuration: the provider's route, and a client by the hash of its key."""
    digest = sha256(key.encode()).hexdigest()
    return f"""\
# What this means:  passthrough check
# Every setting:    docs/configuration.md; for editors: passthrough schema > routes.schema.json
# It is read again when it changes, .env beside it too.
pass_through_endpoints:
{provider.route}
# Who may call. Another one: passthrough keygen NAME
client_keys:
  - {{name: {json.dumps(client)}, key: "sha256:{digest}"}}

ledger: sqlite:///passthrough.db     # relative to the working directory
"""


def env(provider: Provider, values: Mapping[str, str]) -> str:
    """Return the `.env` with the values of the provider's variables; one without a value is to be filled in."""
    lines = [f"# Keys for {provider.title}: keep this file to yourself."]
    lines += [f"{variable}={_quoted(values.get(variable, ''))}" for variable in provider.variables]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    if not value or _UNQUOTED.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def write(files: Sequence[tuple[Path, str, bool]]) -> None:
    """Write files that are not there yet, each a path, its text, and whether it is private: all of them, or none.

    Raises StarterError.
    """
    made: list[Path] = []
    try:
        for path, text, is_private in files:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE if is_private else _PUBLIC)
            made.append(path)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
    except OSError as error:
        _remove(made)
        raise StarterError(f"{path} cannot be written: {error.strerror}.\n  Nothing was written.") from None
    except BaseException:  # Ctrl-C
        _remove(made)
        raise


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        with suppress(OSError):
            file.unlink()
