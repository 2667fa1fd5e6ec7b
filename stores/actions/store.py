"""Store of actions: it executes them on calls."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final

from stores.actions.action_run import ActionResults, ActionRun
from stores.actions.contains_words import WordSearch
from stores.actions.judge import ChatCompletions, Judge
from stores.actions.specs import read_action
from stores.calls import CallsStore
from stores.concurrency.time_slices import cooperative
from stores.errors import BadInputError
from stores.feedback import FeedbackStore
from stores.ids import check_call_id, check_project_id
from stores.input_checks import MAX_NAME, check_length
from stores.objects import ObjectsStore
from stores.objects.builtin import ContainsWordsActionConfig, LlmJudgeActionConfig
from stores.paging import Row
from stores.providers import ProviderError

MAX_CALLS: Final = 10_000

CONCURRENT_JUDGEMENTS: Final = 8
"""Calls judged concurrently in one process, over all requests. Waiting calls hold no content in memory."""

_LOOKUP_BATCH: Final = 1_000
_SEARCH_BATCH: Final = 200
_SEARCH_BATCH_BYTES: Final = 8 * 1024 * 1024
"""JSON bytes read and searched together; a larger call is processed alone."""

_ACCESS_DENIED: Final = (401, 403)
"""HTTP statuses that mean that the provider will refuse every other request, too."""


class ActionsStore:
    """Executes actions on calls. Repeating an action adds another feedback and deletes none."""

    def __init__(
        self, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore, completions: ChatCompletions
    ) -> None:
        self.database = feedback.database
        self._calls, self._objects, self._feedback, self._completions = calls, objects, feedback, completions
        self._judges = asyncio.Semaphore(CONCURRENT_JUDGEMENTS)

    async def execute(
        self, project_id: str, action_ref: str, call_ids: Sequence[str], wb_user_id: str | None = None
    ) -> ActionResults:
        """Execute an action on calls. An error is recorded for its call, and the other calls continue.

        Each result is stored at once, so it survives if the request is interrupted.

        Raises:
            BadInputError: a call id is invalid, there are more than `MAX_CALLS`, or the ref leads to no action.
            NotFoundError, ObjectDeletedError: the ref leads to a missing object.
            UnavailableError: the database is unreachable, or the project is being purged.
        """
        check_project_id(project_id)
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        if len(call_ids) > MAX_CALLS:
            raise BadInputError(f"has {len(call_ids):,} ids; the limit is {MAX_CALLS:,}", "call_ids")
        async for position, call_id in cooperative(enumerate(call_ids)):
            check_call_id(call_id, f"call_ids.{position}")
        action = await read_action(self._objects, project_id, action_ref)
        run = ActionRun(
            project_id, action, wb_user_id, await self.database.query(self.database.ensure_not_purging(project_id))
        )
        await self._execute(run, list(dict.fromkeys(call_ids)))
        return ActionResults([run.results[call_id] for call_id in call_ids])

    async def _execute(self, run: ActionRun, call_ids: list[str]) -> None:
        match run.action.spec.config:
            case ContainsWordsActionConfig() as config:
                search = WordSearch(config)
                async for group in self._groups(run, call_ids):
                    with run.recording_errors(group):
                        await self._search(run, search, group)
            case LlmJudgeActionConfig() as config:
                judge = await asyncio.to_thread(Judge, run.project_id, config, self._completions)
                await self._judge_all(run, judge, call_ids)

    async def _groups(self, run: ActionRun, call_ids: list[str]) -> AsyncIterator[list[str]]:
        """Yield groups of existing calls that fit into memory together."""
        for start in range(0, len(call_ids), _LOOKUP_BATCH):
            batch = call_ids[start : start + _LOOKUP_BATCH]
            for group in _groups_by_size(await self._sizes(run, batch)):
                yield group

    async def _sizes(self, run: ActionRun, call_ids: list[str]) -> dict[str, int]:
        """Return the JSON size of each existing call."""
        rows: Mapping[tuple[str, str], Row | None] = {}
        with run.recording_errors(call_ids):
            keys = [(run.project_id, call_id) for call_id in call_ids]
            rows = await self._calls.by_keys(keys, frozenset({"storage_size_bytes"}))
        for (_, call_id), row in rows.items():
            if row is None:
                run.record_missing(call_id)
        return {call_id: row["storage_size_bytes"] for (_, call_id), row in rows.items() if row}

    async def _search(self, run: ActionRun, search: WordSearch, call_ids: list[str]) -> None:
        keys = [(run.project_id, call_id) for call_id in call_ids]
        rows = await self._calls.by_keys(keys, frozenset({"output"}))
        found_rows = {call_id: row for (_, call_id), row in rows.items() if row}
        outputs = await asyncio.to_thread(lambda: {call_id: search.matches(row) for call_id, row in found_rows.items()})
        stored = await self._store_feedback(run, outputs)
        for (call_id, output), feedback in zip(outputs.items(), stored, strict=True):
            run.record(call_id, output, feedback)
        for call_id in call_ids:
            if call_id not in found_rows:
                run.record_missing(call_id)

    async def _judge_all(self, run: ActionRun, judge: Judge, call_ids: list[str]) -> None:
        remaining = iter(call_ids)
        access_errors: list[ProviderError] = []

        async def work() -> None:
            for call_id in remaining:
                with run.recording_errors([call_id]):
                    if access_errors:
                        raise access_errors[0]
                    try:
                        await self._judge(run, judge, call_id)
                    except ProviderError as error:
                        if error.status in _ACCESS_DENIED:
                            access_errors.append(error)
                        raise

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(CONCURRENT_JUDGEMENTS, len(call_ids))):
                workers.create_task(work())

    async def _judge(self, run: ActionRun, judge: Judge, call_id: str) -> None:
        async with self._judges:
            run.check_size()
            row = await self._calls.one(run.project_id, call_id, {"inputs", "output"})
            if row is None:
                run.record_missing(call_id)
                return
            output = await judge.judgement(row)
            [feedback] = await self._store_feedback(run, {call_id: output})
            run.record(call_id, output, feedback)

    async def _store_feedback(self, run: ActionRun, outputs: Mapping[str, object]) -> list[Row]:
        """Store outputs as feedback on their calls."""
        await self.database.run(self.database.ensure_projects_listed([run.project_id], run.listed))
        return await self._feedback.create([run.feedback(*each) for each in outputs.items()])


def _groups_by_size(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Group calls so that each group stays within the size limit."""
    group: list[str] = []
    size = 0
    for call_id, call_size in sizes.items():
        if group and (size + call_size > _SEARCH_BATCH_BYTES or len(group) == _SEARCH_BATCH):
            yield group
            group, size = [], 0
        group.append(call_id)
        size += call_size
    if group:
        yield group
