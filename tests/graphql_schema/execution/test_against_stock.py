"""Hundreds of random documents on random data: our executor returns the same as graphql-core.

`tests.chance` runs other documents, and more.
"""

import gc
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest
from graphql import GraphQLError, GraphQLObjectType, GraphQLOutputType
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.executor import Executor
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graphql_schema.execution import CompilingExecutor
from graphql_schema.execution.executor import Rows
from graphql_schema.schema import LoomSchema
from tests.chance import SEED, cases
from tests.graphql_schema.execution.cases import DATA_PER_DOCUMENT, minimal_difference, random_cases
from tests.graphql_schema.execution.comparing import Outcome, difference
from tests.graphql_schema.execution.example_schema import build_example

PARTS: Final = cases(6)
PART: Final = 150
"""Documents of a part, so many that each part compares every kind of field."""

# If a field fails, graphql-core cancels siblings that have not started, including coroutines of resolvers.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine:pytest.PytestUnraisableExceptionWarning"),
]

COMPILED: Final = Counter[str]()


@pytest.fixture(scope="module", autouse=True)
def cancelled_coroutines() -> Iterator[None]:
    """Collect the cancelled coroutines while their warnings are ignored, not during a later test of the process."""
    yield
    gc.collect()


class CountingExecutor(CompilingExecutor):
    """Our executor, with a count of compiled rows by type, for single objects and whole lists."""

    def rows(self, kind: GraphQLObjectType, details: FieldDetailsList) -> Rows | None:
        found = super().rows(kind, details)
        COMPILED[kind.name] += found is not None
        return found


@pytest.mark.parametrize("part", range(PARTS))
async def test_random_documents_over_faulty_data_equal_graphql_core(stock: LoomSchema, part: int) -> None:
    ours = build_example(CountingExecutor)
    counts = Counter[str]()
    COMPILED.clear()
    for case in random_cases(ours, SEED, range(part * PART, (part + 1) * PART), counts):
        mine, theirs = await case.outcomes(ours, stock)
        assert mine == theirs, await minimal_difference(case, ours, stock)
        counts += _seen(theirs)
    print(dict(counts), dict(COMPILED))  # noqa: T201 -- pytest -rP shows how much was compared
    assert counts["cases"] >= 0.9 * PART * DATA_PER_DOCUMENT
    # The comparison is meaningful only if there is much to compare.
    assert counts["calls"] > counts["cases"]
    assert counts["cases with errors"] > counts["cases"] / 10
    assert counts["cases without data"] < counts["cases"] / 3
    assert {"Node", "Leaves", "Circle", "Cat", "NodeConnection"} <= {
        name for name, count in COMPILED.items() if count > 5
    }


def _seen(outcome: Outcome) -> Counter[str]:
    return Counter(
        {
            "cases with errors": bool(outcome.errors),
            "cases without data": outcome.data[1] is None,
            "errors": len(outcome.errors),
            "calls": len(outcome.calls),
            "characters of data": len(repr(outcome.data)),
        }
    )


class Silent(StrawberryGraphQLCoreExecutionContext):
    """Drops all errors but the first."""

    def build_response(self, *args: Any, **kwargs: Any) -> Any:
        self.collected_errors.errors[1:] = []
        return super().build_response(*args, **kwargs)


class Reversing(StrawberryGraphQLCoreExecutionContext):
    """Reverses the order of errors."""

    def build_response(self, *args: Any, **kwargs: Any) -> Any:
        self.collected_errors.errors.reverse()
        return super().build_response(*args, **kwargs)


class Disguising(StrawberryGraphQLCoreExecutionContext):
    """Drops the original exception of an error."""

    def handle_field_error(
        self, raw_error: Exception, return_type: GraphQLOutputType, details: FieldDetailsList, path: Path
    ) -> None:
        known = raw_error if isinstance(raw_error, GraphQLError) else GraphQLError(str(raw_error))
        super().handle_field_error(known, return_type, details, path)


class Stuttering(StrawberryGraphQLCoreExecutionContext):
    """Executes each row twice."""

    def collect_and_execute_subfields(self, *args: Any) -> Any:
        self.track_async_work([super().collect_and_execute_subfields(*args)])
        return super().collect_and_execute_subfields(*args)


class Sorting(StrawberryGraphQLCoreExecutionContext):
    """Reverses the fields of a row."""

    def collect_and_execute_subfields(self, *args: Any) -> Any:
        made = super().collect_and_execute_subfields(*args)
        return dict(reversed(made.items())) if isinstance(made, dict) else made


@pytest.mark.parametrize(
    ("executor", "place"),
    [
        (Silent, ".errors"),
        (Reversing, ".errors"),
        (Disguising, ".errors"),
        (Stuttering, ".calls"),
        (Sorting, ".data"),
    ],
)
async def test_executor_with_one_defect_is_detected(
    stock: LoomSchema, executor: type[Executor[Any]], place: str
) -> None:
    wrong = build_example(executor)
    for case in random_cases(stock, 1, range(200), Counter()):
        found = difference(*await case.outcomes(wrong, stock))
        if found and found.startswith(place):
            return
    pytest.fail(f"{executor.__name__} goes unnoticed")


async def test_difference_is_reported_with_the_smallest_document(stock: LoomSchema) -> None:
    wrong = build_example(Sorting)
    found = [await minimal_difference(case, wrong, stock) for case in random_cases(stock, 1, range(5), Counter())]
    first = next(text for text in found if text)
    assert re.match(r"case 1/\d/\d, variables", first)
    assert "parts at .data" in first
    assert len(first.splitlines()) < 12


async def test_graphql_core_is_deterministic(stock: LoomSchema) -> None:
    found = [await minimal_difference(case, stock, stock) for case in random_cases(stock, SEED, range(25), Counter())]
    assert len(found) > 75
    assert not any(found)
