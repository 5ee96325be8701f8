"""The examples of `check`: one for each route, in lines that fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from passthrough.cli.route_examples import base_url, route_examples
from passthrough.config.model import Listen
from tests.harness.configs import ROUTE, loaded
from tests.harness.process import command

LONG = "https://us-central1-aiplatform.googleapis.com/v1/projects/my-project/locations/us-central1"


def test_lines(tmp_path: Path) -> None:
    """A call and its target are one line, or two; of several targets the first is shown; models are named."""
    text = f"""\
{ROUTE}  - {{path: /vertex, target: '{LONG}', include_subpath: true}}
  - {{path: /p, include_subpath: true, targets: [{{target: 'https://a.example'}}, {{target: 'https://b.example'}}]}}
model_list:
- {{model_name: scan, litellm_params: {{model: mistral/mistral-ocr-2512, api_key: k}}}}
- {{model_name: scan, litellm_params: {{model: mistral/mistral-ocr-2512, api_key: l}}}}
- {{model_name: scan, litellm_params: {{model: mistral/mistral-ocr-2512, api_key: m}}}}
"""
    config = loaded(tmp_path, text)
    predict = "/publishers/mistralai/models/mistral-ocr-2505:rawPredict"
    assert [
        "POST http://127.0.0.1:4000/mistral/v1/ocr → https://api.mistral.ai/v1/ocr",
        f"POST http://127.0.0.1:4000/vertex{predict}",
        f"  → {LONG}{predict}",
        "POST http://127.0.0.1:4000/p/v1/ocr → https://a.example/v1/ocr, or to 1 other",
        "POST http://127.0.0.1:4000/v1/ocr (scan)",
        "  → https://api.mistral.ai/v1/ocr, or to 2 others",
    ] == list(route_examples(config))
    folded = list(route_examples(config, 80))
    assert [] == [line for line in folded if len(line) > 80]
    assert "".join(route_examples(config)).replace(" ", "") == "".join(folded).replace(" ", "")
    assert "POST http://127.0.0.1:4000/mistral/v1/ocr → the sandbox" == next(route_examples(loaded(tmp_path, text, sandbox=True)))


@pytest.mark.fast
@pytest.mark.parametrize(
    ("listen", "url"),
    [
        (Listen(), "http://127.0.0.1:4000"),
        (Listen(host="0.0.0.0"), "http://127.0.0.1:4000"),
        (Listen(host="::"), "http://[::1]:4000"),
        (Listen(host="ocr.corp", port=443, tls_cert="c", tls_key="k"), "https://ocr.corp"),
        (Listen(port=80), "http://127.0.0.1"),
        (Listen(port=0), "http://127.0.0.1:PORT"),
    ],
)
def test_where_a_client_on_this_machine_calls(listen: Listen, url: str) -> None:
    """What listens everywhere is called at this machine."""
    assert url == base_url(listen)


@pytest.mark.process
async def test_check_prints_one_for_each_route(tmp_path: Path) -> None:
    """Between the routes and who may call; an arrow that the terminal does not know is no failure."""
    (tmp_path / "routes.yaml").write_text(ROUTE)
    line = "POST http://127.0.0.1:4000/mistral/v1/ocr {} https://api.mistral.ai/v1/ocr"
    code, out, err = await command(tmp_path, "check")
    assert (0, "", True) == (code, err, line.format("→") in out.splitlines())
    code, out, _ = await command(tmp_path, "check", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (0, True) == (code, "POST http://127.0.0.1:4000/mistral/v1/ocr " in out)
