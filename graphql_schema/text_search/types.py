"""GraphQL types of search results."""

from enum import Enum
from typing import Any

import strawberry

from graphql_schema.calls.types import CallSchema
from graphql_schema.fields import plain_field, resolved_field
from graphql_schema.fields.connections import Connection
from stores.paging import Row
from stores.text_search import FoundPage, Highlight
from stores.text_search.scan import SCORE


@strawberry.enum(description="Search method.")
class CallSearchMethod(Enum):
    """Search methods; the values are those of `stores.text_search`."""

    INDEX = strawberry.enum_value(
        "index",
        description="Index of the project: finds calls that contain the words; the best matches first, then the "
        "newest.",
    )
    SCAN = strawberry.enum_value(
        "scan",
        description="Scan of the calls: finds calls that contain the texts, even inside words; the newest first.",
    )


@strawberry.enum(description="Searched field of a call.")
class CallSearchField(Enum):
    """Searched fields; the values are those of `stores.text_search`."""

    OP_NAME = strawberry.enum_value("op_name", description="Name of the op.")
    DISPLAY_NAME = strawberry.enum_value("display_name", description="Display name of the call.")
    EXCEPTION = strawberry.enum_value("exception", description="Text of the exception that ended the call.")
    OUTPUT = strawberry.enum_value("output", description="Result of the call.")
    INPUTS = strawberry.enum_value("inputs", description="Arguments of the call.")


@strawberry.type(
    description="Range of a match in a snippet, in UTF-16 code units as in JavaScript strings: "
    "snippet.slice(start, end)."
)
class CallSearchRange:
    """Range; the source is `stores.text_search.highlights.Range`."""

    start: int = plain_field("Start of the range, from 0.")
    end: int = plain_field("End of the range, exclusive.")


@strawberry.type(description="Match in a field of a call.")
class CallSearchHighlight:
    """Match; the source is `stores.text_search.Highlight`."""

    field: CallSearchField = plain_field("Field of the call.")
    path: str | None = plain_field(
        "Path in the output or inputs, such as messages.0.content, valid for their argument path; empty for the whole "
        "value, null for other fields."
    )
    in_key: bool = plain_field("True if the snippet is the key at the end of the path; false if it is from the value.")
    snippet: str = plain_field("Plain text around the first match, usually at most 160 characters.")
    ranges: list[CallSearchRange] = plain_field("Ranges of the snippet that match, at most 20.")
    is_cut_before: bool = plain_field("True if there is text before the snippet.")
    is_cut_after: bool = plain_field("True if there is text after the snippet.")


@strawberry.type(description="Call that matches a search.")
class CallSearchHit:
    """Hit; the source is a row of a call with its score and highlights."""

    @resolved_field("Call that matches.", returns=CallSchema)
    def call(self, parent: strawberry.Parent[Row]) -> Row:
        """Return the row, which is also the source of the call."""
        return parent

    @resolved_field(
        "Relevance of the call. Each word or phrase adds a number for each field that contains it: op name 8, "
        "display name 8, exception 4, output 2, inputs 1."
    )
    def score(self, parent: strawberry.Parent[Row]) -> int:
        """Return the score of the row."""
        score: int = parent[SCORE]
        return score

    @resolved_field(
        "Matches in the call: first in the names, then in the exception, the output and the inputs. Matches are found "
        "inside words too. The search for matches stops if it takes too long, which payloads of some hundred "
        "kilobytes do not.",
        returns=list[CallSearchHighlight],
    )
    def highlights(self, parent: strawberry.Parent[Row]) -> list[Highlight]:
        """Return the highlights of the row."""
        found: list[Highlight] = parent["highlights"]
        return found


@strawberry.type(description="Page of search results.")
class CallSearchConnection(Connection[CallSearchHit]):
    """Relay connection with the method and completeness of the search; the source is a `Listing` of a `FoundPage`."""

    @resolved_field("Method of the search.", returns=CallSearchMethod)
    def method(self, parent: strawberry.Parent[Any]) -> str:
        """Return the method of the page."""
        page: FoundPage = parent.page
        return str(page.method)

    @resolved_field(
        "True if the search examined everything that could be on this page or before it. If false, a scan may have "
        "reached its time limit: endCursor (or startCursor, backward) continues it, even if this page is empty. "
        "Otherwise more than 20,000 indexed calls have the words, or too many calls wait to be indexed. Then only "
        "the most recently indexed calls were ranked; narrow the search."
    )
    def is_complete(self, parent: strawberry.Parent[Any]) -> bool:
        """Return whether the search was complete."""
        page: FoundPage = parent.page
        return page.is_complete
