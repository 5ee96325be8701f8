"""Where variables come from, and how a change of what was read is found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from passthrough.config import environment, load
from passthrough.errors import ConfigError, Problem
from tests.harness.configs import ROUTE, written


def test_the_real_environment_wins_over_the_files(tmp_path: Path) -> None:
    """The environment over `.env` beside the file over `.env` in the working directory; os.environ stays as it is."""
    (tmp_path / "etc").mkdir()
    written(tmp_path / "etc", "A=beside\nB=beside\n", ".env")
    written(tmp_path, "A=here\nB=here\nC=here\nD=here\n", ".env")
    before = dict(os.environ)

    found = environment.environment("etc/routes.yaml", {"A": "real", "D": ""}, tmp_path)

    assert {"A": "real", "B": "beside", "C": "here", "D": ""} == found
    assert before == dict(os.environ)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("A=b", {"A": "b"}),
        ("export A=b", {"A": "b"}),
        ("A='b c' # d", {"A": "b c"}),
        ('A="b\\nc"', {"A": "b\nc"}),
        ("A=a${HOME}b", {"A": "a${HOME}b"}),
        ("A=", {"A": ""}),
        ("A", {}),
        ("# A=b", {}),
        ("A=b\r\nC=d\r\n", {"A": "b", "C": "d"}),
        ("\ufeffA=b", {"A": "b"}),
        ("A=bücher", {"A": "bücher"}),
    ],
)
def test_lines_of_env_files(tmp_path: Path, line: str, expected: dict[str, str]) -> None:
    """What dotenv files usually hold is read; `${…}` is taken as it stands, for a key may hold it."""
    written(tmp_path, line, ".env")
    assert expected == environment.environment("routes.yaml", {}, tmp_path)


def test_a_line_that_is_not_read_is_a_warning(tmp_path: Path) -> None:
    """A line of `.env` that is no assignment is reported by its number, without its text."""
    written(tmp_path, "A=b\nsome canary words\nC=d\n", ".env")
    found = load.load(written(tmp_path, ROUTE), {}, cwd=tmp_path).warnings
    assert [(str(tmp_path / ".env"), 2)] == [(warning.file, warning.line) for warning in found]
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    ("name", "hint"), [("PASSTHROUGH_SANDBOX", "requests go to the providers"), ("PASSTHROUGH_CONFIG", "--config")]
)
def test_a_variable_that_an_env_file_sets_too_late_is_a_warning(tmp_path: Path, name: str, hint: str) -> None:
    """Who asks for the sandbox there would send documents to the provider, and never know."""
    written(tmp_path, f"A=b\n{name}=1\n", ".env")
    (found,) = load.load(written(tmp_path, ROUTE), {}, cwd=tmp_path).warnings
    assert (str(tmp_path / ".env"), 2, name, "It has no effect in this file.") == (
        found.file,
        found.line,
        found.key,
        found.what,
    )
    assert hint in found.hint
    assert () == load.load(written(tmp_path, ROUTE), {name: "1"}, cwd=tmp_path).warnings  # there it is read


def test_an_env_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A `.env` that is no text is a problem, reported beside all others; a directory of this name is left alone."""
    written(tmp_path, b"A=\xff\n", ".env")
    with pytest.raises(ConfigError, match="not UTF-8"):
        environment.environment("routes.yaml", {}, tmp_path)
    with pytest.raises(ConfigError) as caught:
        load.load(written(tmp_path, ROUTE + "zzz: 1\n"), {}, cwd=tmp_path)
    assert 2 == len(caught.value.problems)

    with pytest.raises(ConfigError, match="too long"):
        environment.environment("x" * 300 + "/routes.yaml", {}, tmp_path)

    (tmp_path / ".env").unlink()
    (tmp_path / ".env").mkdir()
    assert {} == environment.environment("routes.yaml", {}, tmp_path)


