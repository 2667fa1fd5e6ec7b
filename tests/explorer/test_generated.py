"""Tests that the Explorer's documents fit the schema, and that its generated files are those of the documents."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from graphql import GraphQLSchema, Source, build_schema, concat_ast, parse, validate

from graphql_schema.schema import sdl
from tests.explorer.generate import DOCUMENTS, EXPLORER, GENERATED, generated
from tests.node import Node

MANIFEST: dict[str, str] = json.loads((GENERATED / "persisted-documents.json").read_bytes())


def _name(text: str) -> str:
    [name, *_] = re.findall(r"(?:query|mutation|subscription) (\w+)", text)
    return str(name)


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema(sdl())


def test_documents_are_valid(schema: GraphQLSchema) -> None:
    files = [parse(Source(file.read_text(), file.name)) for file in sorted(DOCUMENTS.glob("*.graphql"))]

    assert files
    assert [str(error) for error in validate(schema, concat_ast(files), max_errors=10)] == []


@pytest.mark.parametrize("text", MANIFEST.values(), ids=_name)
def test_trusted_document_is_valid(schema: GraphQLSchema, text: str) -> None:
    assert [str(error) for error in validate(schema, parse(text))] == []


def test_name_of_a_trusted_document_is_its_hash() -> None:
    assert list(MANIFEST) == [f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" for text in MANIFEST.values()]


@pytest.mark.usefixtures("node")
async def test_generated_files_are_up_to_date() -> None:
    for name, text in (await generated()).items():
        committed = (GENERATED / name).read_text()
        assert text == committed, f"{name} differs from the documents; run `python -m tests.explorer.generate`"


@pytest.mark.usefixtures("pages_packages")
@pytest.mark.parametrize("folder", [EXPLORER, Path(__file__).parent], ids=["page", "tests"])
async def test_types_fit(node: Node, folder: Path) -> None:
    tsc = node.packages / "typescript" / "bin" / "tsc"

    code, output, complaint = await node.outcome(str(tsc), "--noEmit", "--project", str(folder))

    assert (code, output, complaint) == (0, "", "")


@pytest.mark.usefixtures("pages_packages")
async def test_units(node: Node) -> None:
    vitest = node.packages / "vitest" / "vitest.mjs"

    code, output, complaint = await node.outcome(str(vitest), "run", "--root", str(Path(__file__).parent))

    assert code == 0, f"{output}\n{complaint}"


async def test_sources_are_formatted(node: Node) -> None:
    prettier = node.packages / "prettier" / "bin" / "prettier.cjs"
    sources = [f"{EXPLORER}/**/*.{{ts,tsx,css}}", f"!{GENERATED}/**", f"{Path(__file__).parent}/*.ts"]

    code, output, complaint = await node.outcome(str(prettier), "--check", "--print-width", "120", *sources)

    assert code == 0, output + complaint
