"""docs/architecture.md says what the tree is: its code map, its functions, its threads and its locks are there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import passthrough

SOURCE = Path(passthrough.__file__).parent
PAGE, CONTRIBUTING = (
    (Path(__file__).parents[2] / "docs" / name).read_text("utf-8") for name in ("architecture.md", "CONTRIBUTING.md")
)
FILES = {str(path.relative_to(SOURCE)): path for path in sorted(SOURCE.rglob("*.py"))}

LOCKS = {"Lock", "RLock", "Semaphore", "BoundedSemaphore"}
THREADS = {"Thread", "ThreadPoolExecutor", "JobThread", "BackgroundWriter"}


def section(title: str) -> str:
    """Return the part of the page under a heading of the second rank."""
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def spans(text: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`\n]+)`", text)


@cache
def tree(file: str) -> ast.Module:
    """Return a file of the program as a syntax tree."""
    return ast.parse(FILES[file].read_text("utf-8"), file)


def members(node: ast.ClassDef) -> Iterator[str]:
    """Yield what a class has: methods, names in its body, and what its methods set."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            yield inner.name
        elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "self":
            yield inner.attr
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id


def assigned(node: ast.stmt) -> list[ast.expr]:
    """Return what a statement assigns to."""
    return node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []


@cache
def names_in(file: str) -> frozenset[str]:
    """Return the names of a file as the page writes them: `Class`, `Class.member`, `function()`, and those of its aliases."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ClassDef):
            found |= {node.name, *(f"{node.name}.{member}" for member in members(node))}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(f"{node.name}()")
    return frozenset(found | {ast.unparse(target) for node in tree(file).body for target in assigned(node)})


def called(node: ast.Call) -> str:
    """Return the last name of what is called: `Lock` for `threading.Lock()`."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""


def locks_of(file: str) -> Iterator[str]:
    """Yield the locks that a file makes: `Class.attribute`, or a variable's name."""
    classes = [node for node in ast.walk(tree(file)) if isinstance(node, ast.ClassDef)]
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call) and called(node.value) in LOCKS:
            owner = next((each.name for each in classes if any(inner is node for inner in ast.walk(each))), None)
            name = ast.unparse(assigned(node)[0])
            yield name.replace("self.", f"{owner}.") if owner else name


def threads_of(file: str) -> Iterator[str]:
    """Yield the names that a file gives to threads."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call) and called(node) in THREADS:
            given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg in {"name", "thread_name_prefix"})]
            yield from (each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str))


def test_code_map_is_the_tree() -> None:
    """Each folder has one row, whose modules are there and are named once; a module without a name is its folder's."""
    rows = re.findall(r"^\| `([\w/]+/)` \| [^|]* \| ([^|]*) \|$", section("Code map"), re.MULTILINE)
    wrong = [f"{folder} has {count} rows" for folder, count in Counter(folder for folder, _ in rows).items() if count > 1]
    for folder, cell in rows:
        below = "" if folder == "passthrough/" else folder
        named = Counter(span for span in spans(cell) if re.fullmatch(r"[a-z_0-9]+", span))
        wrong += [f"{below}{name}.py is not there" for name in named if f"{below}{name}.py" not in FILES]
        wrong += [f"{below}{name}.py is named twice" for name, count in named.items() if count > 1]
    mapped = {"" if folder == "passthrough/" else folder for folder, _ in rows}
    folders = {file.rpartition("/")[0] + "/" if "/" in file else "" for file in FILES}
    assert [] == sorted(
        [*wrong, *(f"{each} has no row" for each in folders - mapped), *(f"{each} is no folder" for each in mapped - folders)]
    )


def test_functions_of_the_pages_are_there() -> None:
    """A class, a method or a function in backticks is in the file that stands before it; without one, it is somewhere."""
    wrong = []
    everywhere = frozenset[str]().union(*map(names_in, FILES))
    text = re.sub(r"^```.*?^```$", "", PAGE + CONTRIBUTING, flags=re.DOTALL | re.MULTILINE)
    flowing = re.sub(r"\s+", " ", text)
    for file, name in re.findall(r"(?:`([\w/]+\.py)` )?`((?:[A-Z]\w*[a-z]\w*(?:\.\w+)?)|\w+\(\))`", flowing):
        if name not in (names_in(file) if file in FILES else everywhere):
            wrong.append(f"{file} {name}".strip())
    assert [] == wrong


def test_every_lock_has_a_row() -> None:
    """A lock that the page does not name has no order."""
    named = set(spans(section("Locks")))
    assert [] == [f"{file} {name}" for file in FILES for name in locks_of(file) if name not in named]


def test_every_thread_has_a_row() -> None:
    """The page says which threads there are."""
    named = set(spans(section("Threads")))
    assert [] == [f"{file} {name}" for file in FILES for name in threads_of(file) if name not in named]
