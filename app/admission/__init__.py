"""Admission control of one process: slots, byte budgets, rate limits, and the quota keys that they count by."""

from app.admission.limits import Admission, quota_key_of

__all__ = ["Admission", "quota_key_of"]
