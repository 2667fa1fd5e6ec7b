"""Costs: what the tokens of models cost, as projects say and as LoomQL ships it, and what calls cost by that."""

from stores.costs.call_costs import bill
from stores.costs.inputs import NewCost
from stores.costs.price_timeline import Price
from stores.costs.pricing import Prices
from stores.costs.project_prices import pricing_of_found
from stores.costs.store import CostsStore

__all__ = ["CostsStore", "NewCost", "Price", "Prices", "bill", "pricing_of_found"]
