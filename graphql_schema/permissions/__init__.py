"""Who may ask what: a ruling for each field of the roots, which no resolver repeats."""

from graphql_schema.permissions.field_permissions import FIELD_PERMISSIONS, FieldPermission, Rulings
from graphql_schema.permissions.guard import guard_root_fields

__all__ = ["FIELD_PERMISSIONS", "FieldPermission", "Rulings", "guard_root_fields"]
