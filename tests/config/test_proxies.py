"""A proxy that the environment names is not used: a warning says so where a route may count on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.configs import loaded
from tests.harness.process import command, program

PROXY = "http://user:secret-of-proxy@proxy.corp:3128"
ROUTES = """\
pass_through_endpoints:
- path: /mistral
  target: https://api.mistral.ai/v1/ocr
  headers: {Authorization: Bearer of-this-file-0123456789}
- path: /plain
  target: http://ocr.corp:8080/ocr
- path: /local
  target: http://127.0.0.1:9/ocr
ledger: none
"""


def warnings(folder: Path, text: str = ROUTES, *, sandbox: bool = False, **environ: str) -> list[tuple[str, str]]:
    """Return the warnings of a configuration, as (key, words)."""
    found = loaded(folder, text, environ, sandbox=sandbox).warnings
    assert {"environment"} >= {warning.file for warning in found}
    assert "secret-of-proxy" not in "".join(map(str, found))
    return [(warning.key, f"{warning.what} {warning.hint}") for warning in found]


@pytest.mark.parametrize(
    ("name", "route"),
    [("HTTPS_PROXY", "/mistral"), ("https_proxy", "/mistral"), ("HTTP_PROXY", "/plain"), ("http_proxy", "/plain")],
)
def test_what_is_not_used_is_said(tmp_path: Path, name: str, route: str) -> None:
    """With the route that connects directly, and how to set the proxy there."""
    ((key, words),) = warnings(tmp_path, **{name: PROXY})
    assert name == key
    assert f"It is not used here: route {route} connects directly to the target." in words
    assert f"Write 'proxy: os.environ/{name}' on each route" in words


def test_deployments_are_not_reached_through_it(tmp_path: Path) -> None:
    """They have no `proxy`, so the hint is another one; at this machine none is needed."""
    entry = "- {{model_name: a, litellm_params: {{model: mistral/mistral-ocr-2512, api_key: k, api_base: 'https://{}'}}}}\n"
    text = "ledger: none\nmodel_list:\n" + entry.format("api.mistral.ai") + entry.format("127.0.0.1:9")
    ((key, words),) = warnings(tmp_path, text, HTTPS_PROXY=PROXY)
    assert "HTTPS_PROXY" == key
    assert "It is not used here: the deployments of model_list connect directly to the targets." in words
    assert "name their hosts in NO_PROXY" in words
    assert [] == warnings(tmp_path, text, HTTPS_PROXY=PROXY, NO_PROXY="api.mistral.ai")


def test_for_all(tmp_path: Path) -> None:
    """ALL_PROXY is for targets with and without TLS."""
    ((key, words),) = warnings(tmp_path, ALL_PROXY=PROXY)
    assert ("ALL_PROXY", True) == (key, "2 routes, /mistral among them, connect directly" in words)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("proxy.corp:3128", "Write 'proxy: http://os.environ/HTTPS_PROXY'"),
        ("HTTP://proxy.corp:3128", "Write 'proxy: os.environ/HTTPS_PROXY'"),
        ("socks5://proxy.corp:1080", "can only be one of http://"),
        ("https://proxy.corp:3128", "can only be one of http://"),
    ],
)
def test_the_cure_works(tmp_path: Path, value: str, words: str) -> None:
    """What is to be written depends on how the variable's value is."""
    ((_, hint),) = warnings(tmp_path, HTTPS_PROXY=value)
    assert words in hint
    if "Write 'proxy: " in hint:
        proxy = hint.partition("Write 'proxy: ")[2].partition("'")[0]
        text = ROUTES.replace("v1/ocr\n", f"v1/ocr\n  proxy: {proxy}\n")
        assert [] == warnings(tmp_path, text, HTTPS_PROXY=value)


@pytest.mark.parametrize(
    ("no_proxy", "warned"),
    [
        ("", True),
        ("*", False),
        ("api.mistral.ai", False),
        ("localhost, .mistral.ai", False),
        ("*.mistral.ai", False),
        ("MISTRAL.AI", False),
        ("api.mistral.ai:443", False),
        ("api.mistral.ai:8443", True),
        ("istral.ai", True),
        ("api.mistral.ai.example", True),
        (".", True),
        ("::1,fe80::/10", True),
    ],
)
def test_what_needs_none(tmp_path: Path, no_proxy: str, *, warned: bool) -> None:
    """What NO_PROXY names is reached directly on purpose."""
    assert warned == bool(warnings(tmp_path, HTTPS_PROXY=PROXY, NO_PROXY=no_proxy))
    assert warned == bool(warnings(tmp_path, HTTPS_PROXY=PROXY, no_proxy=no_proxy))


def test_nobody_counts_on_it(tmp_path: Path) -> None:
    """An empty variable, one that the file refers to, routes that have a proxy, this machine, and the sandbox."""
    text = ROUTES.replace("v1/ocr\n", "v1/ocr\n  proxy: os.environ/HTTPS_PROXY\n")
    assert [] == warnings(tmp_path, HTTPS_PROXY="")
    assert [] == warnings(tmp_path, text, HTTPS_PROXY=PROXY)
    assert [] == warnings(tmp_path, text.replace("os.environ/HTTPS_PROXY", "http://other.corp"), HTTPS_PROXY=PROXY)
    assert [] == warnings(tmp_path, ROUTES.replace("https://api.mistral.ai", "https://localhost"), HTTPS_PROXY=PROXY)
    assert [] == warnings(tmp_path, sandbox=True, HTTPS_PROXY=PROXY)


@pytest.mark.process
async def test_as_it_is_shown(tmp_path: Path) -> None:
    """`check` says it, also of .env, and ends with 0; `serve` says it once it listens."""
    (tmp_path / "routes.yaml").write_text(ROUTES)
    (tmp_path / ".env").write_text(f"https_proxy={PROXY}\n")
    code, _, stderr = await command(tmp_path, "check")
    expected = "environment https_proxy: It is not used here: route /mistral connects directly to the target."
    assert (0, True) == (code, f"warning: {expected}" in stderr)
    async with program(tmp_path, None) as running:
        await running.says(expected)
