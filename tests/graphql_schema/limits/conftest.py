"""The API's schema and the costs of its documents."""

import pytest

from graphql_schema.schema import LoomSchema
from tests.graphql_schema.limits.costing import Pricing


@pytest.fixture(scope="session")
def pricing(schema: LoomSchema) -> Pricing:
    """Return a calculator of the costs of the API's documents, without a limit."""
    return Pricing(schema._schema)
