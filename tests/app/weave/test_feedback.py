"""Tests of feedback and costs at the Weave API over plain HTTP."""

import uuid
from typing import Any

import httpx
import pytest

from app.weave import calls
from tests.app.weave.asking import call_ref, posted, refused

PIECE = {"feedback_type": "stars", "weave_ref": "anything", "creator": "Ann", "scorer_tags": ["unknown"]}
BY_ID = {"$getField": "id"}


def made(weave_api: httpx.Client, project: str, stars: Any, **fields: object) -> dict[str, Any]:
    answer: dict[str, Any] = posted(
        weave_api, "/feedback/create", project_id=project, **PIECE, payload={"stars": stars}, **fields
    )
    return answer


def found(weave_api: httpx.Client, project: str, **options: object) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = posted(weave_api, "/feedback/query", project_id=project, **options)["result"]
    return result


def test_feedback_is_read_as_created(weave_api: httpx.Client, project: str) -> None:
    answer = made(weave_api, project, 5)

    [read] = found(weave_api, project)

    assert answer == {name: read[name] for name in ("id", "created_at", "wb_user_id", "payload")}
    assert read == {
        "id": answer["id"],
        "project_id": project,
        "weave_ref": "anything",
        "feedback_type": "stars",
        "creator": "Ann",
        "payload": {"stars": 5},
        "created_at": answer["created_at"],
        "wb_user_id": "local",
        "annotation_ref": None,
        "runnable_ref": None,
        "call_ref": None,
        "trigger_ref": None,
    }


def test_repeated_create_is_the_same_feedback(weave_api: httpx.Client, project: str) -> None:
    body = {"project_id": project, **PIECE, "payload": {"stars": 1}}
    retry_id = str(uuid.uuid4())

    answers = [weave_api.post("/feedback/create", json=body, headers={"X-Weave-Retry-Id": retry_id}) for _ in range(2)]

    assert [answer.json()["id"] for answer in answers] == [retry_id] * 2
    assert len(found(weave_api, project)) == 1


def test_repeated_replacement_is_the_same_feedback(weave_api: httpx.Client, project: str) -> None:
    body = {"project_id": project, **PIECE, "payload": {"stars": 2}, "feedback_id": made(weave_api, project, 1)["id"]}
    retry_id = str(uuid.uuid4())

    answers = [weave_api.post("/feedback/replace", json=body, headers={"X-Weave-Retry-Id": retry_id}) for _ in range(2)]

    assert [answer.json()["id"] for answer in answers] == [retry_id] * 2
    assert [each["payload"]["stars"] for each in found(weave_api, project)] == [2]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"fields": ["payload.stars"]}, [{"payload.stars": each} for each in ("0", "1", "two", "", "[4]")]),
        ({"fields": ["payload.stars", "creator"], "limit": 1}, [{"payload.stars": "0", "creator": "Ann"}]),
        ({"fields": ["count(*)"]}, [{"count(*)": 5}]),
        ({"fields": ["feedback_type"], "offset": 4}, [{"feedback_type": "stars"}]),
        ({"fields": ["id"], "offset": 5}, []),
        (
            {"fields": ["payload.stars"], "sort_by": [{"field": "payload.stars", "direction": "desc"}], "limit": 2},
            [{"payload.stars": "1"}, {"payload.stars": "0"}],
        ),
        (
            {
                "fields": ["payload.stars"],
                "query": {"$expr": {"$eq": [{"$getField": "payload.stars"}, {"$literal": 1}]}},
            },
            [{"payload.stars": "1"}],
        ),
    ],
)
def test_feedback_is_queried(
    weave_api: httpx.Client,
    project: str,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    expected: list[dict[str, Any]],
) -> None:
    monkeypatch.setattr(calls, "_FEEDBACK_AT_ONCE", 2)
    for stars in (0, 1, "two", None, [4]):
        made(weave_api, project, stars)

    assert found(weave_api, project, **options) == expected


