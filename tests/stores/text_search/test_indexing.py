"""Tests that indexes are built, updated and deleted correctly, despite concurrent writers and crashes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from stores import times
from stores.calls import CallsStore
from stores.calls.store import RestoredCall
from stores.database import Database, project_registry
from stores.database.leases import Lease, LeaseLostError
from stores.errors import NotFoundError
from stores.paging import PageRequest
from stores.purges import PurgesStore
from stores.text_search import Method, TextSearchStore, indexing
from stores.text_search.indexing import Indexer, index_lease
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.text_search.conftest import Found, Index, Search
from tests.waiting import until_found
from tests.watching import until_subscribed


async def store_some(calls: CallsStore, first: int = 1, last: int = 4) -> None:
    """Write calls that all contain "weft"."""
    parts = [part for number in range(first, last + 1) for part in (start(number, inputs={"q": "weft"}), end(number))]
    await calls.write(parts)


async def marks(database: Database) -> dict[int, str]:
    """Return, for each call, the field that marks it as due or as indexed."""
    found = {}
    async for call in database.calls.find({"project_id": PROJECT}, sort=[("_id", 1)]):
        names = [name for name in ("search_due", "search_segment") if name in call]
        found[int(call["id"][-12:], 16)] = names[0] if names else ""
    return found


async def test_index_is_off_by_default(calls: CallsStore, store: TextSearchStore, index: Index) -> None:
    assert await store.index(PROJECT) is None
    with pytest.raises(NotFoundError):
        await store.set_index(PROJECT, is_on=True)
    await store_some(calls)

    before = await store.index(PROJECT)
    await index()
    after = await store.index(PROJECT)

    assert before
    assert after
    assert (before.is_on, before.is_ready) == (False, False)
    assert (after.is_on, after.is_ready, after.looked_at, after.total) == (True, True, 4, 4)
    assert (after.waiting, after.cut) == (0, 0)
    assert after.size_bytes > 100


async def test_project_without_an_index_has_no_overhead(calls: CallsStore, database: Database) -> None:
    await store_some(calls)
    await calls.write([end(1, output="again")])

    assert set((await marks(database)).values()) == {""}
    assert await database.search_words.estimated_document_count() == 0


async def test_switching_on_twice_changes_nothing(calls: CallsStore, store: TextSearchStore, index: Index) -> None:
    await store_some(calls)
    await index()

    before = await store.index(PROJECT)
    again, _ = await asyncio.gather(*(store.set_index(PROJECT, is_on=True) for _ in range(2)))

    assert again == before


async def test_every_write_is_reindexed(
    calls: CallsStore, database: Database, index: Index, store: TextSearchStore, found: Found
) -> None:
    await store_some(calls)
    await index()
    assert set((await marks(database)).values()) == {"search_segment"}

    await calls.write([start(5, inputs={"q": "weft"}), start(1, inputs={"q": "warp"}), end(2, output="warp")])
    await calls.rename(PROJECT, call_id(3), "warp")
    await calls.restore([RestoredCall(start(6, inputs={"q": "warp"}))])

    assert await marks(database) == {
        **dict.fromkeys((1, 2, 3, 5, 6), "search_due"),
        4: "search_segment",
    }
    assert (await found("warp"), await found("weft")) == ([3, 2, 6, 1], [5, 4, 3, 2])
    await store.work(PROJECT, pause=0)
    assert set((await marks(database)).values()) == {"search_segment"}
    assert (await found("warp"), await found("weft")) == ([3, 2, 6, 1], [5, 4, 3, 2])


async def test_calls_without_a_start_are_found_after_it_arrives(calls: CallsStore, index: Index, found: Found) -> None:
    await store_some(calls)
    await calls.write([end(9, output="the heddle")])
    await index()
    assert await found("heddle") == []

    await calls.write([start(9)])

    assert await found("heddle") == [9]


@pytest.mark.timings(registry_lag_seconds=600, write_margin_seconds=0)
async def test_write_missed_by_the_indexer_is_found_once_the_index_is_ready(
    calls: CallsStore, database: Database, store: TextSearchStore, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check writers that have just registered the project; for ten minutes they do not check if it has an index."""
    await store_some(calls)

    await store.set_index(PROJECT, is_on=True)
    await store.work(PROJECT, pause=0)
    passed = await store.index(PROJECT)
    await calls.write([start(7, inputs={"q": "weft"}), end(1, output="the heddle")])

    assert passed
    assert (passed.has_passed, passed.is_ready) == (True, False)
    assert (await search("weft")).method is Method.SCAN
    assert await marks(database) == {1: "", **dict.fromkeys((2, 3, 4), "search_due"), 7: ""}
    assert PROJECT not in await store.due()
    later = times.now() + 600 * times.SECOND
    monkeypatch.setattr(times, "now", lambda: later)
    assert PROJECT in await store.due()
    await store.work(PROJECT, pause=0)
    assert ((await search("weft")).method, len((await search("weft")).rows)) == (Method.INDEX, 5)
    assert len((await search("heddle", Method.INDEX)).rows) == 1


