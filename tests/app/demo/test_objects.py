"""Tests that everything the demo's calls refer to exists in a real MongoDB and has the right content."""

import ast
import itertools
import struct
import zlib
from typing import Any

import orjson
import pytest

from app import demo
from app.demo.library import ASSISTANT, DATASET, EVALUATION, PROMPT
from graphql_schema.context import Stores
from stores import refs
from stores.files.data_urls import WEAVE_CONTENT_TYPE
from stores.objects import ObjectsFilter, ObjectVersion
from stores.paging import PageRequest, Row
from stores.refs import Ref
from tests.app.demo_data import NOW, PROJECT, PROMPT_TEXTS, Loaded, ignore, payload, rows_of

PLACE = ("kind", "version_index", "is_latest", "created_at", "val")


async def versions(stores: Stores, name: str | None = None) -> list[Row]:
    """Return the versions of one name or of all, oldest first."""
    which = ObjectsFilter(object_ids=[name] if name else None)
    return (await stores.objects.page(PROJECT, PageRequest(size=1000), PLACE, which)).rows


async def one(stores: Stores, name: str, version: str = "latest") -> Any:
    return payload(await stores.objects.one(PROJECT, name, version, ["val"]), "val")


async def content(stores: Stores, digest: str) -> bytes:
    return await stores.files.read(await stores.files.one(PROJECT, digest))


@pytest.fixture(scope="module")
async def table_rows(loaded: Loaded) -> dict[str, Any]:
    """Return the rows of the dataset by digest."""
    table = refs.parse((await one(loaded.stores, DATASET))["rows"])
    page = await loaded.stores.tables.page(PROJECT, table.name, PageRequest(size=1000), ["val"])
    return {row["digest"]: payload(row, "val") for row in page.rows}


async def test_each_prompt_text_is_a_version_and_the_last_is_the_latest(loaded: Loaded) -> None:
    found = await versions(loaded.stores, PROMPT)

    assert [payload(row, "val")["content"] for row in found] == PROMPT_TEXTS
    assert [row["version_index"] for row in found] == [0, 1, 2, 3]
    assert [row["is_latest"] for row in found] == [0, 0, 0, 1]


async def test_each_assistant_version_refers_to_another_prompt_version(loaded: Loaded) -> None:
    found = await versions(loaded.stores, ASSISTANT)

    prompts = [payload(row, "val")["prompt"] for row in found]
    followed = await loaded.stores.objects.by_refs([(PROJECT, ref) for ref in prompts], frozenset(["version_index"]))
    assert [row and row["version_index"] for row in followed.values()] == [1, 2, 3]


async def test_every_ref_resolves(loaded: Loaded, rows: dict[str, Row], table_rows: dict[str, Any]) -> None:
    values = [payload(row, "val") for row in await versions(loaded.stores)]
    for row in rows.values():
        values += [
            row["op_name"],
            payload(row, "inputs"),
            *([payload(row, "output")] if "output" in row["json"] else []),
        ]
    found = [refs.parse(text) for text in set(refs.collect(values))]
    plain = [Ref(ref.project_id, ref.kind, ref.name, ref.version) for ref in found if ref.version]

    there = await loaded.stores.objects.by_refs([(PROJECT, str(ref)) for ref in plain], frozenset())

    assert {ref.kind for ref in found} == {"object", "op", "table"}
    assert [ref for (_, ref), row in there.items() if row is None] == []
    assert len(there) > 15
    edges = [ref.steps for ref in found if ref.steps]
    assert {(start, name) for start, (name, _) in edges} == {(("attr", "rows"), "id")}
    assert {digest for _, (_, digest) in edges} < set(table_rows)
    assert [ref.name for ref in found if ref.kind == "table"] == [
        refs.parse((await one(loaded.stores, DATASET))["rows"]).name
    ]


async def test_dataset_has_two_hundred_rows_of_all_areas(table_rows: dict[str, Any]) -> None:
    assert len(table_rows) == 200
    assert [row["id"] for row in table_rows.values()] == [f"q-{number:03}" for number in range(1, 201)]
    assert len({row["area"] for row in table_rows.values()}) == 8
    assert not any("{" in row["question"] + row["expected"] for row in table_rows.values())


