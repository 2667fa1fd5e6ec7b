"""Backups by `mongodump --oplog` and `mongorestore --oplogReplay`, or by the same steps if they are not installed.

The steps are those of MongoDB's manual. The dump reads each collection in turn, not as of one moment. It then reads the
writes that happened meanwhile from the oplog. The restore inserts the documents, applies the oplog's entries, and
creates the indexes last.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import DESCENDING, IndexModel, MongoClient

from tests.docs.pages import page

Document = dict[str, Any]

TOOLS: Final = ("mongodump", "mongorestore")
ARE_HERE: Final = all(map(shutil.which, TOOLS))
_RAW: Final = CodecOptions(document_class=RawBSONDocument)
_OF_MONGODB: Final = ["admin", "config", "local"]
_BATCH: Final = 1_000


def dump(uri: str, file: Path) -> None:
    """Run `mongodump` with the options of the guide to backups."""
    _run("mongodump", uri, file)


def restore(uri: str, file: Path) -> None:
    """Run `mongorestore` with the options of the guide to backups."""
    _run("mongorestore", uri, file)


def _run(tool: str, uri: str, file: Path) -> None:
    [words] = [words for words in page("how-to/backup").commands if words[0] == tool]
    options = [word for word in words[1:] if not word.startswith(("--uri=", "--archive="))]
    command = [tool, f"--uri={uri}", *options, f"--archive={file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def dump_by_steps(uri: str, folder: Path) -> None:
    """Read every collection while clients write, then read the oplog since the start of the dump."""
    folder.mkdir()
    with MongoClient[Document](uri) as client:
        oplog = client.local["oplog.rs"]
        newest = oplog.find_one(sort=[("$natural", DESCENDING)])
        assert newest is not None
        for database in sorted(set(client.list_database_names()).difference(_OF_MONGODB)):
            for name in sorted(client[database].list_collection_names(filter={"type": "collection"})):
                collection = client[database][name]
                (folder / f"{database}.{name}.indexes").write_bytes(_encoded(collection.list_indexes()))
                documents = collection.with_options(codec_options=_RAW).find()
                (folder / f"{database}.{name}.bson").write_bytes(b"".join(each.raw for each in documents))
        (folder / "oplog").write_bytes(_encoded(oplog.find({"ts": {"$gte": newest["ts"]}})))


def restore_by_steps(uri: str, folder: Path) -> None:
    """Insert the documents, apply the oplog to them, and create the indexes."""
    with MongoClient[Document](uri) as client:
        for file in sorted(folder.glob("*.bson")):
            database, _, name = file.stem.partition(".")
            collection = client[database].create_collection(name).with_options(codec_options=_RAW)
            documents = bson.decode_all(file.read_bytes(), _RAW)
            for start in range(0, len(documents), _BATCH):
                collection.insert_many(documents[start : start + _BATCH])
        for operation in _operations(bson.decode_all((folder / "oplog").read_bytes())):
            client.admin.command({"applyOps": [operation]})
        for file in sorted(folder.glob("*.indexes")):
            database, _, name = file.stem.partition(".")
            client[database][name].create_indexes([_model(index) for index in bson.decode_all(file.read_bytes())])


def _encoded(documents: Iterator[Any]) -> bytes:
    return b"".join(map(bson.encode, documents))


def _operations(entries: list[Document]) -> Iterator[Document]:
    """Yield the writes and new collections of oplog entries one by one, including writes inside transactions."""
    for entry in entries:
        if entry["op"] == "n" or entry["ns"].partition(".")[0] in _OF_MONGODB[1:]:
            continue
        if "applyOps" in entry["o"]:
            assert not entry["o"].get("partialTxn"), "a transaction of several entries, which no writer makes"
            yield from _operations(entry["o"]["applyOps"])
            continue
        # A server creates some collections by their first document, which may be written during the dump.
        assert entry["op"] in {"i", "u", "d"} or "create" in entry["o"], entry
        yield {name: entry[name] for name in ("op", "ns", "o", "o2") if name in entry}


def _model(index: Document) -> IndexModel:
    options = {name: value for name, value in index.items() if name not in {"v", "key"}}
    return IndexModel(list(index["key"].items()), **options)
