"""What a release consists of: one version, archives that are the same bytes wherever they are built, workflows, a changelog."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import distribution, requires, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from passthrough import __version__

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CHANGELOG = (ROOT / "docs/changelog.md").read_text("utf-8")
EXAMPLE = "1.2.3"
"""The version that pages name where they mean any."""
BUILD = "from flit_core import buildapi; print(buildapi.build_sdist('../dist')); print(buildapi.build_wheel('../dist'))"
VERSIONS = re.compile(
    r"""(?:\bpassthrough(?:-ocr)?:|image\.version="|\bnewTag: *["']?|passthrough_ocr-|passthrough-ocr==)(\d+(?:\.\d+)+\w*)"""
)
"""Where a version stands: behind an image's name, in its label, in a kustomization, in an archive's name, in a requirement."""
GENERATED = ("__pycache__", ".pyc", ".egg-info")


def tracked() -> list[str]:
    """Return the files of the checkout; of an unpacked source distribution, those that it came with."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        return sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file())
    places = [place.rstrip("/") for place in PYPROJECT["tool"]["flit"]["sdist"]["include"]]
    places += ["passthrough", "pyproject.toml", "README.md", "LICENSE"]
    found = [path for place in places for path in ((ROOT / place).rglob("*") if (ROOT / place).is_dir() else [ROOT / place])]
    names = [str(path.relative_to(ROOT)) for path in found if path.is_file()]
    return sorted({name for name in names if not any(mark in name for mark in GENERATED)})


def built(folder: Path, mode: int, modified: int, **environ: str) -> tuple[Path, Path]:
    """Build both archives from a copy of the checkout whose files have this mode and time; return sdist and wheel."""
    house = folder / "house"
    for name in tracked():
        copy = house / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
        copy.chmod(mode | (0o100 if os.access(ROOT / name, os.X_OK) else 0))
        os.utime(copy, (modified, modified))
    variables = {"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": "1767225600", **environ}
    told = subprocess.run([sys.executable, "-c", BUILD], cwd=house, env=variables, check=True, capture_output=True, text=True)
    sdist, wheel = told.stdout.split()
    return folder / "dist" / sdist, folder / "dist" / wheel


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a source distribution and a wheel of this checkout."""
    return built(tmp_path_factory.mktemp("one"), 0o644, 1_700_000_000, TZ="UTC", LC_ALL="C.UTF-8", PYTHONHASHSEED="1")


# ── the version ──


def test_the_version_is_in_one_place() -> None:
    """It is read from the package; what is installed here has it, and it is one that the index takes."""
    assert ["version"] == PYPROJECT["project"]["dynamic"]
    assert "version" not in PYPROJECT["project"]
    assert __version__ == version("passthrough-ocr")
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", __version__)


