"""Tests of the build hook, which hatchling runs on a minimal project."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from app import build_hook
from tests.installation import ROOT

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "miniature"
version = "1"
[tool.hatch.build.targets.wheel]
packages = ["app"]
exclude = ["app/node_modules", "app/bundler"]
artifacts = ["app/dist"]
[tool.hatch.build.targets.wheel.hooks.custom]
path = "app/build_hook.py"
"""

# A replacement for Vite: it bundles the content of a page's main.js, and fails on "broken".
BUNDLER = """
const fs = require("fs");
const page = process.argv[7], source = fs.readFileSync(page + "/main.js", "utf8");
if (source === "broken") { console.error("cannot bundle main.js"); process.exit(3); }
fs.mkdirSync("dist/" + page, { recursive: true });
fs.writeFileSync("dist/" + page + "/index.html", source);
fs.appendFileSync("../runs", page[0]);
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with the real hook and local npm packages, so that npm needs no registry."""
    tmp_path = tmp_path_factory.mktemp("template")
    folder = tmp_path / "app"
    (folder / "bundler" / "bin").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / ".gitignore").write_text("dist/\nnode_modules/\n")
    (folder / "bundler" / "package.json").write_text(json.dumps({"name": "vite", "version": "1.0.0"}))
    (folder / "bundler" / "bin" / "vite.js").write_text(BUNDLER)
    (folder / "package.json").write_text(json.dumps({"dependencies": {"vite": "file:bundler"}}))
    for name in (".npmrc", "vite.config.js"):
        (folder / name).write_text("")
    for page in build_hook.PAGES:
        (folder / page).mkdir()
        (folder / page / "main.js").write_text(f"one {page}")
    shutil.copy(build_hook.__file__, folder / "build_hook.py")
    tools = build_hook.toolchain_on_path() or build_hook.toolchain_from_pypi()
    assert tools is not None
    build_hook.run(tools, [*tools.npm, "install", "--package-lock-only", "--offline"], folder)
    return tmp_path


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the template; npm takes half a second to lock its packages."""
    monkeypatch.delenv(build_hook.SKIP, raising=False)
    return shutil.copytree(template, tmp_path / "project", symlinks=True)


def build(project: Path) -> set[str]:
    """Build the wheel and return the names of its files."""
    wheel = next(WheelBuilder(str(project)).build(directory=str(project / "wheels"), versions=["standard"]))
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def without_node(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))


def fake_node(folder: Path, version: str) -> str:
    node = folder / "node"
    node.write_text(f"#!/bin/sh\necho {version}\n")
    node.chmod(0o755)
    return str(node)


def test_wheel_contains_the_bundles_and_no_node_modules(project: Path) -> None:
    names = build(project)

    assert build_hook.packages_mark(project / "app").exists()
    assert {f"app/dist/{page}/index.html" for page in build_hook.PAGES} <= names
    assert not [name for name in names if "node_modules" in name]


def test_wheel_of_loomql_contains_no_sources_of_pages() -> None:
    packed = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}

    needed = {
        "app/explorer/generated/persisted-documents.json",
        "app/graphiql/favicon.svg",
    }
    sources = {path.relative_to(ROOT).as_posix() for path in build_hook.sources(ROOT / build_hook.FOLDER)}
    assert packed & sources == needed
    assert not [path for path in packed if "node_modules" in path]


def test_sdist_of_loomql_contains_all_that_its_wheel_needs() -> None:
    packed = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}

    sources = {path.relative_to(ROOT).as_posix() for path in build_hook.sources(ROOT / build_hook.FOLDER)}
    assert sources | {"app/build_hook.py", "pyproject.toml"} <= packed
    assert not [path for path in packed if "node_modules" in path or path.startswith("app/dist/")]


@pytest.mark.parametrize("page", build_hook.PAGES)
def test_bundles_are_rebuilt_only_when_their_sources_change(project: Path, page: str) -> None:
    source, bundled = project / "app" / page / "main.js", project / "app" / "dist" / page / "index.html"

    build(project)
    (source.parent / "__pycache__").mkdir(exist_ok=True)
    (source.parent / "__pycache__" / "tabs.pyc").write_bytes(b"what Python leaves where it imports")
    build(project)
    assert (project / "runs").read_text() == "eg"

    source.write_text("two")
    build(project)
    assert (project / "runs").read_text() == "egeg"
    assert bundled.read_text() == "two"


def test_building_changes_no_source(project: Path) -> None:
    folder = project / "app"
    before = {path: path.read_bytes() for path in build_hook.sources(folder)}
    others = {"build_hook.py", "bundler"}

    build(project)

    assert {path: path.read_bytes() for path in build_hook.sources(folder)} == before
    made = {path.name for path in folder.iterdir()} - {path.relative_to(folder).parts[0] for path in before}
    assert made - others <= {"dist", *build_hook.NOT_SOURCES}


def test_bundler_failure_ends_the_install_and_is_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "app" / "graphiql" / "main.js").write_text("broken")

    with pytest.raises(SystemExit, match="1"):
        build(project)

    printed = capsys.readouterr()
    assert "the web pages were not built" in printed.out + printed.err
    assert "cannot bundle main.js" in printed.out + printed.err
    assert "set LOOMQL_SKIP_PAGES=1" in printed.out + printed.err
    assert "set NODE_EXTRA_CA_CERTS" in printed.out + printed.err


def test_skipping_builds_a_wheel_without_the_bundle_and_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOMQL_SKIP_PAGES", "1")

    names = build(project)

    printed = capsys.readouterr()
    assert not [name for name in names if "/dist/" in name]
    assert "the web pages are not built" in printed.out + printed.err


def test_node_from_pypi_is_used_only_without_node_on_the_path(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dependencies = WheelBuilder(str(project)).config.dependencies
    assert dependencies == ([] if build_hook.toolchain_on_path() else [build_hook.NODE_FROM_PYPI])

    without_node(monkeypatch, project / "empty")
    assert WheelBuilder(str(project)).config.dependencies == [build_hook.NODE_FROM_PYPI]

    monkeypatch.setenv("LOOMQL_SKIP_PAGES", "1")
    assert WheelBuilder(str(project)).config.dependencies == []


def test_build_without_node_on_the_path_uses_the_pypi_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_node(monkeypatch, project / "empty")

    assert "app/dist/graphiql/index.html" in build(project)


@pytest.mark.parametrize(
    ("version", "suitable"),
    [
        ("v18.20.4", False),
        ("v20.18.9", False),
        ("v20.19.0", True),
        ("v21.7.3", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v24.0.0", True),
        ("node?", False),
    ],
)
def test_unsupported_node_version_is_skipped(tmp_path: Path, version: str, *, suitable: bool) -> None:
    assert build_hook.is_suitable(fake_node(tmp_path, version)) is suitable


def test_node_that_fails_to_start_is_skipped(tmp_path: Path) -> None:
    broken = tmp_path / "node"
    broken.write_text("")
    broken.chmod(0o755)

    assert not build_hook.is_suitable(str(broken))
