"""Signs of life on connections that are open for days: proxies keep what is not silent, and who is gone is missed."""

from typing import Final

BEAT_SECONDS: Final = 12
"""How often a connection hears from the server, so that no proxy takes it for dead."""

PATIENCE_SECONDS: Final = 60
"""How long a client may take nothing, or say nothing where it is asked, before it is let go."""
