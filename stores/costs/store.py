"""Store of costs: the prices of a project's models."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Self

from stores import times
from stores.costs.defaults import of_model
from stores.costs.model_names import spellings
from stores.costs.price_timeline import RATE_FIELDS, USD, Price, Rates
from stores.costs.pricing import Prices
from stores.database import Database, Document, database_query, database_write
from stores.database.content_store import BATCH, batches
from stores.database.driver import find_all
from stores.database.transactions import Session
from stores.document_list import DocumentList
from stores.errors import BadInputError, ErrorsAt
from stores.hours import state_key
from stores.ids import LOCAL_USER, check_project_id, new_id
from stores.input_checks import check_length
from stores.query import Query
from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields

MAX_NAME: Final = 1024
MAX_UNIT: Final = 64
MAX_TOKEN_COST: Final = 1_000_000.0
"""Limit on the price of one token; a higher one is an error and would dominate every sum."""

MAX_AT_ONCE: Final = 1_000
"""Limit on costs created together."""

Models = tuple[str, tuple[str, ...]]
"""Project id and model names."""


@dataclass(frozen=True, slots=True)
class NewCost:
    """The price of a model from a date on, in microseconds since the epoch.

    Args:
        rates: rates of further classes, by their names in `RATE_FIELDS`.
    """

    llm_id: str
    prompt_token_cost: float
    completion_token_cost: float
    prompt_token_cost_unit: str | None = None
    completion_token_cost_unit: str | None = None
    effective_date: int | None = None
    provider_id: str | None = None
    rates: Rates = field(default_factory=dict)

    def checked(self, now: int) -> Self:
        """Return a validated copy with defaults: US dollars, the current time, the provider `default`.

        Raises:
            BadInputError: a field is invalid; the error names it.
        """
        for name in ("llm_id", "provider_id", "prompt_token_cost_unit", "completion_token_cost_unit"):
            text, limit = getattr(self, name), MAX_UNIT if name.endswith("unit") else MAX_NAME
            if text == "":
                raise BadInputError("is empty; use at least one character", name)
            check_length(text, limit, name)
        return replace(
            self,
            prompt_token_cost=_token_cost(self.prompt_token_cost, "prompt_token_cost"),
            completion_token_cost=_token_cost(self.completion_token_cost, "completion_token_cost"),
            prompt_token_cost_unit=self.prompt_token_cost_unit or USD,
            completion_token_cost_unit=self.completion_token_cost_unit or USD,
            effective_date=now if self.effective_date is None else self.effective_date,
            provider_id=self.provider_id or "default",
            rates={name: _token_cost(self.rates[name], name) for name in RATE_FIELDS if name in self.rates},
        )


def _token_cost(cost: float, argument: str) -> float:
    if not math.isfinite(cost):
        raise BadInputError("must be a finite number, the price of one token", argument)
    if cost < 0:
        raise BadInputError(f"{cost} is negative; a price is 0 or more", argument)
    if cost > MAX_TOKEN_COST:
        raise BadInputError(
            f"{cost} for one token is above the limit of {MAX_TOKEN_COST:,.0f}; divide a price per million tokens by "
            "1,000,000",
            argument,
        )
    return abs(float(cost))  # -0.0 becomes 0.0


def _fields(kind: Kind, *names: str) -> list[Field]:
    return [Field(name, name, kind, optional=False) for name in names]


COST_FIELDS: Final = FieldTable(
    [
        *_fields(Kind.TEXT, "id", "project_id", "llm_id", "provider_id"),
        *_fields(Kind.NUMBER, "prompt_token_cost", "completion_token_cost"),
        *_fields(Kind.TEXT, "prompt_token_cost_unit", "completion_token_cost_unit"),
        *(Field(name, name, Kind.NUMBER) for name in RATE_FIELDS),
        *_fields(Kind.TIME, "effective_date", "created_at"),
        *_fields(Kind.TEXT, "created_by"),
    ]
)


class CostsStore(DocumentList[None]):
    """Reads and writes the costs that projects set in MongoDB; shipped prices are in a file."""

    indexed = IndexedFields(COST_FIELDS, "costs")
    reads: ClassVar = {"ref": ("project_id", "id")}

    def __init__(self, database: Database) -> None:
        super().__init__(database, database.costs)

    @database_write
    async def create(self, project_id: str, costs: Sequence[NewCost], wb_user_id: str | None = None) -> list[str]:
        """Insert costs, all or none; return their ids in order. An empty list does nothing.

        Raises:
            BadInputError: a cost is invalid (the argument is `costs.<position>`), there are more than `MAX_AT_ONCE`, or
                the user id is too long.
        """
        check_project_id(project_id)
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        check_number(len(costs))
        created_at = times.now()
        documents = [
            _document(project_id, cost, position, created_at, wb_user_id) for position, cost in enumerate(costs)
        ]

        async def create(session: Session) -> None:
            await self.database.ensure_projects_listed([project_id])
            await self._documents.insert_many(documents, session=session)

        if documents:
            await self.database.transaction(create)
            await self._mark_totals(project_id)
        return [document["id"] for document in documents]

    @database_write
    async def purge(self, project_id: str, query: Query) -> int:
        """Permanently delete the costs whose ids the query names; return the number deleted.

        Raises:
            BadInputError: the query does not name ids in one of the three supported forms.
        """
        number = await self._purge("cost", project_id, query, allow_in=True)
        await self._mark_totals(project_id)
        return number

    async def _mark_totals(self, project_id: str) -> None:
        """Let the work on marks compute the costs of traces again; without it, queries compute them."""
        due = [{"$set": {"live_until": "$$NOW"}}]
        await self.database.hour_marks.update_one({**state_key(project_id), "ready": True}, due)

    @database_query
    async def prices(self, keys: Sequence[Models]) -> dict[Models, Prices]:
        """Return the prices of the models of each key."""
        models: dict[str, set[str]] = {}
        for project_id, names in keys:
            models.setdefault(project_id, set()).update(names)
        prices = {
            project_id: await prices_of_models(self.database, project_id, names) for project_id, names in models.items()
        }
        return {key: prices[key[0]] for key in keys}


def check_number(number: int) -> None:
    """Check the number of costs created together.

    Raises:
        BadInputError: there are more than `MAX_AT_ONCE`.
    """
    if number > MAX_AT_ONCE:
        raise BadInputError(f"has {number:,} costs; the limit of one request is {MAX_AT_ONCE:,}", "costs")


async def prices_of_models(database: Database, project_id: str, models: Collection[str]) -> Prices:
    """Return the prices of some models under all their spellings, including shipped ones."""
    names = dict.fromkeys(name for model in models for name in spellings(model))
    rows: list[Document] = []
    for batch in batches(list(names), BATCH):
        match = {"project_id": project_id, "llm_id": {"$in": batch}}
        rows += await find_all(database.costs, match, {}, MAX_AT_ONCE)
    shipped = [price for name in names for price in of_model(name)]
    return Prices([*map(Price.of_project, rows), *shipped])


def _document(project_id: str, cost: NewCost, position: int, made: int, wb_user_id: str | None) -> Document:
    with ErrorsAt(f"costs.{position}"):
        checked = cost.checked(made)
    cost_id = new_id()
    return {
        "_id": f"{project_id}:{cost_id}",
        "project_id": project_id,
        "id": cost_id,
        **{name: getattr(checked, name) for name in NewCost.__dataclass_fields__ if name != "rates"},
        **checked.rates,
        "created_at": made,
        "created_by": wb_user_id or LOCAL_USER,
    }