async def test_indexing_a_quiet_project_does_not_wait(
    calls: CallsStore, store: TextSearchStore, database: Database
) -> None:
    await store_some(calls)
    long_ago = times.now() - (project_registry.QUIET_SECONDS + 1) * 1_000_000
    await database.projects.update_one({"_id": PROJECT}, {"$set": {"last_activity_at": long_ago}})

    await store.set_index(PROJECT, is_on=True)
    await store.work(PROJECT, pause=0)

    state = await store.index(PROJECT)
    assert state
    assert state.is_ready


async def test_indexing_resumes_after_a_kill(
    calls: CallsStore, database: Database, store: TextSearchStore, monkeypatch: pytest.MonkeyPatch, index: Index
) -> None:
    monkeypatch.setattr(indexing, "_BATCH_SIZE", 2)
    monkeypatch.setattr(indexing, "SEGMENT_BYTES", 1)
    await store_some(calls, last=6)
    await store.set_index(PROJECT, is_on=True)

    # The process dies within a step, after it stores a segment and before it updates the segment's call.
    hold = index_lease(database, PROJECT, lease_seconds=0)
    assert await hold.acquire()
    steps = Indexer(database, hold).steps()
    for _ in range(2):
        await anext(steps)
    await steps.aclose()
    [waiting] = await database.calls.find({"search_due": indexing.IS_MARKED}, limit=1).to_list(None)
    await (await indexing.Segment.build(PROJECT, hold.state["generation"], [waiting])).store(database, hold)
    looked_at = (await store.index(PROJECT)).looked_at  # type: ignore[union-attr]

    await index()

    assert 0 < looked_at < 6
    assert set((await marks(database)).values()) == {"search_segment"}
    page = await store.page(PROJECT, "weft", PageRequest(), [])
    assert [row["id"] for row in page.rows] == [call_id(number) for number in range(6, 0, -1)]


async def test_indexer_that_lost_its_lease_writes_nothing_more(
    calls: CallsStore, database: Database, store: TextSearchStore
) -> None:
    await store_some(calls)
    await store.set_index(PROJECT, is_on=True)
    slow = index_lease(database, PROJECT, lease_seconds=0)
    assert await slow.acquire()
    await until_found(index_lease(database, PROJECT).acquire)

    with pytest.raises(LeaseLostError):
        await anext(Indexer(database, slow).steps())

    assert set((await marks(database)).values()) == {""}
    await store.work(PROJECT)  # does nothing, because another process holds the lease
    assert set((await marks(database)).values()) == {""}


async def test_writes_during_indexing_are_all_found(
    calls: CallsStore, database: Database, index: Index, found: Found
) -> None:
    await store_some(calls, last=20)

    async def write() -> None:
        for number in range(21, 41):
            await store_some(calls, number, number)
            await calls.write([end(number - 20, output="the heddle")])

    await asyncio.gather(index(), write())
    await index()

    assert await found("weft", Method.INDEX) == list(range(40, 0, -1))
    assert await found("heddle", Method.INDEX) == list(range(20, 0, -1))
    assert set((await marks(database)).values()) == {"search_segment"}


async def test_switching_off_deletes_the_whole_index(
    calls: CallsStore, database: Database, index: Index, store: TextSearchStore, search: Search
) -> None:
    await store_some(calls)
    await index()
    await store_some(calls, 5, 5)

    await store.set_index(PROJECT, is_on=False)
    assert (await search("weft")).method is Method.SCAN
    await store_some(calls, 6, 6)
    await until_gone(store)

    assert set((await marks(database)).values()) == {""}
    assert await database.search_words.count_documents({}) == await database.search_segments.count_documents({}) == 0
    assert len((await search("weft")).rows) == 6
    await index()
    assert ((await search("weft")).method, len((await search("weft")).rows)) == (Method.INDEX, 6)


async def until_gone(store: TextSearchStore) -> None:
    """Work until the index is deleted."""
    state = await store.index(PROJECT)
    while state and state.is_under_way:
        await store.work(PROJECT, pause=0)
        state = await store.index(PROJECT)


async def test_switching_on_again_at_once_reindexes_everything(
    calls: CallsStore, database: Database, index: Index, store: TextSearchStore, found: Found
) -> None:
    await store_some(calls)
    await index()
    before = {call["search_segment"] async for call in database.calls.find({})}

    await store.set_index(PROJECT, is_on=False)
    await index()

    after = {call["search_segment"] async for call in database.calls.find({})}
    assert before.isdisjoint(after)
    assert {head["segment"] async for head in database.search_segments.find({})} == after
    assert await found("weft", Method.INDEX) == [4, 3, 2, 1]


