"""What is shipped agrees with itself: pins, image, deployments, CI."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import passthrough
from passthrough.aiohttp_internals import SUPPORTED
from passthrough.config.load import load
from passthrough.config.model import Config, Listen
from passthrough.errors import ConfigError
from passthrough.server.instance import CLOSE_ACCOUNTING_S
from tests.harness.kustomization import built

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BOUND = {"aiohttp", "flit-core"}
"""What has an upper bound: aiohttp's internals are used; flit-core is the build system, as [build-system] has it."""
PROVIDER_KEY = {"MISTRAL_API_KEY": "mistral-canary-0123456789"}


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, each as its keyword and the rest, continuation lines joined."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#"))
    lines = (" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines())
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines if line]


def rests(keyword: str) -> list[str]:
    """Return the rest of every instruction of one kind."""
    return [rest for found, rest in instructions() if found == keyword]


def final(keyword: str) -> str:
    """Return the rest of the last instruction of one kind: the one that the image has."""
    return rests(keyword)[-1]


def assignments(keyword: str) -> dict[str, str]:
    """Return what the last ENV or LABEL assigns."""
    return {name: quoted or plain for name, quoted, plain in re.findall(r'([\w.]+)=(?:"([^"]*)"|(\S+))', final(keyword))}


def pins() -> list[tuple[str, str]]:
    """Return the constraints as names and versions, in the file's order; a line of another form has no version."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return [(line.partition("==")[0], line.partition("==")[2]) for line in lines if not line.startswith("#")]


def declared() -> Iterator[Requirement]:
    """Yield every requirement of pyproject.toml, those of the extras too."""
    extras = PROJECT["optional-dependencies"].values()
    for line in (*PROJECT["dependencies"], *(line for extra in extras for line in extra)):
        requirement = Requirement(line)
        if requirement.name != PROJECT["name"]:
            yield requirement


def needed() -> set[str]:
    """Return the names of all that the requirements bring with them here."""
    found: set[tuple[str, str]] = set()
    left = [(requirement, "") for requirement in declared()]
    while left:
        requirement, extra = left.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        new = {(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)} - found
        found |= new
        left += [(further, wanted) for name, wanted in new for further in brought(name)]
    return {name for name, _ in found}


def brought(name: str) -> list[Requirement]:
    """Return what an installed package requires; one that is missing here, or is not the pinned version, tells nothing."""
    try:
        return [Requirement(line) for line in requires(name) or ()] if version(name) == dict(pins()).get(name) else []
    except PackageNotFoundError:
        return []


def deployed(folder: Path, name: str, environ: dict[str, str], **more: Any) -> Config:
    """Load a configuration as the image does: its variables under those of the deployment."""
    image = {key: value for key, value in assignments("ENV").items() if key.startswith("PASSTHROUGH_")}
    return load(name, {**image, **environ}, cwd=folder, **more)


def manifests() -> dict[str, Any]:
    """Return the sidecar's Kubernetes objects by their kind."""
    return {each["kind"]: each for each in built(ROOT / "deploy/kubernetes/sidecar")}


def compose() -> Any:
    """Return the one service of the Compose file."""
    return yaml.safe_load((ROOT / "deploy/compose.yaml").read_text("utf-8"))["services"]["passthrough"]


# ── the distribution's name ──


def test_nothing_installs_another_project() -> None:
    """What is installed by name is this distribution; `passthrough` on PyPI is another project."""
    folders = (ROOT / name for name in ("passthrough", "tests", "docs", "deploy", ".ci"))
    files = [path for place in (ROOT.glob("*"), *(folder.rglob("*") for folder in folders)) for path in place if path.is_file()]
    texts = [path.read_text("utf-8", "replace") for path in files if "__pycache__" not in path.parts]
    extras = "|".join(PROJECT["optional-dependencies"])
    named = {name for text in texts for name in re.findall(rf"(?<![\w/.-])(passthrough[\w-]*)\[(?:{extras})\b", text)}
    named |= {name for text in texts for name in re.findall(r"pip install [^\n&;|`]*?\b(passthrough[\w-]*)", text)}
    assert {PROJECT["name"]} == named