def test_feedback_is_replaced_and_purged(weave_api: httpx.Client, project: str) -> None:
    old = made(weave_api, project, 1)["id"]
    replacing = {"project_id": project, **PIECE, "feedback_id": old}

    assert refused(weave_api, "/feedback/replace", **replacing, payload=5)[0] == 400
    new = posted(weave_api, "/feedback/replace", **replacing, payload={"stars": 2})["id"]
    assert [each["payload"]["stars"] for each in found(weave_api, project)] == [2]
    assert refused(weave_api, "/feedback/replace", **replacing, payload={"stars": 3})[0] == 404

    purge = {"project_id": project, "query": {"$expr": {"$eq": [BY_ID, {"$literal": new}]}}}
    assert [posted(weave_api, "/feedback/purge", **purge)["num_purged"] for _ in range(2)] == [1, 0]
    assert weave_api.post("/feedback/query", json={"project_id": project}).content == b'{"result":[]}'
    wide = {"$expr": {"$gt": [BY_ID, {"$literal": ""}]}}
    assert refused(weave_api, "/feedback/purge", project_id=project, query=wide)[0] == 400


def test_invalid_feedback_is_refused(weave_api: httpx.Client, project: str) -> None:
    piece = {"project_id": project, "weave_ref": call_ref(project, "a" * 16)}
    taken = made(weave_api, project, 1)["id"]

    assert refused(weave_api, "/feedback/create", **piece, feedback_type="wandb.note.1", payload={})[0] == 400
    assert refused(weave_api, "/feedback/create", **piece, feedback_type="n") == (422, "payload: Field required")
    large = {"text": "x" * 1_100_000}
    assert refused(weave_api, "/feedback/create", **piece, feedback_type="n", payload=large)[0] == 413
    assert refused(weave_api, "/feedback/create", **piece, feedback_type="n", payload={}, id=taken)[0] == 409
    assert refused(weave_api, "/feedback/query", project_id=project, fields=["nothing"])[0] == 400


def test_prices_are_set_queried_and_purged(weave_api: httpx.Client, project: str) -> None:
    price = {"prompt_token_cost": 1, "completion_token_cost": 0.25}
    costs = {"a": price, "b": {**price, "effective_date": "2026-01-01T00:00:00", "provider_id": "p"}}

    ids = posted(weave_api, "/cost/create", project_id=project, costs=costs, wb_user_id=None)["ids"]
    read = posted(weave_api, "/cost/query", project_id=project)["results"]

    assert [name for _, name in ids] == ["a", "b"]
    assert sorted(read, key=lambda each: str(each["llm_id"]))[1] == {
        "id": ids[1][0],
        "llm_id": "b",
        "prompt_token_cost": 1.0,
        "completion_token_cost": 0.25,
        "prompt_token_cost_unit": "USD",
        "completion_token_cost_unit": "USD",
        "effective_date": "2026-01-01T00:00:00.000000Z",
        "provider_id": "p",
    }
    by_model = {"$expr": {"$eq": [{"$getField": "llm_id"}, {"$literal": "a"}]}}
    assert posted(weave_api, "/cost/query", project_id=project, query=by_model, fields=["llm_id"])["results"] == [
        {"llm_id": "a"}
    ]
    purge = {"$expr": {"$or": [{"$eq": [BY_ID, {"$literal": each}]} for each, _ in ids]}}
    assert posted(weave_api, "/cost/purge", project_id=project, query=purge) == {"num_purged": 2}
    assert weave_api.post("/cost/query", json={"project_id": project}).content == b'{"results":[]}'


def test_invalid_prices_are_refused(weave_api: httpx.Client, project: str) -> None:
    negative = {"a": {"prompt_token_cost": -1, "completion_token_cost": 0}}

    assert refused(weave_api, "/cost/create", project_id=project, costs=negative)[0] == 400
    assert refused(weave_api, "/cost/create", project_id=project, costs={"a": {}})[0] == 422
    many: dict[str, object] = {f"m{number}": {} for number in range(1001)}
    assert refused(weave_api, "/cost/create", project_id=project, costs=many) == (
        400,
        "costs: has 1,001 costs; the limit of one request is 1,000",
    )
    assert refused(weave_api, "/cost/query", project_id=project, fields=["nothing"])[0] == 400
    assert refused(weave_api, "/cost/purge", project_id=project, query={"$expr": {"$not": [{"$literal": 1}]}})[0] == 400
