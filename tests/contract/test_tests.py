"""The tests mirror the packages: each file is named after a module, or its package's conftest says what it tests."""

from __future__ import annotations

from tests.harness.mirror import PACKAGES, SOURCE, TESTS, faces, named_modules


def test_each_file_is_named_after_a_module() -> None:
    """What is not is named in the conftest of its package, and is there."""
    strays = []
    for package in PACKAGES:
        named = faces(package)
        found = {str(path.relative_to(TESTS / package).with_suffix("")): path for path in (TESTS / package).rglob("test_*.py")}
        strays += [f"{package}/{name} is named, and not there" for name in sorted(named.keys() - found.keys())]
        for name, path in sorted(found.items()):
            module = SOURCE / path.relative_to(TESTS).with_name(path.name.removeprefix("test_"))
            if name not in named and not module.exists():
                strays.append(f"{package}/{name} has no module, and the conftest does not name it")
    assert [] == strays


def test_modules_that_are_named_are_there() -> None:
    """A conftest that names several modules behind a face names them as they are."""
    here = {path.stem for path in SOURCE.rglob("*.py")}
    strays = []
    for package in PACKAGES:
        for face, said in faces(package).items():
            strays += [f"{package}/{face} names {name}" for name in named_modules(said) if name not in here]
    assert [] == strays
