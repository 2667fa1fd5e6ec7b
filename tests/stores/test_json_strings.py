from stores.json_strings import strings_in

VALUE = {"a": ["x", {"b": "y", "c": 5, "d": None}], "e": "z", "f": True}


def test_strings_come_in_their_order() -> None:
    assert list(strings_in(VALUE)) == ["x", "y", "z"]
    assert list(strings_in("alone")) == ["alone"]
    assert list(strings_in(7)) == []


def test_keys_come_before_the_values_of_their_object() -> None:
    assert list(strings_in(VALUE, with_keys=True)) == ["a", "e", "f", "x", "b", "c", "d", "y", "z"]


def test_no_depth_is_too_much() -> None:
    deep: object = "down here"
    for _ in range(100_000):
        deep = [deep]

    assert list(strings_in(deep)) == ["down here"]
