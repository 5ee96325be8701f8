"""The measurement of `tests/mutation`: which changes it makes, and that its tables are about the code as it is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from tests.harness.mirror import ROOT, SOURCE
from tests.mutation.__main__ import candidates
from tests.mutation.changes import changes
from tests.mutation.places import ELSEWHERE, EQUIVALENT, files_of, is_equivalent

MODULES = [
    str(path.relative_to(SOURCE)) for path in sorted(SOURCE.rglob("*.py")) if path.parent != SOURCE or path.name != "__init__.py"
]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", {"a < b → (a <= b)"}),
        ("x = 0 <= a < b", {"0 <= a < b → (0 < a < b)", "0 <= a < b → (0 <= a <= b)", "0 → 1", "0 → (-1)"}),
        ("x = a is None", {"a is None → (a is not None)"}),
        ("x = a in b", {"a in b → (a not in b)"}),
        ("x = (a + b) * c", {"(a + b) * c → ((a + b) // c)", "a + b → (a - b)"}),
        ("x = 'a' + b", set()),
        ("x = a or b", {"a or b → (a and b)", "a or b → a", "a or b → b"}),
        (
            "x = a and b and c",
            {
                "a and b and c → (a or b or c)",
                "a and b and c → (b and c)",
                "a and b and c → (a and c)",
                "a and b and c → (a and b)",
            },
        ),
        ("x = not a", {"not a → a"}),
        ("x = -a", {"-a → a"}),
        ("x = True", {"True → False"}),
        ("x = 0.5", {"0.5 → 1.5", "0.5 → (-0.5)"}),
        ("x = 'text', b'text', None", set()),
        ("x = a if b else c", {"b → (not b)"}),
        ("x = [a for a in b if a]", {"a → True"}),
        ("x = {a: a for a in b if a}", {"a → True"}),
        ("x = any(a)", {"any → all"}),
        ("x = a.find(b)", {"a.find → a.rfind"}),
        ("x = f(a, b, *c)", {"f(a, b, *c) → f(b, a, *c)"}),
        ("x = f(a, a)", set()),
        ("x = min(a, b)", {"min → max"}),
        ("f(a)", {"f(a) → pass"}),
        ("async def f(): await g()", {"await g() → pass"}),
        ("a.b = c", {"a.b = c → pass"}),
        ("a[b] = c", {"a[b] = c → pass"}),
        ("a = b", set()),
        ("a += b", {"a += b → pass", "a += b → a -= b"}),
        ("del a[b]", {"del a[b] → pass"}),
        ("raise a", {"raise a → pass"}),
        ("def f(): return a", {"return a → return None"}),
        ("def f(): return None", set()),
        ("def f(): return", {"return → pass"}),
        ("for a in b: continue", {"continue → pass"}),
        ("for a in b: break", {"break → continue"}),
        ("while True: f", {"True → False"}),
        ("if a: b", {"a → (not a)"}),
        ("if TYPE_CHECKING: a = 1", set()),
        ("@f(1)\nclass A:\n    '''Text.'''\n    __slots__ = ('a', 'b')\n    a: int | None\n    b: F[1] = a", set()),
        ("def f(a: L[1] | None) -> L[2]: ...", set()),
        ("x = int | None\ny = isinstance(a, int | Decimal)", set()),
        ("x = a | b", {"a | b → (a & b)"}),
        ("assert a < 1", set()),
        ("x = f'{a + 1}'", set()),
        ("match a:\n    case 1: b", set()),
        ("ä = 'ä', a < b", {"a < b → (a <= b)"}),
    ],
)
def test_what_is_changed(source: str, expected: set[str]) -> None:
    """Each change is one that a slip of the pen could make; what only declares, and texts, are left alone."""
    made = changes("a.py", source.encode())
    assert expected == {f"{change.old} → {change.new}" for change in made}
    for change in made:
        assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(change.applied(source.encode())))


def test_a_change_keeps_the_rest() -> None:
    """A change replaces its own bytes, whatever stands in the line before it; it knows its line."""
    source = "ä = f('ö', a)\nb = (c +\n     d) * 2\n".encode()
    changed = {str(change): change.applied(source).decode() for change in changes("a/b.py", source)}
    assert "ä = f(a, 'ö')\nb = (c +\n     d) * 2\n" == changed["passthrough/a/b.py:1  f('ö', a)  →  f(a, 'ö')"]
    assert "ä = f('ö', a)\nb = ((c - d)) * 2\n" == changed["passthrough/a/b.py:2  c + d  →  (c - d)"]
    assert "ä = f('ö', a)\nb = (c +\n     d) * 3\n" == changed["passthrough/a/b.py:3  2  →  3"]


def test_changes_of_the_program_are_programs() -> None:
    """Every change can be read by Python, and is another program: here some."""
    offenders = []
    for change in candidates(["passthrough"])[::500]:
        source = (SOURCE / change.module).read_bytes()
        if ast.dump(ast.parse(source)) == ast.dump(ast.parse(change.applied(source))):
            offenders.append(str(change))
    assert [] == offenders


def test_each_module_has_tests() -> None:
    """Every module has tests that must notice its changes; what the table names is there."""
    assert [] == [module for module in MODULES if ast.parse((SOURCE / module).read_bytes()).body[1:] and not files_of(module)]
    assert [] == [module for module in ELSEWHERE if module not in MODULES]
    assert [] == [file for files in ELSEWHERE.values() for file in files if not (ROOT / file).is_file()]


def test_changes_that_change_nothing_are_there() -> None:
    """A row of the table fits a change of the code as it is, once, and gives a reason."""
    made = [
        change for module in {each.module for each in EQUIVALENT} for change in changes(module, (SOURCE / module).read_bytes())
    ]
    named = {(change.module, change.text, change.old, change.new) for change in made if is_equivalent(change)}
    assert [] == [each for each in EQUIVALENT if (each.module, each.text, each.old, each.new) not in named or not each.reason]
    assert len(EQUIVALENT) == len({(each.module, each.text, each.old, each.new) for each in EQUIVALENT})


def mutation(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as its user does."""
    argv = [sys.executable, "-m", "tests.mutation", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


def test_the_same_seed_chooses_the_same_changes() -> None:
    """`--list` shows what is chosen: the same for a seed, others for another one."""
    chosen = [mutation("--list", "--count", "20", "--seed", seed, "--module", "passthrough/proxy").stdout for seed in "778"]
    assert ([20] * 3, True, False) == (
        [len(each.splitlines()) for each in chosen],
        chosen[0] == chosen[1],
        chosen[1] == chosen[2],
    )


@pytest.mark.process
@pytest.mark.parametrize(("least", "code"), [("100", 0), ("101", 1)])
def test_changes_are_tried(least: str, code: int) -> None:
    """Changes of a line that is tested are noticed; where less than asked for is, the command ends with 1. The checkout stays."""
    line = next(number for number, line in enumerate((SOURCE / "loopback.py").read_text().splitlines(), 1) if "return " in line)
    before = (SOURCE / "loopback.py").read_bytes()
    ended = mutation("--count", "3", "--processes", "1", "--least", least, "--module", f"passthrough/loopback.py:{line}")
    assert (code, "", before) == (ended.returncode, ended.stderr, (SOURCE / "loopback.py").read_bytes())
    assert None is not re.search(r"^ +(\d) +\1 +0 +100% +loopback\.py$", ended.stdout, re.MULTILINE)
