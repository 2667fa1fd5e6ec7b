"""`python -m tests.faults`: run every fault at full length and print the table of the documentation."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence

from tests.faults import faults
from tests.faults.faults import Fault
from tests.faults.report import HEAD, line, origin
from tests.faults.stage import alone, three
from tests.faults.trial import Row, Trial


async def main(arguments: Sequence[str]) -> int:
    """Run the faults whose names contain the words; exit with 1 if data was lost or an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("words", nargs="*", help="only the faults whose names have one of these in them")
    parser.add_argument("--short", action="store_true", help="as short as in the test run")
    given = parser.parse_args(arguments)
    sys.stderr.write(f"{origin()}\n")
    sys.stdout.write(f"{HEAD}\n")
    is_bad = False
    async for row in _rows(given.words, is_short=given.short):
        sys.stdout.write(f"{line(row)}\n")
        sys.stdout.flush()
        sys.stderr.writelines(f"{sentence}\n" for sentence in row.lost[1:20])
        is_bad = is_bad or bool(row.lost or row.wrong)
    return is_bad


async def _rows(words: Sequence[str], *, is_short: bool) -> AsyncIterator[Row]:
    def chosen(among: Sequence[Fault]) -> list[Fault]:
        return [fault for fault in among if not words or any(word in fault.name for word in words)]

    async def run(trial: Trial, fault: Fault, target: object) -> Row:
        seconds = fault.short_seconds if is_short else fault.full_seconds
        row = await trial.run(
            fault.name,
            lambda: fault.do(target),
            seconds,
            server_may_go=fault.server_may_go,
            is_full=not is_short,
        )
        row.lost.extend(await trial.lost_evaluations())
        return row

    if chosen([*faults.ON_THE_WIRE, *faults.ON_REPLICA_SETS, *faults.OF_SERVERS]):
        async with three() as stage:
            for fault in chosen(faults.ON_THE_WIRE):
                yield await run(stage.behind_proxy, fault, stage.proxy)
            for fault in chosen(faults.ON_REPLICA_SETS):
                yield await run(stage.trial, fault, stage.members)
            for fault in chosen(faults.OF_SERVERS):
                yield await run(stage.trial, fault, stage.trial.server)
    if chosen(faults.OF_A_SINGLE_MONGOD):
        with alone() as (target, trial):
            for fault in chosen(faults.OF_A_SINGLE_MONGOD):
                yield await run(trial, fault, target)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
