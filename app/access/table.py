"""All rulings as the README has them."""

from app.access.rulings import RULINGS
from graphql_schema.access import table


def markdown_table() -> str:
    """The table of permissions."""
    routes = table.grouped("HTTP", ((path, ruling.role, ruling.place) for path, ruling in RULINGS.items()))
    head = ["| What | Takes the role | In which projects |", "| --- | --- | --- |"]
    return "\n".join([*head, *table.lines(), *routes])
