"""Connections of HTTP: uvicorn's protocol and what it lacks, a class for each concern, each above the one before.

Other protocols that are offered, requests that are broken, heads that are too large or late, clients that close their
half, answers that nobody reads, and head and body in one write.
"""

from app.http_connections.write_coalescing import WriteCoalescingProtocol as HTTPProtocol

__all__ = ["HTTPProtocol"]
