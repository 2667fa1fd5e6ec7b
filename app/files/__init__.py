"""The `/files` endpoints."""
