"""What goes on as long as the server does: uploads that came to no end are taken back."""

import asyncio
import logging
from typing import Final

from pymongo.errors import PyMongoError

from app.background.tasks import JobStats
from stores.errors import StoreError
from stores.files import FilesStore
from stores.tables import TablesStore

logger = logging.getLogger("loomql")

_PAUSE_SECONDS: Final = 60


async def sweep_uploads(store: FilesStore | TablesStore, of: str, runs: JobStats) -> None:
    """Sweep, now and then, for good; what goes wrong is tried again."""
    while True:
        try:
            with runs.counted():
                count = await store.sweep()
            if count:
                logger.info("took back %d uploads of %s that came to no end", count, of)
        except (StoreError, PyMongoError) as error:
            logger.debug("the sweep of uploads of %s did not get through, and is tried again: %s", of, error)
        await asyncio.sleep(_PAUSE_SECONDS)
