"""A sweep of one project, in steps with pauses, while its rule and lease stay unchanged."""

from typing import Final

from stores.database import Database
from stores.database.paced_steps import WorkSteps, deadline_in, run_paced
from stores.errors import StoreError, UnavailableError
from stores.retention.rules import GracePeriods, limits_of
from stores.retention.sweep_state import SupersededError, SweepLease
from stores.retention.tombstone_sweep import TombstoneSweep
from stores.retention.trace_sweep import LARGE_TRACE, TracesSweep
from stores.retention.unused_file_sweep import UnusedFilesSweep

PAUSE: Final = 0.25
"""Pause after each step, as a multiple of the step's duration."""


class Sweep:
    """A sweep under the lease of this process."""

    def __init__(
        self, database: Database, lease: SweepLease, grace_periods: GracePeriods, large: int = LARGE_TRACE
    ) -> None:
        self._database = database
        self._lease = lease
        self._grace_periods = grace_periods
        self._large = large

    async def run(self, seconds: float | None = None, pause: float = PAUSE) -> None:
        """Sweep to the end, or for at most `seconds`; another process can then continue.

        It stops early if the rule changes or the project is purged.

        Raises:
            UnavailableError: if the database is unreachable; a later sweep continues.
        """
        try:
            if await run_paced(self._database, self._steps(), pause, deadline_in(seconds)):
                await self._database.run(self._lease.finish())
            else:
                await self._database.run(self._lease.release())
        except SupersededError:
            return
        except UnavailableError:
            raise
        except StoreError as error:
            await self._database.run(self._lease.finish(error.message))
            raise
        except Exception:
            await self._database.run(self._lease.finish("unexpected server error; see the server's log"))
            raise

    async def _steps(self) -> WorkSteps:
        limits = await limits_of(self._database, self._lease.project_id, self._lease.rule, self._grace_periods)
        for sweep in (
            TracesSweep(self._database, self._lease, limits, self._large),
            TombstoneSweep(self._database, self._lease, self._grace_periods),
            UnusedFilesSweep(self._database, self._lease, self._grace_periods),
        ):
            async for _ in sweep.steps():
                yield
