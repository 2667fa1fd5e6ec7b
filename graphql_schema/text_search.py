"""Text search of calls, and the text index of a project."""

from enum import Enum
from functools import partial
from operator import attrgetter, itemgetter

import strawberry

from graphql_schema.calls.queries import Condition, Filter
from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.fields import ProjectId, computed_field, resolved_field, to_store
from graphql_schema.fields.connections import (
    After,
    Before,
    Connection,
    First,
    Last,
    Listing,
    page_request,
    selected_node_fields,
)
from graphql_schema.limits.cost_weights import SCAN
from stores.text_search import Method, SearchIndex
from stores.text_search.highlights import DEFAULT
from stores.text_search.pages import SCORE

strawberry.enum(Method, name="CallSearchMethod")


@strawberry.enum
class CallSearchField(Enum):
    """Searched field of a call."""

    OP_NAME = "op_name"
    """Name of the op."""
    DISPLAY_NAME = "display_name"
    """Display name of the call."""
    EXCEPTION = "exception"
    """Text of the exception that ended the call."""
    OUTPUT = "output"
    """Result of the call."""
    INPUTS = "inputs"
    """Arguments of the call."""


@strawberry.type
class CallSearchRange:
    """Range of a match in a snippet, in UTF-16 code units as in JavaScript strings: snippet.slice(start, end)."""

    # The source is `stores.text_search.highlights.Range`.

    start: int
    """Start of the range, from 0."""
    end: int
    """End of the range, exclusive."""


@strawberry.type
class CallSearchHighlight:
    """Match in a field of a call."""

    # The source is `stores.text_search.Highlight`.

    field: CallSearchField
    """Field of the call."""
    path: str | None
    """Path in the output or inputs, such as messages.0.content, valid for their argument path; empty for the whole
    value, null for other fields.
    """
    in_key: bool
    """True if the snippet is the key at the end of the path; false if it is from the value."""
    snippet: str
    """Plain text around the first match, usually at most 160 characters."""
    ranges: list[CallSearchRange]
    """Ranges of the snippet that match, at most 20."""
    is_cut_before: bool
    """True if there is text before the snippet."""
    is_cut_after: bool
    """True if there is text after the snippet."""


@strawberry.type
class CallSearchHit:
    """Call that matches a search."""

    # The source is a row of a call with its score and highlights.

    call = computed_field(lambda row: row, CallSchema)
    """Call that matches."""

    score = computed_field(itemgetter(SCORE), int)
    """Relevance of the call. Each word or phrase adds a number for each field that contains it: op name 8, display name
    8, exception 4, output 2, inputs 1.
    """

    highlights = computed_field(itemgetter("highlights"), list[CallSearchHighlight])
    """Matches in the call: first in the names, then in the exception, the output and the inputs. Matches are found
    inside words too. The search for matches stops if it takes too long, which payloads of some hundred kilobytes do
    not.
    """


@strawberry.type
class CallSearchConnection(Connection[CallSearchHit]):
    """Page of search results."""

    # The source is a `Listing` of a `FoundPage`.

    method = computed_field(attrgetter("page.method"), Method)
    """Method of the search."""

    is_complete = computed_field(attrgetter("page.is_complete"), bool)
    """True if the search examined everything that could be on this page or before it. If false, a scan may have reached
    its time limit: endCursor (or startCursor, backward) continues it, even if this page is empty. Otherwise more than
    20,000 indexed calls have the words, or too many calls wait to be indexed. Then only the most recently indexed calls
    were ranked; narrow the search.
    """


@strawberry.type
class SearchIndexRes:
    """Text index of a project, which makes searches fast."""

    # The source is `stores.text_search.SearchIndex`.

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    is_on: bool
    """True if the project has an index, even if it is not ready yet."""
    is_ready: bool
    """True if searches use the index; until then they scan."""
    set_at: DateTime | None
    """Time when the index was last switched on or off; null if it never was."""
    ready_at: DateTime | None
    """Time since which searches use the index; null if it is not ready."""
    looked_at: BigInt
    """Number of calls processed so far while the index is built."""
    total: BigInt
    """Number of calls when the index was switched on or off."""
    waiting: BigInt
    """Number of calls waiting to be indexed in batches; searches scan them, so their results are complete."""
    cut: BigInt
    """Number of calls with a text of more than 2,000 different words when they were indexed. The index has only the
    first of these words; a search with method: SCAN finds the others.
    """
    size_bytes: BigInt
    """Size of the index in bytes, before compression by MongoDB."""


@strawberry.type
class SearchQueries:
    """Query fields that search, and that read text indexes."""

    @resolved_field(returns=CallSearchConnection, work=SCAN)
    async def search(
        self,
        info: Info,
        project_id: ProjectId,
        text: str,
        filter: Filter = None,
        query: Condition = None,
        method: Method | None = None,
        max_highlights: int | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Listing:
        """Calls with a text in their inputs, output, exception or names.

        With an index (searchIndexSet), the best matches are first. Without one, the newest calls are first, and the
        search stops after five seconds.

        Args:
            text: Text to search for: words, "phrases in quotes", and -words to exclude. Calls must match all of it;
                letter case is ignored. At most 1,000 characters and 20 words and phrases; words and phrases with
                non-ASCII characters have at most 200 characters in all.
            method: Search method. If omitted, the index is used if it is ready, and a scan otherwise. A page after a
                cursor uses the method of that cursor.
            max_highlights: Maximum number of highlights per call, at most 100; 5 if omitted.
        """
        store = info.context.stores.text_search
        store_filter, condition = to_store(filter), to_store(query)
        request = page_request(info, {"first": first, "after": after, "last": last, "before": before})
        is_highlighted = "highlights" in selected_node_fields(info)
        limit = DEFAULT if max_highlights is None else max_highlights
        page = await store.page(
            project_id,
            text,
            request,
            selected_node_fields(info, "call"),
            store_filter,
            condition,
            method,
            limit if is_highlighted else None,
        )
        return Listing(page, partial(store.count, project_id, text, store_filter, condition, page.method))

    @resolved_field(returns=SearchIndexRes | None)
    async def search_index(self, info: Info, project_id: ProjectId) -> SearchIndex | None:
        """Text index of a project; null if the project is missing."""
        return await info.context.stores.text_search.index(project_id)


@strawberry.type
class SearchIndexMutations:
    """Mutation fields about text indexes."""

    @resolved_field(returns=SearchIndexRes)
    async def search_index_set(self, info: Info, project_id: ProjectId, *, is_on: bool) -> SearchIndex:
        """Switch of a project's text index.

        The index is built or removed in the background; searchIndex reports the progress. Indexing about doubles the
        load of writes on the server and on MongoDB, with a delay of seconds. It requires the role admin.

        Args:
            is_on: True if the project is to have an index.
        """
        return await info.context.stores.text_search.set_index(project_id, is_on=is_on)
