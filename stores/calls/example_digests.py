"""Digest of the dataset example that a prediction call is about; evaluations group their results by it.

An example is either a ref to a table row, which ends in the row's digest, or an inline value. An inline value gets the
digest that it would have as a row, so equal examples match across runs and datasets. The exception are examples with
long data URLs: calls store these as files, rows do not, so the digests differ.
"""

import re
from typing import Final

from stores import digests
from stores.refs import SCHEME

PREDICTION_OPS: Final = r"(^|[.-])predict(_and_s|AndS)core$"
"""Op names of prediction calls, as Weave's Python and TypeScript clients generate them."""

_IS_PREDICTION: Final = re.compile(PREDICTION_OPS)
_ROW: Final = re.compile(r"/id/([0-9A-Za-z]{43})$")


def example_digest(op_trace_name: str, inputs: object) -> str | None:
    """Return the digest of the example in a prediction's inputs; None for any other call."""
    if not _IS_PREDICTION.search(op_trace_name) or not isinstance(inputs, dict) or "example" not in inputs:
        return None
    example = inputs["example"]
    return row_digest(example) or digests.object_digest(example)


def row_digest(example: object) -> str | None:
    """Return the row digest at the end of a ref to a row; None for any other value."""
    if not isinstance(example, str) or not example.startswith(SCHEME):
        return None
    match = _ROW.search(example)
    return match[1] if match else None