def test_what_names_a_version_names_this_one() -> None:
    """The image's label, and each tag of the image in deployments and pages, also one that kustomize sets."""
    files = [ROOT / "Dockerfile", ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").rglob("*.yaml")]
    named = {f"{path.relative_to(ROOT)}: {found}": found for path in files for found in VERSIONS.findall(path.read_text("utf-8"))}
    assert "" == "\n".join(where for where, found in named.items() if found not in {__version__, EXAMPLE})
    assert "Dockerfile" in {where.partition(":")[0] for where in named}


def test_the_changelog_begins_with_this_version() -> None:
    """Its first heading is this version's: without a day while it is worked on, with the day once it is released."""
    headings = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert re.fullmatch(rf"{re.escape(__version__)}, (not released yet|\d{{4}}-\d\d-\d\d)", headings[0])
    released = [heading for heading in headings[1:] if not re.fullmatch(r"\d+\.\d+\.\d+\w*, \d{4}-\d\d-\d\d", heading)]
    assert [] == released


# ── wheel and source distribution ──


@pytest.mark.process
def test_archives_are_the_same_bytes_wherever_they_are_built(archives: tuple[Path, Path], tmp_path: Path) -> None:
    """Another folder, other rights and times of the files, another time zone, language and order of hashes change nothing."""
    again = built(tmp_path / "further/down", 0o600, 1_600_000_000, TZ="Asia/Kolkata", LC_ALL="C", PYTHONHASHSEED="2")
    assert [path.name for path in archives] == [path.name for path in again]
    assert [path.read_bytes() for path in archives] == [path.read_bytes() for path in again]


@pytest.mark.process
def test_the_source_distribution_is_the_checkout(archives: tuple[Path, Path]) -> None:
    """It has every file of the checkout, as it is, and its metadata: the tests run from it as they do from here."""
    sdist, _ = archives
    with tarfile.open(sdist) as file:
        members = {member.name.partition("/")[2]: member for member in file.getmembers()}
        assert {sdist.name.removesuffix(".tar.gz")} == {name.partition("/")[0] for name in file.getnames()}
        assert sorted([*tracked(), "PKG-INFO"]) == sorted(members)
        differing = [
            name for name, member in members.items()
            if name != "PKG-INFO" and (content := file.extractfile(member)) and content.read() != (ROOT / name).read_bytes()
        ]  # fmt: skip
    assert [] == differing
    assert {".ci/release", ".ci/run"} <= {name for name, member in members.items() if member.mode & 0o100}


@pytest.mark.process
def test_the_wheel_is_the_package(archives: tuple[Path, Path], tmp_path: Path) -> None:
    """It has passthrough/ and nothing else, both licences, and pyproject.toml's metadata; one from the sdist is equal."""
    sdist, wheel = archives
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
        (metadata,) = [file.read(name).decode("utf-8") for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        licences = [file.read(name).decode("utf-8") for name in sorted(file.namelist()) if ".dist-info/licenses/" in name]
    assert {name for name in tracked() if name.startswith("passthrough/")} == names
    assert ["Apache License", "The MIT License (MIT)"] == [text.split("\n\n")[0].strip().partition("\n")[0] for text in licences]
    said = HeaderParser().parsestr(metadata)
    assert ("passthrough-ocr", __version__, "Apache-2.0") == (said["Name"], said["Version"], said["License-Expression"])
    assert {*PYPROJECT["project"]["optional-dependencies"]} == {*said.get_all("Provides-Extra", ())}
    with tarfile.open(sdist) as source:
        source.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    (tmp_path / "dist").mkdir()
    environ = {"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": "1767225600"}
    command = [sys.executable, "-c", "from flit_core import buildapi; buildapi.build_wheel('../dist')"]
    subprocess.run(command, cwd=unpacked, env=environ, check=True, capture_output=True)
    assert wheel.read_bytes() == (tmp_path / "dist" / wheel.name).read_bytes()


# ── what the image holds ──


def held() -> set[str]:
    """Return the names of all that the image installs: what is needed, with every extra but the tests', and what that brings."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    left = [*PYPROJECT["project"]["dependencies"], *(line for extra in extras if extra != "test" for line in extras[extra])]
    found: set[tuple[str, str]] = set()
    while left:
        requirement = Requirement(left.pop())
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue  # another platform's
        for extra in ("", *requirement.extras):
            name = canonicalize_name(requirement.name)
            if (name, extra) not in found:
                found.add((name, extra))
                for each in map(Requirement, requires(name) or ()):
                    if each.marker is None or each.marker.evaluate({"extra": extra}):
                        each.marker = None
                        left.append(str(each))
    return {name for name, _ in found}


def inventory() -> Any:
    """Return the program that writes SBOM and licences, as a module."""
    spec = spec_from_file_location("inventory", ROOT / ".ci/inventory.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_that_the_image_holds_may_be_passed_on() -> None:
    """Each package declares a licence and brings its text; none asks for the source of what is installed beside it."""
    listed = inventory()
    licences = {name: listed.license_of(distribution(name)) for name in held()}
    assert {"aiohttp", "psycopg-binary", "pypdfium2"} <= licences.keys()
    assert {} == {name: said for name, said in licences.items() if re.search(r"(?i)not declared|unknown|\bA?GPL|affero", said)}
    assert [] == [name for name in sorted(licences) if not any(text.strip() for _, text in listed.texts_of(distribution(name)))]


def test_the_bundled_library_is_in_the_inventory() -> None:
    """The chart library within the package is a component of its own: an advisory on it can be found."""
    component = inventory().bundled(ROOT / "passthrough")
    assert ("uplot", f"pkg:npm/uplot@{component['version']}") == (component["name"], component["purl"])


# ── what builds it ──


def tools() -> dict[str, str]:
    """Return the pins of what CI uses beside the tests."""
    lines = (ROOT / ".ci/tools.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_tools_are_plain_pins() -> None:
    """Each line pins one package to one version, once, in order: no address, no path, no marker."""
    lines = [line for line in (ROOT / ".ci/tools.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert [] == [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+", line)]
    assert sorted(tools()) == [line.partition("==")[0] for line in lines]


def test_the_build_system_is_pinned_within_its_bounds() -> None:
    """What pyproject.toml asks for is pinned alike for the tests and for releases."""
    (requirement,) = map(Requirement, PYPROJECT["build-system"]["requires"])
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    name = canonicalize_name(requirement.name)
    assert requirement.specifier.contains(tools()[name])
    assert pins[name] == tools()[name]
    assert [requirement.specifier] == [
        each.specifier for each in map(Requirement, PYPROJECT["project"]["optional-dependencies"]["test"]) if each.name == name
    ]


@pytest.mark.process
def test_the_release_script_is_well_formed() -> None:
    """The script can be executed, and a shell can read it."""
    script = ROOT / ".ci/release"
    assert os.access(script, os.X_OK)
    assert 0 == subprocess.run([shutil.which("bash") or "bash", "-n", script], check=False).returncode


@pytest.mark.process
@pytest.mark.parametrize(
    ("tag", "heading", "said"),
    [
        (
            "v9.9.9",
            f"{__version__}, 2026-01-31",
            f"The tag is v9.9.9, and the version is {__version__} (passthrough/__init__.py).\n",
        ),
        (f"v{__version__}", f"{__version__}, not released yet", f"the heading of {__version__} has no day yet"),
        (f"v{__version__}", f"{__version__}, soon", f"docs/changelog.md has no heading '## {__version__}, not released yet'.\n"),
        ("", "9.9.9, 2026-01-31", f"docs/changelog.md has no heading '## {__version__}, not released yet'.\n"),
        (f"v{__version__}", f"{__version__}, 2026-01-31", "── tools\n"),
        ("", f"{__version__}, not released yet", "── tools\n"),
    ],
)
def test_a_release_needs_its_tag_and_its_day(tmp_path: Path, tag: str, heading: str, said: str) -> None:
    """A tag that is not the version, and a changelog without the version or its day, are refused before anything is built."""
    for name in (".ci/release", "passthrough/__init__.py"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/changelog.md").write_text(f"# Changelog\n\n## {heading}\n", "utf-8")
    environ = {"PATH": os.environ["PATH"], "TAG": tag, "PYTHON": "false"}  # it ends where it would make an environment
    told = subprocess.run(
        [tmp_path / ".ci/release"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert 1 == told.returncode
    assert said in told.stdout.splitlines(keepends=True)[-1]


# ── what a forge looks for ──


def test_a_forge_finds_licence_policy_and_guide() -> None:
    """It looks in the root, in docs/ and in .github/; the texts say what it shows them for."""
    for name, said in (
        ("LICENSE", "Apache License"),
        ("docs/SECURITY.md", "## Reporting a weakness"),
        ("docs/SECURITY.md", "## Supported versions"),
        ("docs/SECURITY.md", "(releases.md#verify-a-release)"),
        ("docs/CONTRIBUTING.md", "## Set up"),
    ):
        assert said in (ROOT / name).read_text("utf-8"), name


WORKFLOWS: dict[str, Any] = {
    path.name: yaml.safe_load(path.read_text("utf-8")) for path in sorted((ROOT / ".github/workflows").glob("*.yaml"))
}


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the jobs of every workflow, by workflow and name."""
    for name, workflow in WORKFLOWS.items():
        for job, said in workflow["jobs"].items():
            yield f"{name}: {job}", said


STEPS = [(where, step) for where, job in jobs() for step in job.get("steps", ())]
SCRIPTS = [(where, step["run"]) for where, step in STEPS if "run" in step]


def test_workflows_have_no_right_that_they_do_not_name() -> None:
    """A workflow has no rights; a job has those that it names, and only those that publish may write."""
    assert {"ci.yaml", "release.yaml"} == set(WORKFLOWS)
    assert [{}, {}] == [workflow["permissions"] for workflow in WORKFLOWS.values()]
    writing = {where: sorted(right for right, level in job["permissions"].items() if level == "write") for where, job in jobs()}
    assert {
        "release.yaml: image": ["attestations", "id-token", "packages"],
        "release.yaml: attest": ["attestations", "id-token"],
        "release.yaml: index": ["id-token"],
        "release.yaml: page": ["contents"],
    } == {where: rights for where, rights in writing.items() if rights}


def test_actions_are_pinned_to_commits() -> None:
    """A tag can be moved; the comment behind the commit says which version it was."""
    for name in WORKFLOWS:
        lines = (ROOT / ".github/workflows" / name).read_text("utf-8").splitlines()
        used = [line.strip().removeprefix("- ") for line in lines if re.match(r"\s*(- )?uses:", line)]
        pinned = re.compile(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
        assert [] == [line for line in used if not pinned.fullmatch(line) and "uses: ./.github/" not in line]
    steps = [step for _, step in STEPS if "actions/checkout@" in step.get("uses", "")]
    assert [] == [step for step in steps if step["with"].get("persist-credentials") is not False]


@pytest.mark.process
def test_scripts_of_workflows_are_well_formed_and_take_no_text_from_outside() -> None:
    """A shell reads each; what the forge fills in comes as a variable, so that a branch's name cannot be a command."""
    assert [] == [where for where, script in SCRIPTS if "${{" in script]
    for where, script in SCRIPTS:
        checked = subprocess.run(
            [shutil.which("bash") or "bash", "-n"], input=script, text=True, capture_output=True, check=False
        )
        assert (0, "") == (checked.returncode, checked.stderr), where


def test_workflows_run_what_there_is() -> None:
    """Each script of the repository that they name is there; the tests run on every Python that is declared."""
    named = {name for _, script in SCRIPTS for name in re.findall(r"(?<![\w/])\.ci/[\w.]+", script)}
    assert {".ci/run", ".ci/release", ".ci/tools.txt"} <= named
    assert set() == {name for name in named if not (ROOT / name).exists()}
    declared = [each.rpartition(" :: ")[2] for each in PYPROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert declared == WORKFLOWS["ci.yaml"]["jobs"]["tests"]["strategy"]["matrix"]["python"]


def test_a_release_waits_for_all_tests() -> None:
    """Nothing is published before CI's workflow has passed on the tagged commit; the index gets what was attested."""
    release = WORKFLOWS["release.yaml"]["jobs"]
    assert "./.github/workflows/ci.yaml" == release["ci"]["uses"]
    before: dict[str, set[str]] = {}
    for name, job in release.items():
        needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        before[name] = {*needs, *(further for need in needs for further in before[need])}
    assert {"ci"} <= before["image"] & before["attest"] & before["index"] & before["page"]
    assert {"attest", "image"} <= before["index"]


@pytest.mark.skipif(not shutil.which("check-jsonschema"), reason="there is no check-jsonschema")
@pytest.mark.process
def test_workflows_fit_the_forges_schema() -> None:
    """Every key is one that the forge knows, where it may stand."""
    files = [ROOT / ".github/workflows" / name for name in WORKFLOWS]
    told = subprocess.run(
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files], capture_output=True, text=True, check=False
    )
    assert 0 == told.returncode, told.stdout + told.stderr


@pytest.mark.skipif(not shutil.which("zizmor"), reason="there is no zizmor")
@pytest.mark.process
def test_workflows_have_no_known_weakness() -> None:
    """The forge's workflows have a linter for what attackers use: templates in scripts, kept credentials, caches, rights."""
    command = ["zizmor", "--offline", "--quiet", "--no-progress", ROOT / ".github"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == told.returncode, told.stdout + told.stderr
