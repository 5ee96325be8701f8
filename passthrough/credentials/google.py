"""Fetches Google's tokens, by google-auth."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .identity import GoogleIdentity
from .messages import secrets_in
from .token import FetchError

if TYPE_CHECKING:
    from .bounded_session import BoundedSession


def fetch(identity: GoogleIdentity, session: BoundedSession, environ: Mapping[str, str]) -> tuple[Any, float | None]:
    """Return a token and when it ends, in seconds since the epoch, if that is known. Raises FetchError, and google-auth's errors.

    Without `info` these are asked, as Google's application default credentials have it: the file of
    GOOGLE_APPLICATION_CREDENTIALS, the one that gcloud wrote, the metadata server. google-auth's own search also runs gcloud, to
    find a project, and probes for the server; neither is needed for a token.
    """
    from google.auth.transport.requests import Request  # noqa: PLC0415 - an optional extra

    text = _default(environ) if identity.info is None else identity.info.reveal()
    credentials = _of_machine(identity.scopes) if text is None else _of_file(text, identity.scopes, session)
    try:
        credentials.refresh(Request(session))
    except FetchError as error:
        if text is None:
            what = "Neither GOOGLE_APPLICATION_CREDENTIALS nor gcloud gives credentials here, and"
            raise FetchError(f"{what} {str(error)[0].lower()}{str(error)[1:]}", error.sort) from None
        raise
    expiry = credentials.expiry
    return credentials.token, expiry and (expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)).timestamp()


def _of_machine(scopes: tuple[str, ...]) -> Any:
    from google.auth import compute_engine  # noqa: PLC0415

    return compute_engine.Credentials(scopes=scopes)


def _of_file(text: str, scopes: tuple[str, ...], session: BoundedSession) -> Any:
    """Return the credentials of a file of this text. google-auth's generic loader is deprecated: a type is named to it."""
    try:
        info = json.loads(text)
    except (ValueError, RecursionError):
        raise FetchError("The Google credentials are not JSON.") from None
    if not isinstance(info, dict):
        raise FetchError("The Google credentials are no JSON object.")
    session.secrets |= secrets_in(info)
    kind = info.get("type")
    if kind == "service_account":
        from google.auth.exceptions import MalformedError  # noqa: PLC0415
        from google.oauth2 import service_account  # noqa: PLC0415

        try:
            return service_account.Credentials.from_service_account_info(info, scopes=scopes)
        except MalformedError:  # a field is missing, which it says
            raise
        except ValueError:
            why = "The private key of the Google credentials cannot be read: download the account's key file again."
            raise FetchError(why) from None
    if kind == "authorized_user":
        from google.oauth2.credentials import Credentials  # noqa: PLC0415

        return Credentials.from_authorized_user_info(info, scopes=scopes)
    if kind == "external_account":
        return _external(info, scopes)
    if kind == "external_account_authorized_user":
        from google.auth import external_account_authorized_user  # noqa: PLC0415

        return external_account_authorized_user.Credentials.from_info(info)
    if kind == "impersonated_service_account":
        from google.auth import impersonated_credentials  # noqa: PLC0415

        return impersonated_credentials.Credentials.from_impersonated_service_account_info(info, scopes=scopes)
    raise FetchError("The Google credentials have no 'type' that is known here: download the account's key file again.")


def _external(info: dict[str, Any], scopes: tuple[str, ...]) -> Any:
    """Return the credentials of an account elsewhere (workload identity federation), as google-auth's loader tells them apart."""
    from google.auth import aws, identity_pool, pluggable  # noqa: PLC0415

    source = info.get("credential_source")
    if info.get("subject_token_type") == "urn:ietf:params:aws:token-type:aws4_request":
        return aws.Credentials.from_info(info, scopes=scopes)
    if isinstance(source, dict) and source.get("executable") is not None:
        return pluggable.Credentials.from_info(info, scopes=scopes)
    return identity_pool.Credentials.from_info(info, scopes=scopes)


def _default(environ: Mapping[str, str]) -> str | None:
    """Return the text of the machine's credentials file, None where there is none."""
    named = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if named:
        return _read(Path(named), "the file of GOOGLE_APPLICATION_CREDENTIALS")
    if environ.get("CLOUDSDK_CONFIG"):
        folder = Path(environ["CLOUDSDK_CONFIG"])
    elif sys.platform == "win32":
        folder = Path(environ.get("APPDATA", "C:\\")) / "gcloud"
    else:
        folder = Path(os.path.expanduser("~")) / ".config" / "gcloud"
    written = folder / "application_default_credentials.json"
    return _read(written, "the file that gcloud wrote") if written.is_file() else None


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise FetchError(f"{path}, {what}, cannot be read: {reason}.") from None
