"""The server, and the commands beside it."""

import gc
from typing import Final

GARBAGE_THRESHOLDS: Final = (25_000, 4, 250)
"""New things before a look at them, such looks before one at what outlived one, and those before one at everything.

Each keeps all requests waiting, the second for 40 ms after 100,000 things and for 180 after 500,000.
"""

# From the first import on: what they make stays for good, and Python by itself looks through it for a fifth of a
# second of each start.
gc.set_threshold(*GARBAGE_THRESHOLDS)
