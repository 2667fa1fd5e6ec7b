"""Tests that predictions of evaluations keep their example's digest, for every client and form of example."""

import base64
import json
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.calls.documents import example_digest
from stores.database import Database
from stores.tables import TablesStore
from tests.stores.calls.builders import PROJECT, call_id, end, start

DIGEST = "aB3" + "x" * 40
PREDICT = "Evaluation.predict_and_score"
OF_DATASET = f"weave:///{PROJECT}/object/Questions:{'q' * 43}/attr/rows/id/{DIGEST}"
OF_TABLE = f"weave:///{PROJECT}/table/{'0' * 64}/id/{DIGEST}"


@pytest.mark.parametrize(
    "name",
    [
        PREDICT,
        "MyEvaluation.predict_and_score",
        "Evaluation.predictAndScore",
        "Evaluation-predict_and_score",
        "predict_and_score",
    ],
)
@pytest.mark.parametrize("ref", [OF_DATASET, OF_TABLE])
def test_row_ref_gives_the_digest_of_the_row(name: str, ref: str) -> None:
    assert example_digest(name, {"example": ref}) == DIGEST


async def test_inline_example_has_the_digest_of_the_same_row(database: Database) -> None:
    row = {"question": "How do I cancel?", "n": [1, 2.5, None, {"ü": "🍵"}]}
    _, [digest] = await TablesStore(database).create(PROJECT, [row])

    assert example_digest(PREDICT, {"example": dict(reversed(row.items())), "model": "m"}) == digest


@pytest.mark.parametrize(
    ("example", "other"),
    [
        (None, {}),
        ("", None),
        (f"weave:///{PROJECT}/object/Questions:{'q' * 43}/attr/rows/index/3", OF_DATASET),
        (f"https://acme.example/id/{DIGEST}", OF_DATASET),
        ([1], [1.0]),
    ],
)
def test_different_examples_have_different_digests(example: object, other: object) -> None:
    digests = {example_digest(PREDICT, {"example": each}) for each in (example, other)}

    assert len(digests) == 2
    assert all(digest and len(digest) == 43 for digest in digests)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("answer", {"example": OF_DATASET}),
        ("Evaluation.predict_and_scored", {"example": OF_DATASET}),
        ("repredict_and_score", {"example": OF_DATASET}),
        (PREDICT, {}),
        (PREDICT, {"row": OF_DATASET}),
        (PREDICT, None),
    ],
)
def test_other_calls_have_no_example_digest(name: str, inputs: object) -> None:
    assert example_digest(name, inputs) is None


async def kept(database: Database) -> Any:
    [document] = [document async for document in database.calls.find()]
    return document.get("example_digest")


async def test_last_start_determines_the_example_digest(calls: CallsStore, database: Database) -> None:
    op = f"weave:///{PROJECT}/op/{PREDICT}:{'v' * 43}"
    await calls.write([end(1)])
    await calls.write([start(1, op_name=op, inputs={"example": OF_DATASET})])
    assert await kept(database) == DIGEST

    await calls.write([start(1, op_name=op, inputs={"example": {"question": "Why?"}})])
    assert await kept(database) == example_digest(PREDICT, {"example": {"question": "Why?"}})

    await calls.rename(PROJECT, call_id(1), "first")
    await calls.write([start(1, op_name=op, inputs={})])
    assert await kept(database) is None


async def test_example_with_an_image_has_the_digest_of_its_stored_form(calls: CallsStore, database: Database) -> None:
    picture = f"data:image/png;base64,{base64.b64encode(bytes(2_000)).decode()}"
    await calls.write([start(1, op_name=PREDICT, inputs={"example": {"picture": picture}})])

    row = await calls.one(PROJECT, call_id(1), ["inputs"])

    assert row is not None
    inputs = json.loads(row["json"]["inputs"])
    assert "data:" not in str(inputs["example"]["picture"])
    # An upgrade or an import has only the stored inputs, so the digest must follow from them.
    assert await kept(database) == example_digest(PREDICT, inputs)
