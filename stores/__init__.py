"""Storage: documents, queries and aggregation pipelines over MongoDB. Knows no GraphQL and no HTTP."""

import os

THREADS = 256
"""Number of MongoDB commands in flight at once. Motor runs each in a thread; an open change stream occupies one."""

# Motor creates its thread pool on import, so this must come first.
os.environ.setdefault("MOTOR_MAX_WORKERS", str(THREADS))
