"""Who may ask what: a ruling for each field of the roots, which no resolver repeats."""

from graphql_schema.permissions.field_permissions import RULINGS, Ruling, Rulings
from graphql_schema.permissions.guard import rule

__all__ = ["RULINGS", "Ruling", "Rulings", "rule"]
