"""Five hundred slow clients at once, with bodies of several sizes: the program's memory must not depend on them.

By hand: `python -m tests.soak.slow_clients`. Ends with 1 where it is more than the bound.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.harness.slow_clients import memory_of


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    clients = parser.parse_args().clients
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * clients + 100), hard))
    well = True
    for megabytes in (8, 64, 256):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            memory = uvloop.run(memory_of(Path(folder), clients=clients, size=megabytes * 2**20))
        bound = memory.bound(clients)
        well = well and memory.most < bound
        sys.stdout.write(
            f"{clients} clients, {megabytes} MB each: {memory.before / 1e6:.0f} MB before, {memory.most / 1e6:.0f} at most"
            f" ({(memory.most - memory.before) / clients / 1e3:.0f} KB each, bound {bound / 1e6:.0f} MB),"
            f" {memory.normal} others answered, {time.monotonic() - began:.0f} s\n"
        )
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
