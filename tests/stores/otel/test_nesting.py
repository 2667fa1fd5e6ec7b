"""Layouts of keys: what they come to, and that no more are kept than is good."""

import pytest

from stores.errors import BadInputError
from stores.otel import nesting
from stores.otel.conventions import INPUTS
from stores.otel.nesting import layout_of, nested


def test_dots_nest_and_the_order_of_keys_stays() -> None:
    assert nested({"b.c": 1, "a": 2, "b.a": 3, "": 4, "x..y": 5}) == {
        "b": {"c": 1, "a": 3},
        "a": 2,
        "": 4,
        "x": {"": {"y": 5}},
    }
    assert list(nested({"b.c": 1, "a": 2})) == ["b", "a"]
    assert nested({}) == {}


def test_the_first_key_of_a_role_that_says_something_counts() -> None:
    layout = layout_of(("input", "llm.prompts.0", "gen_ai.prompt", "ai.prompt.messages"))

    assert layout.first(INPUTS, ["i", "l", "g", "a"]) == ("ai.prompt", {"messages": "a"})
    assert layout_of(("input", "gen_ai.prompt")).first(INPUTS, ["i", "g"]) == ("gen_ai.prompt", "g")
    assert layout_of(("input", "gen_ai.prompt")).first(INPUTS, ["i", ""]) == ("input", "i")
    assert layout_of(("input", "gen_ai.prompt")).first(INPUTS, [0, None]) is None
    assert layout_of(("other",)).first(INPUTS, ["o"]) is None


@pytest.mark.parametrize("keys", [("a", "a.b"), ("a.b", "a"), ("a.b.c", "a.b"), ("x.a.b.c", "x.a")])
def test_a_key_that_begins_another_conflicts(keys: tuple[str, ...]) -> None:
    for _ in range(2):  # what is refused is not kept
        with pytest.raises(BadInputError, match="attributes conflict"):
            layout_of(keys)


def test_layouts_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nesting, "_layouts", {})
    monkeypatch.setattr(nesting, "_MOST_KEPT", 3)

    many = tuple(f"key {number}" for number in range(129))
    assert layout_of(many).nest([*range(129)]) == {f"key {number}": number for number in range(129)}
    layout_of(("long" * 2049,))
    assert nesting._layouts == {}
    for number in range(4):
        layout_of((f"key {number}",))
    assert list(nesting._layouts) == [("key 3",)]


def test_a_span_has_so_many_attributes_at_most() -> None:
    with pytest.raises(BadInputError, match="has 10,001 attributes; the limit is 10,000"):
        layout_of(tuple(map(str, range(10_001))))
