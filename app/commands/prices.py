"""`loomql price`: the price of a model."""

from argparse import Namespace
from decimal import Decimal
from difflib import get_close_matches

from app.commands.common import Add, aligned, data_folder, on_stores, say, settings_of
from graphql_schema.context import Stores
from stores import times
from stores.costs import Price, Prices
from stores.costs.defaults import of_model, shipped, sources
from stores.costs.model_names import spellings, why_unpriced
from stores.costs.price_timeline import PROJECT
from stores.errors import NotFoundError
from stores.usage.classes import CLASSES, INPUT, OUTPUT, Side, TokenClass


def add_commands(add: Add) -> None:
    """Add `price`."""
    text = "show the price of a model and how its name was resolved"
    parser = add("price", price, parents=[data_folder()], help=text)
    parser.add_argument("model", metavar="MODEL", help="name of the model, as in calls")
    parser.add_argument("--project", metavar="PROJECT", help="entity/project whose own prices come first")
    parser.add_argument("--at", metavar="DATE", help="start of the call, such as 2026-01-31 (default: now)")


def price(options: Namespace) -> int:
    """Print the price of a model and how it was found; return 1 if the model has none."""
    model, project_id = options.model, options.project
    at = times.now() if options.at is None else times.parse(options.at)

    async def read(stores: Stores) -> Prices:
        if await stores.retention.one(project_id) is None:
            raise NotFoundError(f"project {project_id} does not exist", "project")
        key = project_id, (model,)
        return (await stores.costs.prices([key]))[key]

    if project_id is None:
        prices = Prices(found for name in spellings(model) for found in of_model(name))
    else:
        prices = on_stores(settings_of(options), read)
    name, found = prices.resolve(model), prices.at(model, at)
    if name is None or found is None:
        say(f"{model} has no price under any of these names:", *(f"  {spelling}" for spelling in spellings(model)))
        if reason := why_unpriced(model):
            say(reason)
        if near := get_close_matches(min(spellings(model), key=len), shipped(), 5):
            head = "Default prices exist for these similar names, which may be other models:"
            say(head, *(f"  {name}" for name in near))
        return 1
    return say(*_origin(model, name, found, at), *_rates(found))


def _origin(model: str, name: str, found: Price, at: int) -> list[str]:
    lines = [f"{model} has the price of {name}."]
    lines += [f"  rule: {rule.description}" for rule in spellings(model)[name]]
    made = _day(found.created_at)
    if found.level == PROJECT:
        origin = f"set in {found.level_id} by {found.created_by} on {made}, id {found.id}"
    else:
        origin = f"shipped with LoomQL, taken from its sources on {made}"
    lines.append(f"  price: {origin}")
    lines.append(f"  in effect from {_day(found.effective_date)}; provider: {found.provider_id}")
    if found.effective_date > at:
        lines.append(f"  No price was in effect on {_day(at)}; a later price is used instead.")
    if found.level != PROJECT:
        lines += [f"  source: {source}" for source in sources()]
    return lines


def _rates(found: Price) -> list[str]:
    tiers = [0, *(above + 1 for above, _ in found.tiers)]
    head = ["class", "rate", *(f"above {above:,} prompt tokens" for above, _ in found.tiers), "charged as"]
    rows = [
        [each.name, *(_amount(found.rates_for(tokens)[each.name], each) for tokens in tiers), _charged_as(found, each)]
        for each in CLASSES
    ]
    units = f"{found.unit(INPUT)} for input and {found.unit(OUTPUT)} for output"
    unit = found.unit(INPUT) if found.unit(INPUT) == found.unit(OUTPUT) else units
    return [
        f"Rates in {unit}, for 1,000,000 tokens or one search:",
        *(f"  {line}" for line in aligned([head, *rows])),
    ]


def _amount(rate: float, each: TokenClass) -> str:
    exact = Decimal(repr(rate)) * (1 if each.side is Side.REQUEST else 1_000_000)
    return f"{exact.normalize():f}"


def _charged_as(found: Price, each: TokenClass) -> str:
    if each.name in (INPUT, OUTPUT) or each.name in found.rates:
        return each.name
    return each.like or "free"


def _day(micros: int) -> str:
    return times.to_text(micros)[:10]
