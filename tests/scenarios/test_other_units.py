"""What is billed in units without a price, from the street: the log and the ledger say so, beside what was counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.client import asking, client
from tests.harness.process import program
from tests.harness.upstream import Peer, ok, upstream

pytestmark = [pytest.mark.wire, pytest.mark.process]

SEARCH = {
    "object": "conversation.response",
    "outputs": [{"type": "message.output", "model": "mistral-medium-2604", "content": "x"}],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 1020,
        "connector_tokens": 900,
        "connectors": {"web_search": 1},
    },
}
HEARD = {
    "model": "mistral-medium-2604",
    "choices": [],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 20, "prompt_audio_seconds": 12},
}
FREE = {"model": "mistral-medium-2604", "choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 20}}
NOTHING_COUNTED = (None, None, None, "unknown_unit")

CASES: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    ("/v1/audio/speech", {"audio_data": "UklGRg=="}, ("asked", *NOTHING_COUNTED)),
    ("/v1/audio/transcriptions", {"model": "voxtral-mini-2507", "text": "x"}, ("voxtral-mini-2507", *NOTHING_COUNTED)),
    ("/v1/libraries/l-1/documents", {"id": "d-1"}, ("asked", *NOTHING_COUNTED)),
    ("/v1/libraries/l-1/documents/d-1/reprocess", {}, ("asked", *NOTHING_COUNTED)),
    ("/v1/%61udio/speech/", {}, ("asked", *NOTHING_COUNTED)),
    ("/v1/conversations", SEARCH, ("mistral-medium-2604", 1000, 20, 0.00165, "unknown_unit")),
    ("/v1/chat/completions", HEARD, ("mistral-medium-2604", 1000, 20, 0.00165, "unknown_unit")),
    ("/v1/chat/completions", FREE, ("mistral-medium-2604", 1000, 20, 0.00165, None)),
    ("/v1/chat/completions", {"choices": []}, ("asked", None, None, None, "no_usage")),
    ("/v1/libraries", {"id": "l-1"}, (None, None, None, None, None)),
]


async def test_other_units_are_never_silent(tmp_path: Path) -> None:
    """Each call has its flag, and the tokens beside it have their price."""
    answers = iter([answer for _, answer, _ in CASES])

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(ok(json.dumps(next(answers)).encode(), b"Content-Type: application/json"))

    async with upstream(script) as above:
        config = f"""
pass_through_endpoints:
  - {{path: /mistral, target: "http://127.0.0.1:{above.port}", include_subpath: true}}
prices:
  - {{model: mistral-medium-2604, usd_per_million_input_tokens: 1.5, usd_per_million_output_tokens: 7.5}}
"""
        async with program(tmp_path, config) as running:
            for number, (path, _, expected) in enumerate(CASES, 1):
                async with client(running.port) as raw:
                    await raw.send(asking(f"POST /mistral{path} HTTP/1.1".encode(), body=b'{"model":"asked"}'))
                    assert (await raw.answer())[0].startswith(b"HTTP/1.1 200")
                line = (await running.logs(number))[-1]
                assert expected == tuple(line[name] for name in ("model", "tokens_in", "tokens_out", "cost_usd", "unmetered"))
            assert 0 == await running.stop()
        code, out, err = await running.command("usage", "--format", "json")
        assert (0, "") == (code, err)
        total = json.loads(out)["total"]
        assert (len(CASES), 8, 0.00495) == (total["requests"], total["unmetered"], total["cost_usd"])
