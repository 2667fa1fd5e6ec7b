"""The server, and the commands beside it."""

import gc
from typing import Final

GARBAGE_THRESHOLDS: Final = (2_000, 2, 5_000)
"""Objects before the collector looks at new ones, such looks before one at survivors, and those before one at all.

Each look stops all requests. After 2,000 objects it takes 1 ms; after 25,000 it took 31, and 1,000 new documents took
half as much time again.
"""

# From the first import on: what they make stays for good, and Python by itself looks through it for a fifth of a
# second of each start.
gc.set_threshold(*GARBAGE_THRESHOLDS)
