"""Who may ask what: a ruling for each field of the roots, which no resolver repeats."""

from graphql_schema.access.guard import rule
from graphql_schema.access.rulings import RULINGS, Ruling, Rulings

__all__ = ["RULINGS", "Ruling", "Rulings", "rule"]
