"""Tests of paths into JSON: dots separate keys, and digits are indexes of lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.errors import BadInputError
from stores.json import paths

DOCUMENT = {"a": {"b.c": 1, "0": "key"}, "list": [{"x": 10}, [20]], "n": None, "back\\slash": 2}


@given(st.lists(st.text(min_size=1)))
def test_path_can_contain_any_key(keys: list[str]) -> None:
    assert paths.split(paths.join(keys)) == keys


@pytest.mark.parametrize("path", [".", ".a", "a.", "a..b"])
def test_empty_key_is_refused(path: str) -> None:
    with pytest.raises(BadInputError, match="empty key"):
        paths.split(path)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", DOCUMENT),
        (r"a.b\.c", 1),
        ("a.0", "key"),
        ("list.0.x", 10),
        ("list.1.0", 20),
        (r"back\\slash", 2),
        ("list.2", None),
        ("list.-1", None),
        ("list.x", None),
        ("list.²", None),
        ("n.deeper", None),
        ("a.missing", None),
        ("list." + "9" * 5000, None),
    ],
)
def test_path_leads_to_a_value_or_nothing(path: str, found: object) -> None:
    assert paths.follow(DOCUMENT, paths.split(path)) == found
