"""What the faults are done to: started side by side, since each takes seconds to come up."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.bench import Bench
from tests.faults.deeds import Alone
from tests.faults.mongods import ReplicaSet, replica_set
from tests.faults.serving import serving
from tests.faults.toxic_proxy import ToxicProxy

QUERY_TIMEOUT_SECONDS = "2"
DISK_MB = 700


@dataclass(frozen=True)
class Three:
    """Three members, a server that knows all of them, and one that knows the first by way of a proxy."""

    members: ReplicaSet
    bench: Bench
    proxy: ToxicProxy
    behind_proxy: Bench


@contextmanager
def three() -> Iterator[Three]:
    """Them, up."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loomql-")))
        members = stack.enter_context(replica_set())
        proxy = ToxicProxy(members.primary().port)
        stack.enter_context(proxy.running())
        settings = {"LOOMQL_QUERY_TIMEOUT_SECONDS": QUERY_TIMEOUT_SECONDS}
        straight = stack.enter_context(serving(folder / "straight", LOOMQL_MONGODB_URI=members.uri, **settings))
        by_proxy = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
        behind = stack.enter_context(serving(folder / "behind", LOOMQL_MONGODB_URI=by_proxy, **settings))
        for server in (straight, behind):
            server.wait_until_up()
        yield Three(members, Bench(straight, members.uri), proxy, Bench(behind, members.uri))


@contextmanager
def alone(*, with_disk: bool = True) -> Iterator[tuple[Alone, Bench]]:
    """A server with a mongod of its own, on a small disk where there is to be one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loomql-")))
        data_dir = folder / "data"
        data_dir.mkdir(mode=0o700)
        if with_disk:
            stack.enter_context(small_disk(data_dir))
        server = stack.enter_context(
            serving(folder / "alone", "--data-dir", str(data_dir), LOOMQL_MONGOD_CACHE_GB="0.25")
        )
        server.wait_until_up()
        from app.embedded_mongod import DataFolder

        yield Alone(server, data_dir), Bench(server, DataFolder(data_dir).uri)


class NoDiskError(Exception):
    """No file system can be mounted here."""


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a small file system in memory on a folder.

    Raises:
        NoDiskError: only root of a Linux may, and not in every container.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NoDiskError("only root of a Linux may mount a file system")
    options = f"size={DISK_MB}m,mode=0700"
    done = subprocess.run(  # noqa: S603 -- a fixed program
        ["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoDiskError(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "-l", str(folder)], check=True)  # noqa: S603 -- as above
