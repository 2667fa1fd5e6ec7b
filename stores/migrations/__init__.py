"""The version of the stored data, and the backfills that raise it. Only `app` imports this package."""
