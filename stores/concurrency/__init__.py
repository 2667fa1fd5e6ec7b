"""asyncio scheduling, limits and quotas; imports no driver."""