# ── pins ──


def test_constraints_are_plain_pins() -> None:
    """Each line pins one package to one version, once, in order: no address, no path, no marker."""
    names = [name for name, _ in pins()]
    assert sorted(set(names)) == names
    assert [] == [pin for pin in pins() if not re.fullmatch(r"[a-z0-9-]+==([0-9]+!)?[a-z0-9.]+", "==".join(pin))]


@pytest.mark.parametrize("requirement", list(declared()), ids=str)
def test_constraints_satisfy_pyproject(requirement: Requirement) -> None:
    """Every dependency has a lower bound and a pin within its bounds; an upper one has only what is used beyond its contract."""
    assert {">="} == {each.operator for each in requirement.specifier} - ({"<"} if requirement.name in BOUND else set())
    assert requirement.specifier.contains(dict(pins())[canonicalize_name(requirement.name)])


def test_aiohttp_is_bound_to_the_versions_that_were_tried() -> None:
    """What pyproject.toml installs is what the program says to install where it meets another aiohttp."""
    assert {SpecifierSet(SUPPORTED)} == {each.specifier for each in declared() if each.name == "aiohttp"}
    assert ">=" in SUPPORTED
    assert "<" in SUPPORTED.replace(">=", "")


def test_constraints_cover_what_dependencies_bring() -> None:
    """Nothing that an installation brings along is left without a pin."""
    assert set() == needed() - dict(pins()).keys()


# ── the image ──


def test_image_is_what_pyproject_says() -> None:
    """The labels, the command and the base image's Python agree with pyproject.toml."""
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in assignments("LABEL").items()}
    assert (PROJECT["name"], passthrough.__version__, PROJECT["license"]) == (
        labels["title"],
        labels["version"],
        labels["licenses"],
    )
    assert list(PROJECT["scripts"]) == json.loads(final("ENTRYPOINT"))
    bases = {rest.partition(" ")[0] for rest in rests("FROM")}
    assert 1 == len(bases)
    python = bases.pop().removeprefix("python:").removesuffix("-slim")
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]


def test_image_gets_signals_and_is_asked_for_health() -> None:
    """Command and health check are lists, so that no shell stands between."""
    assert ["serve"] == json.loads(final("CMD"))
    assert ["passthrough", "health"] == json.loads(final("HEALTHCHECK").partition("CMD ")[2])


def test_image_runs_as_a_number_and_writes_to_its_volume() -> None:
    """The user is numeric, and owns the working directory, which is the only volume."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final("USER"))
    assert final("WORKDIR") == final("VOLUME")
    assert ["chown", final("USER"), final("VOLUME")] == json.loads(final("RUN"))


def test_image_imports_modules_that_exist() -> None:
    """What the build compiles ahead is still there."""
    command = next(rest for rest in rests("RUN") if "import passthrough" in rest)
    names = re.findall(r"passthrough(?:\.\w+)+", command)
    assert [] == [name for name in names if find_spec(name) is None]


def test_image_is_built_from_what_is_let_in() -> None:
    """Every file that is copied exists and is let in, and nothing is let in that is not copied."""
    named = {source for rest in rests("COPY") if "--from" not in rest for source in rest.split()[:-1]}
    copied = {source for source in named if source.partition("/")[0] not in named - {source}}  # a folder has its files
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    assert copied == let_in
    assert set() == {name for name in named if not (ROOT / name).exists()}


def test_image_refuses_strangers() -> None:
    """The shipped routes have no client keys, so the image as it is says what to add, with its sandbox too."""
    source, place = next(rest for rest in rests("COPY") if rest.endswith(assignments("ENV")["PASSTHROUGH_CONFIG"])).split()
    assert assignments("ENV")["PASSTHROUGH_CONFIG"] == place
    for sandbox in (False, True):
        with pytest.raises(ConfigError, match="client_keys"):
            deployed(ROOT, source, PROVIDER_KEY, sandbox=sandbox)


# ── deployments ──


def test_compose_is_served() -> None:
    """With the keys that it names, the composed container listens where its ports are published from, the dashboard's too."""
    names = [each for each in compose()["environment"] if each.endswith("_KEY")]
    config = deployed(ROOT / "deploy/etc", "routes.yaml", {name: f"{name}-canary-0123456789" for name in names})
    assert () == config.warnings
    assert ("0.0.0.0", "0.0.0.0") == (config.listen.host, config.listen.admin_host)
    assert [str(config.listen.port), str(config.listen.admin_port)] == final("EXPOSE").split()
    assert [f"127.0.0.1:{port}:{port}" for port in (config.listen.port, config.listen.admin_port)] == compose()["ports"]
    assert config.admin_digest is not None
    mounted = dict(volume.split(":")[:2] for volume in compose()["volumes"])
    assert {"./etc": str(Path(assignments("ENV")["PASSTHROUGH_CONFIG"]).parent), "books": final("VOLUME")} == mounted


