"""The store of actions: it carries them out."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final

from stores.actions.action_run import Executed, Run
from stores.actions.contains_words import WordSearch
from stores.actions.judge import Completions, Judge
from stores.actions.specs import read_action
from stores.calls import CallsStore
from stores.concurrency.time_slices import cooperative
from stores.errors import BadInputError
from stores.feedback import FeedbackStore
from stores.ids import check_call_id, check_project_id
from stores.input_checks import MAX_NAME, check_length
from stores.objects import ObjectsStore
from stores.objects.builtin.actions import ContainsWordsActionConfig, LlmJudgeActionConfig
from stores.paging import Row
from stores.providers import ProviderError

MAX_CALLS: Final = 10_000

JUDGED_AT_ONCE: Final = 8
"""Calls that models judge at once in one process, for all who ask; what waits holds no call's content."""

_LOOKED_UP_AT_ONCE: Final = 1_000
_SEARCHED_AT_ONCE: Final = 200
_BYTES_AT_ONCE: Final = 8 * 1024 * 1024
"""Of JSON that is read, searched and let go of again, then the next; a call that is larger comes alone."""

_SHUT_OUT: Final = (401, 403)
"""What a provider answers whom it will not serve, whatever is asked."""


class ActionsStore:
    """Actions on calls. Running one again gives another piece of feedback, and takes none away."""

    def __init__(
        self, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore, completions: Completions
    ) -> None:
        self.database = feedback.database
        self._calls, self._objects, self._feedback, self._completions = calls, objects, feedback, completions
        self._judges = asyncio.Semaphore(JUDGED_AT_ONCE)

    async def execute(
        self, project_id: str, action_ref: str, call_ids: Sequence[str], wb_user_id: str | None = None
    ) -> Executed:
        """Carry out an action on calls. What goes wrong with one is told with it, and the others are gone on with.

        What a call gave is kept at once, so that it stands should the rest come to no end.

        Raises:
            BadInputError: an id can be no call's, there are more than `MAX_CALLS`, or the ref leads to no action.
            NotFoundError, ObjectDeletedError: the ref leads to nothing.
            UnavailableError: the database is away, or the project is being purged.
        """
        check_project_id(project_id)
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        if len(call_ids) > MAX_CALLS:
            raise BadInputError(f"has {len(call_ids):,} ids; the limit is {MAX_CALLS:,}", "call_ids")
        async for position, call_id in cooperative(enumerate(call_ids)):
            check_call_id(call_id, f"call_ids.{position}")
        action = await read_action(self._objects, project_id, action_ref)
        run = Run(
            project_id, action, wb_user_id, await self.database.query(self.database.ensure_not_purging(project_id))
        )
        await self._carry_out(run, list(dict.fromkeys(call_ids)))
        return Executed([run.results[call_id] for call_id in call_ids])

    async def _carry_out(self, run: Run, call_ids: list[str]) -> None:
        match run.action.spec.config:
            case ContainsWordsActionConfig() as config:
                search = WordSearch(config)
                async for group in self._groups(run, call_ids):
                    with run.failing(group):
                        await self._search(run, search, group)
            case LlmJudgeActionConfig() as config:
                judge = await asyncio.to_thread(Judge, run.project_id, config, self._completions)
                await self._judge_all(run, judge, call_ids)

    async def _groups(self, run: Run, call_ids: list[str]) -> AsyncIterator[list[str]]:
        """The calls that are there, so many at once as may be in memory together."""
        for start in range(0, len(call_ids), _LOOKED_UP_AT_ONCE):
            part = call_ids[start : start + _LOOKED_UP_AT_ONCE]
            for group in _packed(await self._sizes(run, part)):
                yield group

    async def _sizes(self, run: Run, call_ids: list[str]) -> dict[str, int]:
        """What the JSON of each of some calls takes, without those that are not there."""
        rows: Mapping[tuple[str, str], Row | None] = {}
        with run.failing(call_ids):
            keys = [(run.project_id, call_id) for call_id in call_ids]
            rows = await self._calls.by_keys(keys, frozenset({"storage_size_bytes"}))
        for (_, call_id), row in rows.items():
            if row is None:
                run.miss(call_id)
        return {call_id: row["storage_size_bytes"] for (_, call_id), row in rows.items() if row}

    async def _search(self, run: Run, search: WordSearch, call_ids: list[str]) -> None:
        keys = [(run.project_id, call_id) for call_id in call_ids]
        rows = await self._calls.by_keys(keys, frozenset({"output"}))
        there = {call_id: row for (_, call_id), row in rows.items() if row}
        outputs = await asyncio.to_thread(lambda: {call_id: search.is_found(row) for call_id, row in there.items()})
        made = await self._keep(run, outputs)
        for (call_id, output), feedback in zip(outputs.items(), made, strict=True):
            run.keep(call_id, output, feedback)
        for call_id in call_ids:
            if call_id not in there:
                run.miss(call_id)

    async def _judge_all(self, run: Run, judge: Judge, call_ids: list[str]) -> None:
        waiting = iter(call_ids)
        shut_out: list[ProviderError] = []

        async def work() -> None:
            for call_id in waiting:
                with run.failing([call_id]):
                    if shut_out:
                        raise shut_out[0]
                    try:
                        await self._judge(run, judge, call_id)
                    except ProviderError as error:
                        if error.status in _SHUT_OUT:
                            shut_out.append(error)
                        raise

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(JUDGED_AT_ONCE, len(call_ids))):
                workers.create_task(work())

    async def _judge(self, run: Run, judge: Judge, call_id: str) -> None:
        async with self._judges:
            run.check_room()
            row = await self._calls.one(run.project_id, call_id, {"inputs", "output"})
            if row is None:
                run.miss(call_id)
                return
            output = await judge.judgement(row)
            [feedback] = await self._keep(run, {call_id: output})
            run.keep(call_id, output, feedback)

    async def _keep(self, run: Run, outputs: Mapping[str, object]) -> list[Row]:
        """Keep outputs by their calls, as feedback."""
        await self.database.run(self.database.ensure_projects_listed([run.project_id], run.listed))
        return await self._feedback.create([run.feedback(*each) for each in outputs.items()])


def _packed(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """The calls, as many at once as take so much together."""
    group: list[str] = []
    size = 0
    for call_id, own in sizes.items():
        if group and (size + own > _BYTES_AT_ONCE or len(group) == _SEARCHED_AT_ONCE):
            yield group
            group, size = [], 0
        group.append(call_id)
        size += own
    if group:
        yield group
