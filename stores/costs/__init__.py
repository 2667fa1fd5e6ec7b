"""Costs: prices of models, set by projects or shipped with LoomQL, and the costs of calls."""

from stores.costs.price_timeline import Price
from stores.costs.pricing import Prices, bill
from stores.costs.project_prices import pricing_of_found
from stores.costs.store import CostsStore, NewCost

__all__ = ["CostsStore", "NewCost", "Price", "Prices", "bill", "pricing_of_found"]
