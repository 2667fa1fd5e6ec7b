"""Which example of a dataset a call is about, kept with each prediction of an evaluation: its rows are told by it.

An example is given by the ref of a row, which ends in the row's digest, or as it is, and then has the digest that it
would have as a row: so the same example is the same in every run, however it was given and in whatever dataset it is.
Only one with long data URLs has one of its own, since calls keep these as files, and rows do not.
"""

import re
from typing import Final

from stores import digests
from stores.refs import SCHEME

PREDICTIONS: Final = r"(^|[.-])predict(_and_s|AndS)core$"
"""The names of ops of which each call is about an example, as Weave's clients have them for Python and TypeScript."""

_IS_PREDICTION: Final = re.compile(PREDICTIONS)
_ROW: Final = re.compile(r"/id/([0-9A-Za-z]{43})$")


def example_digest(op_trace_name: str, inputs: object) -> str | None:
    """The digest of the example in the inputs of a prediction; None for any other call."""
    if not _IS_PREDICTION.search(op_trace_name) or not isinstance(inputs, dict) or "example" not in inputs:
        return None
    example = inputs["example"]
    return row_digest(example) or digests.object_digest(example)


def row_digest(example: object) -> str | None:
    """The digest of the row that a ref leads to; None for what is no such ref."""
    if not isinstance(example, str) or not example.startswith(SCHEME):
        return None
    found = _ROW.search(example)
    return found[1] if found else None
