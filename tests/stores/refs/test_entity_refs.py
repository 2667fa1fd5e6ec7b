"""Tests that refs of entities have one spelling, which is printed and parsed, and that other spellings are refused."""

import pytest

from stores.errors import BadInputError
from stores.refs import SCHEME, EntityRef, inner_entity, parse_entity, thread_ref

PROJECT = "acme/shop"
CALL = "00000000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    "ref",
    [
        EntityRef(PROJECT, "project"),
        EntityRef(PROJECT, "call", CALL),
        EntityRef(PROJECT, "row", "abc", 0),
        EntityRef(PROJECT, "thread", "a/b:c %2F\U0001f9f5", after=-1, before=0),
        EntityRef(PROJECT, "thread", "/after/5"),
        EntityRef(PROJECT, "feedback", "é/?#"),
        EntityRef(PROJECT, "file", "."),
    ],
)
def test_printed_ref_parses_to_the_same_ref(ref: EntityRef) -> None:
    assert parse_entity(str(ref)) == ref


@pytest.mark.parametrize(
    "end",
    [
        "/",
        "/call",
        "/call/",
        f"/call/{CALL}/attr/x",
        "/thread/a/before/1/after/0",  # in the wrong order
        "/thread/a/after/01",
        "/thread/a/after/-0",
        "/thread/a/after/1/after/2",
        "/thread/a b",
        "/thread/a%2f",  # in lowercase
        "/thread/%ff",  # not UTF-8
        "/thread/%",
        "/feedback/\ud800",
        "/table/abc/index/-1",
        "/table/abc/index/00",
        f"/table/abc/index/{'9' * 30}",
        "/object/name:latest",
        "/op/name",
        "/nothing/x",
    ],
)
def test_ref_in_another_spelling_is_invalid(end: str) -> None:
    with pytest.raises(BadInputError, match=r"is not the ref of an entity|is no|must|not a"):
        parse_entity(f"{SCHEME}{PROJECT}{end}")
    assert inner_entity(PROJECT, f"{SCHEME}{PROJECT}{end}") is None


def test_ref_into_another_project_is_not_internal() -> None:
    assert inner_entity("acme/shop", thread_ref("acme/shopping", "t")) is None
    assert inner_entity("acme/shop", thread_ref("acme/shop", "t")) == EntityRef("acme/shop", "thread", "t")
