"""Tests that random refs into random values resolve as in a plain Python model."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from stores.errors import BadInputError, NotFoundError, StoreError
from stores.objects import ObjectsStore
from stores.refs.store import RefsStore
from stores.tables import TablesStore
from tests.chance import SEED
from tests.stores.calls.builders import PROJECT
from tests.stores.objects.builders import version

VERSIONS = 60
REFS = 1_500

Edges = list[tuple[str, str]]


class MissingError(Exception):
    """Raised by the model for a ref into something that does not exist."""


class NowhereError(Exception):
    """Raised by the model for an edge that its value does not have."""


@dataclass
class Model:
    """All targets of refs: versions by ref (None if deleted) and tables by ref. It resolves one ref at a time."""

    versions: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def value(self, ref: str, edges: Edges) -> Any:
        if ref in self.tables:
            (edge, row), *rest = edges
            if edge != "id":
                raise NowhereError
            if row not in self.tables[ref]:
                raise MissingError
            return self.inside(self.tables[ref][row], rest)
        base, *pairs = ref.split("/key/")
        if base not in self.versions:
            raise MissingError
        return self.inside(self.versions[base], [("key", pair) for pair in pairs] + edges)

    def inside(self, value: Any, edges: Edges) -> Any:
        if not edges:
            return value
        if isinstance(value, str) and value.startswith("weave:///"):
            return self.value(value, edges)
        (edge, name), *rest = edges
        if value is None:
            return None
        if edge == "id" or (edge == "index" and isinstance(value, dict)):
            raise NowhereError
        if edge == "index":
            members = dict(enumerate(value)) | dict(enumerate(value, -len(value))) if isinstance(value, list) else {}
            return self.inside(members.get(int(name)), rest)
        return self.inside(value.get(name) if isinstance(value, dict) else None, rest)


@dataclass
class World:
    """Random versions and tables, in the stores and in the model."""

    dice: random.Random
    model: Model = field(default_factory=Model)

    async def fill(self, objects: ObjectsStore, tables: TablesStore) -> None:
        for _ in range(4):
            rows = [{"n": n, "a": self.value(1)} for n in range(self.dice.randint(1, 6))]
            digest, row_digests = await tables.create(PROJECT, rows)
            self.model.tables[f"weave:///{PROJECT}/table/{digest}"] = dict(zip(row_digests, rows, strict=True))
        for n in range(VERSIONS):
            val = self.value(3)
            digest = await objects.create(version(val, object_id=f"o{n}"))
            self.model.versions[f"weave:///{PROJECT}/object/o{n}:{digest}"] = val
            if self.dice.random() < 0.1:
                await objects.delete(PROJECT, f"o{n}", [digest])
                self.model.versions[f"weave:///{PROJECT}/object/o{n}:{digest}"] = None

    def value(self, depth: int) -> Any:
        kind = self.dice.random()
        if depth and kind < 0.4:
            return {key: self.value(depth - 1) for key in self.dice.sample("abc", self.dice.randint(1, 3))}
        if depth and kind < 0.6:
            return [self.value(depth - 1) for _ in range(self.dice.randint(0, 3))]
        if kind < 0.85 and self.model.versions:
            known = self.dice.choice([*self.model.versions, *self.model.tables])
            return f"{known}/key/a" if "/object/" in known and self.dice.random() < 0.3 else known
        return self.dice.choice([None, 1, 2.5, "text", True, f"weave:///{PROJECT}/object/nobody:x"])

    def edges(self, ref: str) -> Edges:
        """Return random edges, of which most exist."""
        found: Edges = []
        for _ in range(self.dice.randint(0, 6)):
            try:
                here = self.model.value(ref, found)
            except (MissingError, NowhereError):
                here = None
            found.append(self.edge(here))
        return found

    def edge(self, here: Any) -> tuple[str, str]:
        while isinstance(here, str) and here in self.model.versions:
            here = self.model.versions[here]
        if here in self.model.tables if isinstance(here, str) else False:
            rows = list(self.model.tables[here])
            return self.dice.choice([("id", self.dice.choice(rows))] * 8 + [("id", "none"), ("key", "a")])
        index = ("index", str(self.dice.randint(-3, 3)))
        key = (self.dice.choice(["key", "attr"]), self.dice.choice("abc"))
        likely = index if isinstance(here, list) else key
        return self.dice.choice([likely] * 20 + [index, key, ("id", "none")])


async def test_resolved_refs_match_the_model(
    objects: ObjectsStore, tables: TablesStore, refs: RefsStore, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(random.Random(SEED))
    await world.fill(objects, tables)
    fine: dict[str, Any] = {}
    counts = {"values": 0, "nulls": 0, "missing": 0, "nowhere": 0}

    for _ in range(REFS):
        base = world.dice.choice(list(world.model.versions))
        edges = world.edges(base)
        text = base + "".join(f"/{edge}/{name}" for edge, name in edges)
        expected: type[StoreError] | None = None
        try:
            value = world.model.value(base, edges)
        except MissingError:
            expected, kind = NotFoundError, "missing"
        except NowhereError:
            expected, kind = BadInputError, "nowhere"
        else:
            fine[text], kind = value, "nulls" if value is None else "values"
        counts[kind] += 1
        if expected:
            with pytest.raises(expected):
                await refs.values([text])
            assert await refs.by_refs([(PROJECT, text)]) == {(PROJECT, text): None}

    found = [
        text for batch in range(0, len(fine), 1000) for text in await refs.values(list(fine)[batch : batch + 1000])
    ]
    assert [None if text is None else json.loads(text) for text in found] == list(fine.values())
    with capsys.disabled():
        print(f"\n{counts}")  # noqa: T201
    assert min(counts.values()) > REFS / 60
