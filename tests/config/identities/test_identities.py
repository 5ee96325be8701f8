"""`upstream_auth`: what each form becomes, the variables that serve, files, and every rule with its line and its words."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from passthrough.config.load import load
from passthrough.config.model import Config
from passthrough.config.reload import named_files
from passthrough.credentials.identity import EntraIdentity, GoogleIdentity, Identity
from passthrough.secret import Secret
from tests.harness.configs import loaded, problems, written
from tests.harness.google_files import service_account
from tests.harness.token_servers import ACCOUNT

CANARY = "canary-0123456789"
ENCODED = base64.b64encode(b'{\n  "type": "service_account",\n  "private_key": "-----BEGIN').decode()
JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnktYXNzZXJ0aW9uLTAxMjM0NSJ9.canary"
SERVICE = json.dumps(json.loads(service_account()), separators=(",", ":"), sort_keys=True)


def endpoint(auth: object, /, **more: Any) -> str:
    """Return a file with one route and its upstream_auth, on one line."""
    return json.dumps({"pass_through_endpoints": [{"path": "/a", "target": "http://h.example", "upstream_auth": auth, **more}]})


def one(config: Config) -> Identity:
    """Return the identity of the only route."""
    (identity,) = config.identities
    assert identity == config.routes[0].upstream_auth
    return identity


GOOGLE: list[tuple[object, dict[str, str], GoogleIdentity, str]] = [
    ({}, {}, GoogleIdentity(), "the machine's own"),
    ({}, {"GOOGLE_APPLICATION_CREDENTIALS": ""}, GoogleIdentity(), "the machine's own"),
    ({}, {"GOOGLE_APPLICATION_CREDENTIALS": "here.json"}, GoogleIdentity(Secret(SERVICE)),
     f"GOOGLE_APPLICATION_CREDENTIALS ({ACCOUNT})"),
    ({"credentials": "sa.json"}, {"GOOGLE_APPLICATION_CREDENTIALS": "no.json"}, GoogleIdentity(Secret(SERVICE)),
     f"sa.json ({ACCOUNT})"),
    ({"credentials": "os.environ/KEY"}, {"KEY": "sa.json"}, GoogleIdentity(Secret(SERVICE)), f"KEY ({ACCOUNT})"),
    ({"credentials": "os.environ/KEY"}, {"KEY": "\n" + service_account()}, GoogleIdentity(Secret(SERVICE)), f"KEY ({ACCOUNT})"),
    ({"credentials": service_account()}, {}, GoogleIdentity(Secret(SERVICE)), f"JSON ({ACCOUNT})"),
    ({"credentials": json.loads(service_account())}, {}, GoogleIdentity(Secret(SERVICE)), f"JSON ({ACCOUNT})"),
    ({"scopes": "https://www.googleapis.com/auth/devstorage.read_only"}, {},
     GoogleIdentity(scopes=("https://www.googleapis.com/auth/devstorage.read_only",)), "the machine's own"),
    ({"scopes": ["a", "b"]}, {}, GoogleIdentity(scopes=("a", "b")), "the machine's own"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("part", "environ", "expected", "name"), GOOGLE)
def test_google(tmp_path: Path, part: object, environ: dict[str, str], expected: GoogleIdentity, name: str) -> None:
    """Credentials are a file beside the configuration, or JSON; else those of Google's variable; else the machine's."""
    for file in ("sa.json", "here.json"):
        (tmp_path / file).write_text(service_account())
    found = one(loaded(tmp_path, endpoint({"google": part}), environ))
    assert (expected, name) == (found, found.name)
    assert CANARY not in repr(found)


APPLICATION = {"tenant_id": "t.example", "client_id": "c"}
VARIABLES = {"AZURE_TENANT_ID": "vt", "AZURE_CLIENT_ID": "vc", "AZURE_CLIENT_SECRET": CANARY}
TOKEN_FILE = {"AZURE_FEDERATED_TOKEN_FILE": "token.jwt"}
SECRET = EntraIdentity("t.example", "c", Secret(CANARY))
FILE = EntraIdentity("t.example", "c", None, "{}/token.jwt")
MACHINE = EntraIdentity(managed_identity=True)

ENTRA: list[tuple[dict[str, object], dict[str, str], EntraIdentity, str]] = [
    ({**APPLICATION, "client_secret": "os.environ/S"}, {"S": CANARY}, SECRET, "S (c)"),
    ({**APPLICATION, "client_secret": CANARY}, {}, SECRET, "client_secret (c)"),
    (APPLICATION, VARIABLES, SECRET, "AZURE_CLIENT_SECRET (c)"),
    ({}, VARIABLES, EntraIdentity("vt", "vc", Secret(CANARY)), "AZURE_CLIENT_SECRET (vc)"),
    ({}, {**VARIABLES, **TOKEN_FILE}, EntraIdentity("vt", "vc", Secret(CANARY)), "AZURE_CLIENT_SECRET (vc)"),
    (APPLICATION, TOKEN_FILE, FILE, "AZURE_FEDERATED_TOKEN_FILE (c)"),
    ({**APPLICATION, "federated_token_file": "token.jwt"}, VARIABLES, FILE, "token.jwt (c)"),
    ({"managed_identity": True}, {}, MACHINE, "managed identity"),
    ({"managed_identity": "yes", "client_id": "c"}, VARIABLES, replace(MACHINE, client_id="c"), "managed identity (c)"),
    ({"managed_identity": True}, VARIABLES | TOKEN_FILE, replace(MACHINE, client_id="vc"), "managed identity (vc)"),
    ({"managed_identity": False}, VARIABLES, EntraIdentity("vt", "vc", Secret(CANARY)), "AZURE_CLIENT_SECRET (vc)"),
    ({**APPLICATION, "client_secret": CANARY, "scope": "https://ai.azure.com/.default"}, {},
     replace(SECRET, scope="https://ai.azure.com/.default"), "client_secret (c)"),
    ({**APPLICATION, "client_secret": CANARY, "authority": "https://login.chinacloudapi.cn/"},
     {"AZURE_AUTHORITY_HOST": "login.microsoftonline.us"}, replace(SECRET, authority="https://login.chinacloudapi.cn"),
     "client_secret (c)"),
    ({**APPLICATION, "client_secret": CANARY}, {"AZURE_AUTHORITY_HOST": "login.microsoftonline.us"},
     replace(SECRET, authority="https://login.microsoftonline.us"), "client_secret (c)"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("part", "environ", "expected", "name"), ENTRA)
def test_entra(tmp_path: Path, part: dict[str, object], environ: dict[str, str], expected: EntraIdentity, name: str) -> None:
    """One of three proves who asks; variables of the Azure SDK serve where a key is not written."""
    (tmp_path / "token.jwt").touch()
    found = one(loaded(tmp_path, endpoint({"entra": part}), environ))
    if expected.federated_token_file is not None:
        expected = replace(expected, federated_token_file=expected.federated_token_file.format(tmp_path))
    assert (expected, name) == (found, found.name)
    assert CANARY not in repr(found)


ROUTE, A, G, E = "pass_through_endpoints[0]", "pass_through_endpoints[0].upstream_auth", "google", "entra"
NO_IDENTITY, TWO, BOTH = "There is no identity here.", "There are two identities here.", "Write exactly one of"
TWICE = "There are two credentials: upstream_auth sets Authorization."
NO_PROOF = (
    "Nothing proves this identity: no client_secret, and neither AZURE_CLIENT_SECRET nor AZURE_FEDERATED_TOKEN_FILE is set."
)
OF_MACHINE = "The machine knows where its identity belongs: this does nothing beside managed_identity."
WHOLE = {**APPLICATION, "client_secret": CANARY}

WRONG: list[tuple[object, dict[str, Any], str, str, str]] = [
    ({}, {}, A, NO_IDENTITY, BOTH),
    ({G: {}, E: WHOLE}, {}, A, TWO, BOTH),
    ("google", {}, A, "A mapping (key: value) is expected here.", "{key: value}"),
    ({G: None}, {}, f"{A}.google", "There is no value here.", "Write 'google: {}'"),
    ({"gogle": {}}, {}, f"{A}.gogle", "There is no such key here.", "'google'"),
    ({"azure": WHOLE}, {}, f"{A}.azure", "There is no such key here.", "Did you mean 'entra'?"),
    ({"vertex": {}}, {}, f"{A}.vertex", "There is no such key here.", "Did you mean 'google'?"),
    ({G: {"credential": "x"}}, {}, f"{A}.google.credential", "There is no such key here.", "'credentials'"),
    ({G: {}}, {"headers": {"AUTHORIZATION": "x"}}, f"{ROUTE}.headers.AUTHORIZATION", TWICE, "Remove this header"),
    ({E: WHOLE}, {"headers": {"Api-Key": "x"}}, f"{ROUTE}.headers.Api-Key", TWICE, "Remove this header"),
    ({G: {}}, {"forward_credentials": True, "auth": False}, f"{ROUTE}.forward_credentials",
     "There are two credentials: upstream_auth replaces the client's own.", "Remove forward_credentials"),
    ({G: {"credentials": "no.json"}}, {}, f"{A}.google.credentials no.json", "There is no such file.", "configuration's folder"),
    ({G: {"credentials": "."}}, {}, f"{A}.google.credentials .", "This is no file.", "configuration's folder"),
    ({G: {"credentials": "binary"}}, {}, f"{A}.google.credentials binary", "The file is not UTF-8 text.", "credentials file"),
    ({G: {"credentials": "large"}}, {}, f"{A}.google.credentials large", "The file is too large for credentials.", "credentials"),
    ({G: {"credentials": "x" * 300}}, {}, f"{A}.google.credentials {'x' * 200}…", "The file cannot be read: File name too long.",
     "permissions"),
    ({G: {"credentials": "text"}}, {}, f"{A}.google.credentials text", "The credentials are not JSON.", "as Google made it"),
    ({G: {"credentials": " "}}, {}, f"{A}.google.credentials", "There is nothing in it.", "os.environ/NAME"),
    ({G: {"credentials": "a\0"}}, {}, f"{A}.google.credentials", "This is not the name of a file.", "cert.pem"),
    ({G: {"credentials": "-----BEGIN PRIVATE KEY-----"}}, {}, f"{A}.google.credentials",
     "This is not the name of a file, but what stands in one.", "into a file"),
    ({G: {"credentials": ENCODED}}, {}, f"{A}.google.credentials",
     "This is not the name of a file, but what stands in one.", "into a file"),
    ({E: {**APPLICATION, "federated_token_file": JWT}}, {}, f"{A}.entra.federated_token_file",
     "This is not the name of a file, but what stands in one.", "into a file"),
    ({G: {"credentials": '{"type": "x"'}}, {}, f"{A}.google.credentials", "The credentials are not JSON.", "as Google made it"),
    ({G: {"credentials": "os.environ/NOT_SET"}}, {}, f"{A}.google.credentials", "NOT_SET is not set.", "remove this setting"),
    ({G: {"credentials": "os.environ/SECRET"}}, {}, f"{A}.google.credentials (from SECRET)", "There is no such file.", "folder"),
    ({G: {"scopes": ["a b"]}}, {}, f"{A}.google.scopes[0]", "This is not a scope of Google's.", "cloud-platform"),
    ({E: APPLICATION}, {}, f"{A}.entra", NO_PROOF, "managed_identity"),
    ({E: {"client_secret": CANARY, "client_id": "c"}}, {}, f"{A}.entra",
     "The identity has no tenant_id, and AZURE_TENANT_ID is not set.", "AZURE_TENANT_ID"),
    ({E: {"client_secret": CANARY, "tenant_id": "t"}}, {}, f"{A}.entra",
     "The identity has no client_id, and AZURE_CLIENT_ID is not set.", "AZURE_CLIENT_ID"),
    ({E: {**WHOLE, "federated_token_file": "text"}}, {}, f"{A}.entra.federated_token_file",
     "There are 2 proofs of one identity: client_secret, federated_token_file.", "Keep one"),
    ({E: {"client_secret": CANARY, "managed_identity": True}}, {}, f"{A}.entra.managed_identity",
     "There are 2 proofs of one identity: client_secret, managed_identity.", "Keep one"),
    ({E: {"tenant_id": "t", "managed_identity": True}}, {}, f"{A}.entra.tenant_id", OF_MACHINE, "Remove"),
    ({E: {"authority": "https://h", "managed_identity": True}}, {}, f"{A}.entra.authority", OF_MACHINE, "Remove"),
    ({E: {"managed_identity": "maybe"}}, {}, f"{A}.entra.managed_identity", "true or false is expected here.", "true"),
    ({E: {**APPLICATION, "federated_token_file": "no.jwt"}}, {}, f"{A}.entra.federated_token_file no.jwt",
     "There is no such file.", "platform"),
    ({E: {**WHOLE, "client_secret": ""}}, {}, f"{A}.entra.client_secret", "There is nothing in it.", "os.environ/NAME"),
    ({E: {**WHOLE, "client_id": "a b"}}, {}, f"{A}.entra.client_id", "This is not the id of a client.", "portal"),
    ({E: {**WHOLE, "client_id": "Abc8Q~secret.0123456789"}}, {}, f"{A}.entra.client_id", "This is not the id of a client.",
     "portal"),
    ({E: {**WHOLE, "tenant_id": "a/b"}}, {}, f"{A}.entra.tenant_id", "This is not a tenant.", "portal"),
    ({E: {**WHOLE, "scope": "https://ai.azure.com"}}, {}, f"{A}.entra.scope",
     "This is not a scope of Entra: a program asks for one that ends in '/.default'.", "/.default"),
    ({E: {**WHOLE, "authority": "http://h"}}, {}, f"{A}.entra.authority", "An authority is asked with TLS only.", "https://"),
    ({E: {**WHOLE, "authority": "https://h?a=b"}}, {}, f"{A}.entra.authority", "An authority has no query.", "microsoftonline"),
    ({E: {**WHOLE, "authority": "a b"}}, {}, f"{A}.entra.authority", "The authority holds a space or a control character.",
     "%20"),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("auth", "more", "key", "what", "hint"), WRONG)
def test_what_cannot_be_used(tmp_path: Path, auth: object, more: dict[str, Any], key: str, what: str, hint: str) -> None:
    """Each rule has its place and its words, and is the only problem; a value that may be a secret is never shown."""
    for file, content in (("binary", b"\xff"), ("large", b"x" * 1_000_001), ("text", b"text")):
        (tmp_path / file).write_bytes(content)
    (found,) = problems(tmp_path, endpoint(auth, **more), {"SECRET": CANARY})
    assert (1, key, what) == (found.line, found.key, found.what)
    assert hint in found.hint
    assert CANARY not in str(found)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("auth", "environ", "key", "what"),
    [
        ({G: {}}, {"GOOGLE_APPLICATION_CREDENTIALS": "no.json"}, f"{A}.google (from GOOGLE_APPLICATION_CREDENTIALS)",
         "There is no such file."),
        ({E: APPLICATION}, {"AZURE_FEDERATED_TOKEN_FILE": "no.jwt"}, f"{A}.entra AZURE_FEDERATED_TOKEN_FILE",
         "There is no such file."),
        ({E: {"client_id": "c"}}, {**VARIABLES, "AZURE_TENANT_ID": "a b"}, f"{A}.entra AZURE_TENANT_ID", "This is not a tenant."),
        ({E: {"tenant_id": "t"}}, {**VARIABLES, "AZURE_CLIENT_ID": "a b"}, f"{A}.entra AZURE_CLIENT_ID",
         "This is not the id of a client."),
        ({E: {}}, {**VARIABLES, "AZURE_AUTHORITY_HOST": "http://h"}, f"{A}.entra AZURE_AUTHORITY_HOST",
         "An authority is asked with TLS only."),
    ],
)  # fmt: skip
def test_variables_that_cannot_be_used(tmp_path: Path, auth: object, environ: dict[str, str], key: str, what: str) -> None:
    """A variable that serves for a key is named where it is wrong."""
    assert [(key, what)] == [(each.key, each.what) for each in problems(tmp_path, endpoint(auth), environ)]


@pytest.mark.fast
def test_files_are_relative_to_the_configuration_and_those_of_variables_to_the_working_directory(tmp_path: Path) -> None:
    """As for certificates: what a key of the file names is beside it; `.env` gives variables, too."""
    folder, cwd = tmp_path / "etc", tmp_path / "cwd"
    folder.mkdir()
    cwd.mkdir()
    (folder / "sa.json").write_text(service_account())
    (cwd / "adc.json").write_text(service_account(private_key_id="9"))
    (folder / ".env").write_text("GOOGLE_APPLICATION_CREDENTIALS=adc.json\n")
    text = "pass_through_endpoints:\n" + "".join(
        f"- {{path: /{name}, target: 'http://h', upstream_auth: {{google: {{{part}}}}}}}\n"
        for name, part in (("a", "credentials: sa.json"), ("b", ""), ("c", "credentials: sa.json"))
    )
    config = load(written(folder, text), {}, cwd=cwd)
    assert 2 == len(config.identities)
    assert (str(cwd / "adc.json"), str(folder / "sa.json")) == config.credential_files
    assert {cwd / "adc.json", folder / "sa.json"} <= set(named_files(config))


@pytest.mark.fast
def test_the_same_credentials_are_one_identity(tmp_path: Path) -> None:
    """However they are written; other scopes, and another way to the token's server, make another one."""
    (tmp_path / "sa.json").write_text(service_account())
    parts = ["credentials: sa.json", "credentials: os.environ/K", "credentials: sa.json, scopes: x", "credentials: sa.json"]
    text = "pass_through_endpoints:\n" + "".join(
        f"- {{path: /{number}, target: 'http://h', upstream_auth: {{google: {{{part}}}}}{more}}}\n"
        for number, (part, more) in enumerate(zip(parts, ("", "", "", ", proxy: 'http://u:p@proxy:3128'"), strict=True))
    )
    config = loaded(tmp_path, text, {"K": service_account()})
    first, second, other, behind = (route.upstream_auth for route in config.routes)
    assert first == second
    assert (first, other, behind) == config.identities
    assert Secret("http://u:p@proxy:3128") == (behind and behind.proxy)
    assert "u:p" not in repr(behind)


