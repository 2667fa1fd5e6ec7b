"""Tests that every command in README and the pages belongs to LoomQL or a known tool, and that requests succeed."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli import main
from app.commands.dispatch import parser
from app.settings import Settings, variable
from tests.docs.conftest import answer
from tests.docs.pages import PAGES, page
from tests.installation import ROOT

COMMANDS = [words for each in PAGES for words in each.commands]
OF_LOOMQL = sorted({tuple(words) for words in COMMANDS if Path(words[0]).name == "loomql"})
REQUESTS = [words for words in COMMANDS if words[0] == "curl" and "-N" not in words]
OF_TOOLS = {
    *("python3", "python", "pip", "pipx", "pytest", "mypy", "ariadne-codegen", "npm", "npx", "node"),
    *("claude", "cp", "docker", "systemctl", "mongodump", "mongorestore", "(echo"),
}
ITS_OWN = {"OPENAI_API_KEY", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME"}
OF_CLAUDE_CODE = {"CLAUDE_CODE_ENABLE_TELEMETRY", "OTEL_LOGS_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL"}
OF_WEAVE = {"WANDB_BASE_URL", "WF_TRACE_SERVER_URL", "WANDB_API_KEY"}


def request_of(words: list[str]) -> tuple[str, str, dict[str, Any]]:
    """Return the method, path and options of the httpx request that a curl command sends."""
    options = iter(words[1:])
    method, path, headers, fields, content = "GET", "", dict[str, str](), list[str](), b""
    for word in options:
        match word:
            case "-H":
                name, _, value = next(options).partition(": ")
                headers[name] = value
            case "-d" | "--data-urlencode":
                fields.append(next(options))
            case "-T":
                method, content = "PUT", next(options).encode()
            case "-G" | "-N":
                pass
            case _:
                assert word.startswith("http://127.0.0.1:8000/"), word
                path = word.removeprefix("http://127.0.0.1:8000")
    if "-G" in words:
        return method, path, {"headers": headers, "params": [field.split("=", 1) for field in fields]}
    if fields:
        method, content = "POST", "".join(fields).encode()
    return method, path, {"headers": headers, "content": content}


@pytest.mark.parametrize("words", OF_LOOMQL, ids=" ".join)
def test_documented_loomql_command_exists(words: tuple[str, ...]) -> None:
    if words[-1] in {"--version", "--help"}:
        with pytest.raises(SystemExit, match="0"):
            parser().parse_args(words[1:])
    else:
        assert parser().parse_args(words[1:]).command


def test_other_documented_commands_are_known_tools() -> None:
    named = {Path(words[0]).name for words in COMMANDS}

    assert named - OF_TOOLS == {"loomql", "curl"}


def test_documented_variables_are_settings() -> None:
    settings = {variable(name) for name in Settings.model_fields}

    named = {name for each in PAGES for name in each.environment}
    assert named - settings == ITS_OWN | OF_CLAUDE_CODE | OF_WEAVE


def test_documented_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    named = {name for each in PAGES for name in re.findall(r"loomql\[(\w+)\]", each.text)}
    assert named
    assert named <= extras.keys()


@pytest.mark.parametrize("words", REQUESTS, ids=lambda words: words[-1][:40])
def test_documented_curl_request_is_answered(words: list[str], exploring: httpx.Client, client: httpx.Client) -> None:
    method, path, options = request_of(words)

    response = (client if method == "PUT" else exploring).request(method, path, **options)

    assert response.is_success
    assert method != "POST" or response.json()["data"]["callsStats"]["count"] > 20


def test_documented_exports_can_be_imported(
    exploring: httpx.Client, mongodb_uri: str, demo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOOMQL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("LOOMQL_MONGODB_DATABASE", demo)
    monkeypatch.setenv("LOOMQL_PORT", str(exploring.base_url.port))
    guide = page("how-to/export-and-import")

    codes = [main(words[1:]) for words in guide.commands if words[0] == "loomql"]

    [request] = [words for words in guide.commands if words[0] == "curl"]
    method, path, options = request_of(request)
    *failures, end = exploring.request(method, path, **options).text.splitlines()
    stats = 'callsStats(projectId: "demo/{}") {{ count }}'.format
    counts = answer(exploring, f"{{ from: {stats('assistant')} to: {stats('copy')} }}")["data"]
    assert codes == [0, 0, 0, 0]
    assert json.loads(end)["loomql_export"]["count"] == len(failures) > 5
    assert all(json.loads(line)["summary"]["weave"]["status"] == "error" for line in failures)
    assert counts["from"] == counts["to"] != {"count": 0}


def test_ci_runs_the_test_command_of_the_readme() -> None:
    pattern = r"^python3 -m venv .*pytest\b.*$"

    [command] = re.findall(pattern, page("README").text, re.MULTILINE)
    assert shlex.split(command)[-5:] == [".venv/bin/pytest", "-n", "5", "--dist", "loadfile"]
    assert (
        f"grep -E '{pattern.removesuffix('.*$').removesuffix(chr(92) + 'b')}' README.md"
        in (ROOT / ".ci" / "run").read_text()
    )
