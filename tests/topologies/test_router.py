"""Tests of the kit: routers reach both shards, in and outside transactions, and refuse what mongos refuses."""

from contextlib import ExitStack, closing

import pytest
from bson import Int64
from pymongo.errors import OperationFailure, WriteError

from tests.topologies.cluster import PROJECT, Client, Cluster, move_some
from tests.topologies.router import Clock, Link

CALLS = [
    {"_id": f"{number:03}", "project_id": PROJECT, "id": f"call {number}", "number": number} for number in range(100)
]


def test_documents_are_on_both_shards_and_each_router_reads_all_in_order(running: Cluster, name: str) -> None:
    with Client(running.uri_of(0)) as one, Client(running.uri_of(1)) as two:
        one[name].calls.insert_many(CALLS)

        found = two[name].calls.find({"project_id": PROJECT}, sort=[("number", -1)], limit=60).to_list()

        assert [row["number"] for row in found] == list(range(99, 39, -1))
    for shard in running.shards:
        with shard.primary().client() as client:
            assert 20 < client[name].calls.count_documents({}) < 80


def test_transaction_over_both_shards_is_committed_or_aborted_as_a_whole(running: Cluster, name: str) -> None:
    with Client(running.uri_of(0)) as one, Client(running.uri_of(1)) as two:
        calls, others = one[name].calls, two[name].calls
        with one.start_session() as session:
            with session.start_transaction():
                calls.insert_many(CALLS, session=session)
                calls.update_many(
                    {"project_id": PROJECT, "number": {"$gte": 90}}, {"$set": {"new": True}}, session=session
                )
                inside = calls.find({"new": True}, sort=[("number", -1)], limit=3, session=session).to_list()
            session.start_transaction()
            calls.delete_many({"project_id": PROJECT}, session=session)
            session.abort_transaction()

        assert [row["number"] for row in inside] == [99, 98, 97]
        assert others.count_documents({"new": True}) == 10
        assert others.count_documents({}) == 100


def test_change_stream_tells_the_events_of_both_shards_and_resumes(running: Cluster, name: str) -> None:
    with Client(running.uri_of(0)) as one, Client(running.uri_of(1)) as two:
        calls = one[name].calls
        with calls.watch(max_await_time_ms=100) as stream:
            two[name].calls.insert_many(CALLS)
            events = [next(stream) for _ in CALLS]
        with two[name].calls.watch(resume_after=events[9]["_id"], max_await_time_ms=100) as stream:
            later = [next(stream) for _ in CALLS[10:]]
        with calls.watch(full_document="updateLookup", max_await_time_ms=100) as stream:
            calls.update_many({}, {"$set": {"new": True}})
            updates = [next(stream) for _ in CALLS]

    assert {event["documentKey"]["_id"] for event in events} == {call["_id"] for call in CALLS}
    assert [event["_id"] for event in events[10:]] == [event["_id"] for event in later]
    assert all(event["fullDocument"]["new"] for event in updates)


def test_write_to_one_document_needs_its_shard_key(running: Cluster, name: str) -> None:
    with Client(running.uri_of(0)) as client:
        calls = client[name].calls
        calls.insert_many(CALLS)

        with pytest.raises(WriteError) as outside:
            calls.update_one({"number": 3}, {"$set": {"new": True}})
        with pytest.raises(OperationFailure) as inside, client.start_session() as session, session.start_transaction():
            calls.update_one({"number": 3}, {"$set": {"new": True}}, session=session)
        with pytest.raises(OperationFailure) as searched:
            calls.find_one_and_update({"number": 3}, {"$set": {"new": True}})

        assert (outside.value.code, inside.value.code, searched.value.code) == (72, 72, 61)
        assert calls.find_one_and_update({"project_id": PROJECT, "id": "call 3"}, {"$set": {"new": True}})


def test_transaction_leaves_out_what_moved_to_another_shard(running: Cluster, name: str) -> None:
    with Client(running.uri_of(0)) as client:
        calls = client[name].calls
        calls.insert_many(CALLS)
        move_some(client, name)

        with client.start_session() as session, session.start_transaction():
            listed = calls.find({"project_id": PROJECT}, session=session).to_list()
            deleted = calls.delete_many({"project_id": PROJECT}, session=session).deleted_count

    assert len(listed) == deleted == 100