async def test_segments_without_calls_are_deleted(
    calls: CallsStore,
    database: Database,
    index: Index,
    store: TextSearchStore,
    monkeypatch: pytest.MonkeyPatch,
    found: Found,
) -> None:
    await store_some(calls)
    await index()
    database.timings = replace(database.timings, segment_check_seconds=0)
    monkeypatch.setattr(indexing, "SEGMENT_BYTES", 1_000_000)
    await database.calls.delete_one({"project_id": PROJECT, "id": call_id(1)})
    await store_some(calls, 2, 2)
    heads = await database.search_segments.count_documents({})

    assert await store.due() == [PROJECT]
    await store.work(PROJECT, pause=0)

    assert (heads, await database.search_segments.count_documents({})) == (4, 2)
    assert await found("weft") == [4, 3, 2]


async def test_purge_deletes_the_index(
    calls: CallsStore, database: Database, index: Index, store: TextSearchStore
) -> None:
    await store_some(calls)
    await index()

    await PurgesStore(database).purge(PROJECT, PROJECT)
    await store_some(calls)

    for collection in (database.search_indexes, database.search_segments, database.search_words):
        assert await collection.count_documents({}) == 0
    state = await store.index(PROJECT)
    assert state
    assert not state.is_on
    assert set((await marks(database)).values()) == {""}


@pytest.mark.timings(registry_lag_seconds=0, write_margin_seconds=0)
async def test_words_of_a_permanently_deleted_call_are_deleted(
    calls: CallsStore, database: Database, store: TextSearchStore, monkeypatch: pytest.MonkeyPatch, found: Found
) -> None:
    monkeypatch.setattr(indexing, "MAX_CALLS", 4)
    await calls.write([start(1, inputs={"q": "the secret"})])
    await store_some(calls, 2, 4)
    await store.set_index(PROJECT, is_on=True)
    await store.work(PROJECT, pause=0)
    secret = {"words.secret": {"$exists": True}}
    assert (
        await database.search_segments.count_documents({}) == await database.search_words.count_documents(secret) == 1
    )

    database.timings = replace(database.timings, segment_check_seconds=0)
    await store.work(PROJECT, pause=0)
    kept = await database.search_words.count_documents(secret)
    await database.calls.delete_one({"project_id": PROJECT, "id": call_id(1)})
    await store.work(PROJECT, pause=0)

    assert (kept, await database.search_words.count_documents(secret)) == (1, 0)
    assert await found("weft", Method.INDEX) == [4, 3, 2]


@pytest.mark.parametrize("is_before", [True, False])
async def test_purge_during_a_segment_write_leaves_nothing(
    calls: CallsStore,
    database: Database,
    store: TextSearchStore,
    index: Index,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_before: bool,
) -> None:
    """Check a purge that starts before or just after the worker confirms its lease."""
    await store_some(calls)
    await index()
    await store_some(calls, 5, 8)
    purging: list[asyncio.Task[object]] = []

    async def purge_beside(run: Callable[..., Awaitable[None]], *arguments: object) -> None:
        if not is_before:
            await run(*arguments)
        if not purging:
            purging.append(asyncio.create_task(PurgesStore(database).purge(PROJECT, PROJECT)))
        await asyncio.wait(purging, timeout=0.3)
        if is_before:
            await run(*arguments)

    advance = Lease.advance

    async def advance_beside(hold: Lease, *arguments: Any, **named: Any) -> None:
        keep = partial(advance, hold, *arguments, **named)
        await (purge_beside(keep) if "session" in named and "generation" in hold.state else keep())

    monkeypatch.setattr(Lease, "advance", advance_beside)
    await store.work(PROJECT, pause=0)
    await asyncio.gather(*purging)

    assert purging
    for collection in (database.search_indexes, database.search_segments, database.search_words, database.calls):
        assert await collection.count_documents({}) == 0


async def test_calls_deleted_after_they_were_counted_become_no_segment(
    calls: CallsStore,
    database: Database,
    store: TextSearchStore,
    index: Index,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await store_some(calls)
    await index()
    before = await database.search_segments.count_documents({})
    await store_some(calls, 5, 8)
    counted, counts = indexing.next_segment_size, list[int]()

    async def counted_before_a_purge(*arguments: Any) -> int:
        counts.append(await counted(*arguments))
        await database.calls.delete_many({})
        return counts[-1]

    monkeypatch.setattr(indexing, "next_segment_size", counted_before_a_purge)
    await store.work(PROJECT, pause=0)

    assert counts[0] > 0
    assert await database.search_segments.count_documents({}) == before


async def test_word_count_is_capped_and_reported(
    calls: CallsStore, index: Index, store: TextSearchStore, found: Found
) -> None:
    many = " ".join(f"word{number}" for number in range(2_500))
    await calls.write([start(1, inputs={"text": f"{many} last"})])
    await index()

    state = await store.index(PROJECT)

    assert state
    assert state.cut == 1
    assert await found("word1") == [1]
    assert await found("last") == []
    assert await found("last", Method.SCAN) == [1]


async def test_indexing_sends_no_events(calls: CallsStore, index: Index) -> None:
    await store_some(calls)
    events = calls.events(PROJECT, ["id"])
    first = asyncio.ensure_future(anext(events))
    await until_subscribed(calls)

    await index()
    await store_some(calls, 9, 9)

    assert (await first).call["id"] == call_id(9)
    await events.aclose()
