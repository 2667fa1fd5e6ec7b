"""Tests of the nesting of dotted attribute keys, and of the bound on cached layouts."""

import itertools
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.errors import BadInputError
from stores.senders import attributes
from stores.senders.attributes import Attributes, layout_of, nested


def test_dots_make_nested_objects_in_key_order() -> None:
    assert nested({"b.c": 1, "a": 2, "b.a": 3, "": 4, "x..y": 5}) == {
        "b": {"c": 1, "a": 3},
        "a": 2,
        "": 4,
        "x": {"": {"y": 5}},
    }
    assert list(nested({"b.c": 1, "a": 2})) == ["b", "a"]
    assert nested({}) == {}


def test_first_non_empty_attribute_of_a_role_is_used() -> None:
    layout = layout_of(("input", "llm.prompts.0", "gen_ai.prompt", "ai.prompt.messages"))

    assert Attributes(layout, ["i", "l", "g", "a"]).first("inputs") == ("ai.prompt", {"messages": "a"})
    assert Attributes(layout_of(("input", "gen_ai.prompt")), ["i", "g"]).first("inputs") == ("gen_ai.prompt", "g")
    assert Attributes(layout_of(("input", "gen_ai.prompt")), ["i", ""]).first("inputs") == ("input", "i")
    assert Attributes(layout_of(("input", "gen_ai.prompt")), [0, None]).first("inputs") is None
    assert Attributes(layout_of(("other",)), ["o"]).first("inputs") is None


@pytest.mark.parametrize(
    ("tree", "keys"),
    [
        ({"a": 0, "a.b": 1}, ("a", "a.b")),
        ({"x": {"a": 0, "a.b.c": 1}}, ("x.a", "x.a.b.c")),
        ({"a": 0, "a.b": 1, "a.b.c": 2, "ab": {"c": 3}}, ("a", "a.b", "a.b.c", "ab.c")),
        ({"": 0, ".a": 1, "b": {"": 2, ".c": 3}}, ("", ".a", "b.", "b..c")),
    ],
)
def test_key_that_extends_another_keeps_its_dots(tree: dict[str, Any], keys: tuple[str, ...]) -> None:
    for order in itertools.permutations(range(len(keys))):
        assert Attributes(layout_of(tuple(keys[at] for at in order)), [*order]).nested() == tree


KEYS = st.lists(st.text("ab.", max_size=8), unique=True, max_size=12)


@given(KEYS)
def test_every_key_keeps_its_own_value(keys: list[str]) -> None:
    def flat(tree: dict[str, Any], before: tuple[str, ...] = ()) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, value in tree.items():
            steps = (*before, name)
            found |= flat(value, steps) if isinstance(value, dict) else {".".join(steps): value}
        return found

    assert flat(nested({key: at for at, key in enumerate(keys)})) == {key: at for at, key in enumerate(keys)}


def test_role_finds_a_key_that_extends_another() -> None:
    keys = ("gen_ai.usage.input_tokens", "gen_ai.usage.input_tokens.cached", "gen_ai.usage", "gen_ai.usage.cost")
    layout = layout_of(keys)

    values: list[object] = [100, 60, {"input_tokens": 5}, 0.5]
    found = {role: value for role in layout.found if (value := Attributes(layout, values).pick(role))}

    assert found == {"input_tokens": 100, "cache_read": 60, "cost": 0.5}


def test_layout_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = lru_cache(3)(attributes._compute_layout)
    assert attributes._cached_layout.cache_info().maxsize == 1_000
    monkeypatch.setattr(attributes, "_cached_layout", cache)

    many = tuple(f"key {number}" for number in range(129))
    assert Attributes(layout_of(many), [*range(129)]).nested() == {f"key {number}": number for number in range(129)}
    layout_of(("long" * 2049,))
    assert cache.cache_info().currsize == 0
    for number in range(4):
        layout_of((f"key {number}",))
    assert cache.cache_info().currsize == 3


def test_attributes_per_span_are_limited() -> None:
    with pytest.raises(BadInputError, match="has 10,001 attributes; the limit is 10,000"):
        layout_of(tuple(map(str, range(10_001))))
