"""A random history of a project, with times up to ten days back."""

import random
from typing import Any, Final

from stores import times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.database import Database
from stores.feedback import FeedbackStore
from stores.files import FilesStore, NewFile
from stores.objects import ObjectsStore
from stores.retention.rules import DAY
from stores.tables import TablesStore
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id
from tests.stores.feedback.builders import call_ref, feedback
from tests.stores.objects.builders import version

HOUR: Final = DAY // 24
CALLS: Final = 60


class Life:
    """Random creates, ends, renames and deletes over few ids, with everything that may refer to files."""

    def __init__(self, database: Database, seed: int) -> None:
        self.rng = random.Random(seed)
        self.database = database
        self.calls = CallsStore(database)
        self.feedback = FeedbackStore(database)
        self.now = times.now()
        self.digests: list[str] = []

    async def live(self, steps: int) -> None:
        """Run `steps` random steps, then date back what the server dates itself."""
        for _ in range(4):
            file = NewFile.of(self.rng.randbytes(30))
            await FilesStore(self.database).create_all(PROJECT, [file])
            self.digests.append(file.digest)
        deeds = [self.write] * 6 + [self.delete, self.rename, self.speak, self.speak, self.keep]
        for _ in range(steps):
            await self.rng.choice(deeds)()
        await self._date_back()

    def ago(self) -> int:
        """Return a random half hour of the last ten days."""
        return self.now - self.rng.randrange(240) * HOUR - HOUR // 2

    def value(self) -> dict[str, Any]:
        """Return a JSON object that may refer to a file, by a digest in any text or by a data URL."""
        match self.rng.randrange(8):
            case 0:
                return {"url": "data:text/plain;base64," + "QUJD" * (300 + self.rng.randrange(9))}
            case 1:
                return {"deep": [f"see\n{self.rng.choice(self.digests)}.", {"é": 1}]}
            case _:
                return {"n": self.rng.randrange(5)}

    async def write(self) -> None:
        """Write some starts and ends in traces of three calls, some without their root, start or end."""
        batch: list[CallStart | CallEnd] = []
        for _ in range(self.rng.randint(1, 4)):
            number = self.rng.randrange(CALLS)
            root = number // 3 * 3
            place: dict[str, Any] = {"trace_id": trace_id(root), "parent_id": call_id(root) if number != root else None}
            began = self.ago()
            if self.rng.random() < 0.8:
                batch.append(start(number, started_at=began, inputs=self.value(), **place))
            if self.rng.random() < 0.7:
                batch.append(end(number, ended_at=began + self.rng.randrange(30) * HOUR, output=self.value()))
        await self.calls.write(batch)

    async def delete(self) -> None:
        """Delete a call and its descendants."""
        await self.calls.delete(PROJECT, [call_id(self.rng.randrange(CALLS))])

    async def rename(self) -> None:
        """Rename a call, perhaps one that never starts."""
        await self.calls.rename(PROJECT, call_id(self.rng.randrange(CALLS + 9)), "a name")

    async def speak(self) -> None:
        """Write feedback on a call, which may not exist, or on an object."""
        ref = call_ref(self.rng.randrange(CALLS + 9))
        if self.rng.random() < 0.2:
            ref = f"weave:///{PROJECT}/object/o:{'x' * 43}"
        await self.feedback.create([feedback(self.value(), weave_ref=ref)])

    async def keep(self) -> None:
        """Write an object or a table's row."""
        if self.rng.random() < 0.5:
            await ObjectsStore(self.database).create(version(self.value()))
        else:
            await TablesStore(self.database).create(PROJECT, [self.value()])

    async def _date_back(self) -> None:
        for collection, name in (
            (self.database.calls, "deleted_at"),
            (self.database.feedback, "created_at"),
            (self.database.files, "created_at"),
        ):
            async for found in collection.find({"project_id": PROJECT, name: {"$exists": True}}, {"_id": 1}):
                await collection.update_one({"_id": found["_id"]}, {"$set": {name: self.ago()}})
