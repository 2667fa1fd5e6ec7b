"""LoomQL servers on one MongoDB, each a `loomql serve` process."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.app.command import PROGRAM, serving
from tests.benchmarks.sides import Connection
from tests.benchmarks.timing import Clock, clock_of

_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class LoomQL:
    """A running server."""

    url: str
    process_id: int
    clock: Clock

    @property
    def spans_url(self) -> str:
        """The URL for spans of OpenTelemetry."""
        return self.url.replace("/graphql", "/v1/traces")

    def connections(self, count: int) -> list[Connection]:
        """Open new connections."""
        return [Connection(self.url) for _ in range(count)]

    def most_memory_mib(self) -> float:
        """Return the peak memory of the process in MiB (VmHWM)."""
        status = Path(f"/proc/{self.process_id}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / _MIB


@contextmanager
def server(
    folder: Path, uri: str, database: str, more: Mapping[str, str] = MappingProxyType({}), *, compiled: bool = True
) -> Iterator[LoomQL]:
    """Start a server on a database, with more settings if any; `compiled=False` selects stock Strawberry."""
    output = folder / f"{database}-{'loomql' if compiled else 'stock'}.log"
    settings = {
        "LOOMQL_MONGODB_URI": uri,
        "LOOMQL_MONGODB_DATABASE": database,
        "LOOMQL_COMPILED_EXECUTION": str(compiled).lower(),
        **more,
    }
    with serving(output, program=PROGRAM, **settings) as started:
        yield LoomQL(started.url, started.process.pid, clock_of(started.process.pid))
