"""Builds the identities that a configuration names, each with what proves it; what is missing or wrong is noted."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ...credentials.fetchers import missing_extra
from ...credentials.identity import GOOGLE_SCOPES, EntraIdentity, GoogleIdentity, Identity
from ...extras import install_command
from ...secret import Secret
from .. import syntax, values
from ..problems import At, InvalidValue, Problems
from .google_credentials import checked
from .schema import EntraPart, GooglePart, UpstreamAuthPart

ADC: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_MACHINE: Final = "the machine's own"
_MAX_FILE_BYTES: Final = 1_000_000
_AUTHORITY: Final = "AZURE_AUTHORITY_HOST"
_VARIABLES: Final = {
    "tenant_id": ("AZURE_TENANT_ID", values.tenant_id),
    "client_id": ("AZURE_CLIENT_ID", values.client_id),
}
"""The keys of an Entra identity → the variables that serve where they are not written (as azure-identity reads them)."""

_SECRET: Final = "AZURE_CLIENT_SECRET"  # noqa: S105 - a variable's name
_TOKEN_FILE: Final = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105 - a variable's name
_PROOFS: Final = ("client_secret", "federated_token_file", "managed_identity")


@dataclass(frozen=True, slots=True)
class Identities:
    """Builds identities; each credentials file is read once. Where the sandbox replaces the target there are none.

    Names of files in the configuration are relative to `folder`, those in variables of their own to `cwd`.
    """

    folder: Path
    cwd: Path
    environ: Mapping[str, str]
    problems: Problems
    sandbox: bool = False
    _texts: dict[Path, str | InvalidValue] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """The credentials files so far, sorted: what is in them is part of the configuration."""
        return tuple(sorted(map(str, self._texts)))

    def of(
        self,
        auth: UpstreamAuthPart | None,
        at: At,
        *,
        headers: Iterable[str],
        forwards_credentials: bool = False,
        proxy: Secret | None = None,
    ) -> Identity | None:
        """Return whose token an endpoint's or a target's requests carry, None without `upstream_auth`, and where it is wrong.

        `at` is the place of the endpoint or target; `headers` are the names of those that are set beside. By `proxy` the target
        is reached, and so is the token's server.
        """
        if auth is None:
            return None
        place = (*at, "upstream_auth")
        if (auth.google is None) == (auth.entra is None):
            what = "There are two identities here." if auth.google else "There is no identity here."
            self.problems.wrong(place, what, "Write exactly one of 'google' and 'entra'.")
            return None
        for name in headers:
            if name.lower() == "authorization" or (name.lower() == "api-key" and auth.entra is not None):
                what = "There are two credentials: upstream_auth sets Authorization."
                self.problems.wrong((*at, "headers", name), what, "Remove this header, or upstream_auth.", despite=True)
        if forwards_credentials:
            what = "There are two credentials: upstream_auth replaces the client's own."
            self.problems.wrong((*at, "forward_credentials"), what, "Remove forward_credentials, or upstream_auth.")
        if auth.google is not None:
            return self.google(auth.google, (*place, "google"), proxy=proxy)
        return self.entra(auth.entra or EntraPart(), (*place, "entra"), proxy=proxy)

    def google(self, part: GooglePart, at: At, key: str = "credentials", *, proxy: Secret | None = None) -> GoogleIdentity | None:
        """Return a Google identity, None where it is wrong. `at` is the place of the part, `key` that of `credentials` in it."""
        if self.sandbox:
            return None
        self._check_extra(GoogleIdentity(), at)
        shape = GoogleIdentity(scopes=tuple(part.scopes) or GOOGLE_SCOPES, name=_MACHINE, proxy=proxy)
        if part.credentials is not None:
            return self._google(part.credentials, self.folder, (*at, key), shape)
        if self.environ.get(ADC):
            return self._google(Secret(self.environ[ADC], ADC), self.cwd, at, shape)
        return shape

    def _google(self, given: Secret, folder: Path, at: At, shape: GoogleIdentity) -> GoogleIdentity | None:
        text, variables = given.reveal(), "" if given.shown == "***" else given.shown
        named = ""
        try:
            if not text.lstrip().startswith("{"):
                file = values.file_name(text, variables)
                named = file.shown
                text = self._read(folder / file.text)
            info, account = checked(text)
        except InvalidValue as invalid:
            self.problems.wrong(at, invalid.what, invalid.hint, named=named)
            return None
        name = variables or named or "JSON"
        return replace(shape, info=Secret(info, name), name=f"{name} ({account})")

    def _read(self, file: Path) -> str:
        """Return what stands in a file. Raises InvalidValue where it cannot be read."""
        if file not in self._texts:
            self._texts[file] = _content(file)
        found = self._texts[file]
        if isinstance(found, InvalidValue):
            raise InvalidValue(found.what, found.hint)
        return found

    def entra(self, part: EntraPart, at: At, *, proxy: Secret | None = None) -> EntraIdentity | None:
        """Return an Entra identity, None where it is wrong. `at` is the place of the part."""
        if self.sandbox:
            return None
        self._check_extra(EntraIdentity(), at)
        given = [key for key in _PROOFS if getattr(part, key)]
        if len(given) > 1:
            what = f"There are {len(given)} proofs of one identity: {', '.join(given)}."
            self.problems.wrong((*at, given[1]), what, "Keep one of them.")
            return None
        client = part.client_id or self._variable(*_VARIABLES["client_id"], at)
        if part.managed_identity:
            for key in ("tenant_id", "authority"):
                if getattr(part, key) is not None:
                    what = "The machine knows where its identity belongs: this does nothing beside managed_identity."
                    self.problems.wrong((*at, key), what, "Remove it.")
            name = f"managed identity ({client})" if client else "managed identity"
            return EntraIdentity(client_id=client, managed_identity=True, scope=part.scope, name=name, proxy=proxy)
        tenant = part.tenant_id or self._variable(*_VARIABLES["tenant_id"], at)
        authority = part.authority or self._variable(_AUTHORITY, syntax.authority, at)
        secret, file = self._proof(part, at)
        for key, value in (("tenant_id", tenant), ("client_id", client)):
            if value is None and not self.environ.get(name := _VARIABLES[key][0]):
                self.problems.wrong(at, f"The identity has no {key}, and {name} is not set.", f"Add '{key}', or set {name}.")
        shown = _shown(secret, "client_secret") if file is None else file.shown
        return EntraIdentity(
            tenant, client, secret, None if file is None else file.text, scope=part.scope, authority=authority,
            name=f"{shown} ({client})", proxy=proxy,
        )  # fmt: skip

    def _proof(self, part: EntraPart, at: At) -> tuple[Secret | None, values.FileName | None]:
        """Return the client's secret, or the file of another issuer's token, which must be there: the environment's, where the
        part has none."""
        if part.client_secret is not None:
            return part.client_secret, None
        if part.federated_token_file is not None:
            return None, self._token_file(part.federated_token_file, self.folder, (*at, "federated_token_file"))
        if secret := self.environ.get(_SECRET):
            return Secret(secret, _SECRET), None
        if file := self.environ.get(_TOKEN_FILE):
            return None, self._token_file(values.FileName(file, _TOKEN_FILE), self.cwd, at)
        what = f"Nothing proves this identity: no client_secret, and neither {_SECRET} nor {_TOKEN_FILE} is set."
        hint = (
            "Add 'client_secret' (in upstream_auth 'federated_token_file' or 'managed_identity: true', too), or set one of these."
        )
        self.problems.wrong(at, what, hint)
        return None, None

    def _token_file(self, named: values.FileName, folder: Path, at: At) -> values.FileName | None:
        file = folder / named.text
        if not os.path.isfile(file):
            hint = "Name the file into which the platform writes the token, relative to the configuration's folder."
            self.problems.wrong(at, "There is no such file.", hint, named=named.shown)
            return None
        return values.FileName(str(file), named.shown)

    def _variable(self, name: str, parse: Callable[[str], str], at: At) -> str | None:
        """Return the value of a variable that serves where a key is not written; a wrong one is noted."""
        text = self.environ.get(name)
        if not text:
            return None
        try:
            return parse(text)
        except InvalidValue as invalid:
            self.problems.wrong(at, invalid.what, invalid.hint, named=name)
            return None

    def _check_extra(self, identity: Identity, at: At) -> None:
        """Note an extra that is needed and not there; nothing is imported for that, which would take a third of a second."""
        if (extra := missing_extra(identity)) is not None:
            what = f"The tokens of this identity are fetched by libraries that are not installed: the extra '{extra}'."
            self.problems.wrong(at, what, f"Install them: {install_command(extra)}")


def _shown(secret: Secret | None, otherwise: str) -> str:
    return otherwise if secret is None or secret.shown == "***" else secret.shown


def _content(file: Path) -> str | InvalidValue:
    hint = "Name a credentials file of Google's, relative to the configuration's folder, or write its JSON."
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # reading a pipe would block
            return InvalidValue("This is no file.", hint)
        with file.open("rb") as stream:
            text = stream.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return InvalidValue("There is no such file.", hint)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name is not one"
        return InvalidValue(f"The file cannot be read: {why}.", "Check its name and permissions.")
    if len(text) > _MAX_FILE_BYTES:
        return InvalidValue("The file is too large for credentials.", hint)
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError:
        return InvalidValue("The file is not UTF-8 text.", hint)
