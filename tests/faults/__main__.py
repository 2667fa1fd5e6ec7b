"""`python -m tests.faults`: every fault at its full length, as the table that the README has."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from tests.faults import deeds
from tests.faults.bench import Row
from tests.faults.deeds import Fault
from tests.faults.report import line, HEAD
from tests.faults.stage import alone, three


async def main(arguments: Sequence[str]) -> int:
    """Do the faults whose names have the words; whether anything was lost or wrong is the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("words", nargs="*", help="only the faults whose names have one of these in them")
    parser.add_argument("--short", action="store_true", help="as short as in the test run")
    given = parser.parse_args(arguments)
    print(HEAD, flush=True)
    bad: list[Row] = []

    def chosen(faults: Sequence[Fault]) -> list[Fault]:
        return [fault for fault in faults if not given.words or any(word in fault.name for word in given.words)]

    def seconds(fault: Fault) -> float:
        return fault.short_seconds if given.short else fault.full_seconds

    def told(row: Row) -> None:
        print(line(row), flush=True)
        if row.lost or row.wrong:
            bad.append(row)
            print(*row.lost[:20], *row.wrong.most_common(20), sep="\n", file=sys.stderr, flush=True)

    if any(map(chosen, (deeds.ON_REPLICA_SETS, deeds.ON_THE_WIRE, deeds.OF_SERVERS))):
        with three() as stage:
            for fault in chosen(deeds.ON_THE_WIRE):
                told(await stage.behind_proxy.run(fault.name, lambda f=fault: f.do(stage.proxy), seconds(fault)))
            for fault in chosen(deeds.ON_REPLICA_SETS):
                told(await stage.bench.run(fault.name, lambda f=fault: f.do(stage.members), seconds(fault)))
            for fault in chosen(deeds.OF_SERVERS):
                told(
                    await stage.bench.run(
                        fault.name, lambda f=fault: f.do(stage.bench.server), seconds(fault), server_may_go=True
                    )
                )
    if chosen(deeds.OF_A_SINGLE_MONGOD):
        with alone() as (it, bench):
            for fault in chosen(deeds.OF_A_SINGLE_MONGOD):
                told(
                    await bench.run(
                        fault.name, lambda f=fault: f.do(it), seconds(fault), server_may_go=fault.server_may_go
                    )
                )
    return bool(bad)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
