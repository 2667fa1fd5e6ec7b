"""Tests that the Weave API stores the valid items of a batch and reports each invalid one."""

import json
import logging
import uuid
from typing import Any

import httpx
import pytest

from app.auth.permissions import RouteAccess
from app.http.errors import reason, weave_status
from app.weave import batches
from app.weave.messages import Body, InvalidRequestError, Items
from app.weave.request_models import CallStartReq
from graphql_schema.context import Stores
from stores.calls import store
from stores.calls.inputs import MAX_EXCEPTION
from stores.concurrency.quotas import RequestBudget, Reservation
from stores.database import Database, transactions
from stores.database.error_translation import unreachable
from stores.errors import RateLimitedError, StoreError, UnavailableError
from stores.feedback import NewFeedback
from stores.feedback.inputs import NOTE
from stores.files import uploads
from stores.json import incremental
from stores.paging import Row
from stores.security.access import ANONYMOUS_WRITER, Role
from tests.app.weave.asking import MOMENT, call_ref, end, graphql_data, posted, refused, start, started, streamed
from tests.waiting import Turns, another_task

BATCH = "/call/upsert_batch"
WRITES = RequestBudget().writes
LARGE = 300_000
"""Bytes of padding with which the server reads a body in slices."""


def ids_of(weave_api: httpx.Client, project: str) -> set[str]:
    return {call["id"] for call in streamed(weave_api, "/calls/stream_query", project_id=project, columns=["id"])}


def bad_items(project: str) -> dict[str, tuple[Any, str]]:
    """Return invalid items by name, each with its expected error message."""
    good = start(project)
    without_op = start(project)
    del without_op["req"]["start"]["op_name"]
    return {
        "no object": (7, "batch.1: Input should be a valid dictionary"),
        "no mode": ({"req": good["req"]}, "batch.1.mode: Field required"),
        "another mode": ({**good, "mode": "middle"}, "batch.1.mode: Input should be 'start' or 'end'"),
        "no request": ({"mode": "start", "req": None}, "batch.1.req: Input should be a valid dictionary"),
        "no op": (without_op, "batch.1.req.start.op_name: Field required"),
        "an id in capitals": (start(project, id="A" * 16), "batch.1.id: 'AAAAAAAAAAAAAAAA' is not a call id"),
        "no time": (
            start(project, started_at="soon"),
            "batch.1.req.start.started_at: Value error, 'soon' is not an ISO",
        ),
        "a number for a time": (start(project, started_at=5), "must be a time in ISO 8601"),
        "inputs in a list": (start(project, inputs=[1]), "batch.1.inputs: must be a JSON object"),
        "a long name": (start(project, display_name="x" * 2000), "batch.1.display_name: has 2,000 characters"),
        "no project": (start("nowhere"), "batch.1.project_id: 'nowhere' is not a project id"),
        "an inner ref": (
            start(project, inputs={"a": "weave-trace-internal:///x/object/y:z"}),
            "batch.1.inputs: weave-trace-internal:/// is reserved",
        ),
        "too large": (start(project, inputs={"a": "x" * 5_000_000}), "batch.1.inputs: attributes and inputs take"),
        "far too large": (start(project, inputs={"a": "x" * 13_000_000}), "batch.1: has 13,000,"),
        "too dense": (start(project, inputs={"a": [0] * 150_000}), "batch.1: has more than"),
        "an end without summary": (
            {"mode": "end", "req": {"end": {"project_id": project, "id": "a" * 16, "ended_at": MOMENT}}},
            "batch.1.req.end.summary: Field required",
        ),
    }


@pytest.mark.parametrize("name", bad_items("acme/names").keys())
def test_invalid_item_does_not_lose_the_others(
    weave_api: httpx.Client,
    project: str,
    name: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "_MAX_VALUES", 50_000)
    item, reason = bad_items(project)[name]
    first, last = start(project), start(project)

    with caplog.at_level(logging.WARNING, "loomql"):
        results = posted(weave_api, BATCH, batch=[first, item, last])["res"]

    stored = [each["req"]["start"] for each in (first, last)]
    assert [results[0], results[2]] == [{"id": each["id"], "trace_id": each["trace_id"]} for each in stored]
    assert reason in results[1]["error"]
    assert ids_of(weave_api, project) == {each["id"] for each in stored}
    [line] = [record.message for record in caplog.records if record.name == "loomql"]
    assert line.startswith("1 of 3 items of a batch at /weave are not stored: batch.1")


