"""Tests that refs are parsed strictly, printed unchanged, and collected from any JSON."""

import pytest

from stores import refs
from stores.errors import BadInputError
from stores.refs import Ref

OBJECT = "weave:///acme/chat/object/prompt:v1"
ARTIFACT = "wandb-artifact:///acme/chat/abc"


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        (OBJECT, Ref("acme/chat", "object", "prompt", "v1")),
        ("weave:///a/b/op/f:*", Ref("a/b", "op", "f", "*")),
        ("weave:///a/b/table/d1", Ref("a/b", "table", "d1")),
        ("weave:///a/b/call/c1", Ref("a/b", "call", "c1")),
        (
            f"{OBJECT}/attr/rows/id/d1/key/a%2Fb%20c/index/-1",
            Ref(
                "acme/chat",
                "object",
                "prompt",
                "v1",
                (("attr", "rows"), ("id", "d1"), ("key", "a/b c"), ("index", "-1")),
            ),
        ),
    ],
)
def test_ref_is_parsed_and_printed_unchanged(text: str, ref: Ref) -> None:
    assert refs.parse(text) == ref
    assert str(ref) == text
    assert refs.is_ref(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "write weave:///"),
        ("weave:///", "write weave:///"),
        ("weave:///acme/chat/object", "write weave:///"),
        ("weave:///acme//object/o:v", "write weave:///"),
        ("weave:///acme/chat/object/o", "name:version"),
        ("weave:///acme/chat/object/o:", "name:version"),
        ("weave:///acme/chat/op/:v", "name:version"),
        ("weave:///acme/chat/op/a:b:c", "name:version"),
        ("weave:///acme/chat/thing/o:v", "its kind must be"),
        (f"{OBJECT}/attr", "pairs"),
        (f"{OBJECT}/item/x", "a step is one of"),
        *((f"{OBJECT}/index/{index}", "an integer without") for index in ("one", "00", "-01", "-0", "٣", "+1", "")),
        ("https://example.org", "write weave:///"),
    ],
)
def test_invalid_ref_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(BadInputError) as refused:
        refs.parse(text)

    assert reason in refused.value.message
    assert not refs.is_ref(text)


@pytest.mark.parametrize(
    "text",
    [
        f"{OBJECT}/key/a b",
        f"{OBJECT}/key/%7E",
        "weave:///a/b/call/c1/attr/x",
        f" {OBJECT}",
        "wandb-artifact:///a/b",
        "wandb-artifact:///a//c",
        "wandb-artifact:///a/b/c/d",
    ],
)
def test_string_in_another_spelling_is_not_a_ref(text: str) -> None:
    assert not refs.is_ref(text)


def test_refs_are_collected_in_order_with_repeats_from_values_only() -> None:
    value = {OBJECT: "a key", "b": [OBJECT, {"x": ARTIFACT}], "a": OBJECT, "no": f"see {OBJECT}", "n": [1, None]}

    assert refs.collect(value) == [OBJECT, ARTIFACT, OBJECT]


def test_ref_a_thousand_levels_deep_is_collected() -> None:
    value: object = OBJECT
    for _ in range(1000):
        value = [value]

    assert refs.collect(value) == [OBJECT]


def test_reserved_scheme_is_refused_anywhere() -> None:
    with pytest.raises(BadInputError, match="weave-trace-internal"):
        refs.collect({"a": ["weave-trace-internal:///p/object/o:v"]})


@pytest.mark.parametrize(
    ("ref", "kind", "base"),
    [
        ("weave:///acme/chat/object/x:y", "object", "weave:///acme/chat/object/x:y"),
        ("weave:///acme/chat/op/x:y/attr/a%2Fb/index/1", "op", "weave:///acme/chat/op/x:y"),
        ("weave:///acme/chat/table/abc", "table", "weave:///acme/chat/table/abc"),
        ("weave:///acme/chat/call/abc", "call", "weave:///acme/chat/call/abc"),
        ("wandb-artifact:///a/b/c", "artifact", "wandb-artifact:///a/b/c"),
    ],
)
def test_ref_has_a_kind_and_a_target(ref: str, kind: str, base: str) -> None:
    assert (refs.kind_of(ref), refs.without_steps(ref)) == (kind, base)
