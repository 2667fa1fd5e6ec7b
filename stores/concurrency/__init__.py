"""asyncio scheduling, timeouts, slots and quotas; imports no driver."""
