"""Writers that run while something fails. Each records the requests that it sent and those that were acknowledged."""

from collections.abc import Callable

from tests.faults.client import FaultsClient
from tests.faults.writers.calls import BatchWriter, DeletingWriter, PartsWriter, Reader
from tests.faults.writers.costs import CostsWriter
from tests.faults.writers.feedback import FeedbackWriter, ReplacingWriter
from tests.faults.writers.files import FilesWriter
from tests.faults.writers.logs import LogsWriter
from tests.faults.writers.names import NamesWriter
from tests.faults.writers.objects import DeletedVersionsWriter, ObjectsWriter
from tests.faults.writers.spans import SpansWriter
from tests.faults.writers.tables import LargeTablesWriter, TablesWriter
from tests.faults.writers.weave import WeaveWriter
from tests.faults.writers.writer import Writer

WRITERS: tuple[Callable[[FaultsClient], Writer], ...] = (
    BatchWriter,
    PartsWriter,
    DeletingWriter,
    Reader,
    TablesWriter,
    LargeTablesWriter,
    ObjectsWriter,
    FeedbackWriter,
    ReplacingWriter,
    FilesWriter,
)
MORE_WRITERS: tuple[Callable[[FaultsClient], Writer], ...] = (
    WeaveWriter,
    SpansWriter,
    LogsWriter,
    NamesWriter,
    DeletedVersionsWriter,
    CostsWriter,
)
"""Writers that run only at full length, because they would make the test run too long."""

__all__ = ["MORE_WRITERS", "WRITERS", "Writer"]
