"""Uvicorn's HTTP protocol with additions, one class for each concern, each derived from the previous one.

They handle protocol upgrades, malformed requests, header limits, half-closed connections, write timeouts, and writing
head and body together.
"""

from app.http_connections.write_coalescing import WriteCoalescingProtocol as HTTPProtocol

__all__ = ["HTTPProtocol"]