async def test_evaluation_inputs_match_the_rows_of_its_examples(
    loaded: Loaded, rows: dict[str, Row], table_rows: dict[str, Any]
) -> None:
    scored = [row for row in rows.values() if "Evaluation.predict_and_score:" in row["op_name"]]
    questions = {
        row["parent_id"]: payload(row, "inputs")["question"] for row in rows.values() if ".predict:" in row["op_name"]
    }
    evaluation = await one(loaded.stores, EVALUATION)

    assert len(scored) == 80
    for row in scored:
        example = refs.parse(payload(row, "inputs")["example"])
        assert str(Ref(PROJECT, "object", example.name, example.version)) == evaluation["dataset"]
        assert table_rows[example.steps[1][1]]["question"] == questions[row["id"]]


async def test_calls_that_used_a_model_are_found_by_it(loaded: Loaded, rows: dict[str, Row]) -> None:
    found = await versions(loaded.stores, ASSISTANT)
    keys = [(PROJECT, f"weave:///{PROJECT}/object/{ASSISTANT}:{row['digest']}") for row in found]

    counts = await loaded.stores.calls.consumers.count(keys)

    taken = [payload(row, "inputs") for row in rows.values()]
    assert [counts.get(key, 0) for key in keys] == [
        sum(ref in (inputs.get("self"), inputs.get("model")) for inputs in taken) for _, ref in keys
    ]
    assert counts[keys[1]] > counts[keys[2]] > 100


async def test_ops_have_their_code_in_files(loaded: Loaded) -> None:
    ops = [row for row in await versions(loaded.stores) if row["kind"] == "op"]

    assert len({row["object_id"] for row in ops}) == 8
    for row in ops:
        code = await content(loaded.stores, payload(row, "val")["files"]["obj.py"])
        [function] = ast.parse(code).body
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        assert f'name="{row["object_id"]}"' in code.decode()


def bar_heights(png: bytes) -> list[int]:
    """Return the heights of a chart's bars in pixels, from left to right."""
    chunks, at = {}, 8
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        data = png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + data),)
        chunks[kind], at = data, at + 12 + length
    width, height, *kind_of_picture = struct.unpack(">2I5B", chunks[b"IHDR"])
    pixels = zlib.decompress(chunks[b"IDAT"])
    assert kind_of_picture == [8, 3, 0, 0, 0]
    assert len(pixels) == height * (width + 1)
    columns = [[pixels[y * (width + 1) + 1 + x] for y in range(height)] for x in range(width)]
    heights = [sum(colour > 0 for colour in column) for column in columns]
    return [height for before, height in itertools.pairwise(heights) if height and not before]


async def test_every_night_has_a_chart_of_its_topics(loaded: Loaded, rows: dict[str, Row]) -> None:
    nights = [payload(row, "output") for row in rows.values() if row["op_name"] == "tickets.summarise_night"]

    assert len(nights) == 14
    for output in nights:
        chart, counts = output["chart"], list(output["areas"].values())
        file = await loaded.stores.files.one(PROJECT, chart["files"]["content"])
        metadata = orjson.loads(await content(loaded.stores, chart["files"]["metadata.json"]))
        assert chart["_type"] == "CustomWeaveType"
        assert chart["weave_type"] == {"type": WEAVE_CONTENT_TYPE}
        assert (file.content_type, file.name) == ("image/png", "tickets-by-area.png")
        assert (metadata["digest"], metadata["size"]) == (file.digest, file.size_bytes)
        assert bar_heights(await loaded.stores.files.read(file)) == [
            120 - (120 - 108 * n // max(counts)) for n in counts
        ]


async def test_reloading_keeps_objects_and_later_versions(fresh: Stores) -> None:
    await demo.load(fresh, PROJECT, ignore, now=NOW)
    await fresh.objects.create(ObjectVersion(PROJECT, PROMPT, "mine"))
    before, files = await versions(fresh), await fresh.files.stats(PROJECT)

    await demo.load(fresh, PROJECT, ignore, now=NOW)

    assert await versions(fresh) == before
    assert await fresh.files.stats(PROJECT) == files
    assert await one(fresh, PROMPT) == "mine"


async def test_reloading_restores_what_was_deleted(fresh: Stores) -> None:
    await demo.load(fresh, PROJECT, ignore, now=NOW)
    before, calls = await versions(fresh), await rows_of(fresh.calls)
    await fresh.objects.delete(PROJECT, PROMPT)
    await fresh.objects.delete(PROJECT, ASSISTANT, ["v1"])

    await demo.load(fresh, PROJECT, ignore, now=NOW)

    assert await versions(fresh) == before
    assert await rows_of(fresh.calls) == calls
    assert len(calls) > 1000
