"""Tests of objects, ops and refs at the Weave API over plain HTTP."""

from typing import Any

import httpx
import pytest

from app.weave import messages
from stores.json import incremental
from tests.app.weave.asking import posted, refused

KNOWN_DIGEST = "XdhgKMbg1k4iUYb5astpM4ssWXZN95FiEH9cS7NNExA"
"""Digest of {"a": 1}, as the reference computes it."""


def made(weave_api: httpx.Client, project: str, name: str, val: object, **fields: object) -> str:
    obj = {"project_id": project, "object_id": name, "val": val, "wb_user_id": None, **fields}
    return str(posted(weave_api, "/obj/create", obj=obj, expected_digest=None)["digest"])


def found(weave_api: httpx.Client, project: str, **options: object) -> list[Any]:
    return [each["val"] for each in posted(weave_api, "/objs/query", project_id=project, **options)["objs"]]


def test_version_is_read_as_created(weave_api: httpx.Client, project: str) -> None:
    digest = made(weave_api, project, "o", {"a": 1})
    wide = made(weave_api, project, "wide", {"n": 2**80, "text": "x" * 300_000})

    obj = posted(weave_api, "/obj/read", project_id=project, object_id="o", digest="latest")["obj"]

    assert digest == KNOWN_DIGEST
    assert obj.pop("created_at").endswith("Z")
    assert obj == {
        "project_id": project,
        "object_id": "o",
        "digest": digest,
        "version_index": 0,
        "is_latest": 1,
        "kind": "object",
        "base_object_class": None,
        "leaf_object_class": None,
        "wb_user_id": "local",
        "val": {"a": 1},
        "deleted_at": None,
    }
    light = posted(weave_api, "/obj/read", project_id=project, object_id="o", digest="v0", metadata_only=True)["obj"]
    assert (light["val"], light["digest"]) == ({}, digest)
    text = weave_api.post("/obj/read", json={"project_id": project, "object_id": "wide", "digest": wide}).text
    assert f'"n":{2**80}' in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [{"v": 0}, {"v": 1}, {"v": 2}, {"v": 3}, {"_type": "Op", "v": 4}]),
        ({"limit": 0}, []),
        ({"limit": 2, "offset": 1}, [{"v": 1}, {"v": 2}]),
        ({"limit": 2, "offset": 9}, []),
        ({"sort_by": [{"field": "created_at", "direction": "desc"}], "limit": 1}, [{"_type": "Op", "v": 4}]),
        ({"filter": {"is_op": True}}, [{"_type": "Op", "v": 4}]),
        ({"filter": {"latest_only": True, "object_ids": ["o"]}}, [{"v": 3}]),
        ({"filter": {"object_ids": ["nothing"]}}, []),
        ({"metadata_only": True, "limit": 2}, [{}, {}]),
    ],
)
def test_versions_are_queried(
    weave_api: httpx.Client, project: str, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], expected: list[Any]
) -> None:
    monkeypatch.setattr(messages, "FOUND_AT_ONCE", 2)
    monkeypatch.setattr(messages, "BYTES_AT_ONCE", 10)
    for number in range(4):
        made(weave_api, project, "o", {"v": number})
    made(weave_api, project, "f", {"_type": "Op", "v": 4})

    assert found(weave_api, project, **options) == expected


def test_sizes_are_returned_if_requested(weave_api: httpx.Client, project: str) -> None:
    made(weave_api, project, "o", {"v": 1})

    sizes = [
        posted(weave_api, "/objs/query", project_id=project, include_storage_size=with_size)["objs"][0]["size_bytes"]
        for with_size in (True, False)
    ]

    assert sizes == [8, None]


def test_deleted_and_unknown_versions_get_different_errors(weave_api: httpx.Client, project: str) -> None:
    digest = made(weave_api, project, "o", {"v": 1})
    made(weave_api, project, "o", {"v": 2})
    deleting = {"project_id": project, "object_id": "o"}

    assert posted(weave_api, "/obj/delete", **deleting, digests=[digest]) == {"num_deleted": 1}

    gone = weave_api.post("/obj/read", json={**deleting, "digest": digest})
    assert gone.status_code == 404
    assert gone.json().keys() == {"reason", "deleted_at"}
    assert gone.json()["deleted_at"].endswith("Z")
    unknown = weave_api.post("/obj/read", json={**deleting, "digest": "x"})
    assert (unknown.status_code, unknown.json().keys()) == (404, {"reason"})
    assert refused(weave_api, "/obj/delete", **deleting, digests=[digest])[0] == 404
    assert found(weave_api, project) == [{"v": 2}]


def test_op_with_an_objects_name_is_read_and_deleted_by_digest(weave_api: httpx.Client, project: str) -> None:
    op, plain = made(weave_api, project, "o", {"_type": "Op"}), made(weave_api, project, "o", {"v": 1})
    named = {"project_id": project, "object_id": "o"}

    read = posted(weave_api, "/obj/read", **named, digest=op)["obj"]
    assert (read["kind"], read["val"]) == ("op", {"_type": "Op"})
    assert posted(weave_api, "/obj/read", **named, digest="latest")["obj"]["digest"] == plain

    assert posted(weave_api, "/obj/delete", **named, digests=[op]) == {"num_deleted": 1}
    assert found(weave_api, project) == [{"v": 1}]


@pytest.mark.parametrize(
    ("obj", "status", "reason"),
    [
        ({"object_id": "a b"}, 400, "obj.object_id: 'a b' is not a valid object name"),
        ({"builtin_object_class": "Nothing"}, 400, "obj.builtin_object_class"),
        ({"val": "weave-trace-internal:///x"}, 400, "obj.val: weave-trace-internal:/// is reserved"),
        ({"val": "x" * 9_000_000}, 413, "obj.val: takes"),
        ({"val": [1] * 60_000}, 413, "more than 50,000 values"),
        ({"object_id": None}, 422, "obj.object_id: Input should be a valid string"),
    ],
)
def test_invalid_object_is_refused(
    weave_api: httpx.Client,
    project: str,
    monkeypatch: pytest.MonkeyPatch,
    obj: dict[str, Any],
    status: int,
    reason: str,
) -> None:
    monkeypatch.setattr(incremental, "MAX_VALUES", 50_000)

    found = refused(weave_api, "/obj/create", obj={"project_id": project, "object_id": "o", "val": 1, **obj})

    assert found[0] == status
    assert reason in found[1]


def test_refs_are_read(weave_api: httpx.Client, project: str) -> None:
    ref = f"weave:///{project}/object/o:{made(weave_api, project, 'o', {'a': [{'b': 5}], 'n': None})}"

    vals = posted(weave_api, "/refs/read_batch", refs=[f"{ref}/key/a/index/0", ref, f"{ref}/key/n", ref])["vals"]

    assert vals == [{"b": 5}, {"a": [{"b": 5}], "n": None}, None, {"a": [{"b": 5}], "n": None}]
    assert refused(weave_api, "/refs/read_batch", refs=[f"weave:///{project}/object/o:nothing"])[0] == 404
    assert refused(weave_api, "/refs/read_batch", refs=["nothing"])[0] == 400
    assert refused(weave_api, "/refs/read_batch", refs=[ref] * 1001) == (
        400,
        "refs: has 1,001 refs; the limit is 1,000",
    )
    assert posted(weave_api, "/refs/read_batch", refs=[]) == {"vals": []}
