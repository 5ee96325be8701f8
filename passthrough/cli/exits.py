"""The program's exit codes, and how an error of ours becomes a message on stderr and one of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..errors import ConfigError, PassthroughError
from . import standard_streams

EXIT_CONFIGURATION: Final = 2
EXIT_OTHER: Final = 1
EXIT_INTERRUPTED: Final = 130
"""Ctrl-C: 128 and SIGINT's number, as shells have it."""


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn an error of ours into a message on stderr and an exit code: 2 for the configuration, 1 for anything else."""
    try:
        yield
    except ConfigError as error:
        for problem in error.problems:
            standard_streams.say(str(problem))
        sys.exit(EXIT_CONFIGURATION)
    except PassthroughError as error:
        standard_streams.say(f"passthrough: {error}")
        sys.exit(EXIT_OTHER)
    except BrokenPipeError:
        # The reader has seen enough (`passthrough usage | head`).
        standard_streams.forget_output()
        sys.exit(EXIT_OTHER)
