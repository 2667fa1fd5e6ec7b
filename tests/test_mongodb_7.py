"""Runs tests of a server and of a cluster on MongoDB 7; other tests use the embedded MongoDB 6.

`LOOMQL_TEST_MONGOD=$(python -m tests.mongodb_7)` runs others on replica sets of three members and on clusters of 7.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from pymongo import MongoClient

from tests import mongodb_7
from tests.chance import takes_minutes
from tests.faults.mongods import MONGOD, Mongod, ReplicaSet
from tests.folders import short_folder
from tests.free_ports import free_port
from tests.installation import ROOT
from tests.requirements import go_without

REQUIRED = "LOOMQL_REQUIRE_MONGODB7"
TESTS = (
    "tests/stores/query/test_against_oracle.py",
    "tests/stores/query/test_bad_input.py::test_query_within_the_limits_is_accepted_by_mongodb",
    "tests/stores/query/test_index_use.py",
    "tests/stores/query/test_planning.py",
    "tests/stores/query/test_text_expressions.py",
    "tests/stores/calls/test_writes.py",
    # The tests of the oracle sort by the same fields as the others of this file.
    "tests/stores/calls/test_sorting.py::test_paging_returns_each_row_once_during_writes_and_deletes",
    "tests/stores/calls/events/test_fan_out.py",
    # Not test_random_lives.py: under wine, mongod ends with an access violation while it handles the error by which a
    # pipeline reports a model without a known price.
    "tests/stores/rollups/test_queries.py",
    "tests/stores/rollups/test_costs.py::test_cost_by_model_by_day_reads_rollups",
    "tests/stores/rollups/test_parents.py::test_own_usage_of_settled_hours_is_read_from_rollups",
    "tests/stores/rollups/test_at_once.py::test_hour_counted_before_its_calls_are_removed_is_not_stored",
    "tests/stores/rollups/test_latencies.py::test_percentiles_are_read_from_roll_ups_and_live_hours",
    "tests/stores/trace_lists/test_totals.py::test_trace_loses_its_calls_in_an_hour_and_then_all",
    # Not test_candidates.py: it takes half a minute, and reads nothing but what these read.
    "tests/stores/terms/test_segments.py::test_hours_of_a_day_are_merged_and_a_changed_one_is_left_out",
    "tests/stores/terms/test_segments.py::test_other_questions_read_only_calls_with_the_terms",
)
QUICK = "not thousand and not literal and not mongod_is_killed"
"""Expression for pytest's `-k` that excludes the largest queries and projects, slow on any version of MongoDB.

It also excludes a test that starts its own mongod, which is MongoDB 6."""

Client = MongoClient[dict[str, object]]

_TESTS_SECONDS: Final = 900


@pytest.fixture(scope="module")
def mongodb_7_binary() -> Path:
    """Return the path of mongod of MongoDB 7.

    Skip the tests if it is not available; fail them if LOOMQL_REQUIRE_MONGODB7 is 1.
    """
    if reason := mongodb_7.problem():
        go_without(reason, REQUIRED)
    return mongodb_7.MONGOD


@pytest.fixture
def mongodb_7_uri(mongodb_7_binary: Path) -> Iterator[str]:
    """Yield the URI of a MongoDB 7 server."""
    with short_folder() as folder, ExitStack() as stack:
        member = Mongod(folder / "data", free_port(), "rs7", binary=mongodb_7_binary)
        stack.callback(member.kill)
        member.start()
        members = ReplicaSet([member])
        members.initiate()
        members.primary()
        yield members.uri


def test_queries_writes_change_streams_and_rollups_work_on_mongodb_7(mongodb_7_uri: str) -> None:
    with Client(mongodb_7_uri) as client:
        assert client.server_info()["version"].startswith("7.0.")

    printed = passed("-k", QUICK, *TESTS, LOOMQL_TEST_MONGODB_URI=mongodb_7_uri)

    assert re.search(r"^[0-9]{3} passed, ", printed, re.MULTILINE), printed[-1_000:]


@takes_minutes  # wine starts five mongods
def test_cluster_of_mongodb_7_serves_survives_and_restores(mongodb_7_binary: Path) -> None:
    printed = passed("-k", "cluster", "tests/topologies/test_smoke.py", **{MONGOD: str(mongodb_7_binary)})

    assert re.search(r"^1 passed, ", printed, re.MULTILINE), printed[-1_000:]


def passed(*arguments: str, **environment: str) -> str:
    """Run pytest, whose tests must pass, and return its output."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *arguments],
        cwd=ROOT,
        env=plain | environment,
        capture_output=True,
        text=True,
        timeout=_TESTS_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-20_000:]
    return done.stdout
