"""Store of costs: the prices of a project's models."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from stores import times
from stores.costs.defaults import of_model
from stores.costs.inputs import MAX_NAME, NewCost
from stores.costs.model_names import spellings
from stores.costs.price_timeline import RATE_FIELDS, Price
from stores.costs.pricing import Prices
from stores.database import Database, Document, database_query, database_write
from stores.database.content_store import BATCH, batches
from stores.database.driver import find_all, find_first
from stores.database.transactions import Session
from stores.document_list import DocumentList
from stores.errors import BadInputError, StoreError
from stores.ids import LOCAL_USER, check_project_id, new_id
from stores.input_checks import check_length
from stores.query import Query
from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields

if TYPE_CHECKING:
    import asyncio

MAX_AT_ONCE: Final = 1_000
"""Limit on costs created together."""

FEW: Final = 100
"""Maximum costs of a project that are read before the models are known."""


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

Models = tuple[str, tuple[str, ...]]
"""Project id and model names."""


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
        return [document["id"] for document in documents]

    @database_write
    async def purge(self, project_id: str, query: Query) -> int:
        """Permanently delete the costs whose ids the query names; return the number deleted.

        Raises:
            BadInputError: the query does not name ids in one of the three supported forms.
        """
        return await self._purge("cost", project_id, query, allow_in=True)

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


def start_reading_costs(database: Database, project_id: str) -> "asyncio.Future[list[Document]]":
    """Start reading a project's costs for `prices_of_models`, at most `FEW` + 1."""
    return find_first(database.costs, {"project_id": project_id}, FEW + 1)


async def prices_of_models(
    database: Database, project_id: str, models: Collection[str], known: Sequence[Document] | None = None
) -> Prices:
    """Return the prices of some models under all their spellings, including shipped ones.

    `known` are the project's costs from `start_reading_costs`; they are used unless there are more than `FEW`.
    """
    names = dict.fromkeys(name for model in models for name in spellings(model))
    if known is not None and len(known) <= FEW:
        rows = [row for row in known if row["llm_id"] in names]
    else:
        rows = []
        for batch in batches(list(names), BATCH):
            match = {"project_id": project_id, "llm_id": {"$in": batch}}
            rows += await find_all(database.costs, match, {}, MAX_AT_ONCE)
    shipped = [price for name in names for price in of_model(name)]
    return Prices([*map(Price.of_project, rows), *shipped])


def _document(project_id: str, cost: NewCost, position: int, made: int, wb_user_id: str | None) -> Document:
    try:
        checked = cost.checked(made)
    except StoreError as error:
        raise error.prefixed(f"costs.{position}") from None
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
