"""The example schema with our executor and with graphql-core's."""

import pytest
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graphql_schema.execution import CompilingExecutor
from graphql_schema.schema import LoomSchema
from stores.concurrency import time_slices
from tests.graphql_schema.execution.example_schema import build_example


@pytest.fixture(scope="session")
def ours() -> LoomSchema:
    return build_example(CompilingExecutor)


@pytest.fixture(scope="session")
def stock() -> LoomSchema:
    return build_example(StrawberryGraphQLCoreExecutionContext)


@pytest.fixture(autouse=True)
def _endless_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    # The end of a time slice depends on the clock, and so does the work that runs then.
    monkeypatch.setattr(time_slices, "SLICE_SECONDS", 1e9)
