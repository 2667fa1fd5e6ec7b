"""Tests that creates, deletes, revivals and reads in any order match a plain Python model."""

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Iterator
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from stores import digests
from stores.database import Database
from stores.errors import NotFoundError, ObjectDeletedError, StoreError
from stores.objects import ObjectsFilter, ObjectsStore, ObjectVersion
from stores.objects.classes import Kind
from stores.paging import PageRequest
from tests.chance import cases

Kept = dict[str, Any]
_Result = TypeVar("_Result")

NAMES = st.sampled_from(["a", "a", "a", "b"])
KINDS = st.sampled_from(["object", "object", "object", "op"])
VALUES = st.integers(0, 2)
VERSIONS = st.sampled_from(["latest", "latest", "v0", "v1", "v2", "unknown"]) | VALUES.map(lambda n: f"digest of {n}")


def value_of(kind: str, number: int) -> Any:
    return {"_type": "Op", "n": number} if kind == "op" else {"n": number}


class Model:
    """Names and their versions by index, in lists and dicts."""

    def __init__(self) -> None:
        self.names: defaultdict[tuple[str, str], list[Kept]] = defaultdict(list)
        self.writes = 0

    def create(self, kind: str, name: str, number: int) -> None:
        versions = self.names[kind, name]
        kept = next((kept for kept in versions if kept["number"] == number), None)
        if kept is None:
            kept = {"number": number, "digest": digests.object_digest(value_of(kind, number))}
            versions.append(kept)
        self.writes += 1
        kept |= {"deleted": False, "written": self.writes}

    def latest(self, kind: str, name: str) -> Kept | None:
        versions = self.names[kind, name]
        among = [kept for kept in versions if not kept["deleted"]] or versions
        return max(among, key=lambda kept: kept["written"], default=None)

    def named(self, kind: str, name: str, version: str) -> Kept | None:
        versions = self.names[kind, name]
        if version == "latest":
            return self.latest(kind, name)
        return next((kept for n, kept in enumerate(versions) if version in (f"v{n}", kept["digest"])), None)

    def found(self, name: str, version: str, kind: str | None) -> Kept | None:
        """Return a version of this kind; without a kind, an object comes before an op."""
        among = (self.named(each, name, version) for each in ([kind] if kind else ["object", "op"]))
        return next((kept for kept in among if kept is not None), None)

    def find(self, name: str, version: str, kind: str | None) -> Kept | type[StoreError]:
        kept = self.found(name, version, kind)
        if kept is None:
            return NotFoundError
        return ObjectDeletedError if kept["deleted"] else kept

    def delete(self, name: str, versions: list[str], kind: str | None) -> int | type[StoreError]:
        kinds = [kind] if kind else ["object", "op"]
        alive = [kept for each in kinds for kept in self.names[each, name] if not kept["deleted"]]
        named = [self.found(name, version, kind) for version in versions] or alive
        doomed = [kept for kept in alive if any(kept is each for each in named)]
        if not alive or any(kept is None or kept["deleted"] for kept in named):
            return NotFoundError
        for kept in doomed:
            kept["deleted"] = True
        return len(doomed)

    def listed(self) -> Iterator[Kept]:
        for (kind, name), versions in self.names.items():
            latest = self.latest(kind, name)
            for index, kept in enumerate(versions):
                if not kept["deleted"]:
                    yield {"kind": kind, "name": name, "index": index, "latest": kept is latest} | kept


class Objects(RuleBasedStateMachine):
    """Runs random steps on a project of the real database and on its model."""

    uri: ClassVar[str]
    database_name: ClassVar[str]
    runner: ClassVar[asyncio.Runner]
    store: ClassVar[ObjectsStore]

    def __init__(self) -> None:
        super().__init__()
        self.project = f"acme/{uuid.uuid4().hex}"
        self.model = Model()

    def await_(self, work: Awaitable[_Result]) -> _Result:
        async def run() -> _Result:
            return await work

        return self.runner.run(run())

    def outcome(self, work: Awaitable[_Result]) -> _Result | type[StoreError]:
        try:
            return self.await_(work)
        except StoreError as error:
            return type(error)

    @rule(kind=KINDS, name=NAMES, number=VALUES)
    def create(self, kind: str, name: str, number: int) -> None:
        value = value_of(kind, number)
        digest = self.await_(self.store.create(ObjectVersion(self.project, name, value)))
        self.model.create(kind, name, number)
        assert digest == digests.object_digest(value)

    @rule(name=NAMES, versions=st.lists(st.tuples(VERSIONS, KINDS), max_size=2), only=st.none() | KINDS)
    def delete(self, name: str, versions: list[tuple[str, str]], only: Kind | None) -> None:
        spelled = [self._spelled(version, kind) for version, kind in versions]
        expected = self.model.delete(name, spelled, only)
        assert self.outcome(self.store.delete(self.project, name, spelled, only)) == expected

    @rule(name=NAMES, version=VERSIONS, kind=KINDS, only=st.booleans())
    def read(self, name: str, version: str, kind: str, only: bool) -> None:  # noqa: FBT001 -- hypothesis gives it
        version = self._spelled(version, kind)
        expected = self.model.find(name, version, kind if only else None)
        reading = self.store.one(self.project, name, version, {"val"}, kind if only else None)  # type: ignore[arg-type]
        found = self.outcome(reading)
        if isinstance(expected, type) or isinstance(found, type):
            assert found == expected
        else:
            assert (found["digest"], json.loads(found["json"]["val"])["n"]) == (expected["digest"], expected["number"])

    def _spelled(self, version: str, kind: str) -> str:
        number = version.removeprefix("digest of ")
        return digests.object_digest(value_of(kind, int(number))) if number != version else version

    @invariant()
    def the_lists_agree(self) -> None:
        expected = list(self.model.listed())
        wanted = {"version_index", "is_latest", "val", "size_bytes"}
        rows = self.await_(self.store.page(self.project, PageRequest(), wanted)).rows
        found = [
            {
                "kind": row["kind"],
                "name": row["object_id"],
                "index": row["version_index"],
                "latest": bool(row["is_latest"]),
                "digest": row["digest"],
                "number": json.loads(row["json"]["val"])["n"],
            }
            for row in rows
        ]

        def order(kept: Kept) -> tuple[Any, ...]:
            return kept["kind"], kept["name"], kept["index"]

        shown = [{key: kept[key] for key in found[0]} for kept in expected] if found else expected
        assert sorted(found, key=order) == sorted(shown, key=order)
        latest = ObjectsFilter(latest_only=True)
        assert self.await_(self.store.count(self.project, latest)) == sum(kept["latest"] for kept in expected)


def test_store_matches_the_model(mongodb_uri: str, database_name: str) -> None:
    with asyncio.Runner() as runner:
        database = runner.run(_opened(mongodb_uri, database_name))
        Objects.runner, Objects.store = runner, ObjectsStore(database)
        bounds = settings(
            max_examples=cases(75),
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(Objects, settings=bounds)
        database.close()


async def _opened(uri: str, name: str) -> Database:
    database = Database.open(uri, name)
    await database.ensure_indexes()
    return database
