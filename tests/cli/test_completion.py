"""The completion in a shell: as bash itself asks for it, and what zsh and fish are given."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from passthrough.accounting.reports.report import checked_keys
from passthrough.accounting.reports.statement import is_key
from passthrough.cli.completion import REPORT_KEYS, USAGE_KEYS
from tests.harness.process import clean_environment, command

pytestmark = pytest.mark.process

BASH = shutil.which("bash")
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
ASKED = """
eval "$(passthrough completion bash)"
complete -p passthrough >/dev/null
COMP_WORDS=({words}) COMP_CWORD={at}
_passthrough_completion passthrough
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


async def completed(folder: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of some words."""
    script = ASKED.format(words=" ".join(f"'{word}'" for word in ("passthrough", *words)), at=len(words))
    process = await asyncio.create_subprocess_exec(
        *(str(BASH), "--norc", "-c", script),
        cwd=folder,
        env=clean_environment(PATH=PATH),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (0, b"") == (process.returncode, err)
    return out.decode().split()


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("se",), ["serve"]),
        (("usage", "--sa"), ["--sandbox"]),
        (("usage", "--sandbox", "ex"), ["exclude"]),
        (("usage", "--by", "mo"), ["model", "model_group", "month"]),
        (("usage", "--by", "day,mod"), ["day,model", "day,model_group"]),
        (("usage", "--by", "model,model"), ["model,model_group"]),
        (("usage", "--since", "7"), ["7d"]),
        (("report", "--by", "label"), ["label", "label."]),
        (("init", "--provider", "a"), ["azure", "aimlapi"]),
        (("completion", "z"), ["zsh"]),
        (("nothing", "--by", "mo"), []),
    ],
)
async def test_bash_completes(tmp_path: Path, words: tuple[str, ...], expected: list[str]) -> None:
    """Commands, flags, and the values of flags; a list goes on behind its last comma."""
    assert expected == await completed(tmp_path, *words)


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
async def test_fish_completes(tmp_path: Path) -> None:
    """It asks in its own way, and is given the same."""
    process = await asyncio.create_subprocess_exec(
        *("fish", "--no-config", "-c", "passthrough completion fish | source; complete -C 'passthrough usage --by mo'"),
        cwd=tmp_path,
        env=clean_environment(PATH=PATH),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (["model", "model_group", "month"], b"") == (out.decode().split(), err)


@pytest.mark.parametrize(
    ("shell", "begin"),
    [("bash", "_passthrough_completion() {"), ("zsh", "#compdef passthrough"), ("fish", "function _passthrough")],
)
async def test_each_shell_has_its_script(tmp_path: Path, shell: str, begin: str) -> None:
    """It is printed, and asks the program itself."""
    code, out, err = await command(tmp_path, "completion", shell)
    assert (0, "") == (code, err)
    assert out.startswith(begin)
    assert f"_PASSTHROUGH_COMPLETE={shell}_complete" in out
    assert 2 == (await command(tmp_path, "completion", "csh"))[0]


def test_values_that_are_offered_are_taken() -> None:
    """None is offered that the command would refuse."""
    checked_keys([key for key in USAGE_KEYS if not key.endswith(".")])
    assert all(is_key(key) for key in REPORT_KEYS if not key.endswith("."))