def test_a_listen_setting_from_env_file(tmp_path: Path) -> None:
    """PASSTHROUGH_… variables count in `.env`, too."""
    written(tmp_path, "PASSTHROUGH_LISTEN_PORT=5999\n", ".env")
    assert 5999 == load.load(written(tmp_path, ROUTE), {}, cwd=tmp_path).listen.port


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("PASSTHROUGH_PORT", "5000", "Did you mean PASSTHROUGH_LISTEN_PORT?"),
        ("PASSTHROUGH_HOST", "0.0.0.0", "Did you mean PASSTHROUGH_LISTEN_HOST?"),
        ("PASSTHROUGH_LISTENPORT", "5000", "Did you mean PASSTHROUGH_LISTEN_PORT?"),
        ("PASSTHROUGH_LOGLEVEL", "", "Did you mean PASSTHROUGH_LOG_LEVEL?"),
        ("PASSTHROUGH_SANDBX", "1", "Did you mean PASSTHROUGH_SANDBOX?"),
        ("PASSTHROUGH_LEDGER", "none", "Write 'ledger' into the file: no variable sets it."),
        ("PASSTHROUGH_", "x", "Remove it, or give it another beginning."),
        ("PASSTHROUGH_\x1b", "x", "Remove it, or give it another beginning."),
        ("PASSTHROUGH_SERVICES", "x", "Remove it, or give it another beginning."),
        ("PASSTHROUGH_PORT_4000_TCPX", "x", "Remove it, or give it another beginning."),
    ],
)
def test_a_variable_that_means_nothing_is_a_warning(tmp_path: Path, name: str, value: str, hint: str) -> None:
    """A misspelt PASSTHROUGH_… variable, in the environment or in `.env`, is reported with the one that was meant."""
    (found,) = load.load(written(tmp_path, ROUTE), {name: value}, cwd=tmp_path).warnings
    shown = name.replace("\x1b", "\\x1b")
    expected = Problem("environment", 0, shown, "There is no such variable; it has no effect.", hint)
    assert expected == found

    if name.isprintable() and not name.endswith("_"):
        written(tmp_path, f"{name}={value}\n", ".env")
        assert (expected,) == load.load(written(tmp_path, ROUTE), {}, cwd=tmp_path).warnings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSTHROUGH_CONFIG", "routes.yaml"),
        ("PASSTHROUGH_SANDBOX", "1"),
        ("PASSTHROUGH_SANDBOX_KEY", "k"),
        ("PASSTHROUGH_MAX_CONNECTIONS", "100"),
        ("PASSTHROUGH_LISTEN_HOST", "127.0.0.1"),
        ("PASSTHROUGH_SERVICE_HOST", "10.0.0.1"),
        ("PASSTHROUGH_SERVICE_PORT", "4000"),
        ("PASSTHROUGH_SERVICE_PORT_HTTP", "4000"),
        ("PASSTHROUGH_PORT", "tcp://10.0.0.1:4000"),
        ("PASSTHROUGH_PORT", "udp://10.0.0.1:4000"),
        ("PASSTHROUGH_PORT_4000_TCP", "tcp://10.0.0.1:4000"),
        ("PASSTHROUGH_PORT_4000_TCP_PROTO", "tcp"),
        ("PASSTHROUGH_PORT_4000_TCP_PORT", "4000"),
        ("PASSTHROUGH_PORT_4000_TCP_ADDR", "10.0.0.1"),
        ("PASSTHROUGH_OCR_SERVICE_HOST", "10.0.0.1"),
        ("PASSTHROUGH_OCR_PORT", "tcp://10.0.0.1:4000"),
        ("PASSTHROUGH_MY_KEY", "0123456789abcdef"),
        ("passthrough_port", "5000"),
        ("PASSTHROUGHPORT", "5000"),
    ],
)
def test_variables_that_are_nobodys_slip(tmp_path: Path, name: str, value: str) -> None:
    """The program's own variables, those that the file refers to and those that Kubernetes injects are no warning."""
    text = ROUTE + "client_keys: [{name: a, key: os.environ/PASSTHROUGH_MY_KEY}]\n"
    environ = {"PASSTHROUGH_MY_KEY": "0123456789abcdef", name: value}
    assert () == load.load(written(tmp_path, text), environ, cwd=tmp_path).warnings


def test_a_limit_of_connections_from_a_variable(tmp_path: Path) -> None:
    """The variable wins over the file; without either the server chooses."""
    file = written(tmp_path, ROUTE + "max_connections: 500\n")
    assert 100 == load.load(file, {"PASSTHROUGH_MAX_CONNECTIONS": "100"}, cwd=tmp_path).listen.max_connections
    assert None is load.load(written(tmp_path, ROUTE), {}, cwd=tmp_path).listen.max_connections


def _mounted(folder: Path) -> Path:
    """A folder as Kubernetes mounts a ConfigMap: the file is a link through `..data`, which is turned as a whole."""
    for version in ("v1", "v2"):
        (folder / version).mkdir()
        more = "    upstream_tls: {ca_file: 'my ca.pem'}\n    upstream_auth: {google: {credentials: account.json}}\n"
        written(folder / version, f"# {version}\n{ROUTE}{more}")
    (folder / "..data").symlink_to("v1")
    (folder / "routes.yaml").symlink_to("..data/routes.yaml")
    return folder


def _turn(folder: Path) -> None:
    (folder / "..new").symlink_to("v2")
    (folder / "..new").replace(folder / "..data")


CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    ("the link is turned", _turn),
    ("the file is written again", lambda folder: written(folder / "v1", ROUTE)),
    ("the file is gone", lambda folder: (folder / "v1" / "routes.yaml").unlink()),
    ("a .env appears beside it", lambda folder: written(folder, "", ".env")),
    ("a .env appears in the working directory", lambda folder: written(folder / "v2", "A=b", ".env")),
    ("the ca_file appears", lambda folder: written(folder, "pem", "my ca.pem")),
    ("the credentials appear", lambda folder: written(folder, "{}", "account.json")),
]


@pytest.mark.parametrize(("what", "change"), CHANGES, ids=[what for what, _ in CHANGES])
def test_a_change_is_found(tmp_path: Path, what: str, change: Callable[[Path], object]) -> None:
    """All that a reload would read again changes the snapshot."""
    folder = _mounted(tmp_path)
    cwd = folder / "v2"
    before = environment.snapshot(str(folder / "routes.yaml"), cwd)
    assert before == environment.snapshot(str(folder / "routes.yaml"), cwd)
    change(folder)
    assert before != environment.snapshot(str(folder / "routes.yaml"), cwd), what


def test_a_touched_file_is_no_change(tmp_path: Path) -> None:
    """Times and inodes do not count, contents do."""
    file = written(tmp_path, ROUTE)
    before = environment.snapshot(file, tmp_path)
    os.utime(file, (1, 1))
    Path(file).rename(tmp_path / "other")
    written(tmp_path, ROUTE)
    assert before == environment.snapshot(file, tmp_path)


def test_a_snapshot_never_blocks_and_never_fails(tmp_path: Path) -> None:
    """A pipe is not read, an impossible name is a missing file."""
    os.mkfifo(tmp_path / "pipe")
    assert environment.snapshot("pipe", tmp_path) == environment.snapshot("a\0b", tmp_path)
