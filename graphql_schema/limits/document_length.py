"""Length of documents, and of their names and numbers."""

from typing import Final

from graphql import DocumentNode, GraphQLError, Token, TokenKind

from graphql_schema.limits.bounds import TOO_COMPLEX, Limits

MAX_LENGTH: Final = 1000
"""Maximum length in characters: Python parses no number of more than 4,300 digits, and suggestions for long names are
slow.
"""

_BARE: Final = {TokenKind.NAME: "name", TokenKind.INT: "number", TokenKind.FLOAT: "number"}


def check_length(text: str, limits: Limits) -> None:
    """Check the length of a document: parsing one of some megabytes would block the event loop for seconds.

    Raises:
        GraphQLError: if it exceeds the limit.
    """
    if len(text) > limits.max_characters:
        raise GraphQLError(
            f"The document has {len(text):,} characters; the limit is {limits.max_characters:,}. "
            "Move literals into variables, or raise LOOMQL_MAX_QUERY_CHARACTERS on the server.",
            extensions={
                "code": TOO_COMPLEX,
                "limit": limits.max_characters,
                "found": len(text),
                "setting": "LOOMQL_MAX_QUERY_CHARACTERS",
            },
        )


def check_lengths(document: DocumentNode) -> None:
    """Check the length of names and numbers of a document; strings may have any length.

    Raises:
        GraphQLError: if one exceeds the limit.
    """
    token: Token | None = document.loc.start_token if document.loc else None
    while token:
        length = token.end - token.start
        if length > MAX_LENGTH and token.kind in _BARE:
            raise GraphQLError(
                f"A {_BARE[token.kind]} in the document has {length:,} characters; the limit is {MAX_LENGTH:,}.",
                extensions={"code": TOO_COMPLEX, "limit": MAX_LENGTH, "found": length},
            )
        token = token.next