def test_compose_needs_its_keys() -> None:
    """A key that the shell does not set is said by its name, not sent as nothing."""
    with pytest.raises(ConfigError, match=r"(?s)MISTRAL_API_KEY.*CLIENT_KEY.*ADMIN_KEY"):
        deployed(ROOT / "deploy/etc", "routes.yaml", {})


def test_sidecar_is_served(tmp_path: Path) -> None:
    """The ConfigMap is a configuration; traffic is the Pod's own, and probes reach the admin port."""
    objects = manifests()
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (sidecar,) = pod["initContainers"]
    (tmp_path / "routes.yaml").write_text(objects["ConfigMap"]["data"]["routes.yaml"], "utf-8")
    environ = {each["name"]: each.get("value", "canary-0123456789") for each in sidecar["env"]}
    config = deployed(tmp_path, "routes.yaml", environ)
    assert () == config.warnings
    assert ("127.0.0.1", "0.0.0.0") == (config.listen.host, config.listen.admin_host)
    assert [{"name": "admin", "containerPort": config.listen.admin_port}] == sidecar["ports"]
    mounted = {each["name"]: each["mountPath"] for each in sidecar["volumeMounts"]}
    assert {
        "config": str(Path(assignments("ENV")["PASSTHROUGH_CONFIG"]).parent),
        "books": final("VOLUME"),
        "tmp": "/tmp",
    } == mounted
    assert final("USER") == "{0}:{0}".format(pod["securityContext"]["fsGroup"])
    assert f"passthrough:{passthrough.__version__}" == sidecar["image"]


def test_deployments_wait_for_the_drain() -> None:
    """Nobody kills the process before its requests have ended and its books are closed."""
    drain_s = Listen().drain_timeout_s + CLOSE_ACCOUNTING_S
    assert drain_s <= float(compose()["stop_grace_period"].removesuffix("s"))
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    assert drain_s <= pod["terminationGracePeriodSeconds"]


# ── CI ──


@pytest.mark.process
def test_ci_runs_what_the_conventions_name() -> None:
    """The script is executable, well-formed, and runs every check with the pins."""
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert 0 == subprocess.run([shutil.which("bash") or "bash", "-n", script], check=False).returncode
    steps = ["-c constraints.txt -e '.[test]'", "ruff format --check", "ruff check", "mypy --strict", "python -m pytest"]
    text = script.read_text("utf-8")
    assert sorted(text.index(step) for step in steps) == [text.index(step) for step in steps]


def test_license_is_the_one_declared() -> None:
    """The licence's text is that of its identifier."""
    assert "Apache-2.0" == PROJECT["license"]
    assert "Apache License\n                           Version 2.0, January 2004" in (ROOT / "LICENSE").read_text("utf-8")
