"""What a Google credentials file must hold: each type, and each fault in our words, without a secret."""

from __future__ import annotations

import json
from typing import Any

import google.auth
import pytest

from passthrough.config.identities.google_credentials import checked
from passthrough.config.problems import InvalidValue
from tests.harness.google_files import service_account
from tests.harness.token_servers import ACCOUNT

CANARY = "canary-0123456789"
URL = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/other@p.iam.gserviceaccount.com:generateAccessToken"
USER = {"type": "authorized_user", "client_id": "id.apps", "client_secret": CANARY, "refresh_token": CANARY}
POOL = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
    "credential_source": {"file": "/var/run/token"},
}
WORKFORCE = {**USER, "type": "external_account_authorized_user", "token_url": "https://sts.googleapis.com/v1/oauthtoken"}
OTHER = {"type": "impersonated_service_account", "service_account_impersonation_url": URL, "source_credentials": USER}

FINE: list[tuple[dict[str, Any], str]] = [
    (json.loads(service_account()), ACCOUNT),
    (USER, "id.apps"),
    ({**USER, "account": "me@company.example"}, "me@company.example"),
    (POOL, POOL["audience"]),
    ({**POOL, "service_account_impersonation_url": URL}, "other@p.iam.gserviceaccount.com"),
    (WORKFORCE, "id.apps"),
    (OTHER, "other@p.iam.gserviceaccount.com"),
    ({**OTHER, "source_credentials": json.loads(service_account())}, "other@p.iam.gserviceaccount.com"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("info", "account"), FINE)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_type_that_is_served(info: dict[str, Any], account: str) -> None:
    """The account is named; the text that comes out is the same however it was spelt, and google-auth can use it."""
    text, named = checked(json.dumps(info, indent=4))
    assert (info, account[:100]) == (json.loads(text), named.removesuffix("…"))
    assert (text, named) == checked(json.dumps(dict(reversed(info.items()))))
    if info["type"] != "external_account":  # whose loader asks for its project
        google.auth.load_credentials_from_dict(json.loads(text))


@pytest.mark.fast
def test_line_breaks_that_env_files_make_of_escapes() -> None:
    """Between double quotes `.env` turns the `\\n` of a key into line breaks: what comes out is the same."""
    assert checked(service_account()) == checked(service_account().replace("\\n", "\n"))


KEY = "The credentials' 'private_key' is no private key as PEM (-----BEGIN PRIVATE KEY-----)."
PRIVATE = json.loads(service_account())["private_key"]
SOURCE = "The credentials' 'source_credentials' are of a type that cannot ask for another account."

FAULTS: list[tuple[str, str, str]] = [
    ("{", "The credentials are not JSON.", "as Google made it"),
    ("{" * 100_000, "The credentials are not JSON.", "as Google made it"),
    ("[]", "The credentials are no JSON object ({…}).", "as Google made it"),
    ("{}", "The credentials' 'type' is none of", "Make a key of a service account"),
    ('{"type": {}}', "The credentials' 'type' is none of", "Make a key of a service account"),
    ('{"type": "service-account"}', "The credentials' 'type' is none of", "Did you mean 'service_account'?"),
    ('{"type": "gdch_service_account"}', "The credentials' 'type' is none of", "Did you mean 'service_account'?"),
    ('{"installed": {"client_id": "x"}}', "The credentials' 'type' is none of", "This is an OAuth client"),
    ('{"web": {"client_id": "x"}}', "The credentials' 'type' is none of", "This is an OAuth client"),
    (service_account(private_key=None), "The credentials (type service_account) have no 'private_key'.", "as Google made it"),
    (service_account(token_uri=""), "The credentials (type service_account) have no 'token_uri'.", "as Google made it"),
    (service_account(client_email=["x"]), "The credentials' 'client_email' is not what stands there.", "as Google made it"),
    (service_account(client_email={"x": "y"}), "The credentials' 'client_email' is not what stands there.", "as Google made it"),
    (service_account(token_uri="oauth2.googleapis.com"), "The credentials' 'token_uri' is not a URL.", "as Google made it"),
    (service_account(token_uri="file:///etc/passwd"), "A credentials' 'token_uri' begins with http:// or https://.", "Google"),
    (service_account(token_url=5), "The credentials' 'token_url' is not a URL.", "as Google made it"),
    (service_account(private_key=CANARY), KEY, "as Google made it"),
    (service_account(private_key=PRIVATE.replace("PRIVATE", "PUBLIC")), KEY, "as Google made it"),
    (service_account(private_key=PRIVATE[:300]), KEY, "as Google made it"),
    (service_account(private_key=PRIVATE.replace("A", "!", 1)), KEY, "as Google made it"),
    (service_account(private_key=PRIVATE.replace("\n-----END", "A\n-----END")), KEY, "as Google made it"),
    (service_account(private_key=PRIVATE.replace("PRIVATE", "ENCRYPTED PRIVATE")),
     "The credentials' 'private_key' is encrypted.", "without a password"),
    (service_account(private_key=PRIVATE.replace("\n", "\\n")),
     "The line breaks of the credentials' 'private_key' are spelt twice: \\\\n instead of \\n.", "single quotes"),
    (json.dumps({**USER, "refresh_token": None}), "The credentials (type authorized_user) have no 'refresh_token'.", "Google"),
    (json.dumps({**POOL, "credential_source": "x"}), "The credentials' 'credential_source' is not what stands there.", "Google"),
    (json.dumps({**OTHER, "service_account_impersonation_url": "https://h/x"}),
     "The credentials' 'service_account_impersonation_url' names no account.", "as Google made it"),
    (json.dumps({**OTHER, "source_credentials": POOL}), SOURCE, "as Google made it"),
    (json.dumps({**OTHER, "source_credentials": OTHER}), SOURCE, "as Google made it"),
    (json.dumps({**OTHER, "source_credentials": {**USER, "client_id": ""}}),
     "The credentials (type authorized_user) have no 'client_id'.", "as Google made it"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("text", "what", "hint"), FAULTS)
def test_what_is_wrong(text: str, what: str, hint: str) -> None:
    """What is missing or wrong is named by its key; no value is shown."""
    with pytest.raises(InvalidValue) as caught:
        checked(text)
    assert caught.value.what.startswith(what)
    assert hint in caught.value.hint
    assert CANARY not in caught.value.what + caught.value.hint
