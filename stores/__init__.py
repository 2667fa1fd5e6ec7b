"""What the API does: documents, queries and pipelines over MongoDB."""

import os

THREADS = 256
"""Commands that can be under way at once. Motor runs each in a thread, and an open change stream keeps one busy."""

# Motor makes its threads when it is imported.
os.environ.setdefault("MOTOR_MAX_WORKERS", str(THREADS))
