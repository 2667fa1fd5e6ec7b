"""The lock of deployments: `python -m tests.app.deploy.lock` renews it with the newest permitted versions.

`app/deploy/requirements.txt` has the packages of LoomQL with all optional dependencies of the image,
`app/deploy/build-requirements.txt` those that build its wheel, and `app/deploy/sbom.json` describes the former as
CycloneDX, as the image has them. The requirements have the hashes of all files of a package.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from uv import find_uv_bin

ROOT: Final = Path(__file__).parents[3]
DEPLOY: Final = ROOT / "app" / "deploy"
COMMAND: Final = "python -m tests.app.deploy.lock"
REQUIREMENTS: Final = "requirements.txt"
BUILD_REQUIREMENTS: Final = "build-requirements.txt"
SBOM: Final = "sbom.json"

NOT_DEPLOYED: Final = {"test", "clickhouse"}
"""The extras that the image lacks."""
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
# The embedded MongoDB needs glibc 2.34.
PLATFORMS: Final = ("x86_64-manylinux_2_34", "aarch64-manylinux_2_34", "aarch64-apple-darwin")

[_IMAGE_PYTHON] = set(re.findall(r"^FROM python:([\d.]+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
_LINUX: Final = {"sys_platform": "linux", "platform_system": "Linux"}
IMAGE: Final = {**_LINUX, "python_version": _IMAGE_PYTHON, "python_full_version": f"{_IMAGE_PYTHON}.0"}
"""The environment of the image, as markers see it."""
_SYSTEMS: Final = (_LINUX, {"sys_platform": "darwin", "platform_system": "Darwin"})
# A pin, its hashes, and what needs it.
_ENTRY: Final = re.compile(r"^(?P<pin>\S+==.+?) \\\n(?:    --hash=.*\n)+(?P<needed_by>(?:    #.*\n)+)", re.MULTILINE)
_HEADER: Final = f"""\
# {{purpose}}. `{COMMAND}` writes this file.
# Only wheels: a source distribution would run its own build, with packages that no hash holds.
--only-binary :all:
"""


class LockError(Exception):
    """A reason why there is no lock, in the words of uv."""


def dependencies(pyproject: Path) -> list[str]:
    """Return the requirements of LoomQL and of the extras of the image."""
    project = tomllib.loads(pyproject.read_text())["project"]
    deployed = [group for name, group in project["optional-dependencies"].items() if name not in NOT_DEPLOYED]
    return sorted({*project["dependencies"], *(each for group in deployed for each in group)})


def build_dependencies(pyproject: Path) -> list[str]:
    """Return the requirements of the build of LoomQL's wheel."""
    required: list[str] = tomllib.loads(pyproject.read_text())["build-system"]["requires"]
    return required


def locked(requirements: Path) -> Iterator[tuple[Requirement, set[str]]]:
    """Yield the pinned packages of a locked file, and the names of the packages that need each."""
    for entry in _ENTRY.finditer(requirements.read_text()):
        yield Requirement(entry["pin"]), set(re.findall(r"[\w.-]+", entry["needed_by"])) - {"via"}


def disagreements(pyproject: Path, folder: Path) -> Iterator[str]:
    """Yield a sentence for each requirement that the lock in a folder does not hold, and for each surplus package."""
    yield from _disagreements(dependencies(pyproject), folder / REQUIREMENTS)
    yield from _disagreements(build_dependencies(pyproject), folder / BUILD_REQUIREMENTS)


