"""The cases of the query language: compiled queries, each compared with the pipeline that an engineer writes by hand.

The hand-written pipelines rely on knowledge of the data: paths without lists, and values of the expected types. They
therefore need no guards. Both sides return the same page of a hundred calls with the same few fields.
"""

from dataclasses import dataclass
from typing import Any, Final

from bson import Decimal128

from stores.calls.fields import CALL_FIELDS, TOTAL_COST, calls_match
from stores.calls.list_query import compile_calls_query
from stores.costs import Price, Prices
from stores.costs.defaults import all_models, shipped
from stores.costs.price_timeline import USD
from stores.paging import PageRequest, page_pipeline
from stores.query import Query
from stores.query.match_compiler import compile_match
from stores.query.sort import SortBy, compile_sort
from tests.benchmarks.stock import BEGIN, PROJECT, RARE_WORD, SECOND, customer, op_name

Tree = dict[str, Any]
Pipeline = list[dict[str, Any]]

_SHOWN: Final = ("id", "op_name", "started_at")
_INDEXED: Final = 1.15
_UNINDEXED: Final = 1.3
_SORTED: Final = 1.5  # a hand-written sort would mix types and put null first
_MODEL: Final = "loom-large"
_AMOUNT: Final = "inputs.order.amount"
_WEIGHT: Final = "inputs.order.weight"
_QUESTION: Final = "inputs.question"


@dataclass(frozen=True, slots=True)
class Case:
    """A query as a compiled and as a hand-written pipeline, and the highest allowed ratio of their times."""

    name: str
    target: float
    compiled: Pipeline
    by_hand: Pipeline


