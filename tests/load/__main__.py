"""`python -m tests.load --minutes 3`: put mixed load on a new server and report the results."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from app.embedded_mongod import embedded_mongod
from tests.fuzz.watching import failures
from tests.load.counting import CountedServer, counted_server
from tests.load.report import report, unsteady
from tests.load.run import Outcome, Run
from tests.load.state import leaks


async def _run(server: CountedServer, uri: str, seconds: float) -> Outcome:
    return await Run(server, uri, seconds).go()


def main() -> int:
    """Run, print the report, and return 1 if the run had errors or the server leaked, grew or slowed down."""
    parser = argparse.ArgumentParser(prog="python -m tests.load")
    parser.add_argument("--minutes", type=float, default=3.0)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="loomql-") as folder,
        embedded_mongod(Path(folder), cache_gb=0.5) as uri,
        counted_server(Path(folder), uri, "load") as server,
    ):
        outcome = asyncio.run(_run(server, uri, options.minutes * 60))
        logged = failures(server.output.read_text(errors="replace"))
    grown = unsteady(outcome)
    findings = (f"unsteady: {', '.join(grown) or 'nothing'}", *logged[:3])
    print(report(outcome), *findings, sep="\n")  # noqa: T201 - the report is what the command is for
    return int(bool(outcome.errors or logged or grown or leaks(outcome.before, outcome.after)))


if __name__ == "__main__":
    sys.exit(main())