def test_transaction_that_another_router_began_has_its_outcome(running: Cluster, name: str) -> None:
    """A client repeats a commit through another router if the first one goes."""
    with Client(running.uri_of(0)) as one, closing(Link(running.routers[1], Clock(one.admin.command("ping")))) as two:
        with one.start_session() as session:
            session.start_transaction()
            one[name].calls.insert_many(CALLS, session=session)
            session.commit_transaction()
            commit = {"commitTransaction": 1, "lsid": session.session_id, "autocommit": False, "$db": "admin"}
            commit |= {"txnNumber": Int64(session._server_session.transaction_id)}

            assert two.ask(commit | {"recoveryToken": session._transaction.recovery_token})["ok"] == 1.0
            assert two.ask(commit)["code"] == 251
        with one.start_session() as session, session.start_transaction():
            # It runs outside of the transaction.
            [row] = one[name].calls.aggregate([{"$count": "number"}], session=session)

    assert row == {"number": len(CALLS)}


def test_statement_of_a_transaction_that_another_router_began_is_refused(running: Cluster, name: str) -> None:
    with (
        Client(running.uri_of(0)) as one,
        closing(Link(running.routers[1], Clock(one.admin.command("ping")))) as two,
        one.start_session() as session,
    ):
        session.start_transaction()
        one[name].calls.insert_one(CALLS[0], session=session)
        insert = {"insert": "calls", "documents": CALLS[1:], "lsid": session.session_id, "autocommit": False}
        number = Int64(session._server_session.transaction_id)

        refused = two.ask(insert | {"txnNumber": number, "$db": name})

    assert refused["code"] == 251
    assert refused["errorLabels"] == ["TransientTransactionError"]


def test_write_that_two_routers_send_is_done_once_although_documents_move(running: Cluster, name: str) -> None:
    """A client repeats a retryable write through another router if the first one goes."""
    keys = [{"project_id": PROJECT, "id": call["id"]} for call in CALLS]
    more = {"$inc": {"number": 1}}
    writes: list[tuple[dict[str, object], int]] = [
        ({"insert": "calls", "documents": CALLS, "ordered": False}, 100),
        ({"update": "calls", "updates": [{"q": key, "u": more} for key in keys]}, 100),
        ({"update": "calls", "updates": [{"q": {"_id": "003"}, "u": more}]}, 1),
        ({"update": "unsharded", "updates": [{"q": {"_id": "new"}, "u": more, "upsert": True}]}, 1),
        ({"delete": "calls", "deletes": [{"q": key, "limit": 1} for key in keys[50:]]}, 50),
    ]
    with Client(running.uri_of(0)) as client, client.start_session() as session, ExitStack() as stack:
        clock = Clock(client.admin.command("ping"))
        links = [stack.enter_context(closing(Link(router, clock))) for router in running.routers]
        for number, (write, count) in enumerate(writes):
            command = write | {"lsid": session.session_id, "txnNumber": Int64(number), "$db": name}

            assert links[0].ask(command)["n"] == count
            if count > 1:
                move_some(client, name)
            assert links[1].ask(command)["n"] == count

        numbers = {row["_id"]: row["number"] for row in client[name].calls.find()}
        assert numbers == {f"{number:03}": number + 1 for number in range(50)} | {"003": 5}
        assert client[name].unsharded.find_one() == {"_id": "new", "number": 1}


def test_write_that_is_not_retryable_goes_to_the_primary_that_took_over(running: Cluster, name: str) -> None:
    """A delete of many documents is not repeated; an idle router knows the new primary all the same."""
    with Client(running.uri_of(0)) as one, Client(running.uri_of(1)) as two:
        one[name].calls.insert_many(CALLS)
        clients = (one, two)
        for client in clients:
            client[name].calls.delete_many({"project_id": PROJECT, "number": 0})
        running.shards[-1].step_down()
        running.shards[-1].wait_until_whole()

        deleted = [
            client[name].calls.delete_many({"number": {"$gte": at}}).deleted_count
            for client, at in zip(clients, (50, 0), strict=True)
        ]

    assert deleted == [50, 49]


def test_write_that_concerns_no_shard_changes_nothing_in_a_transaction(running: Cluster, name: str) -> None:
    with Client(running.uri_of(0)) as client, client.start_session() as session, session.start_transaction():
        none = {"project_id": PROJECT, "id": {"$in": []}}
        assert client[name].calls.update_many(none, {"$set": {"new": True}}, session=session).modified_count == 0
        assert client[name].calls.delete_many(none, session=session).deleted_count == 0
