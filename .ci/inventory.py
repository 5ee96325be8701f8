"""Writes what an installation consists of: an SBOM (CycloneDX), and the licences with their texts.

    python inventory.py PYTHON FOLDER      the installation's interpreter; where `sbom.cdx.json` and `licenses.txt` go

Needs cyclonedx-bom beside the interpreter that runs it. The same installation gives the same bytes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

NAME = "passthrough-ocr"
HEAD = """\
What is installed beside passthrough, with its licences. Not listed: Python itself, whose licence is in its own folder, and the
packages of the system below it: on Debian, /usr/share/doc/*/copyright has theirs.
"""


def site_packages(python: str) -> str:
    """Return the folder that an interpreter's distributions are in."""
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def license_of(each: Distribution) -> str:
    """Return the licence as its package declares it: the SPDX expression, else the classifiers, else the text's first line."""
    said = each.metadata
    classifiers = [line.rpartition(" :: ")[2] for line in said.get_all("Classifier") or () if line.startswith("License ::")]
    text = (said.get("License") or "not declared").strip()
    return said.get("License-Expression") or "; ".join(classifiers) or text.splitlines()[0]


def texts_of(each: Distribution) -> list[tuple[str, str]]:
    """Return the files with terms that a distribution brings, by their names."""
    found = [path for path in each.files or () if ".dist-info" in path.parts[0]]
    named = [path for path in found if re.search(r"(?i)/licenses/|/(licen[cs]e|copying|notice|authors)[^/]*$", str(path))]
    return [(str(path), Path(path.locate()).read_text("utf-8", "replace")) for path in sorted(named)]


def bundled(package: Path) -> dict[str, Any]:
    """Return the component that lies within passthrough's own package: the dashboard's charts."""
    head = (package / "admin/assets/uPlot.iife.min.js").read_text("utf-8")[:200]
    (version,) = re.findall(r"\(v([\d.]+)\)", head)
    purl = f"pkg:npm/uplot@{version}"
    return {
        "bom-ref": purl,
        "type": "library",
        "name": "uplot",
        "version": version,
        "purl": purl,
        "licenses": [{"license": {"id": "MIT", "acknowledgement": "declared"}}],
    }


def sbom(python: str, version: str, package: Path) -> dict[str, Any]:
    """Return the SBOM of an installation: cyclonedx-py's, with passthrough as its root and what passthrough bundles."""
    tool = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--validate", "-o", "-", python]
    found: dict[str, Any] = json.loads(subprocess.run(tool, check=True, capture_output=True, text=True).stdout)
    (root,) = [each for each in found["components"] if each["name"] == NAME]
    found["components"] = [*(each for each in found["components"] if each is not root), bundled(package)]
    root.pop("externalReferences", None)  # the path of the file that it was installed from
    found["metadata"]["component"] = {**root, "type": "application", "version": version}
    (needs,) = [each for each in found["dependencies"] if each["ref"] == root["bom-ref"]]
    needs["dependsOn"] = sorted([*needs.get("dependsOn", ()), found["components"][-1]["bom-ref"]])
    found["dependencies"].append({"ref": found["components"][-1]["bom-ref"]})
    return found


def main(python: str, folder: Path) -> None:
    """Write both files."""
    place = site_packages(python)
    installed = sorted(distributions(path=[place]), key=lambda each: each.name.lower())
    (version,) = [each.version for each in installed if each.name == NAME]
    folder.mkdir(parents=True, exist_ok=True)
    found = sbom(python, version, Path(place, "passthrough"))
    (folder / "sbom.cdx.json").write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", "utf-8")
    rows = [f"{each.name} {each.version}: {license_of(each)}" for each in installed]
    texts = [
        f"{'=' * 100}\n{each.name} {each.version}, {name}\n{'=' * 100}\n\n{text.strip()}\n"
        for each in installed
        for name, text in texts_of(each)
    ]
    (folder / "licenses.txt").write_text("\n".join([HEAD, *rows, "", *texts]), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