def versions(requirements: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return the versions of the packages that pip installs from a locked file, by name.

    Args:
        requirements: the locked file.
        environment: values of markers; this Python and machine have the others.
    """
    return {pin.name: _version(pin) for pin, _ in locked(requirements) if _is_on(pin, environment)}


def _disagreements(texts: Sequence[str], file: Path) -> Iterator[str]:
    required = [Requirement(text) for text in texts]
    pins = list(locked(file))
    for each, system in product(required, _SYSTEMS):
        if not _is_on(each, system):
            continue
        found = [_version(pin) for pin, _ in pins if _is_same(pin, each) and _is_on(pin, system)]
        if not found or not all(map(each.specifier.contains, found)):
            yield f"{file.name} has no {each} for {system['platform_system']}; run {COMMAND}"
    for pin, needed_by in pins:
        if "loomql" in needed_by and not any(_is_same(pin, each) for each in required):
            yield f"{file.name} has {pin}, which pyproject.toml does not require; run {COMMAND}"


def _is_on(requirement: Requirement, environment: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


def _is_same(one: Requirement, other: Requirement) -> bool:
    return canonicalize_name(one.name) == canonicalize_name(other.name)


def _version(pin: Requirement) -> str:
    [exact] = pin.specifier
    return exact.version


def renew(pyproject: Path, folder: Path) -> None:
    """Write the three files to a folder.

    Args:
        pyproject: the `pyproject.toml` that has the requirements.
        folder: the folder of the files. All of them stay as they were on an error.

    Raises:
        LockError: no set of versions suits, a chosen release is yanked, or it has no wheel for a platform.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    with tempfile.TemporaryDirectory() as room:
        runtime = _Resolution(Path(room) / "runtime", project, dependencies(pyproject))
        build = _Resolution(Path(room) / "build", project, build_dependencies(pyproject))
        written = {
            REQUIREMENTS: runtime.requirements("Packages of LoomQL with all optional dependencies of the image"),
            BUILD_REQUIREMENTS: build.requirements("Packages that build LoomQL's wheel"),
            SBOM: runtime.sbom(),
        }
    for name, text in written.items():
        (folder / f".{name}").write_text(text)
    for name in written:
        (folder / f".{name}").replace(folder / name)


class _Resolution:
    """The versions that uv finds for requirements, for every platform at once."""

    def __init__(self, folder: Path, project: dict[str, Any], requirements: Sequence[str]) -> None:
        folder.mkdir()
        self._folder = folder
        names = {key: project[key] for key in ("name", "version", "requires-python")}
        # JSON is TOML here: each value is a text or a list of texts.
        lines = [f"{key} = {json.dumps(value)}" for key, value in {**names, "dependencies": requirements}.items()]
        (folder / "pyproject.toml").write_text("\n".join(["[project]", *lines, ""]))
        self._uv("lock", "--no-build")

    def requirements(self, purpose: str) -> str:
        """Return a requirements file with hashes.

        Raises:
            LockError: a release is yanked or has no wheel for a platform.
        """
        exported = self._export("requirements-txt")
        pinned = self._folder / REQUIREMENTS
        pinned.write_text(exported)
        for platform in PLATFORMS:
            for python in PYTHONS:
                on = ["--python-platform", platform, "--python-version", python]
                self._uv("pip", "compile", REQUIREMENTS, *on, "--only-binary=:all:", "--no-deps", "-o", os.devnull)
        return _HEADER.format(purpose=purpose) + exported

    def sbom(self) -> str:
        """Return the packages of the image as a CycloneDX document, without the parts that differ each time."""
        document = json.loads(self._export("cyclonedx1.5"))
        del document["serialNumber"], document["metadata"]["timestamp"]
        document["components"] = [each for each in document["components"] if _is_in_image(each)]
        described = [document["metadata"]["component"], *document["components"]]
        references = {each["bom-ref"] for each in described}
        document["dependencies"] = [
            {**each, "dependsOn": [other for other in each.get("dependsOn", ()) if other in references]}
            for each in document["dependencies"]
            if each["ref"] in references
        ]
        for component in document["components"]:
            component.pop("externalReferences", None)  # addresses of the index that uv asked
        return json.dumps(document, indent=1) + "\n"

    def _export(self, form: str) -> str:
        return self._uv("export", "--frozen", "--no-emit-project", "--no-header", "--format", form)

    def _uv(self, *arguments: str) -> str:
        """Run uv and return its output."""
        environment = {**os.environ, "UV_NO_CONFIG": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
        environment |= {"UV_PREVIEW_FEATURES": "sbom-export"}
        command = [find_uv_bin(), *arguments, "--python", sys.executable, "--color", "never"]
        done = subprocess.run(command, cwd=self._folder, env=environment, capture_output=True, text=True, check=False)
        # uv only warns of a yanked release that a requirement pins.
        if done.returncode != 0 or "is yanked" in done.stderr:
            raise LockError(f"uv {' '.join(arguments)}\n{done.stderr.strip()}")
        return done.stdout


def _is_in_image(component: dict[str, Any]) -> bool:
    markers = [each["value"] for each in component.get("properties", ()) if each["name"] == "uv:package:marker"]
    return all(Marker(each).evaluate(IMAGE) for each in markers)


if __name__ == "__main__":
    try:
        renew(ROOT / "pyproject.toml", DEPLOY)
    except LockError as error:
        sys.exit(f"{error}\nThe lock is as it was. Change a version in pyproject.toml, or wait for a new release.")
