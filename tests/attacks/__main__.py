"""`python -m tests.attacks`: attack servers of a checkout and print a table of the results."""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from app.embedded_mongod import embedded_mongod
from tests.app.command import ROOT
from tests.attacks.attacks import ATTACKS
from tests.attacks.run import COLUMNS, run
from tests.benchmarks.loading import load_copies

_DATABASE = "attacks"


def main() -> int:
    """Run the attacks one by one, print a Markdown row for each, and return 1 if a server did not withstand one."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="Folder of the sources that the servers run.")
    parser.add_argument("--only", nargs="+", choices=ATTACKS, default=list(ATTACKS), help="Attacks to run.")
    parser.add_argument("--calls", type=int, default=100_000, help="Calls in the project that the attacker may read.")
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    is_withstood = True
    with (
        tempfile.TemporaryDirectory(prefix="loomql-") as folder,
        embedded_mongod(Path(folder), cache_gb=0.5) as uri,
    ):
        load_copies(uri, _DATABASE, options.calls)
        _print_row(COLUMNS)
        _print_row(["---"] * len(COLUMNS))
        for name in options.only:
            row = asyncio.run(run(ATTACKS[name], name, uri, _DATABASE, checkout, Path(folder)))
            _print_row(row.cells())
            is_withstood &= not row.problems()
    print(f"\nload average {' '.join(f'{load:.1f}' for load in os.getloadavg())}, {os.cpu_count()} processors")  # noqa: T201
    return int(not is_withstood)


def _print_row(cells: "tuple[str, ...] | list[str]") -> None:
    print(f"| {' | '.join(cells)} |", flush=True)  # noqa: T201 - the table is what the command is for


if __name__ == "__main__":
    sys.exit(main())
