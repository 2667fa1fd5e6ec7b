"""How much each caller may ask of one process: so many requests a second, so many operations at once."""

from app.admission.operation_limiter import Places
from app.admission.quota_keys import payer_of
from app.admission.token_buckets import Rates

__all__ = ["Places", "Rates", "payer_of"]
