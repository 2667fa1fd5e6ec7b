"""Searching calls by their texts."""

from functools import partial
from typing import Annotated

import strawberry

from graphql_schema.calls.queries import Filter, Where
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, resolved_field, to_store
from graphql_schema.fields.connections import After, Before, First, Last, Listing, page_request
from graphql_schema.fields.selection import selected_fields
from graphql_schema.limits.cost_weights import SCAN
from graphql_schema.text_search.types import CallSearchConnection, CallSearchMethod
from stores.text_search import Method
from stores.text_search.highlights import DEFAULT

Text = Annotated[
    str,
    strawberry.argument(
        description='What calls must have, all of it: words, "phrases in quotes", -words that they must not have. '
        "Letter case does not matter. At most 1,000 characters and 20 words and phrases, and 200 characters of those "
        "that hold others than ASCII."
    ),
]
MethodAsked = Annotated[
    CallSearchMethod | None,
    strawberry.argument(
        description="How to look for them; if left out, by the project's index where it is ready, and else by a scan. "
        "A page by cursor is looked for as the one that gave the cursor."
    ),
]
MaxHighlights = Annotated[
    int | None, strawberry.argument(description="How many highlights to give of each call, 5 if left out; at most 100.")
]


@strawberry.type
class SearchQueries:
    """The fields of Query that search."""

    @resolved_field(
        "The calls that have a text in their inputs, output, exception or names. With an index (searchIndexSet) the "
        "best come first; without one, the newest, for five seconds at most.",
        returns=CallSearchConnection,
        work=SCAN,
    )
    async def search(
        self,
        info: Info,
        project_id: ProjectId,
        text: Text,
        filter: Filter = None,  # noqa: A002 -- the API's name
        query: Where = None,
        method: MethodAsked = None,
        max_highlights: MaxHighlights = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Listing:
        """A page of what is found."""
        store = info.context.stores.text_search
        which, where = to_store(filter), to_store(query)
        request = page_request(info, {"first": first, "after": after, "last": last, "before": before})
        is_highlighted = "highlights" in selected_fields(info, "nodes", "edges.node")
        most = DEFAULT if max_highlights is None else max_highlights
        page = await store.page(
            project_id,
            text,
            request,
            selected_fields(info, "nodes.call", "edges.node.call"),
            which,
            where,
            Method(str(method.value)) if method else None,
            most if is_highlighted else None,
        )
        return Listing(page, partial(store.count, project_id, text, which, where, page.method))
