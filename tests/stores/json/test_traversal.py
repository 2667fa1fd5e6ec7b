from stores.json.paths import iter_strings
from stores.text_search.highlights import iter_texts

VALUE = {"a": ["x", {"b": "y", "c": 5, "d": None}], "e": "z", "f": True}


def test_strings_are_yielded_in_order() -> None:
    assert list(iter_strings(VALUE)) == ["x", "y", "z"]
    assert list(iter_strings("alone")) == ["alone"]
    assert list(iter_strings(7)) == []


def test_keys_come_before_the_values_of_their_object() -> None:
    assert list(iter_strings(VALUE, with_keys=True)) == ["a", "e", "f", "x", "b", "c", "d", "y", "z"]


def test_any_depth_is_traversed() -> None:
    deep: object = "down here"
    for _ in range(100_000):
        deep = [deep]

    assert list(iter_strings(deep)) == ["down here"]


def test_texts_are_yielded_in_order_with_their_locations() -> None:
    value = {"a": ["x", {"b.c": 5, "d": None}], "e": "y"}

    found = [(place.steps(), is_key, text) for place, is_key, text in iter_texts(value)]

    assert found == [
        (["a"], True, "a"),
        (["a", "0"], False, "x"),
        (["a", "1", "b.c"], True, "b.c"),
        (["a", "1", "b.c"], False, "5"),
        (["a", "1", "d"], True, "d"),
        (["a", "1", "d"], False, "null"),
        (["e"], True, "e"),
        (["e"], False, "y"),
    ]


def test_location_of_a_root_value_is_empty() -> None:
    assert [(place.steps(), text) for place, _, text in iter_texts("z")] == [([], "z")]


def test_deeply_nested_values_are_traversed() -> None:
    value: object = "deep"
    for _ in range(5_000):
        value = [value]

    [(place, _, text)] = iter_texts(value)

    assert (text, len(place.steps())) == ("deep", 5_000)