@pytest.mark.parametrize("padding", [0, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"a": 1e999}', "beyond a double's range"),
        (b"{" + b'"a":{' * 1100 + b"}" * 1101, "deeper than"),
        (b'{"a" 1}', "not JSON"),
    ],
    ids=["NaN", "surrogate", "number", "depth", "colon"],
)
def test_item_with_invalid_json_does_not_lose_the_others(
    weave_api: httpx.Client, project: str, text: bytes, reason: str, padding: int
) -> None:
    good, bad = start(project, inputs={"a": "x" * padding}), start(project, inputs="HERE")
    body = json.dumps({"batch": [good, bad, good]}).encode().replace(b'"HERE"', text)

    answer = weave_api.post(BATCH, content=body)

    assert answer.status_code == 200
    assert reason in answer.json()["res"][1]["error"]
    assert ids_of(weave_api, project) == {good["req"]["start"]["id"]}


def test_batch_without_valid_items_is_refused(weave_api: httpx.Client, project: str) -> None:
    assert refused(weave_api, BATCH, batch=[start(project, id="BAD"), 7])[0] == 400
    status, reason = refused(weave_api, BATCH, batch=[7, start(project, id="BAD")])

    assert (status, reason) == (422, "batch.0: Input should be a valid dictionary or instance of BatchItem")
    assert ids_of(weave_api, project) == set()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body cannot be read"),
        (b"\xff", "is not valid UTF-8"),
        (b"[]", "batch: is required: a list"),
        (b'{"batch": {}}', "batch: is required: a list"),
        (b'{"batch": [{}', "ends before"),
        (b'{"batch": [' + b"[" * 5, "ends before"),
    ],
)
def test_body_without_a_batch_is_refused(weave_api: httpx.Client, body: bytes, reason: str) -> None:
    answer = weave_api.post(BATCH, content=body)

    assert answer.status_code == 422
    assert reason in answer.json()["reason"]


def test_empty_batch_is_accepted(weave_api: httpx.Client) -> None:
    assert posted(weave_api, BATCH, batch=[]) == {"res": []}


def test_ends_may_arrive_first_and_items_may_repeat(weave_api: httpx.Client, project: str) -> None:
    call_id = str(uuid.uuid4())
    ended = end(project, call_id, output={"b": [1, None]}, exception="", wb_run_step_end=3)
    started_item = start(project, id=call_id, wb_run_step=2, inputs={"wide": 2**70, "": {"$a.b": -0.5}})

    assert posted(weave_api, BATCH, batch=[ended])["res"] == [{}]
    assert ids_of(weave_api, project) == set()
    for _ in range(2):
        posted(weave_api, BATCH, batch=[started_item])
        posted(weave_api, BATCH, batch=[ended])

    text = weave_api.post("/calls/stream_query", json={"project_id": project}).text
    [call] = [json.loads(line) for line in text.splitlines()]
    assert f'"wide":{2**70}' in text
    assert call["inputs"] == {"wide": 2**70, "": {"$a.b": -0.5}}
    assert (call["output"], call["exception"], call["wb_run_step"], call["wb_run_step_end"]) == (
        {"b": [1, None]},
        None,
        2,
        3,
    )
    assert (call["wb_user_id"], call["summary"]["weave"]["status"]) == ("local", "success")


