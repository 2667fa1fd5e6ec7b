"""Runs a topology until it is interrupted: `python -m tests.topologies cluster` or `replica`.

It prints the URI for all routers or members; for a cluster, that of each router, too.
"""

import argparse
import signal
import sys

from tests.faults.mongods import replica_set
from tests.topologies.cluster import cluster


def _tell(*uris: str) -> None:
    sys.stdout.write("\n".join(uris) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Start the topology, print where it is, and wait for a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topology", choices=["cluster", "replica"])
    given = parser.parse_args()
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    if given.topology == "replica":
        with replica_set() as members:
            _tell(members.uri)
            signal.sigwait(ends)
        return
    with cluster() as running:
        _tell(running.uri, *map(running.uri_of, range(len(running.routers))))
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
