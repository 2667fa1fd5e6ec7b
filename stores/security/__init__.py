"""Roles and callers, the audit log, and the secrets that servers share."""
