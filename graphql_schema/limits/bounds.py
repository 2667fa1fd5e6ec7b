"""The bounds themselves."""

from dataclasses import dataclass
from typing import Final

TOO_COMPLEX: Final = "QUERY_TOO_COMPLEX"


@dataclass(frozen=True)
class Limits:
    """What a document and its lists may ask for at most; `app.settings` says what each one is.

    Without a `max_cost` nothing is counted, and no answer tells its cost; without `max_seconds` a query takes as long
    as it needs. Without `introspection` no answer tells what the schema has.
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
