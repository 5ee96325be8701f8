"""The environment of a configuration: the real one, over `.env` beside the file, over `.env` in the working directory."""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dotenv.parser import parse_stream

from ..errors import ConfigError, Problem
from .builtin import location

_FILE: Final = re.compile(
    rb"""(?:ca_file|tls_cert|tls_key|credentials)["']?\s*:\s*(?:"([^"\n]+)"|'([^'\n]+)'|([^,}#\s][^,}#\n]*))"""
)
_MAX_ENV_BYTES: Final = 1_000_000
_PIECE: Final = 1 << 20
_TOO_LATE: Final = MappingProxyType(
    {
        "PASSTHROUGH_SANDBOX": "Set it in the environment, or give 'serve' --sandbox. Without, requests go to the providers.",
        "PASSTHROUGH_CONFIG": "Set it in the environment, or give --config.",
    }
)
"""Variables that are needed before a `.env` is read, each with a hint."""


def environment(path: str, environ: Mapping[str, str], cwd: Path) -> Mapping[str, str]:
    """Return `environ` over the two `.env` files; nothing is written to os.environ.

    A variable that is set, even to nothing, wins over the files. Raises ConfigError for a `.env` that cannot be read.
    """
    problems: list[Problem] = []
    merged = read_environment(path, environ, cwd, problems, [])
    if problems:
        raise ConfigError(problems)
    return merged


def read_environment(
    path: str, environ: Mapping[str, str], cwd: Path, problems: list[Problem], warnings: list[Problem]
) -> Mapping[str, str]:
    """Return the same as `environment`, but append problems and warnings to the lists."""
    merged: dict[str, str] = {}
    for file in reversed(env_files(path, cwd)):
        merged |= _assignments(file, environ, problems, warnings)
    return {**merged, **environ}


def env_files(path: str, cwd: Path) -> list[Path]:
    """Return the `.env` files that are read for a configuration; the first one wins."""
    beside, here = cwd / Path(path).parent / ".env", cwd / ".env"
    return [beside] if beside == here else [beside, here]


def _assignments(file: Path, environ: Mapping[str, str], problems: list[Problem], warnings: list[Problem]) -> dict[str, str]:
    try:
        # A directory of this name is a virtual environment.
        if not file.is_file():
            return {}
        with file.open("rb") as stream:
            text = stream.read(_MAX_ENV_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.append(Problem(str(file), 0, "", "The file is not UTF-8 text.", "Save it as UTF-8."))
        return {}
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name is not one"
        problems.append(Problem(str(file), 0, "", f"The file cannot be read: {why}.", "Check its permissions."))
        return {}
    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            line = binding.original.line
            warnings.append(Problem(str(file), line, "", "The line is not read: it is not NAME=value.", "Mend or remove it."))
        elif binding.key is not None and binding.value is not None:
            # Taken literally: `${…}` inside a key is part of the key.
            found[binding.key] = binding.value
            if binding.key in _TOO_LATE and binding.key not in environ:
                line = binding.original.line
                warnings.append(Problem(str(file), line, binding.key, "It has no effect in this file.", _TOO_LATE[binding.key]))
    return found


def snapshot(path: str, cwd: Path) -> bytes:
    """Return a digest of what a reload would read: the file, its `.env` files, and other files that its text names.

    Contents count, not times or inodes: a symlink that is turned to another file (as Kubernetes does) is a change, and a touched
    file is none. That a file is missing or unreadable counts too. Never raises.
    """
    config = location(path, cwd)
    text = _content(config)
    return _digest([text, *map(_content, (*env_files(path, cwd), *_named_files(text, config.parent)))])


def contents(files: Iterable[Path]) -> bytes:
    """Return a digest of the contents of some files, as `snapshot` does. Never raises."""
    return _digest(map(_content, files))


def _digest(texts: Iterable[bytes | None]) -> bytes:
    digest = sha256()
    for text in texts:
        digest.update(b"-" if text is None else sha256(text).digest())
    return digest.digest()


def _named_files(text: bytes | None, folder: Path) -> Iterator[Path]:
    # Found by a pattern: parsing YAML every two seconds would cost more than a needless reload.
    for match in _FILE.finditer(text or b""):
        name = (match[1] or match[2] or match[3]).strip().decode("utf-8", "surrogateescape")
        yield folder / name


def _content(file: Path) -> bytes | None:
    try:
        # Reading a pipe would block, and consume what the reload should read.
        if not stat.S_ISREG(file.stat().st_mode):
            return None
        return file.read_bytes()
    except (OSError, ValueError):
        return None