def cases(count: int) -> list[Case]:
    """Return all cases for a stock of `count` calls."""
    middle = BEGIN // SECOND + count // 2
    few = 1 - 50 / count  # about fifty calls have a random number above it
    answered = {"input": _get(_QUESTION), "substr": {"$literal": RARE_WORD}}
    in_payload = {"input": _get("inputs"), "substr": {"$literal": RARE_WORD}}
    as_number = {"$convert": {"input": f"${_WEIGHT}", "to": "double", "onError": None, "onNull": None}}
    return [
        _filter(
            "indexed: a range of started_at",
            {"$and": [_compare("$gte", "started_at", middle), _compare("$lt", "started_at", middle + 1000)]},
            {"started_at": {"$gte": middle * SECOND, "$lt": (middle + 1000) * SECOND}},
            target=_INDEXED,
        ),
        _filter("indexed: op_name", _compare("$eq", "op_name", op_name(7)), {"op_name": op_name(7)}, target=_INDEXED),
        _filter("indexed: status", _compare("$eq", "status", "error"), {"status": "error"}, target=_INDEXED),
        _filter("nested number, a range", _compare("$gt", _AMOUNT, 1000 * few), {_AMOUNT: {"$gt": 1000 * few}}),
        of_a_customer(count // 3, count),
        _filter("$contains, nested", {"$contains": answered}, {_QUESTION: {"$regex": RARE_WORD}}),
        _filter(
            "$contains, nested, any letter case",
            {"$contains": answered | {"case_insensitive": True}},
            {_QUESTION: {"$regex": RARE_WORD, "$options": "i"}},
        ),
        _filter("$contains, whole payload", {"$contains": in_payload}, {"json.inputs": {"$regex": RARE_WORD}}),
        _filter(
            "$convert to double",
            {"$gt": [{"$convert": {"input": _get(_WEIGHT), "to": "double"}}, {"$literal": few}]},
            {"$expr": {"$gt": [as_number, few]}},
        ),
        _sort("sort by a nested number, descending", SortBy("output.score", descending=True)),
        _sort("sort by a nested number, ascending", SortBy("output.score")),
        _by_cost((BEGIN // SECOND + count // 2) * SECOND),
    ]


def of_a_customer(number: int, count: int) -> Case:
    """Return the case that finds the calls of one call's customer."""
    found = customer(number, count)
    return _filter("nested string, equal", _compare("$eq", "inputs.customer_id", found), {"inputs.customer_id": found})


def hundred_terms() -> Tree:
    """Return a query with a hundred terms of every kind, as clients send it."""
    terms = [
        _compare("$gt", _AMOUNT, 10),
        _compare("$eq", "op_name", op_name(1)),
        {"$in": [_get("inputs.customer_id"), [{"$literal": "a"}, {"$literal": "b"}]]},
        {"$contains": {"input": _get(_QUESTION), "substr": {"$literal": "x"}}},
        {"$gt": [{"$convert": {"input": _get(_WEIGHT), "to": "double"}}, {"$literal": 1}]},
    ]
    return {"$expr": {"$and": [{"$or": [*terms, *({"$not": [term]} for term in terms)]} for _ in range(10)]}}


def _filter(name: str, operation: Tree, by_hand: Tree, target: float = _UNINDEXED) -> Case:
    match = {"project_id": PROJECT, "visible": True, **by_hand}
    return Case(
        name,
        target,
        _page(SortBy("started_at"), Query({"$expr": operation})),
        [{"$match": match}, {"$sort": {"started_at": 1, "id": 1}}, *_cut()],
    )


def _sort(name: str, sort_by: SortBy) -> Case:
    order = dict.fromkeys((sort_by.field, "id"), -1 if sort_by.descending else 1)
    match = {"project_id": PROJECT, "visible": True}
    return Case(name, _SORTED, _page(sort_by), [{"$match": match}, {"$sort": order}, *_cut()])


def _by_cost(halfway: int) -> Case:
    """Return the case that sorts by cost; the one model that all calls use had another price until `halfway`."""
    before, since = 3e-6, 1e-6
    own = [_price(0, before), _price(halfway, since)]
    # A search prices each model name of the project's calls; here a hundred names, half of them without a price.
    names = [_MODEL, *list(shipped())[:49], *(f"run-{number}" for number in range(50))]
    prices = Prices([*all_models(), *own]).of(names, fails_on_others=True)
    match = {"project_id": PROJECT, "visible": True}
    # The sum is in decimals, as bills are: doubles would order calls that cost the same.
    price = {"$cond": [{"$lt": ["$started_at", halfway]}, Decimal128("0.000003"), Decimal128("0.000001")]}
    counts = ("prompt_tokens", "completion_tokens")
    costs = [{"$multiply": [f"$summary.usage.{_MODEL}.{count}", price]} for count in counts]
    sort_by = [SortBy(TOTAL_COST.name, descending=True)]
    return Case(
        "sort by total_cost",
        _SORTED,
        [
            {"$match": match},
            {"$set": {TOTAL_COST.path: prices.total_cost_expression()}},
            *page_pipeline({}, compile_sort(sort_by, CALL_FIELDS), PageRequest(), _SHOWN),
        ],
        [
            {"$match": match},
            {"$set": {"cost": {"$add": costs}}},
            {"$sort": {"cost": -1, "id": -1}},
            *_cut(),
        ],
    )


def _price(since: int, token_cost: float) -> Price:
    """Return a price of the stock's model, the same for prompt and completion."""
    return Price(
        llm_id=_MODEL,
        provider_id="default",
        prompt_token_cost=token_cost,
        completion_token_cost=token_cost,
        prompt_token_cost_unit=USD,
        completion_token_cost_unit=USD,
        effective_date=since,
        created_at=since,
        created_by=None,
        level="project",
        level_id=PROJECT,
    )


def _page(sort_by: SortBy, query: Query | None = None) -> Pipeline:
    order = compile_sort([sort_by], CALL_FIELDS)
    conditions = [compile_match(compile_calls_query(query, CALL_FIELDS, PROJECT))] if query else []
    return page_pipeline(calls_match(PROJECT, None, conditions), order, PageRequest(), _SHOWN)


def _cut() -> Pipeline:
    return [{"$limit": PageRequest().size + 1}, {"$project": {"_id": 0} | dict.fromkeys(_SHOWN, 1)}]


def _compare(operator: str, name: str, value: object) -> Tree:
    return {operator: [_get(name), {"$literal": value}]}


def _get(name: str) -> Tree:
    return {"$getField": name}