@pytest.mark.parametrize("way", ["batch", "end", "complete"])
def test_too_long_exception_is_cut_and_the_rest_is_stored(
    weave_api: httpx.Client, project: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = '{"type": "KeyError", "message": "' + "ü" * MAX_EXCEPTION
    whole = complete(project, exception=text, output={"a": 1}, summary={"b": 2})
    item = end(project, whole["id"], exception=text, output={"a": 1}, summary={"b": 2})

    if way == "complete":
        posted(weave_api, f"/v2/{project}/calls/complete", batch=[whole])
    else:
        started(weave_api, project, id=whole["id"])
        _ = posted(weave_api, "/call/end", **item["req"]) if way == "end" else posted(weave_api, BATCH, batch=[item])

    [read] = streamed(weave_api, "/calls/stream_query", project_id=project)
    mark = f"… [cut by LoomQL, of {len(text):,} characters]"
    assert read["exception"] == text[: MAX_EXCEPTION - len(mark)] + mark
    assert (read["output"], read["summary"]["b"], read["summary"]["weave"]["status"]) == ({"a": 1}, 2, "error")
    [line] = [record.message for record in caplog.records if record.name == "loomql"]
    assert line == f"the exception of call {whole['id']} of {project} has 262177 characters and is cut to 262144"


def test_single_starts_and_ends_are_reported_by_status(weave_api: httpx.Client, project: str) -> None:
    start_item = start(project)["req"]
    made = posted(weave_api, "/call/start", **start_item)
    without_ids = posted(weave_api, "/call/start", start={**start_item["start"], "id": None, "trace_id": None})

    assert made == {"id": start_item["start"]["id"], "trace_id": start_item["start"]["trace_id"]}
    assert uuid.UUID(without_ids["id"]).version == uuid.UUID(without_ids["trace_id"]).version == 7
    assert posted(weave_api, "/call/end", **end(project, made["id"])["req"]) == {}
    assert refused(weave_api, "/call/start", start={**start_item["start"], "id": "BAD"})[0] == 400
    missing = ("project_id", "op_name", "started_at", "attributes", "inputs")
    message = "; ".join(f"start.{name}: Field required" for name in missing)
    assert refused(weave_api, "/call/start", start={}) == (422, message)
    assert refused(weave_api, "/call/end", end={**end(project, "b" * 16)["req"]["end"], "summary": [1]})[0] == 400


def complete(project: str, **fields: object) -> dict[str, Any]:
    """Return a complete call, as newer SDKs send it."""
    start_item = start(project)["req"]["start"]
    return {**start_item, **end(project, start_item["id"])["req"]["end"], "is_eval": False, **fields}


def test_complete_calls_are_stored(weave_api: httpx.Client, project: str) -> None:
    whole = complete(project, output=5, summary={"usage": {"m": {"total_tokens": 7}}})
    elsewhere, unnamed = complete("acme/elsewhere"), complete(project)
    del unnamed["project_id"]

    results = posted(weave_api, f"/v2/{project}/calls/complete", batch=[whole, elsewhere, unnamed, {"id": "x"}])["res"]

    assert results[0] == {"id": whole["id"], "trace_id": whole["trace_id"]}
    assert results[1]["error"] == f"batch.1.project_id: is not {project}, the project in the address"
    assert "batch.3.op_name: Field required" in results[3]["error"]
    assert ids_of(weave_api, project) == {whole["id"], unnamed["id"]}
    [read] = streamed(weave_api, "/calls/stream_query", project_id=project, filter={"call_ids": [whole["id"]]})
    assert (read["output"], read["summary"]["usage"]) == (5, {"m": {"total_tokens": 7}})


def test_eager_start_and_end_are_stored(weave_api: httpx.Client, project: str) -> None:
    start_item = start(project)["req"]
    ended = end(
        project, start_item["start"]["id"], trace_id=start_item["start"]["trace_id"], started_at=MOMENT, is_eval=True
    )

    posted(weave_api, f"/v2/{project}/call/start", **start_item)
    posted(weave_api, f"/v2/{project}/call/end", **ended["req"])

    [read] = streamed(weave_api, "/calls/stream_query", project_id=project)
    assert read["ended_at"] == MOMENT
    for path, sent in (("start", start_item), ("end", ended["req"])):
        status, reason = refused(weave_api, f"/v2/acme/elsewhere/call/{path}", **sent)
        assert status == 422
        assert f"{path}.project_id: is not acme/elsewhere, the project in the address" in str(reason)


def test_large_batch_is_stored_in_chunks(weave_api: httpx.Client, project: str, graphql: httpx.Client) -> None:
    # 1,300 calls in 6 MB, their ends in the same body, and one item that is not valid JSON.
    starts = [start(project, inputs={"text": 'word, [word] {word} \\" ü ' * 160}) for _ in range(1300)]
    ended = [end(project, item["req"]["start"]["id"], output={"n": number}) for number, item in enumerate(starts)]
    body = json.dumps({"batch": [*starts[:700], "HERE", *starts[700:], *ended]}).encode()

    results = weave_api.post(BATCH, content=body.replace(b'"HERE"', b'{"mode": nul}')).json()["res"]

    assert len(results) == 2601
    assert [at for at, result in enumerate(results) if "error" in result] == [700]
    counts = graphql_data(
        graphql,
        "query ($p: ID!) { callsStats(projectId: $p) { count } calls(projectId: $p, first: 1, sortBy:"
        ' [{field: "output.n", direction: DESC}]) { nodes { status inputs(path: "text") output } } }',
        p=project,
    )
    assert counts["callsStats"]["count"] == 1300
    assert counts["calls"]["nodes"] == [
        {"status": "SUCCESS", "inputs": 'word, [word] {word} \\" ü ' * 160, "output": {"n": 1299}}
    ]


def test_data_url_of_megabytes_becomes_a_file(weave_api: httpx.Client, project: str) -> None:
    call_id = started(weave_api, project, inputs={"picture": "data:image/png;base64," + "QUFB" * 3_500_000})

    [call] = streamed(weave_api, "/calls/stream_query", project_id=project)
    digest = call["inputs"]["picture"]["files"]["content"]
    content = weave_api.post("/files/content", json={"project_id": project, "digest": digest})
    assert call["id"] == call_id
    assert content.content == b"AAA" * 3_500_000


def test_invalid_feedback_does_not_lose_the_others(
    weave_api: httpx.Client, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    def piece(**fields: object) -> dict[str, object]:
        return {
            "project_id": project,
            "weave_ref": call_ref(project, "a" * 16),
            "feedback_type": "stars",
            "payload": {"stars": 5},
            **fields,
        }

    mine = str(uuid.uuid4())
    batch = [piece(id=mine), piece(feedback_type="wandb.note.1"), 7, piece(payload={"stars": 2**70}), piece(payload=3)]
    with caplog.at_level(logging.WARNING, "loomql"):
        results = posted(weave_api, "/feedback/batch/create", batch=batch)["res"]
    again = posted(weave_api, "/feedback/batch/create", batch=batch[:1])["res"]

    assert [("error" in result) for result in results] == [False, True, True, False, True]
    assert "batch.1.payload" in results[1]["error"]
    assert (results[0]["id"], results[0]["wb_user_id"], again[0]["id"]) == (mine, "local", mine)
    found = posted(weave_api, "/feedback/query", project_id=project)["result"]
    assert sorted(each["payload"]["stars"] for each in found) == [5, 2**70]
    assert [record.message[:8] for record in caplog.records if record.name == "loomql"] == ["3 of 5 i"]


def notes(project: str) -> list[dict[str, object]]:
    """Return two pieces of feedback as batch items, with new ids."""
    piece = {"project_id": project, "weave_ref": call_ref(project, "a" * 16), "feedback_type": "n", "payload": {}}
    return [{**piece, "id": str(uuid.uuid4())} for _ in range(2)]


@pytest.mark.parametrize("name", ["calls", "feedback", "object", "file"])
def test_write_conflict_is_returned_as_retryable(
    weave_api: httpx.Client, project: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The SDK retries a request that was answered with 5xx, and drops one that was answered with 409.
    ended = [end(project, "a" * 16), end(project, "b" * 16)]
    version = {"project_id": project, "object_id": "o", "val": {}}
    form = {"data": {"project_id": project}, "files": {"file": ("x", uuid.uuid4().bytes)}}
    path, request = {
        "calls": (BATCH, {"json": {"batch": ended}}),
        "feedback": ("/feedback/batch/create", {"json": {"batch": notes(project)}}),
        "object": ("/obj/create", {"json": {"obj": version}}),
        "file": ("/files/create", form),
    }[name]

    with monkeypatch.context() as patch:
        for module in (store, transactions, uploads):
            patch.setattr(module, "_ATTEMPTS", 0)
        answer = weave_api.post(path, **request)  # type: ignore[arg-type] # one of several kinds of bodies

    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1")
    assert "retry" in answer.json()["reason"]
    again = weave_api.post(path, **request)  # type: ignore[arg-type] # one of several kinds of bodies
    assert (again.status_code, "error" in again.text) == (200, False)


def test_id_of_another_users_feedback_is_rejected_permanently(weave_api: httpx.Client, project: str) -> None:
    mine, other = notes(project)
    theirs = {**mine, "wb_user_id": "somebody"}

    posted(weave_api, "/feedback/batch/create", batch=[mine])
    results = posted(weave_api, "/feedback/batch/create", batch=[theirs, other])["res"]

    assert "is the id of feedback of another user" in results[0]["error"]
    assert results[1]["id"] == other["id"]
    assert weave_api.post("/feedback/batch/create", json={"batch": [theirs]}).status_code == 409


@pytest.mark.parametrize("path", [BATCH, "/feedback/batch/create"])
async def test_batch_of_many_invalid_items_blocks_no_other_request(
    database: Database, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stores.concurrency.time_slices.SLICE_SECONDS", 0.0)
    body = Body(
        bytearray(b'{"batch": [' + b"0," * 2_999 + b"0]}"),
        RouteAccess(ANONYMOUS_WRITER, Role.WRITER),
        RequestBudget().reservation(),
    )
    create = batches.upsert_calls if path == BATCH else batches.create_feedback
    turns = Turns()

    async with another_task(turns):
        with pytest.raises(InvalidRequestError) as refused_whole:
            await create(Stores(database), body)

    error = refused_whole.value
    assert (weave_status(error), reason(error)[:9]) == (422, "batch.0: ")
    assert turns.count >= 3_000
    assert "3000 of 3000 items" in caplog.text


@pytest.mark.parametrize("path", [BATCH, "/feedback/batch/create"])
@pytest.mark.parametrize("error", [UnavailableError("full"), RateLimitedError("half", retry_after_seconds=1)], ids=repr)
async def test_batch_without_memory_for_an_item_is_refused_whole(
    database: Database, path: str, error: StoreError
) -> None:
    sizes: list[int] = []

    class Full(Reservation):
        async def reserve(self, size: int) -> None:
            sizes.append(size)
            raise error

    item = b"[" + b"{}," * 99_999 + b"{}]"
    body = Body(
        bytearray(b'{"batch": [0, %b]}' % item), RouteAccess(ANONYMOUS_WRITER, Role.WRITER), Full(RequestBudget())
    )
    create = batches.upsert_calls if path == BATCH else batches.create_feedback

    with pytest.raises(type(error)):
        await create(Stores(database), body)

    assert sizes == [100_000 * 72 + 64 - 2 * (len(item) + 1) - 4096]


@pytest.mark.parametrize(
    ("path", "most", "count"),
    [
        (BATCH, 2_500_000, 2_500_000),
        (BATCH, 100_000, 400_000),
        ("/feedback/batch/create", 100_000, 100_000),
        ("/v2/acme/dense/calls/complete", 100_000, 100_000),
    ],
)
def test_dense_batch_is_refused_before_any_item_is_read(
    weave_api: httpx.Client, path: str, most: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if most != incremental.MAX_TOKENS:  # the first case has the limit of a server
        monkeypatch.setattr(incremental, "MAX_TOKENS", most)
    dense = b'{"batch":[[' + b"{}," * count + b"{}]]}"

    answer = weave_api.post(path, content=dense)

    reason = f"has more than {most:,} strings, lists and objects; send fewer per request"
    assert (answer.status_code, answer.json()) == (413, {"reason": reason})


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store each large item of a batch separately."""
    for name in ("_CALL_BYTES_AT_ONCE", "_FEEDBACK_BYTES_AT_ONCE"):
        monkeypatch.setattr(batches, name, 100_000)


def dense_batch(project: str, path: str, reservation: Reservation) -> Body:
    """Return the body of a batch of three items; each item reserves memory."""
    dense: dict[str, object] = {"dense": [{}] * 40_000}
    if path == BATCH:
        items = [start(project, inputs=dense) for _ in range(3)]
    else:
        items = [{**notes(project)[0], "payload": dense} for _ in range(3)]
    return Body(
        bytearray(json.dumps({"batch": items}).encode()), RouteAccess(ANONYMOUS_WRITER, Role.WRITER), reservation
    )


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("path", [BATCH, "/feedback/batch/create"])
async def test_memory_of_items_is_released_once_they_are_stored(database: Database, project: str, path: str) -> None:
    taken: list[int] = []

    class Noting(Reservation):
        async def reserve(self, size: int) -> None:
            await super().reserve(size)
            taken.append(self.size)

    reservation = Noting(RequestBudget())
    create = batches.upsert_calls if path == BATCH else batches.create_feedback

    answer = await create(Stores(database), dense_batch(project, path, reservation))

    assert (answer.status_code, b"error" in answer.body) == (200, False)
    assert len(taken) == 3
    assert 2_000_000 < max(taken) < 3_000_000
    assert reservation.size == 0


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("path", [BATCH, "/feedback/batch/create"])
@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (unreachable(), "the database is unreachable"),
        (
            WRITES.refusal(WRITES, None),
            "too many mutations wait for the database (LOOMQL_MAX_PENDING_BYTES sets the limit)",
        ),
    ],
    ids=["database", "writes"],
)
async def test_partly_stored_batch_does_not_report_that_nothing_is_stored(
    database: Database, project: str, path: str, error: StoreError, cause: str
) -> None:
    create = batches.upsert_calls if path == BATCH else batches.create_feedback
    stored: list[int] = []

    class Filling(Reservation):
        async def reserve(self, size: int) -> None:
            if stored:
                raise error
            await super().reserve(size)

        def release_to(self, size: int) -> None:
            super().release_to(size)
            stored.append(size)

    with pytest.raises(UnavailableError) as refusal:
        await create(Stores(database), dense_batch(project, path, Filling(RequestBudget())))

    assert refusal.value.message == (
        f"{cause}; items before batch.1 may be stored, send the whole batch again a little later"
    )
    assert refusal.value.retry_after_seconds == 1


async def test_first_feedback_that_may_not_be_stored_is_named(
    database: Database, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = Stores(database)
    store_one = stores.feedback.create_one
    stored: list[NewFeedback] = []

    async def create_one(feedback: NewFeedback) -> Row:
        if stored:
            raise unreachable()
        stored.append(feedback)
        return await store_one(feedback)

    monkeypatch.setattr(stores.feedback, "create_one", create_one)
    # The invalid item makes the server store the others one by one.
    items = [*notes(project), {**notes(project)[0], "feedback_type": NOTE}]
    text = bytearray(json.dumps({"batch": items}).encode())
    body = Body(text, RouteAccess(ANONYMOUS_WRITER, Role.WRITER), Reservation(RequestBudget()))

    with pytest.raises(UnavailableError) as refusal:
        await batches.create_feedback(stores, body)
    assert refusal.value.message == (
        "the database is unreachable; items before batch.1 may be stored, send the whole batch again a little later"
    )


def test_too_many_items_are_refused_before_any_is_read(
    weave_api: httpx.Client, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_ITEMS", 2)
    for path in (BATCH, "/feedback/batch/create", f"/v2/{project}/calls/complete"):
        assert refused(weave_api, path, batch=[0, 0, 0]) == (
            413,
            "batch: has 3 items; the limit is 2; send fewer at once",
        )


def test_first_of_many_invalid_items_get_a_reason(
    weave_api: httpx.Client, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_MOST_REASONS", 2)
    good = start(project)

    results = posted(weave_api, BATCH, batch=[0, good, 0, 0])["res"]

    assert results[1]["id"] == good["req"]["start"]["id"]
    assert [results[at]["error"][:8] for at in (0, 2)] == ["batch.0:", "batch.2:"]
    assert results[3] == {"error": "is not stored; only the first 1,000 such items of a batch are told why"}


async def test_rejected_item_keeps_no_reference_to_the_body() -> None:
    body = Body(bytearray(), RouteAccess(ANONYMOUS_WRITER, Role.WRITER), RequestBudget().reservation())
    outcome = batches.Outcome(Items(body, "batch", [0]))
    with pytest.raises(StoreError) as caught:
        body.validated(CallStartReq, 0, "batch.0")
    assert caught.value.__context__

    outcome.refuse(0, caught.value)

    kept = outcome._first
    assert kept
    assert (kept[1].__context__, kept[1].__cause__, kept[1].__traceback__) == (None, None, None)
