"""Helpers for HTTP that know no endpoint."""
