"""asyncio scheduling, slots and quotas; imports no driver."""
