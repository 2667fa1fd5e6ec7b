"""Tests of ids: generated ids sort by time, and clients' ids must follow the rules."""

import uuid

import pytest

from stores import ids
from stores.errors import BadInputError

UUID = "0190b5d2-7d2e-7c4a-8a5e-0123456789ab"


def test_new_ids_are_valid_uuids_of_version_7() -> None:
    made = ids.new_id()

    assert uuid.UUID(made).version == 7
    assert uuid.UUID(made).variant == uuid.RFC_4122
    ids.check_call_id(made, "id")
    ids.check_trace_id(made, "trace_id")


def test_new_ids_sort_by_creation_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_769_860_800_000_000_000, 1_769_860_800_010_000_000, 1_000))
    monkeypatch.setattr("stores.ids.time.time_ns", clock.__next__)

    made = [ids.new_id() for _ in range(10_000)]

    assert made == sorted(made)
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("call_id", [UUID, "z" * 16, "0123456789abcdef"])
def test_call_id_is_a_uuid_or_16_lowercase_characters(call_id: str) -> None:
    ids.check_call_id(call_id, "id")


@pytest.mark.parametrize("trace_id", [UUID, "z" * 32])
def test_trace_id_is_a_uuid_or_32_lowercase_characters(trace_id: str) -> None:
    ids.check_trace_id(trace_id, "trace_id")


@pytest.mark.parametrize(
    "call_id", ["", UUID.upper(), UUID.replace("-", ""), f"{{{UUID}}}", f"{UUID}\n", "Z" * 16, "z" * 15, "z" * 32]
)
def test_invalid_call_ids_are_refused_by_argument_name(call_id: str) -> None:
    with pytest.raises(BadInputError, match="is not a call id; use a lowercase UUID or 16") as refused:
        ids.check_call_id(call_id, "start.id")

    assert refused.value.argument == "start.id"


def test_invalid_trace_ids_are_refused() -> None:
    with pytest.raises(BadInputError, match="is not a trace id; use a lowercase UUID or 32"):
        ids.check_trace_id("z" * 16, "trace_id")


@pytest.mark.parametrize(
    "project_id",
    [
        "acme/chat",
        "a/b",
        "Zoë's team/réponse 2.0",
        "a/...",
        ".a/b.",
        "a/ b\N{ZERO WIDTH JOINER}",
        "a" * 128 + "/" + "b" * 128,
    ],
)
def test_project_id_is_an_entity_and_a_project(project_id: str) -> None:
    ids.check_project_id(project_id)


@pytest.mark.parametrize(
    "project_id",
    ["", "acme", "/chat", "acme/", "a/b/c", "a:b/c", "a/b\0", "a/b?", "a/%62", "a#/b", "a" * 129 + "/b"],
)
def test_invalid_project_ids_are_refused(project_id: str) -> None:
    with pytest.raises(BadInputError, match="write entity/project"):
        ids.check_project_id(project_id)


@pytest.mark.parametrize(
    "project_id", ["a/.", "a/..", "../b", "./.", " /b", "a/\N{ZERO WIDTH SPACE}", "\N{RIGHT-TO-LEFT MARK}/b"]
)
def test_path_like_and_invisible_project_ids_are_refused(project_id: str) -> None:
    with pytest.raises(BadInputError, match=r"not all of them invisible, and neither \. nor \.\. alone"):
        ids.check_project_id(project_id)
