"""The operations that the tests of clients run."""

from typing import Final

from tests.stores.calls.builders import PROJECT

CURSOR: Final = f'{{ callEventsCursor(projectId: "{PROJECT}") }}'
COUNT: Final = f'{{ callsStats(projectId: "{PROJECT}") {{ count }} }}'
START: Final = """
mutation ($start: StartedCallSchemaForInsert!) { callStart(start: $start) { id } }
"""
WATCH: Final = """
subscription ($projectId: ID!, $filter: CallsFilter, $query: QueryInput, $after: String) {
  callEvents(projectId: $projectId, filter: $filter, query: $query, after: $after) { type call { id } cursor }
}
"""
