"""The API's own schema, and what its documents cost."""

import pytest

from graphql_schema.schema import LoomSchema
from tests.graphql_schema.limits.costing import Pricing


@pytest.fixture(scope="session")
def pricing(schema: LoomSchema) -> Pricing:
    """What documents of the API cost, without a limit."""
    return Pricing(schema._schema)
