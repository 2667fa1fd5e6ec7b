"""How much each caller may ask of one process: so many requests a second, so many operations at once."""

from app.traffic.payers import payer_of
from app.traffic.places import Places
from app.traffic.rates import Rates

__all__ = ["Places", "Rates", "payer_of"]
