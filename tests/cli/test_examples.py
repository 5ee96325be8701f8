"""The help of each command: its examples are right, and its lines fit a terminal."""

from __future__ import annotations

import shlex

import click
import pytest
from click.testing import CliRunner

from passthrough.cli.examples import EXAMPLES, MAX_WIDTH
from passthrough.cli.main import main

COMMANDS = [[], *([name] for name in main.commands)]


def help_of(words: list[str]) -> list[str]:
    """Return the lines of a command's help, in 80 columns."""
    result = CliRunner().invoke(main, [*words, "--help"], prog_name="passthrough", terminal_width=80)
    assert 0 == result.exit_code
    return result.output.splitlines()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_fits_a_terminal(words: list[str]) -> None:
    """No line is wider than 80 columns, no sentence is cut off, and the examples keep their lines."""
    lines = help_of(words)
    assert 80 >= max(map(len, lines))
    assert [] == [line for line in lines if line.rstrip().endswith("...") and not line.startswith("Usage:")]
    shown = EXAMPLES[" ".join(words)].removeprefix("\b\n").splitlines()
    assert [line.strip() for line in shown] == [line.strip() for line in lines[-len(shown) :]]
    assert MAX_WIDTH >= max(map(len, shown))


def test_commands_stand_in_the_order_of_need() -> None:
    """The list begins with what a new user needs."""
    assert ["init", "serve", "check"] == list(main.commands)[:3]
    lines = help_of([])
    shown = [line.split()[0] for line in lines[lines.index("Commands:") + 1 :] if line.startswith("  ") and line[2] != " "]
    assert list(main.commands) == shown[: len(main.commands)]


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_examples_are_right(name: str) -> None:
    """Each is a command line of the program, with flags and values that it takes."""
    found = []
    for line in EXAMPLES[name].splitlines():
        words = shlex.split(line.strip().split("  ")[0].removeprefix('eval "$(').removesuffix(')"'))
        if words[:1] == ["passthrough"]:
            called = words[1 : next((place for place, word in enumerate(words) if word in {"<", ">", "|"}), None)]
            assert name in {"", called[0]}
            command = main.commands[called[0]]
            with command.make_context(called[0], called[1:]):
                found.append(line)
    assert found


def test_each_command_has_examples() -> None:
    """And there are none of a command that is gone."""
    assert {"", *main.commands} == set(EXAMPLES)
    assert all(isinstance(command, click.Command) and command.epilog for command in main.commands.values())
