"""Transactions that never get through: whoever sent them is told whether others or the database stood in their way."""

import pytest
from pymongo.errors import OperationFailure

from stores import transactions
from stores.database import Database
from stores.errors import ConflictError, StoreError, UnavailableError
from stores.transactions import Session

WRITE_CONFLICT, STEPPING_DOWN = 112, 11602


@pytest.mark.parametrize(
    ("code", "told"), [(WRITE_CONFLICT, ConflictError), (STEPPING_DOWN, UnavailableError)], ids=["others", "database"]
)
async def test_what_stands_in_the_way_each_time_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch, code: int, told: type[StoreError]
) -> None:
    attempts: list[int] = []
    monkeypatch.setattr(transactions, "_ATTEMPTS", 3)

    async def work(session: Session) -> None:
        attempts.append(code)
        await database.leases.insert_one({"_id": "begun"}, session=session)
        raise OperationFailure("again", code, {"errorLabels": ["TransientTransactionError"]})

    with pytest.raises(told):
        await database.run(database.transaction(work))

    assert len(attempts) == 3
    assert await database.leases.count_documents({}) == 0
