"""How long a document is, and the names and numbers in it."""

from typing import Final

from graphql import DocumentNode, GraphQLError, Token, TokenKind

from graphql_schema.limits.bounds import TOO_COMPLEX, Limits

MAX_LENGTH: Final = 1000
"""Characters; Python makes no number of more than 4,300 digits, and it takes long to find what is near a long name."""

_BARE: Final = {TokenKind.NAME: "name", TokenKind.INT: "number", TokenKind.FLOAT: "number"}


def check_length(text: str, limits: Limits) -> None:
    """See that a document is not too long to be read: one of some megabytes would keep all others waiting for seconds.

    Raises:
        GraphQLError: it is.
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
    """See that no name or number of a document is too long; strings may be as long as they like.

    Raises:
        GraphQLError: one is.
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
