"""A sweep of one project: step by step, with pauses, for as long as its rule and its sweeper stay what they are."""

from typing import Final

from stores.database import Database
from stores.database.paced_steps import WorkSteps, deadline_in, run_paced
from stores.errors import StoreError, UnavailableError
from stores.retention.rules import GracePeriods, limits_of
from stores.retention.sweep_state import SupersededError, SweepLease
from stores.retention.tombstone_sweep import TombstoneSweep
from stores.retention.trace_sweep import LARGE, TracesSweep
from stores.retention.unused_file_sweep import UnusedFilesSweep

PAUSE: Final = 0.25
"""After each step, how many times as long as it took all others have the database for themselves."""


class Sweep:
    """The sweep that one sweeper holds."""

    def __init__(self, database: Database, hold: SweepLease, patience: GracePeriods, large: int = LARGE) -> None:
        self._database = database
        self._hold = hold
        self._patience = patience
        self._large = large

    async def run(self, seconds: float | None = None, pause: float = PAUSE) -> None:
        """Sweep to the end, or for so many seconds, after which it is left to whoever comes next.

        It ends early, too, where the rule is changed or the project is purged: then it stops between two steps.

        Raises:
            UnavailableError: the database is away; the sweep goes on when it is back and somebody takes it up.
        """
        try:
            if await run_paced(self._database, self._steps(), pause, deadline_in(seconds)):
                await self._database.run(self._hold.finish())
            else:
                await self._database.run(self._hold.leave())
        except SupersededError:
            return
        except UnavailableError:
            raise
        except StoreError as error:
            await self._database.run(self._hold.finish(error.message))
            raise
        except Exception:
            await self._database.run(self._hold.finish("something went wrong on the server; its log says what"))
            raise

    async def _steps(self) -> WorkSteps:
        limits = await limits_of(self._database, self._hold.project_id, self._hold.rule, self._patience)
        for part in (
            TracesSweep(self._database, self._hold, limits, self._large),
            TombstoneSweep(self._database, self._hold, self._patience),
            UnusedFilesSweep(self._database, self._hold, self._patience),
        ):
            async for _ in part.steps():
                yield
