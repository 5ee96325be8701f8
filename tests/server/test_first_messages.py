"""The command that tries a sandbox: for which routes there is one, and that it works as it is printed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from passthrough.config import builtin
from passthrough.config.load import load
from passthrough.server.first_messages import trial
from tests.harness.configs import written
from tests.harness.process import clean_environment, program

MISTRAL = "{path: /mistral, target: 'https://api.mistral.ai', include_subpath: true}"
KEYS = "client_keys: [{name: one, key: a-key-of-16-letters}]\n"
MODELS = "model_list: [{model_name: 'scan', litellm_params: {model: mistral/mistral-ocr-latest, api_key: os.environ/K}}]\n"


def tried(folder: Path, text: str, url: str = "http://127.0.0.1:4000") -> str | None:
    """Return the message for a configuration."""
    return trial(load(written(folder, text), {}, cwd=folder, sandbox=True), url)


@pytest.mark.parametrize(
    ("routes", "path"),
    [
        (MISTRAL, "/mistral/v1/ocr"),
        ("{path: /, target: 'https://api.mistral.ai', include_subpath: true}", "/v1/ocr"),
        ("{path: /m, target: 'https://api.mistral.ai/v1', include_subpath: true}", "/m/ocr"),
        ("{path: /m/ocr, target: 'https://api.mistral.ai/v1/ocr'}", "/m/ocr"),
        ("{path: /azure, target: os.environ/AZURE_ENDPOINT, include_subpath: true}", "/azure/v1/ocr"),
        ("{path: /scan, target: 'https://r.services.ai.azure.com/providers/mistral/azure/ocr'}", "/scan"),
        ("{path: /models, target: 'https://api.mistral.ai/v1/models'}, " + MISTRAL, "/mistral/v1/ocr"),
        ("{path: /x, target: 'https://h', include_subpath: true, methods: [GET]}, " + MISTRAL, "/mistral/v1/ocr"),
        ("{path: /x, target: 'https://h', include_subpath: true, meter: none}, " + MISTRAL, "/mistral/v1/ocr"),
        ("{path: /x, target: 'https://h/deep', include_subpath: true}", None),
        ("{path: /models, target: 'https://api.mistral.ai/v1/models'}", None),
        ("{path: /p, targets: [{target: 'https://a'}, {target: 'https://b'}], include_subpath: true}", None),
    ],
)
def test_the_first_route_that_leads_to_ocr(tmp_path: Path, routes: str, path: str | None) -> None:
    """Its path is what a client would call; where no route leads there, nothing is offered."""
    found = tried(tmp_path, f"pass_through_endpoints: [{routes}]\n")
    assert path == (None if found is None else re.findall(r"'http://127\.0\.0\.1:4000(/\S+)'", found)[0])
    assert 80 > max(map(len, (found or "").splitlines()), default=0)


def test_a_model_where_there_is_no_route(tmp_path: Path) -> None:
    """The path is that of model_list, the model one of it whose name a shell takes as it stands."""
    found = tried(tmp_path, MODELS)
    assert found is not None
    assert "4000/v1/ocr'" in found
    assert '"model": "scan"' in found
    assert None is tried(tmp_path, MODELS.replace("'scan'", "'mistral/*'"))


def test_keys_and_certificates(tmp_path: Path) -> None:
    """With client keys it takes one from the environment, but where the route needs none; a certificate is not checked."""
    text = f"pass_through_endpoints: [{MISTRAL}]\n{KEYS}"
    found = tried(tmp_path, text, "https://127.0.0.1:4000")
    assert found is not None
    assert found.startswith("Try it, with a client's key in CLIENT_KEY:\n\ncurl -k ")
    assert '-H "Authorization: Bearer $CLIENT_KEY"' in found
    free = tried(tmp_path, text.replace("include_subpath: true", "include_subpath: true, auth: false"))
    assert free is not None
    assert free.startswith("Try it:\n\ncurl -w")
    assert "CLIENT_KEY" not in free


def test_readme_shows_it(tmp_path: Path) -> None:
    """README has the command as it is printed where there is no file."""
    found = trial(load(builtin.NAME, {}, cwd=tmp_path, sandbox=True), "http://127.0.0.1:4000")
    assert found is not None
    assert found.partition("\n\n")[2] in (Path(__file__).parents[2] / "README.md").read_text("utf-8")


@pytest.mark.process
@pytest.mark.parametrize(
    ("config", "flags"),
    [
        (None, ()),
        (None, ("--workers", "2")),
        (None, ("--host", "::1")),
        ("pass_through_endpoints: [{path: /scan, target: 'https://r.services.ai.azure.com/providers/mistral/azure/ocr'}]\n", ()),
        (MODELS, ()),
        (f"pass_through_endpoints: [{MISTRAL}]\n{KEYS}", ("--host", "0.0.0.0", "--admin-host", "0.0.0.0")),
    ],
)
async def test_it_works_as_it_is_printed(tmp_path: Path, config: str | None, flags: tuple[str, ...]) -> None:
    """A shell runs it, and a page is counted."""
    async with program(tmp_path, config, "--sandbox", *flags) as running:
        said = (await running.says(r"(?s)Try it[^\n]*:\n\n(.*?)\n\n"))[1]
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", said),
            env=clean_environment(CLIENT_KEY="a-key-of-16-letters"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        response, _ = await process.communicate()
        assert (0, True) == (process.returncode, b'"pages_processed":1' in response), response
        (line,) = await running.logs(1)
        assert (200, 1, True) == (line["status"], line["pages"], line["sandbox"])
        assert ("--admin-host" in flags) != any("Dashboard: " in each for each in running.said)
        assert 0 == await running.stop()
