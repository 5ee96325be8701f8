"""A placeholder that is not replaced here is a problem; a real key that looks a little like one is taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from passthrough.config.load import load_ledger_url
from passthrough.config.placeholders import placeholder
from passthrough.errors import ConfigError
from tests.harness.configs import ROUTE, loaded, problems
from tests.harness.process import command

SPELT = {
    "${NAME}": "NAME",
    "${name}": "name",
    "${NAME:-a-default}": "NAME",
    "${NAME?is needed}": "NAME",
    "${env:NAME}": "NAME",
    "$NAME": "NAME",
    "$MISTRAL_API_KEY_2": "MISTRAL_API_KEY_2",
    "$mistral_api_key": "mistral_api_key",
    "$(NAME)": "NAME",
    "$env:NAME": "NAME",
    "%NAME%": "NAME",
    "%(NAME)s": "NAME",
    "#{NAME}#": "NAME",
    "os.environ.NAME": "NAME",
    'os.environ["NAME"]': "NAME",
    "os.environ['NAME']": "NAME",
    "os.environ[NAME]": "NAME",
    'os.environ.get("NAME", "")': "NAME",
    "os.getenv('NAME')": "NAME",
    "os.environ:NAME": "NAME",
    "os.environ\\NAME": "NAME",
    "os.enviorn/NAME": "NAME",
    "OS.ENVIRON/NAME": "NAME",
    "process.env.NAME": "NAME",
    "ENV['NAME']": "NAME",
    "env:NAME": "NAME",
    "env/NAME": "NAME",
    "env.NAME": "NAME",
    "environ/NAME": "NAME",
    "{{NAME}}": "NAME",
    "{{ .Values.NAME | quote }}": "NAME",
    "${{ secrets.NAME }}": "NAME",
    "{{ lookup('env', 'NAME') }}": "",
    "${}": "",
    "<your-key>": "",
    "<API key of Mistral>": "",
}
"""What stands for a variable elsewhere → its name, empty where it has none that could be named."""

REAL = [
    "sk-0123456789abcdef",
    "sk-abc$def",
    "sk-abc$DEF",
    "pa$$word",
    "$ecretKey123456",
    "$2b$12$abcdefghijklmnopqrstuv",
    "$1$abcdefgh",
    "a${NAME}b",
    "x%NAME%y",
    "$NAME$NAME",
    "%41%42",
    "100%off%",
    "$",
    "$$",
    "${",
    "%%",
    "<",
    "a<b>c",
    "env:production",
    "env.example.com",
    "journal/env",
    "os.path",
    "process.env",
    "{name}",
    "[NAME]",
    "NAME",
    "-----BEGIN CERTIFICATE-----",
    "$" + "A" * 3000,
]
"""Values that only hold what placeholders are made of."""


@pytest.mark.parametrize("text", SPELT)
def test_placeholders(text: str) -> None:
    """Each spelling, bare, in quotes of its own, and behind a scheme."""
    for spelt in (text, f"'{text}'", f'"{text}"', f" {text} ", f"Bearer {text}", f"api-key={text}"):
        assert SPELT[text] == placeholder(spelt)


@pytest.mark.parametrize("text", REAL)
def test_values(text: str) -> None:
    """A key may hold all of these characters."""
    assert (None, None) == (placeholder(text), placeholder(f"Bearer {text}"))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://me:${DB_PASSWORD}@db.example/x", "DB_PASSWORD"),
        ("postgresql://$DB_USER:x@db.example/x", "DB_USER"),
        ("postgresql://me:%DB_PASSWORD%@db.example/x", "DB_PASSWORD"),
        ("https://os.environ.HOST/v1", "HOST"),
        ("https://${RESOURCE}:8443/v1", "RESOURCE"),
        ("https://{{HOST}}/v1", "HOST"),
        ("https://<resource>/v1", ""),
        ("https://<resource>.services.ai.azure.com", ""),
        ("https://${RESOURCE}.services.ai.azure.com", "RESOURCE"),
        ("postgresql://me:a${x}b<c>@db.example/x", None),
        ("https://a.example/v1?key=$API_KEY&b=1", "API_KEY"),
        ("https://a.example/v1?$filter=a&b=%41%42", None),
        ("postgresql://me:pa$$word@db.example/x", None),
        ("postgresql://me:$ecret@db.example/x", None),
        ("https://a.example/$batch", None),
        ("https://a.example/%7Bid%7D", None),
    ],
)
def test_parts_of_urls(url: str, name: str | None) -> None:
    """In a URL each part counts by itself."""
    assert name == placeholder(url)


A = "pass_through_endpoints:\n- path: /a\n  target: http://a.example\n"
PLACES = {
    "client_keys[0].key": "client_keys:\n- {{name: ann, key: {}}}\n",
    "master_key": "\nmaster_key: {}\n",
    "admin_key": "\nadmin_key: {}\n",
    "general_settings.master_key": "\ngeneral_settings: {{master_key: {}}}\n",
    "ledger": "\nledger: {}\n",
    "budget_webhook": "\nbudget_webhook: {}\n",
    "pass_through_endpoints[0].headers.Authorization": "  headers:\n    Authorization: {}\n",
    "pass_through_endpoints[0].headers.api-key": "  headers:\n    api-key: {}\n",
    "pass_through_endpoints[0].headers.litellm_user_api_key": "  headers:\n    litellm_user_api_key: {}\n",
    "pass_through_endpoints[0].proxy": "\n  proxy: {}\n",
    "pass_through_endpoints[0].default_query_params.key": "\n  default_query_params: {{key: {}}}\n",
    "pass_through_endpoints[0].upstream_tls.ca_file": "\n  upstream_tls: {{ca_file: {}}}\n",
    "tls_cert": "\ntls_cert: {}\n",
}
"""Where a secret may stand; each on line 5."""


@pytest.mark.parametrize(
    "text", ["${NAME}", "$NAME", "%NAME%", "os.environ.NAME", 'os.environ["NAME"]', "env:NAME", "<your-key>"]
)
@pytest.mark.parametrize("key", PLACES)
def test_everywhere_a_secret_may_stand(tmp_path: Path, key: str, text: str) -> None:
    """One problem, with its line and the right spelling: it opened the door as it was spelt, or went upstream."""
    found = problems(tmp_path, A + PLACES[key].format(f"'{text}'"), {"NAME": "a-value"})
    assert [(5, key)] == [(problem.line, problem.key) for problem in found if "tls_key" not in problem.what]
    assert ("os.environ/NAME" in found[0].hint, text in str(found[0])) == (True, False)


def test_a_target(tmp_path: Path) -> None:
    """Also where it hides in a target."""
    for target in ("$AZURE_ENDPOINT", "https://${AZURE_ENDPOINT}.services.ai.azure.com", "https://$AZURE_ENDPOINT/v1"):
        (found,) = problems(tmp_path, A.replace("http://a.example", f"'{target}'"))
        assert (3, "pass_through_endpoints[0].target", "Write os.environ/AZURE_ENDPOINT.") == (found.line, found.key, found.hint)


@pytest.mark.parametrize("value", ["${OTHER}", "$OTHER", "os.environ/OTHER", "<your-key>", "Bearer %OTHER%"])
def test_a_variable_that_holds_one(tmp_path: Path, value: str) -> None:
    """What .env or the environment holds is taken as it stands, so that a placeholder there is none either."""
    text = A + "  headers: {api-key: os.environ/NAME}\nmaster_key: os.environ/NAME\n"
    found = problems(tmp_path, text, {"NAME": value, "OTHER": "a-value-of-16-chars"})
    assert [4, 5] == [problem.line for problem in found]
    assert {"What NAME holds is a placeholder, not a value."} == {problem.what for problem in found}


def test_with_the_sandbox_a_variable_for_the_target_does_not_matter(tmp_path: Path) -> None:
    """The sandbox takes its place, as where it is not set."""
    assert loaded(tmp_path, A + "  headers: {api-key: os.environ/NAME}\n", {"NAME": "<your-key>"}, sandbox=True)


@pytest.mark.parametrize("key", ["sk-abc$DEF0123456789", "$2b$12$abcdefghijklmnop", "100%off%of-everything"])
def test_real_keys_are_taken(tmp_path: Path, key: str) -> None:
    """A key that holds such characters opens the door."""
    found = loaded(tmp_path, ROUTE + f"client_keys: [{{name: ann, key: '{key}'}}]\n", {})
    assert ["ann"] == [client.name for client in found.clients]


def test_what_a_response_says_is_the_providers(tmp_path: Path) -> None:
    """`meter.when` names texts of responses, whatever they look like."""
    text = ROUTE.rstrip() + "\n    meter: {shape: json, constant: 1, when: {status: '<done>'}}\n"
    assert loaded(tmp_path, text, {}).routes


def test_the_ledger_of_a_report(tmp_path: Path) -> None:
    """A command that only wants the ledger says it too."""
    (tmp_path / "routes.yaml").write_text("ledger: postgresql://me:${DB_PASSWORD}@db.example/x\n")
    with pytest.raises(ConfigError, match=r"Write os\.environ/DB_PASSWORD"):
        load_ledger_url("routes.yaml", dict(os.environ), cwd=tmp_path)


@pytest.mark.process
async def test_as_it_is_shown(tmp_path: Path) -> None:
    """`check` and `serve` end with 2, and say where and what to write."""
    (tmp_path / "routes.yaml").write_text(A + "client_keys: [{name: ann, key: '${CLIENT_KEY}'}]\n")
    for name in ("check", "serve"):
        code, _, stderr = await command(tmp_path, name, CLIENT_KEY="a-key-of-16-chars")
        assert (2, 2) == (code, stderr.count("\n"))
        assert "routes.yaml:4 client_keys[0].key: This is no reference to a variable: it would be taken as it stands." in stderr
        assert "  Write os.environ/CLIENT_KEY." in stderr
