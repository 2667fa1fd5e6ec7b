"""A sweep of one project, in steps with pauses, while its rule and lease stay unchanged."""

from typing import Final

from stores.database.leases import LeaseLostError
from stores.database.paced_steps import WorkSteps, deadline_in, run_paced
from stores.errors import StoreError, UnavailableError
from stores.retention.rules import GracePeriods, Rule, limits_of
from stores.retention.sweep_state import SweepLease
from stores.retention.tombstone_sweep import TombstoneSweep
from stores.retention.trace_sweep import TracesSweep
from stores.retention.unused_file_sweep import UnusedFilesSweep

PAUSE: Final = 0.25
"""Pause after each step, as a multiple of the step's duration."""


async def run_sweep(
    lease: SweepLease, grace_periods: GracePeriods, large: int, seconds: float | None = None, pause: float = PAUSE
) -> None:
    """Sweep to the end, or for at most `seconds`; another process can then continue.

    It stops early if the rule changes or the project is purged. A trace with more than `large` calls is deleted in
    steps.

    Raises:
        UnavailableError: if the database is unreachable; a later sweep continues.
    """
    database = lease.database
    try:
        if await run_paced(database, _steps(lease, grace_periods, large), pause, deadline_in(seconds)):
            await lease.finish()
        else:
            await lease.pause()
    except LeaseLostError:
        return
    except UnavailableError:
        raise
    except StoreError as error:
        await lease.finish(error.message)
        raise
    except Exception:
        await lease.finish("unexpected server error; see the server's log")
        raise


async def _steps(lease: SweepLease, grace_periods: GracePeriods, large: int) -> WorkSteps:
    rule = Rule.from_document(lease.state)
    limits = await limits_of(lease.database, lease.project_id, rule, grace_periods)
    for sweep in (
        TracesSweep(lease, limits, large),
        TombstoneSweep(lease, grace_periods),
        UnusedFilesSweep(lease, grace_periods),
    ):
        async for _ in sweep.steps():
            yield
