"""Limits of a GraphQL operation, checked before execution: its document, its variables and its cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a document and its lists; `app.settings` describes each.

    Without `max_cost` no cost is counted or returned; without `max_seconds` a query has no timeout. Without
    `introspection` no response reveals the schema.
    """

    max_depth: int = 20
    max_aliases: int = 100
    max_tokens: int = 20_000
    max_characters: int = 500_000
    max_cost: int | None = None
    max_page_size: int = 10_000
    max_input_values: int = 500_000
    max_seconds: float | None = None
    introspection: bool = True
