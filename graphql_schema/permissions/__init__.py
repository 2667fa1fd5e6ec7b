"""Permissions: the required role of each root field, checked before its resolver."""

from graphql_schema.permissions.field_permissions import FIELD_PERMISSIONS, FieldPermission, RootPermissions
from graphql_schema.permissions.guard import guard_root_fields

__all__ = ["FIELD_PERMISSIONS", "FieldPermission", "RootPermissions", "guard_root_fields"]
