"""The store of hints. A hint that fails or takes too long is left out: the empty result is valid without it."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from time import thread_time
from typing import Final, TypeVar

from stores.calls.op_names import OpNames, op_names
from stores.database import Database
from stores.hints import comparison
from stores.hints.comparison import MAX_OPS, CallsCondition, Checks, Hint
from stores.hints.sample import READ_SECONDS, Names, SampleReader
from stores.projects import ProjectsFilter
from stores.query.text_expressions import starting_with

MAX_HINTS: Final = 10
"""Maximum hints of one result."""

COMPARE_SECONDS: Final = 0.1
"""CPU time for comparing names in a thread; hints after it have no suggestion."""

_READ_MS: Final = round(READ_SECONDS * 1_000)
_MAX_PATHS: Final = 20
_MAX_PROJECTS: Final = 1_000
_MAX_ENTITIES: Final = 3

_R = TypeVar("_R")


class HintsStore:
    """Makes hints from a sample of the calls in MongoDB."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._samples = SampleReader(database)
        self._thread = asyncio.Lock()

    async def hints_for(
        self, project_id: str, conditions: Sequence[CallsCondition | None], readable: tuple[str, ...] | None
    ) -> list[list[Hint]]:
        """Return the hints for each of several empty results on one project.

        Args:
            project_id: a project that the caller may read, whether it exists or not.
            conditions: the condition of each result, None if it has none on calls.
            readable: the projects that hints may name, as `ProjectsFilter.among`.

        Raises:
            StoreError: if the database is unreachable, or a query is invalid for the fields of calls.
        """
        return await self.database.run(self._hints_for(project_id, conditions, readable))

    async def _hints_for(
        self, project_id: str, conditions: Sequence[CallsCondition | None], readable: tuple[str, ...] | None
    ) -> list[list[Hint]]:
        if await self.database.projects.find_one({"_id": project_id}, {"_id": 1}, max_time_ms=_READ_MS) is None:
            hints = await self._missing_project_hints(project_id, readable)
            return [hints for _ in conditions]
        checks = await self._in_thread(
            lambda until: [
                comparison.checks_of(condition) if thread_time() < until else Checks() for condition in conditions
            ]
        )
        paths = {term.access.stored_path: term.access for each in checks for term in each.terms}
        if not paths and not any(each.ops or each.models for each in checks):
            return [[] for _ in conditions]
        sample = await self._samples.read(project_id, dict(islice(paths.items(), _MAX_PATHS)))
        if sample is None or not sample.types.calls:
            return [[] for _ in conditions]
        ops = list(dict.fromkeys(names for each in checks for names in each.ops))[:MAX_OPS]
        unknown = await self._unknown_ops(project_id, ops, sample.names) if ops else []
        return await self._in_thread(
            lambda until: [comparison.hints_of(each, unknown, sample, until) for each in checks]
        )

    async def _in_thread(self, work: Callable[[float], _R]) -> _R:
        """Run CPU work in a thread until a thread time; one at a time, so that other requests have threads."""
        async with self._thread:
            return await asyncio.to_thread(lambda: work(thread_time() + COMPARE_SECONDS))

    async def _missing_project_hints(self, project_id: str, readable: tuple[str, ...] | None) -> list[Hint]:
        """Return a hint that the project does not exist, if a readable project has a similar name."""
        entity, _, name = project_id.partition("/")
        among = ProjectsFilter(among=readable).match()
        projects: dict[str, list[str]] = {}
        for match in ({"_id": starting_with(f"{entity}/")}, {}):
            condition = {"$and": [match, among]}
            rows = self.database.projects.find(condition, {"_id": 1}, limit=_MAX_PROJECTS, max_time_ms=_READ_MS)
            for row in await rows.to_list(None):
                other_entity, _, other_name = row["_id"].partition("/")
                projects.setdefault(other_entity, []).append(other_name)

        def hints(until: float) -> list[Hint]:
            for other_entity in comparison.similar_names(entity, projects, until, limit=_MAX_ENTITIES):
                if similar := comparison.similar_names(name, projects[other_entity], until):
                    other = f"{other_entity}/{similar[0]}"
                    message = f"The project {project_id} does not exist. A similar one is {other}."
                    return [Hint("PROJECT_NOT_FOUND", message, other)]
            return []

        return await self._in_thread(hints)

    async def _unknown_ops(
        self, project_id: str, ops: Sequence[tuple[str, ...]], names: Names
    ) -> list[tuple[str, ...]]:
        """Return the tuples of ops that occur in no call of the project, neither in the sample nor in an older one."""

        def not_sampled(_until: float) -> dict[tuple[str, ...], OpNames]:
            matches = {wanted: op_names(project_id, wanted) for wanted in ops}
            return {wanted: each for wanted, each in matches.items() if not comparison.occurs(each, names.ops)}

        unknown = []
        for wanted, match_names in (await self._in_thread(not_sampled)).items():
            prefixed = [{"op_name": starting_with(prefix)} for prefix in match_names.prefixes]
            branches = [{"op_name": {"$in": list(match_names.exact)}}, *prefixed]
            match = {"project_id": project_id, "visible": True, "$or": branches}
            if await self.database.calls.find_one(match, {"_id": 1}, max_time_ms=_READ_MS) is None:
                unknown.append(wanted)
        return unknown
