"""`python -m tests.explorer.generate`: writes the Explorer's types and documents, which it has from the schema."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Final

from app.build_hook import FOLDER
from tests.installation import ROOT
from tests.node import NODE

EXPLORER: Final = ROOT / FOLDER / "explorer"
GENERATED: Final = EXPLORER / "generated"
DOCUMENTS: Final = EXPLORER / "documents"

_MADE: Final = ("graphql.ts", "persisted-documents.json")
"""The files that the page and the server use; the preset also writes a function that no view calls."""

_OPTIONS: Final = {
    "documentMode": "string",
    "enumsAsTypes": True,
    "useTypeImports": True,
    "strictScalars": True,
    "onlyOperationTypes": True,
    "skipTypename": True,
    "scalars": {
        "ID": "string",
        "DateTime": "string",
        "BigInt": "number",
        "JSON": "unknown",
        "Literal": "string | number | boolean",
        "Base64": "string",
        "Upload": "Blob",
    },
}


async def generated() -> dict[str, str]:
    """Return the text of each generated file by name, with the packages of `NODE`, which are installed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = {
            "preset": "client",
            "presetConfig": {"fragmentMasking": False, "persistedDocuments": {"hashAlgorithm": "sha256"}},
            "config": _OPTIONS,
        }
        config = {
            "schema": str(ROOT / "graphql_schema" / "schema.graphql"),
            "documents": str(DOCUMENTS / "*.graphql"),
            "generates": {f"{folder}/made/": target},
        }
        (folder / "codegen.json").write_text(json.dumps(config))
        program = NODE.packages / "@graphql-codegen" / "cli" / "cjs" / "bin.js"
        await NODE.run(str(program), "--config", str(folder / "codegen.json"))
        return {each: (folder / "made" / each).read_text() for each in _MADE}


def main() -> None:
    """Install the packages that are missing, and write the files."""
    if problem := NODE.finish():
        raise SystemExit(problem)
    for name, text in asyncio.run(generated()).items():
        (GENERATED / name).write_text(text)


if __name__ == "__main__":
    main()
