"""The garbage collector: off while much is made, and blind to what stays."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

SCRIPT = """\
import gc, weakref
from passthrough.server.gc_tuning import freeze_heap, without_gc

class Thing: pass

def make():
    assert not gc.isenabled()
    return [Thing() for _ in range(100_000)]

things = without_gc(make)
assert gc.isenabled()
loop = Thing(); loop.itself = loop
gone = weakref.ref(loop); del loop
freeze_heap()
assert gone() is None, "garbage was set apart"
assert gc.get_freeze_count() > 100_000
assert len(gc.get_objects()) < 10_000
kept = weakref.ref(things[0]); del things
assert kept() is None, "what is set apart is not freed"
"""


def test_what_stays_is_set_apart_and_garbage_is_not() -> None:
    """The collector is on again afterwards, garbage is gone, what stays is not looked at, and is freed when it is let go."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (done.returncode, done.stderr)


def test_after_a_start_only_the_young_are_looked_at() -> None:
    """What has just become garbage is gone, and everything is set apart, what is old without another look at it."""
    script = (
        "import gc, weakref\nfrom passthrough.server.gc_tuning import YOUNG, freeze_heap\n"
        "class Thing: pass\n"
        "loop = Thing(); loop.itself = loop; gone = weakref.ref(loop); del loop\n"
        "before = gc.get_stats()[2]['collections']; freeze_heap(YOUNG)\n"
        "assert before == gc.get_stats()[2]['collections']\n"
        "assert gone() is None; assert gc.get_freeze_count() > 1000; assert gc.isenabled()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (done.returncode, done.stderr)


def test_the_collector_is_on_again_after_an_error() -> None:
    """What goes wrong is raised."""
    script = (
        "import gc\nfrom passthrough.server.gc_tuning import without_gc\n"
        "try: without_gc(lambda: 1 / 0)\nexcept ZeroDivisionError: assert gc.isenabled()\nelse: assert False"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (done.returncode, done.stderr)
