"""The version of the stored data, and the backfills that raise it; only `app` imports them."""
