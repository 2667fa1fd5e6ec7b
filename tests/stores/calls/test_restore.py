"""Tests of the restore of stored calls over calls that changed since."""

from typing import Any

import pytest

from stores.calls import CallsStore
from stores.calls.store import RestoredCall
from stores.errors import BadInputError
from stores.paging import PageRequest
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start


async def stored(calls: CallsStore) -> list[dict[str, Any]]:
    page = await calls.page(PROJECT, PageRequest(), ["id", "display_name", "ended_at", "status", "trace_name"])
    return [{name: value for name, value in row.items() if name != "started_at"} for row in page.rows]


def row(number: int, name: str | None, ended_at: int | None = None) -> dict[str, Any]:
    found = {"id": call_id(number), "status": "running", "trace_name": name or "answer"}
    found |= {"display_name": name} if name else {}
    return found | ({"ended_at": ended_at, "status": "success"} if ended_at else {})


async def test_existing_call_is_unchanged(calls: CallsStore) -> None:
    newer = NOON + 90 * SECOND
    await calls.write([start(1, display_name="newer"), end(1, ended_at=newer)])

    await calls.restore([RestoredCall(start(1, display_name="older"), end(1, exception="no"))])

    assert await stored(calls) == [row(1, "newer", newer)]


async def test_running_call_gets_its_end_and_ended_call_keeps_its_own(calls: CallsStore) -> None:
    await calls.write([start(1), start(2), end(2)])

    await calls.restore([RestoredCall(start(1), end(1)), RestoredCall(start(2))])

    assert await stored(calls) == [row(1, None, end(1).ended_at), row(2, None, end(2).ended_at)]


@pytest.mark.parametrize("name", ["older", None])
async def test_restored_display_name_is_kept_by_later_starts(calls: CallsStore, name: str | None) -> None:
    await calls.write([start(1, display_name="older")])
    await calls.rename(PROJECT, call_id(1), "renamed")
    await calls.rename(PROJECT, call_id(2), "before its start")

    await calls.restore([RestoredCall(start(number, display_name=name)) for number in (1, 2)])
    again = await stored(calls)
    await calls.write([start(1)])

    assert again == await stored(calls) == [row(1, "renamed"), row(2, "before its start")]


async def test_start_that_arrives_after_its_end_has_its_name(calls: CallsStore) -> None:
    await calls.write([end(1)])

    await calls.restore([RestoredCall(start(1, display_name="named"), end(1, ended_at=NOON))])

    assert await stored(calls) == [row(1, "named", end(1).ended_at)]


async def test_first_of_duplicate_calls_wins_and_gets_a_missing_end(calls: CallsStore) -> None:
    await calls.restore(
        [RestoredCall(start(1, display_name="first")), RestoredCall(start(1, display_name="second"), end(1))]
    )

    assert await stored(calls) == [row(1, "first", end(1).ended_at)]


async def test_deleted_call_stays_deleted(calls: CallsStore) -> None:
    await calls.write([start(1)])
    await calls.delete(PROJECT, [call_id(1)])

    await calls.restore([RestoredCall(start(1), end(1))])

    assert await stored(calls) == []


@pytest.mark.parametrize("bad", [RestoredCall(start(2, id="NO")), RestoredCall(start(2), end(2, id="NO"))])
async def test_invalid_call_is_named_by_index_and_nothing_is_stored(calls: CallsStore, bad: RestoredCall) -> None:
    with pytest.raises(BadInputError) as refused:
        await calls.restore([RestoredCall(start(1)), bad])

    assert refused.value.argument == "batch.1.id"
    assert await stored(calls) == []
