"""Changes the code at one place at a time, and tells which changes no test notices.

By hand: `python -m tests.mutation --count 50 --module passthrough/accounting`. The tests of a module are those that mirror it,
and those that `places.py` names; they run in copies of the checkout, which is not touched itself. The same seed makes the same
changes of the same code. Ends with 1 where less than `--least` per cent were noticed, with 2 where the tests fail as it is.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.harness.mirror import SOURCE

from .changes import Change, changes
from .places import files_of, is_equivalent
from .runs import Ended, Run, copies, run_all

FAILED = (1, 2, 3, 4)
"""Exit codes of pytest by which a change is noticed: tests failed, or could not even be imported."""


def candidates(named: list[str]) -> list[Change]:
    """Return all changes of the modules that are named: files or folders, a file with `:LINE` for that line alone."""
    found: dict[Change, None] = {}
    for name in named:
        path, _, line = name.partition(":")
        place = SOURCE.parent / path
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        for file in files:
            of_file = changes(str(file.relative_to(SOURCE)), file.read_bytes())
            found |= dict.fromkeys(change for change in of_file if not line or change.line == int(line))
    return [change for change in found if files_of(change.module)]


def main(argv: list[str]) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="which changes are chosen (default: %(default)s)")
    parser.add_argument("--count", type=int, default=547, help="how many at most (default: %(default)s)")
    parser.add_argument(
        "--module", nargs="+", action="extend", default=[], help="files, files with :LINE, or folders (default: all)"
    )
    parser.add_argument("--processes", type=int, default=2, help="how many runs at a time (default: %(default)s)")
    parser.add_argument("--marks", default="not database", help="pytest's -m (default: '%(default)s')")
    parser.add_argument(
        "--least", type=float, default=94, help="the share that must be noticed, in per cent (default: %(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="only show the changes")
    asked = parser.parse_args(argv)

    found = candidates(asked.module or ["passthrough"])
    possible = [change for change in found if not is_equivalent(change)]
    chosen = sorted(random.Random(asked.seed).sample(possible, min(asked.count, len(possible))))
    if asked.list:
        sys.stdout.writelines(f"{change}   ({change.kind})\n" for change in chosen)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the copies go
    sys.stdout.write(f"{len(chosen)} of {len(possible)} changes, {len(found) - len(possible)} equivalent ones left out\n")
    with tempfile.TemporaryDirectory(prefix="mutation-") as place, copies(Path(place), asked.processes, asked.marks) as pool:
        took_s: dict[tuple[str, ...], float] = {}
        broken: list[Ended] = []

        def unchanged(ended: Ended) -> None:
            took_s[ended.run.tests] = ended.took_s
            if ended.code:
                broken.append(ended)

        run_all(
            [Run(tests, 600, 600) for tests in sorted({files_of(change.module) for change in chosen})],
            pool,
            unchanged,
            preload=True,
        )
        if broken:
            sys.stdout.writelines(f"as it is, this fails: {' '.join(each.run.tests)}\n{each.output}\n" for each in broken)
            return 2
        return _measure(chosen, pool, took_s, asked.least)


def _measure(chosen: list[Change], pool: list, took_s: dict[tuple[str, ...], float], least: float) -> int:
    began = time.monotonic()
    noticed: Counter[str] = Counter()
    late: Counter[str] = Counter()
    survived: list[Change] = []

    def changed(ended: Ended) -> None:
        change = ended.run.change
        assert change is not None
        if ended.code == 0:
            survived.append(change)
            sys.stdout.write(f"survived  {change}   ({change.kind})\n")
        elif ended.code is None or ended.code < 0 or ended.code in FAILED:
            noticed[change.module] += 1
            late[change.module] += ended.code is None
        else:
            raise SystemExit(f"pytest ended with {ended.code}: {change}\n{ended.output}")
        sys.stdout.flush()

    limits = {tests: (15 + 5 * each_s, 3 + 3 * each_s) for tests, each_s in took_s.items()}
    runs = [Run(files_of(change.module), *limits[files_of(change.module)], change) for change in chosen]
    run_all(runs, pool, changed)
    made = Counter(change.module for change in chosen)
    sys.stdout.write("\nnoticed   of  by time  share  module\n")
    for module in sorted(made):
        share = 100 * noticed[module] / made[module]
        sys.stdout.write(f"{noticed[module]:7} {made[module]:4} {late[module]:8} {share:5.0f}%  {module}\n")
    share = 100 * noticed.total() / max(1, len(chosen))
    sys.stdout.write(f"{noticed.total():7} {len(chosen):4} {late.total():8} {share:5.1f}%  in {time.monotonic() - began:.0f} s\n")
    return 0 if share >= least else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