@pytest.mark.fast
@pytest.mark.parametrize("auth", [{G: {"credentials": "os.environ/U"}}, {E: {"tenant_id": "t", "client_secret": "os.environ/U"}}])
def test_in_the_sandbox_no_identity_is_needed(tmp_path: Path, auth: object) -> None:
    """Nobody asks for tokens of targets that are not called; a variable that is not set does no harm."""
    config = loaded(tmp_path, endpoint(auth), {}, sandbox=True)
    assert ((), ()) == (config.identities, config.credential_files)
    assert ["U is not set."] == [each.what for each in problems(tmp_path, endpoint(auth), VARIABLES) if "not set" in each.what]


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Without(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"google", "azure"}:
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, Without())
sys.argv = ["passthrough", "check"]
from passthrough.cli.main import main
main()
"""


def without_extras(folder: Path, environ: Mapping[str, str]) -> tuple[int, str]:
    """Run `check` where the libraries of the extras are not installed; return the exit code and what it prints."""
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    return run.returncode, run.stdout + run.stderr


@pytest.mark.process
def test_a_missing_extra_is_a_problem_with_the_command_that_installs_it(tmp_path: Path) -> None:
    """Of endpoints, targets and deployments; not in a file that needs no token."""
    key = {"model": "mistral/mistral-ocr-latest", "api_key": "k" * 16}
    vertex = {"model": "vertex_ai/mistral-ocr-2505", "vertex_project": "p"}
    models = [{"model_name": "a", "litellm_params": key}, {"model_name": "b", "litellm_params": vertex}]
    targets = [{"target": "http://h.example", "upstream_auth": {E: {"managed_identity": True}}}, {"target": "http://g.example"}]
    routes = [{"path": "/a", "target": "http://h.example", "upstream_auth": {G: {}}}, {"path": "/b", "targets": targets}]
    written(tmp_path, json.dumps({"pass_through_endpoints": routes, "model_list": models, "ledger": "none"}, indent=1))
    code, said = without_extras(tmp_path, {})
    assert 2 == code
    assert ["[google]", "[azure]", "[google]"] == [line[-9:].strip("r'") for line in said.splitlines() if "pip install" in line]
    for place in ("[0].upstream_auth.google", "[1].targets[0].upstream_auth.entra", "model_list[1].litellm_params"):
        assert f"{place}: The tokens of this identity are fetched by libraries that are not installed" in said
    written(tmp_path, json.dumps({"pass_through_endpoints": [{"path": "/a", "target": "http://h"}], "ledger": "none"}))
    assert 0 == without_extras(tmp_path, {})[0]


@pytest.mark.fast
def test_two_credentials_are_said_where_one_of_them_is_not_set_too(tmp_path: Path) -> None:
    """A variable that is not set, of a header that should not be there: both in one run."""
    text = endpoint({"google": {}}, headers={"Authorization": "Bearer os.environ/UNSET"})
    found = problems(tmp_path, text, {})
    assert ["UNSET is not set.", TWICE] == sorted((each.what for each in found), reverse=True)
    assert {f"{ROUTE}.headers.Authorization"} == {each.key for each in found}
