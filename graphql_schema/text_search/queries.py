"""Query that searches calls by text."""

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
        description='Text to search for: words, "phrases in quotes", and -words to exclude. Calls must match '
        "all of it; letter case is ignored. At most 1,000 characters and 20 words and phrases; words "
        "and phrases with non-ASCII characters have at most 200 characters in all."
    ),
]
MethodAsked = Annotated[
    CallSearchMethod | None,
    strawberry.argument(
        description="Search method. If omitted, the index is used if it is ready, and a scan otherwise. A page "
        "after a cursor uses the method of that cursor."
    ),
]
MaxHighlights = Annotated[
    int | None, strawberry.argument(description="Maximum number of highlights per call, at most 100; 5 if omitted.")
]


@strawberry.type
class SearchQueries:
    """Query field that searches."""

    @resolved_field(
        "Calls with a text in their inputs, output, exception or names. With an index (searchIndexSet), the best "
        "matches are first. Without one, the newest calls are first, and the search stops after five seconds.",
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
        """Return a page of hits and a function that counts all of them."""
        store = info.context.stores.text_search
        which, where = to_store(filter), to_store(query)
        request = page_request(info, {"first": first, "after": after, "last": last, "before": before})
        is_highlighted = "highlights" in selected_fields(info, "nodes", "edges.node")
        limit = DEFAULT if max_highlights is None else max_highlights
        page = await store.page(
            project_id,
            text,
            request,
            selected_fields(info, "nodes.call", "edges.node.call"),
            which,
            where,
            Method(str(method.value)) if method else None,
            limit if is_highlighted else None,
        )
        return Listing(page, partial(store.count, project_id, text, which, where, page.method))
