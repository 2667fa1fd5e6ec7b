"""The server, and the commands beside it."""

import gc
from typing import Final

GARBAGE_THRESHOLDS: Final = (2_500, 12, 80)
"""Objects before the collector looks at new ones, such looks before one at survivors, and those before one at all.

Each look stops all requests: the first for 1 ms, the second for some 10, the last for 100 and more. With 25,000 objects
the first took 31 ms, and 1,000 new documents half as much time again. With a last look 11 times as rare, memory grew by
150 MiB in 18,000 requests of the fuzzer.
"""

# From the first import on: what they make stays for good, and Python by itself looks through it for a fifth of a
# second of each start.
gc.set_threshold(*GARBAGE_THRESHOLDS)
