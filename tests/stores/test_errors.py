"""Tests of the errors' arguments."""

import pytest

from stores.errors import BadInputError, ErrorsAt


@pytest.mark.parametrize(("inner", "outer"), [(None, "batch.3"), ("start.id", "batch.3.start.id")])
def test_block_puts_its_argument_before_that_of_an_error(inner: str | None, outer: str) -> None:
    with pytest.raises(BadInputError, match="too long") as caught, ErrorsAt("batch.3"):
        raise BadInputError("is too long", inner)

    assert caught.value.argument == outer
    assert caught.value.__suppress_context__


def test_block_leaves_other_errors_unchanged() -> None:
    with pytest.raises(KeyError, match="id"), ErrorsAt("batch.3"):
        raise KeyError("id")
