"""What a search finds."""

from enum import Enum
from typing import Any

import strawberry

from graphql_schema.calls.types import CallSchema
from graphql_schema.fields import plain_field, resolved_field
from graphql_schema.fields.connections import Connection
from stores.paging import Row
from stores.text_search import FoundPage, Highlight
from stores.text_search.results import SCORE


@strawberry.enum(description="How calls are looked for.")
class CallSearchMethod(Enum):
    """The values are those of the stores."""

    INDEX = strawberry.enum_value(
        "index", description="By the project's index: calls that have the words, the best first, then the newest."
    )
    SCAN = strawberry.enum_value(
        "scan",
        description="By looking through calls: those that have the texts in them, even inside words; the newest first.",
    )


@strawberry.enum(description="A part of a call that is searched.")
class CallSearchField(Enum):
    """The values are those of the stores."""

    OP_NAME = strawberry.enum_value("op_name", description="The op's name.")
    DISPLAY_NAME = strawberry.enum_value("display_name", description="The name given to the call.")
    EXCEPTION = strawberry.enum_value("exception", description="The exception that ended it.")
    OUTPUT = strawberry.enum_value("output", description="What it gave back.")
    INPUTS = strawberry.enum_value("inputs", description="What it was called with.")


@strawberry.type(
    description="A stretch of a snippet that matches, counted in units of UTF-16, as JavaScript's strings are: "
    "snippet.slice(start, end)."
)
class CallSearchRange:
    """The source is `stores.text_search.highlights.Range`."""

    start: int = plain_field("The first that matches, from 0.")
    end: int = plain_field("The first behind it.")


@strawberry.type(description="A place in a call where something stands that was looked for.")
class CallSearchHighlight:
    """The source is `stores.text_search.Highlight`."""

    field: CallSearchField = plain_field("The part of the call.")
    path: str | None = plain_field(
        r"Where in the output or inputs, as the argument path of these takes it, such as messages.0.content; empty for "
        r"the whole, null for the other parts."
    )
    in_key: bool = plain_field("Whether the snippet is the key at the end of the path, and not of the value there.")
    snippet: str = plain_field("Some of the text around the first match: plain text, 160 characters at most as a rule.")
    ranges: list[CallSearchRange] = plain_field("What of the snippet matches, 20 ranges at most.")
    is_cut_before: bool = plain_field("Whether there is more text before the snippet.")
    is_cut_after: bool = plain_field("Whether there is more text after it.")


@strawberry.type(description="A call that was found.")
class CallSearchHit:
    """A hit; its source is a row of the call with what the search adds."""

    @resolved_field("The call.", returns=CallSchema)
    def call(self, parent: strawberry.Parent[Row]) -> Row:
        """The row itself."""
        return parent

    @resolved_field(
        "How well it matches: for each word or phrase 8 for the op's name, 8 for the display name, 4 for the "
        "exception, 2 for the output and 1 for the inputs, wherever it stands."
    )
    def score(self, parent: strawberry.Parent[Row]) -> int:
        """The score."""
        score: int = parent[SCORE]
        return score

    @resolved_field(
        "Where what was looked for stands in it: names first, then the exception, the output and the inputs. Found by "
        "letter, inside words as well. What takes long is left out; payloads of some hundred kilobytes do not.",
        returns=list[CallSearchHighlight],
    )
    def highlights(self, parent: strawberry.Parent[Row]) -> list[Highlight]:
        """The highlights that the search made."""
        found: list[Highlight] = parent["highlights"]
        return found


@strawberry.type(description="A page of calls that were found.")
class CallSearchConnection(Connection[CallSearchHit]):
    """Relay's connection, and how the search went; its source is a `Listing` of a `FoundPage`."""

    @resolved_field("How they were looked for.", returns=CallSearchMethod)
    def method(self, parent: strawberry.Parent[Any]) -> str:
        """The method."""
        page: FoundPage = parent.page
        return str(page.method)

    @resolved_field(
        "Whether all was looked at that could be on this page or on the way to it. If not, a scan took too long: "
        "endCursor (or startCursor, backward) goes on where it stopped, even if nothing was found so far. Or an index "
        "has more than 20,000 calls with the words, or too much waits to be indexed: those indexed last were put in "
        "order. Narrow the search then."
    )
    def is_complete(self, parent: strawberry.Parent[Any]) -> bool:
        """Whether all was looked at."""
        page: FoundPage = parent.page
        return page.is_complete
