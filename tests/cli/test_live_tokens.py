"""`check --live`: one token for each identity, good or not, and what is said of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from passthrough.cli.live_tokens import fetched
from passthrough.credentials.identity import GoogleIdentity
from passthrough.secret import Secret
from tests.harness.configs import written
from tests.harness.process import command
from tests.harness.token_servers import ACCOUNT, Answer, TokenServer, token_server


def identity(server: TokenServer, name: str = "KEY (a)") -> GoogleIdentity:
    """Return a service account whose tokens a server has."""
    return GoogleIdentity(Secret(json.dumps(server.service_account())), name=name)


@pytest.mark.parametrize(
    ("life_s", "passed_s", "text"),
    [
        (3599, 0.5, "google: KEY (a): a token, good for 59 min"),
        (7300, 0.5, "google: KEY (a): a token, good for 2 h"),
        (7100, 0.5, "google: KEY (a): a token, good for 118 min"),
        (86400 * 2 + 60, 0.5, "google: KEY (a): a token, good for 2 d"),
        (119, 0.5, "google: KEY (a): a token, good for 118 s"),
    ],
)
def test_how_long_a_token_is_good(life_s: int, passed_s: float, text: str) -> None:
    """The time left is said in its largest whole unit, of which there are two at least."""
    with token_server() as server:
        server.life_s = life_s
        began = time.time()
        asked = [each.text for each in fetched([identity(server)], lambda: began + passed_s)]
        assert 1 == server.fetches
    assert [text] == asked


def test_a_token_that_has_ended_is_no_good() -> None:
    """A server, or a clock, that is an hour off is not taken for a good one."""
    with token_server() as server:
        server.life_s = 10**9
        ends = int(time.time()) + 10**9
        (found,) = fetched([identity(server)], lambda: ends + 60)
    assert ("google: KEY (a): the token that came has ended already. Check this machine's clock.", False, None) == found


def test_identities_are_fetched_at_the_same_time_and_told_in_order() -> None:
    """One that hangs holds up no other; the order is that of the configuration."""
    with token_server() as slow, token_server() as quick:
        slow.hold()
        quick.answer = lambda asked: slow.release()
        names = [each.text.partition(":")[2][:8] for each in fetched([identity(slow, "slow (a)"), identity(quick, "quick(b)")])]
    assert [" slow (a", " quick(b"] == names


def route(path: str, auth: dict[str, Any], target: str) -> dict[str, Any]:
    """Return an endpoint whose target is never called; with `--live` it is connected to."""
    return {"path": path, "target": target, "upstream_auth": auth, "meter": {"shape": "json", "constant": 1}}


def file_of(server: TokenServer, folder: Path) -> None:
    """Write a configuration with two routes of one account."""
    (folder / "account.json").write_text(json.dumps(server.service_account()))
    auth = {"google": {"credentials": "account.json"}}
    written(
        folder, json.dumps({"pass_through_endpoints": [route(path, auth, server.url) for path in ("/a", "/b")], "ledger": "none"})
    )


@pytest.mark.process
async def test_check_asks_no_token_server_unless_it_is_told_to(tmp_path: Path) -> None:
    """Routes of one account cost one token, with --live only; the exit code is 1 where a token could not be fetched."""
    with token_server() as server:
        file_of(server, tmp_path)
        code, out, _ = await command(tmp_path, "check")
        assert (0, 0, 2) == (code, server.fetches, out.count(f"google: account.json ({ACCOUNT})"))
        code, out, _ = await command(tmp_path, "check", "--live")
        assert (0, 1) == (code, server.fetches)
        assert [
            f"google: account.json ({ACCOUNT}): a token, good for 59 min",
            f"/a, /b ({server.host}): can be reached; its key was not tried: it is not known whether it has a list of models",
        ] == out.splitlines()[-2:]
        server.answer = lambda asked: Answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
        code, out, err = await command(tmp_path, "check", "--live")
        assert 1 == code
        assert "invalid_grant" in out.splitlines()[-2]
        assert out.endswith("its key was not tried: its token could not be fetched\n")
        assert not any(each in out + err for each in (*server.issued, "PRIVATE"))


@pytest.mark.process
async def test_check_live_without_an_identity_says_so(tmp_path: Path) -> None:
    """So it is in the sandbox, where no token is needed."""
    with token_server() as server:
        file_of(server, tmp_path)
        code, out, _ = await command(tmp_path, "check", "--live", "--sandbox")
    assert (0, 0) == (code, server.fetches)
    assert "/a, /b (sandbox): not asked: the sandbox takes any key" == out.splitlines()[-1]
