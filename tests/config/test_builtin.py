"""The built-in configuration: which commands go by it, what they say, and when a file takes its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from passthrough.config import builtin
from passthrough.config.environment import snapshot
from tests.harness.process import command, program

pytestmark = pytest.mark.process

NOTICE = f"{builtin.NOTICE}\n"


async def test_commands_that_need_no_file(tmp_path: Path) -> None:
    """Without routes.yaml they go by the built-in one, and say so in one line on stderr."""
    assert 80 > len(builtin.NOTICE)
    code, out, err = await command(tmp_path, "check", "--sandbox")
    assert (0, NOTICE) == (code, err)
    assert out.startswith("built-in routes.yaml: fine, 1 route\n")
    code, out, err = await command(tmp_path, "prices")
    assert (0, NOTICE, True) == (code, err, "mistral-ocr-2512" in out)
    for name in ("usage", "report"):
        code, _, err = await command(tmp_path, name)
        assert (1, True, True) == (code, err.startswith(NOTICE), f"There is no ledger at {tmp_path}/passthrough.db." in err)
    assert [] == os.listdir(tmp_path)


async def test_serve_without_a_file(tmp_path: Path) -> None:
    """The sandbox is served at /mistral; its pages are in the ledger that `usage` reads in the same folder."""
    async with program(tmp_path, None, "--sandbox") as running:
        await running.says(builtin.NOTICE)
        await running.says(rf"Dashboard: http://127\.0\.0\.1:{running.admin_port}/\n")
        assert 0 == await running.stop()
    code, out, err = await command(tmp_path, "usage", "--format", "json")
    assert (0, NOTICE, True) == (code, err, '"groups": []' in out or '"groups":[]' in out)


@pytest.mark.parametrize("name", ["serve", "check"])
async def test_real_traffic_needs_a_file_of_its_own(tmp_path: Path, name: str) -> None:
    """Without one and without --sandbox it is exit 2, with the way to one, and the way to do without."""
    code, out, err = await command(tmp_path, name, MISTRAL_API_KEY="canary-of-a-key")
    assert (2, "") == (code, out)
    assert (
        "routes.yaml: There is no such file here.\n"
        "  Write one with 'passthrough init', or name it with --config.\n"
        "  To try it without a key: 'passthrough serve --sandbox'.\n"
    ) == err


@pytest.mark.parametrize("flags", [(), ("--sandbox",)])
async def test_a_file_that_is_named_is_meant(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """What --config or its variable names, and is not there, is an error; so is a routes.yaml that leads nowhere."""
    for arguments, more in ((("--config", "routes.yaml"), {}), ((), {"PASSTHROUGH_CONFIG": "routes.yaml"})):
        code, out, err = await command(tmp_path, "check", *flags, *arguments, **more)
        assert (
            2,
            "",
            "routes.yaml: There is no such file.\n  Name another with --config, or write it with 'passthrough init'.\n",
        ) == (code, out, err)
    (tmp_path / "routes.yaml").symlink_to("nowhere")
    assert (2, "") == (await command(tmp_path, "check", *flags))[:2]


async def test_another_ledger_is_no_reason_to_speak(tmp_path: Path) -> None:
    """With --ledger no configuration is needed, and none is mentioned."""
    _, _, err = await command(tmp_path, "usage", "--ledger", "sqlite:///none.db")
    assert builtin.NOTICE not in err


def test_its_env_is_that_of_the_working_directory(tmp_path: Path) -> None:
    """A change of `.env` there is seen; nothing beside the installed program is read."""
    before = snapshot(builtin.NAME, tmp_path)
    (tmp_path / ".env").write_text("MISTRAL_API_KEY=one\n")
    assert before != snapshot(builtin.NAME, tmp_path)
    assert builtin.location(builtin.NAME, tmp_path).is_file()
    assert tmp_path / "routes.yaml" == builtin.location("routes.yaml", tmp_path)
    assert os.path.basename(builtin.location(builtin.NAME, tmp_path)) == "builtin.yaml"
