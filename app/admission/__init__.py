"""Admission control of one process: operation slots, rate limits, WebSocket quotas, byte budgets."""

from app.admission.operation_limiter import OperationLimiter
from app.admission.quota_keys import quota_key_of
from app.admission.token_buckets import RateLimiter

__all__ = ["OperationLimiter", "RateLimiter", "quota_key_of"]
