"""`python -m tests.fuzz --requests 50000 --seed 1`: start a server, send that many requests and report the results."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from graphql import build_schema

from app.embedded_mongod import embedded_mongod
from tests.app.command import ROOT
from tests.fuzz.callers import make_keys
from tests.fuzz.report import MOST_RATIO, report, unsteady
from tests.fuzz.run import Fuzzer
from tests.fuzz.serving import fuzzed_server, quiet_server
from tests.fuzz.watching import failures


def main() -> int:
    """Run, print the report, and return 1 if the run found a problem or the server died, grew or stalled."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="Stop after so many, whatever was sent.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--open", action="store_true", help="Make no keys: everybody is let in, as administrator.")
    parser.add_argument("--keep", type=Path, help="File that what was found is written to, whole.")
    parser.add_argument("--rate", type=float, default=float("inf"), help="Requests a second at most.")
    parser.add_argument(
        "--most-ratio",
        type=float,
        default=MOST_RATIO,
        help="The second caller's p99 in terms of that at a server that gets no fuzz, at most.",
    )
    options = parser.parse_args()
    schema = build_schema((ROOT / "graphql_schema" / "schema.graphql").read_text())
    with (
        tempfile.TemporaryDirectory(prefix="loomql-") as folder,
        embedded_mongod(Path(folder), cache_gb=0.5) as uri,
        quiet_server() as quiet,
    ):
        keys = {} if options.open else asyncio.run(make_keys(uri, "fuzz"))
        with fuzzed_server(Path(folder), uri, "fuzz") as server:
            sent = options.seed, options.requests, options.seconds
            outcome = asyncio.run(
                Fuzzer(server.url, server.process.pid, quiet, schema, *sent, keys, options.rate).run()
            )
            logged = failures(server.output.read_text(errors="replace"))
            is_alive = server.process.poll() is None
    print(report(outcome, options.seed, logged, options.most_ratio), "" if is_alive else "\nthe server is dead")  # noqa: T201 - the report is what the command is for
    if options.keep:
        found = [
            f"{finding.endpoint} #{finding.number}: {finding.problem}\n{finding.sent}\n" for finding in outcome.findings
        ]
        stalls = [f"stall of {seconds:.2f} s:\n" + "\n".join(at_once) for seconds, at_once in outcome.stalls]
        options.keep.write_text("\n".join([*found, *logged, *stalls]), errors="replace")
    return int(bool(outcome.findings or logged or unsteady(outcome, options.most_ratio) or not is_alive))


if __name__ == "__main__":
    sys.exit(main())
